"""A disk that fails ends its own member, with one typed error, and no other."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio

from coordlib import Config, Ensemble, StorageError
from coordlib.storage.file import FileStore
from coordlib.storage.interface import LogStore
from coordlib.storage.memory import MemoryDisk, MemoryStore
from replica.seats import seats_of
from replica.sessions import poll
from storage.fake_system import FakeSystem

# Real threads take real time.
QUICK = Config(heartbeat_interval=0.02, silence_timeout=0.5, election_wait=0.02)


class BodyError(Exception):
    """Of the user's own."""


class Failure:
    """Lets every call of a kind fail from now on."""

    def __init__(self) -> None:
        self.kind = ""
        self.number = 0
        self.times = 0

    def __call__(self, kind: str, name: str) -> None:  # noqa: ARG002 - a hook
        if kind == self.kind:
            self.times += 1
            raise OSError(self.number, "the disk is broken")


async def run_until_it_fails(
    member: Ensemble,
    failures: dict[int, BaseException],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a member, write without end, and note what comes out of its block."""
    try:
        async with member:
            task_status.started()
            async with member.session() as session, trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                while True:
                    await session.create("/s-", sequential=True)
                    await trio.sleep(0.01)
    except Exception as error:  # noqa: BLE001 - the point of the test
        failures[member.member_id] = error


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("write", errno.EIO),
        ("write", errno.EROFS),
        ("sync", errno.EIO),
        ("sync", errno.ENOSPC),
    ],
)
@pytest.mark.parametrize("part", ["leader", "follower"])
async def test_the_rest_goes_on_and_one_error_comes_out(
    tmp_path: Path, part: str, kind: str, number: int
) -> None:
    # Without a history to decide it, the highest is elected.
    broken = 3 if part == "leader" else 1
    failure = Failure()
    stores: dict[int, LogStore] = {m: MemoryStore(MemoryDisk()) for m in (1, 2, 3)}
    stores[broken] = FileStore(
        tmp_path, member=broken, name="coordlib", system=FakeSystem(before=failure)
    )
    members = seats_of(stores, QUICK)
    failures: dict[int, BaseException] = {}
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for member in members.values():
                await nursery.start(run_until_it_fails, member, failures)
            for member in members.values():
                await member.wait_ready()
            assert (members[2].leader_id == broken) == (part == "leader")
            failure.kind, failure.number = kind, number
            await poll(lambda: bool(failures))
            async with members[2].session() as session:
                path = await session.create("/after-", sequential=True)
            assert members[2].leader_id not in {None, broken}
            assert failures.keys() == {broken}
            nursery.cancel_scope.cancel()
    error = failures[broken]
    assert type(error) is StorageError
    assert "the disk is broken" in str(error)
    # It was not tried again, nor anything else.
    assert failure.times == 1
    assert path


async def test_the_applications_own_error_is_kept_beside_it(tmp_path: Path) -> None:
    failure = Failure()
    store = FileStore(
        tmp_path, member=1, name="coordlib", system=FakeSystem(before=failure)
    )
    with pytest.RaisesGroup(StorageError, BodyError):
        async with Ensemble(store=store) as ensemble, ensemble.session() as session:
            failure.kind, failure.number = "sync", errno.EIO
            try:
                await session.create("/a")
            finally:
                raise BodyError
