"""Cancelling callers at every checkpoint leaves nothing behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio

from coordlib import BadArgumentsError, Ensemble, Session
from coordlib.testing import MemoryEnsemble
from transport.seat import in_virtual_time


async def open_and_close(ensemble: Ensemble, _: Session) -> None:
    async with ensemble.session():
        pass


async def create(_: Ensemble, session: Session) -> None:
    await session.create("/c-", ephemeral=True, sequential=True)


async def write_and_delete(_: Ensemble, session: Session) -> None:
    stat = await session.set("/a", b"x")
    await session.set("/a", b"y", version=stat.version)
    path = await session.create("/d-", sequential=True)
    await session.delete(path)


async def sync(_: Ensemble, session: Session) -> None:
    await session.sync()


async def watch(_: Ensemble, session: Session) -> None:
    async with session.watch("/", recursive=True) as events:
        await session.set("/a", b"z")
        await anext(events)


async def wait_for(_: Ensemble, session: Session) -> None:
    await session.wait_for("/never", lambda znode: znode is not None)


async def wait_deleted(_: Ensemble, session: Session) -> None:
    await session.wait_deleted("/a", "/")


async def wait_ready(ensemble: Ensemble, _: Session) -> None:
    await ensemble.wait_ready()


ACTIONS = [
    open_and_close,
    create,
    write_and_delete,
    sync,
    watch,
    wait_for,
    wait_deleted,
    wait_ready,
]


@attrs.define(eq=False)
class CancelAt(trio.abc.Instrument):
    """Cancels a scope when its task has yielded so many times."""

    steps: int
    scope: trio.CancelScope
    task: trio.lowlevel.Task

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps -= 1
            if self.steps == 0:
                self.scope.cancel()


async def cancelled_at_step(step: int, act: Callable[[], Awaitable[None]]) -> bool:
    """Cancel ``act`` where its task yields for the n-th time; tell whether it was."""
    with trio.CancelScope() as scope:
        canceller = CancelAt(step, scope, trio.lowlevel.current_task())
        trio.lowlevel.add_instrument(canceller)
        if step == 0:
            scope.cancel()
        try:
            with trio.move_on_after(5):
                await act()
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return scope.cancel_called


@pytest.mark.parametrize("action", ACTIONS, ids=[a.__name__ for a in ACTIONS])
@pytest.mark.parametrize("member", [1, 2, 3])
@in_virtual_time
async def test_cancelling_at_any_checkpoint_leaves_nothing_behind(
    action: Callable[[Ensemble, Session], Awaitable[None]], member: int
) -> None:
    async with MemoryEnsemble(3) as members:
        ensemble = members[member]
        async with ensemble.session() as session:
            await session.create("/a")
            for step in range(30):
                if not await cancelled_at_step(step, lambda: action(ensemble, session)):
                    break
            else:
                pytest.fail("it has more checkpoints than expected")
            assert step > 1
            # The session still works, and what was cancelled has an outcome soon.
            await session.set("/a", b"last")
            await trio.sleep(1)

            assert ensemble.statistics().outstanding == 0
            assert ensemble.statistics().watches == 0
            assert ensemble.statistics().sessions == 1
            assert ensemble.statistics().local_sessions == 1
        await members.wait_equal()
        assert ensemble.statistics().sessions == 0
        assert [n for n in ensemble.tree.get_children("/") if n[0] == "c"] == []


@in_virtual_time
async def test_a_cancelled_write_is_applied_at_most_once_and_never_late() -> None:
    async with MemoryEnsemble(3) as members, members[1].session() as session:
        for i in range(20):
            with trio.move_on_after(i * 0.0005):
                await session.create(f"/{i}-", sequential=True)
        await session.create("/last")

        names = await session.get_children("/")
        assert names[-1] == "last"
        tokens = [name.split("-")[0] for name in names]
        assert len(set(tokens)) == len(tokens)
        await trio.sleep(5)
        assert await session.get_children("/") == names


@in_virtual_time
async def test_a_session_that_nobody_waits_for_any_more_is_closed() -> None:
    async with MemoryEnsemble(3) as members:
        members.partition({1}, {2, 3})
        await trio.sleep(3)
        with trio.move_on_after(1):
            await members[1].session().__aenter__()
        members.heal()
        await members.wait_ready()
        await trio.sleep(1)

        await members.wait_equal()
        assert members[1].statistics().sessions == 0
        assert members[1].statistics().outstanding == 0


@in_virtual_time
async def test_bad_arguments_leave_no_watch_behind() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        with pytest.raises(BadArgumentsError):
            await session.wait_deleted("/", "malformed")
        with pytest.raises(BadArgumentsError):
            session.watch("malformed")
        with pytest.raises(BadArgumentsError):
            await session.wait_for("malformed", lambda _: True)

        assert members[1].statistics().watches == 0
