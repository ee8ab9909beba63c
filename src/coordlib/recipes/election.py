"""Leader election: a function that runs in one process at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self, TypeVar, TypeVarTuple

from coordlib import EventStream, Session
from coordlib.errors import LeadershipLost

from .grant import Grant
from .waiting_line import WaitingLine

__all__ = ["Election", "LeaderStream"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Election:
    """Candidates lead one after the other, in the order in which they stood.

    What :class:`Lock` guarantees of blocks is true of the leading function.
    """

    def __init__(self, session: Session, path: str, *, data: bytes = b"") -> None:
        """Describe an election; nothing is asked of the ensemble yet.

        Args:
          session: Whose life the candidacy depends on.
          path: The election. Its children are the candidates.
          data: What others see of this candidate, such as its address.

        """
        self._session = session
        self._line = WaitingLine(
            session, path, own_data=data, kind="candidate", lost=LeadershipLost
        )

    async def run(
        self,
        lead: Callable[[Grant, *Ts], Awaitable[T]],
        *args: *Ts,
    ) -> T:
        """Stand as a candidate, lead when elected, and resign.

        Calls ``await lead(leadership, *args)`` once, while leading. When the
        leadership can no longer be proved, ``lead`` is cancelled; nothing else
        happens until it has come to its very end. There is no new candidacy
        after that: a lost session needs a new one, which is yours to open.

        Returns:
          What ``lead`` returned, which is how to resign.

        Raises:
          LeadershipLost: The leadership was lost while ``lead`` ran.
          RuntimeError: Called by the leading task itself.
          SessionError: The session is over; ``lead`` never ran.
          ReadOnlyError: No quorum answers; ``lead`` never ran.

        """
        async with await self._line.wait_turn() as leadership:
            return await lead(leadership, *args)

    async def leader(self) -> bytes | None:
        """Return the leader's data, or ``None`` while there is none.

        Read from this member's tree, like :meth:`Session.get`.
        """
        found = await self._line.first()
        return None if found is None else found[1]

    def observe(self) -> LeaderStream:
        """Return a stream of the leaders, beginning with the present one.

        Use it as ``async with election.observe() as leaders``, then ``async for
        data in leaders``. Each is what :meth:`leader` returns, with ``None``
        where nobody led. A slow reader misses some, never the latest. Iteration
        ends with the session's error.
        """
        return LeaderStream(self._line, self._session.watch(self._line.path))


class LeaderStream:
    """The changes of leader in one election; made by :meth:`Election.observe`.

    An async context manager and an async iterator, for one reading task.
    """

    def __init__(self, line: WaitingLine, events: EventStream) -> None:
        self._line = line
        self._events = events
        # The path of the leader last told of: two may have the same data.
        self._told: str | None = None
        self._begun = False

    async def __aenter__(self) -> Self:
        await self._events.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._events.__aexit__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | None:
        while True:
            path, data = await self._line.first() or (None, None)
            if path != self._told or not self._begun:
                self._told, self._begun = path, True
                return data
            await self._events.wait()
