"""What a reviewer doubted, and was right to: each of these failed once."""

from __future__ import annotations

import errno
from itertools import count
from pathlib import Path

import pytest
import trio

from coordlib import Config, Ensemble, StorageError
from coordlib.config import Limits
from coordlib.storage.file import FileStore
from coordlib.testing import MemoryEnsemble
from coordlib.transport.interface import HIGH_WATER_BYTES
from replica.sessions import poll
from storage.fake_system import FakeSystem
from transport.seat import in_virtual_time


@in_virtual_time
async def test_members_on_different_continents_find_a_leader() -> None:
    """An answer took longer than the patience of who had asked to follow."""
    with trio.fail_after(10):
        async with MemoryEnsemble(3, latency=0.2) as members:
            await members.crash(3)
            await poll(lambda: members.leader_id == 2)


@in_virtual_time
async def test_sessions_that_nobody_waits_for_any_more_do_not_pile_up() -> None:
    """Each try without a quorum left a request for as long as there was none."""
    async with MemoryEnsemble(3) as members:
        await members.crash(2)
        await members.crash(3)
        await poll(lambda: members[1].read_only)
        for _ in range(3):
            with trio.move_on_after(0.1):
                async with members[1].session():
                    pass

        assert members[1].statistics().outstanding == 0


async def test_a_disk_that_fails_under_a_snapshot_is_raised_alone(
    tmp_path: Path,
) -> None:
    """The log and the snapshot both failed: a group, which no one catches."""

    def fail(operation: str, name: str) -> None:
        if operation == "rename" and "snapshot" in name:
            raise OSError(errno.EIO, "Input/output error")

    store = FileStore(
        tmp_path, member=1, name="coordlib", system=FakeSystem(before=fail)
    )
    config = Config(snapshot_interval=3)

    async def write() -> None:
        async with (
            Ensemble(store=store, config=config) as ensemble,
            ensemble.session() as session,
        ):
            # A fixed number may be written before a busy machine's disk fails.
            for i in count():
                await session.create(f"/{i}")

    with pytest.raises(StorageError, match="Input/output error"), trio.fail_after(30):
        await write()


@in_virtual_time
async def test_a_member_that_needs_a_snapshot_joins_though_others_write() -> None:
    """What was written while the snapshot was sent cut the link, again and again."""
    config = Config(
        history_records_max=10, limits=Limits(backlog_bytes_max=HIGH_WATER_BYTES)
    )
    async with MemoryEnsemble(3, config=config, latency=0.05) as members:
        await members.crash(1)
        async with members[3].session() as session, trio.open_nursery() as nursery:
            for i in range(8):
                await session.create(f"/{i}", bytes(1_000_000))
            for _ in range(20):
                await session.set("/0", b"")

            async def write() -> None:
                while True:
                    await session.set("/1", bytes(100_000))

            for _ in range(4):
                nursery.start_soon(write)
            await members.restart(1)
            with trio.fail_after(10):
                await members[1].wait_ready()
            nursery.cancel_scope.cancel()
