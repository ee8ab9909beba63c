"""All members are lost: what docs/operations.md says to do, done."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from command.directories import run
from coordlib import Ensemble, MemberId
from coordlib.storage.directory import segment_name
from transport.ports import free_addresses

Capsys = pytest.CaptureFixture[str]
MEMBERS = (1, 2, 3)


async def start(stack: AsyncExitStack, root: Path, *who: int) -> dict[int, Ensemble]:
    free = free_addresses([MemberId(m) for m in MEMBERS])
    addresses = {int(m): address for m, address in free.items()}
    return {
        m: await stack.enter_async_context(
            Ensemble(m, addresses, data_dir=root / f"{m}", name="shop")
        )
        for m in who
    }


async def test_an_ensemble_that_lost_everything_but_one_log_goes_on(
    tmp_path: Path, capsys: Capsys
) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "file"
    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            members = await start(stack, old, *MEMBERS)
            await members[1].wait_ready()
            async with members[1].session() as session:
                for i in range(20):
                    await session.create(f"/z{i}", b"precious")
            last = members[1].statistics().zxid
            for ensemble in members.values():
                await ensemble.wait_ready()
            for ensemble in members.values():
                ensemble.abort()
    (old / "1" / segment_name(1)).unlink()
    shutil.rmtree(old / "2")
    assert run(capsys, "log", "verify", old / "1").code != 0

    assert run(capsys, "snapshot", "export", old / "3", file, "--with-log").code == 0
    for member in MEMBERS:
        target = ("--member", member, "--name", "shop", "--token", "today")
        assert (
            run(capsys, "snapshot", "import", file, new / f"{member}", *target).code
            == 0
        )

    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            members = await start(stack, new, *MEMBERS)
            for ensemble in members.values():
                await ensemble.wait_ready()
                assert ensemble.tree.get("/z19")[0] == b"precious"
            async with members[2].session() as session:
                await session.create("/after")
                await session.sync()
                assert members[2].statistics().zxid > last
        # One that is imported once more is like one that was wiped.
        shutil.rmtree(new / "3")
        target = ("--member", 3, "--name", "shop", "--token", "today")
        assert run(capsys, "snapshot", "import", file, new / "3", *target).code == 0
        async with AsyncExitStack() as stack:
            members = await start(stack, new, *MEMBERS)
            await members[3].wait_ready()
            assert members[3].tree.exists("/after") is not None
