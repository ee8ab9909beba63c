"""A member whose log rotted is repaired by the others, in real files."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from coordlib import Config, CorruptLogError, Ensemble
from coordlib.ids import MemberId
from coordlib.storage.directory import segment_name
from coordlib.transport.memory import MemoryNetwork

QUICK = Config(heartbeat_interval=0.05, election_wait=0.05, silence_timeout=0.3)
MEMBERS = {1: "one:1", 2: "two:1", 3: "three:1"}


@asynccontextmanager
async def running(
    path: Path, network: MemoryNetwork, *members: int
) -> AsyncIterator[dict[int, Ensemble]]:
    """Run these members in their directories below ``path``."""
    async with AsyncExitStack() as stack:
        ensembles = {
            member: Ensemble(
                member,
                MEMBERS,
                data_dir=path / str(member),
                transport=network.transport(MemberId(member), map(MemberId, MEMBERS)),
                config=QUICK,
            )
            for member in members
        }
        for ensemble in ensembles.values():
            await stack.enter_async_context(ensemble)
        yield ensembles


def rot(path: Path, member: int) -> bytes:
    """Flip a bit in the middle of a member's log, and return what there was."""
    file = path / str(member) / segment_name(1)
    content = file.read_bytes()
    at = len(content) // 2
    file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    return file.read_bytes()


async def write(ensemble: Ensemble, path: str) -> None:
    async with ensemble.session() as session:
        await session.create(path)


async def test_a_damaged_member_is_repaired_and_counts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = MemoryNetwork()
    with trio.fail_after(60):
        async with running(tmp_path, network, 1, 2, 3) as members:
            for name in "abcdef":
                await write(members[1], f"/{name}")
        damaged = rot(tmp_path, 2)
        async with running(tmp_path, network, 1, 2, 3) as members:
            await members[2].wait_ready()
            statistics = members[2].statistics()
            assert [damage.file for damage in statistics.damage] == [segment_name(1)]
            assert statistics.seasoned
            await write(members[1], "/g")
        # Alone with one of the others it is a quorum now.
        async with running(tmp_path, network, 1, 2) as members:
            await members[2].wait_ready()
            assert members[2].tree.get_children("/") == ["zookeeper", *"abcdefg"]
            assert members[2].statistics().damage == ()

    aside = tmp_path / "2" / f"damaged.00000001.{segment_name(1)}"
    assert aside.read_bytes() == damaged
    errors = [r.message for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith(f"member 2: damaged and set aside: {segment_name(1)}")


class Listener(logging.Handler):
    """Sets ``heard`` when something is said."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.heard = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.heard.set()


async def test_where_all_are_damaged_nobody_begins_anew(tmp_path: Path) -> None:
    network = MemoryNetwork()
    listener = Listener("the disks of members 1, 2, 3 do not count")
    logging.getLogger("coordlib.replica").addHandler(listener)
    with trio.fail_after(60):
        async with running(tmp_path, network, 1, 2, 3) as members:
            for name in "abcdef":
                await write(members[1], f"/{name}")
        for member in MEMBERS:
            rot(tmp_path, member)
        async with running(tmp_path, network, 1, 2, 3) as members:
            await listener.heard.wait()
            assert not any(m.statistics().serving for m in members.values())
            assert not any(m.statistics().seasoned for m in members.values())
    logging.getLogger("coordlib.replica").removeHandler(listener)


async def test_alone_a_damaged_member_does_not_start(tmp_path: Path) -> None:
    async with Ensemble(data_dir=tmp_path / "1") as ensemble:
        for name in "abcdef":
            await write(ensemble, f"/{name}")
    rot(tmp_path, 1)
    before = sorted((tmp_path / "1").iterdir())

    with pytest.raises(CorruptLogError):
        async with Ensemble(data_dir=tmp_path / "1"):
            pass

    assert sorted((tmp_path / "1").iterdir()) == before
