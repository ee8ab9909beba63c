"""Outside oracles and troublemakers for the tests of recipes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio

from coordlib import NoNodeError, Session
from coordlib.recipes import Grant
from coordlib.testing import MemoryEnsemble

__all__ = [
    "Room",
    "StepCounter",
    "Visit",
    "cancelled_at_each_step",
    "everything_below",
    "nothing_left",
    "three_sessions",
]


@attrs.frozen
class Visit:
    """One stay in a room, in trio's time."""

    token: int
    entered: float
    left: float


@attrs.define
class Room:
    """Knows nothing of locks, and notices when two are in it at a time."""

    visits: list[Visit] = attrs.field(factory=list)
    _inside: bool = False

    @contextmanager
    def visit(self, grant: Grant) -> Iterator[None]:
        assert not self._inside, "two at a time"
        self._inside = True
        entered = trio.current_time()
        try:
            yield
        finally:
            self._inside = False
            self.visits.append(Visit(grant.token, entered, trio.current_time()))

    @property
    def tokens(self) -> list[int]:
        return [visit.token for visit in self.visits]


@attrs.define(eq=False)
class StepCounter(trio.abc.Instrument):
    """Counts the steps of one task, and cancels a scope after one of them.

    A task is at one of its awaits after every step, so that is a cancellation
    at each await in turn, before anything that it waits for has happened.
    """

    task: trio.lowlevel.Task
    scope: trio.CancelScope | None = None
    cancel_after: int = 0
    steps: int = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps += 1
            if self.scope is not None and self.steps == self.cancel_after:
                self.scope.cancel()


async def cancelled_at_each_step(
    act: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]
) -> int:
    """Cancel ``act`` at its first await, then at its second, and so on.

    Args:
      act: What to cancel; called until it has no more awaits.
      after: What must be possible each time, such as looking for traces.

    Returns:
      At how many awaits it was cancelled, in shielded ones without effect.

    """
    awaits = 0
    while True:
        with trio.CancelScope() as scope:
            task = trio.lowlevel.current_task()
            counter = StepCounter(task, scope, awaits + 1)
            trio.lowlevel.add_instrument(counter)
            try:
                await act()
            finally:
                trio.lowlevel.remove_instrument(counter)
        await after()
        if counter.steps <= awaits:
            return awaits
        awaits += 1


@asynccontextmanager
async def three_sessions(
    members: MemoryEnsemble, *, timeout: float = 3.0
) -> AsyncIterator[tuple[Session, Session, Session]]:
    """Yield a session at each member; who waits for ever fails."""
    async with (
        members[1].session(timeout=timeout) as one,
        members[2].session(timeout=timeout) as two,
        members[3].session(timeout=timeout) as three,
    ):
        with trio.fail_after(1000):
            yield one, two, three


async def everything_below(session: Session, path: str) -> list[str]:
    """Return all znodes below ``path``, as the ensemble has them now."""
    await session.sync()
    found: list[str] = []
    try:
        names = await session.get_children(path)
    except NoNodeError:
        return found
    for name in names:
        found.append(f"{path}/{name}")
        found += await everything_below(session, f"{path}/{name}")
    return found


async def nothing_left(members: MemoryEnsemble, session: Session, path: str) -> None:
    """Wait until there is nothing below ``path``, and no watch anywhere.

    By force of the caller's patience: it waits for ever if something is left.
    """
    with trio.fail_after(5):
        while await everything_below(session, path):  # noqa: ASYNC110 - in the ensemble
            await trio.sleep(0.05)
    assert [ensemble.statistics().watches for ensemble in members.values()] == [
        0 for _ in members
    ]
