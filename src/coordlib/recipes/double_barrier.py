"""A rendezvous at both ends: participants begin together and end together.

Below the barrier's path there are ``members/``, with an ephemeral znode for
everybody who is in or wants to be, and ``ready``, which exists while a round is
on and names its participants, the first ones by czxid.

Whether a round is on is decided by one transaction, which marks its members and
makes ``ready``; and whether it is over, by the absence of all members that
``ready`` names. Nothing is concluded from counting who is there: by the time
one participant looks, others may have left already.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import NoReturn

import attrs
import trio

from coordlib import Create, Session, Set
from coordlib.errors import (
    BadVersionError,
    BrokenBarrier,
    MultiError,
    NodeExistsError,
    NoNodeError,
    OperationError,
)

from .znodes import child, create, new_guid, raising_session_errors

__all__ = ["DoubleBarrier"]

_MARKER = "-member-"

# The data of a member that a round began with.
_IN = b"in"


@attrs.frozen
class _Round:
    """What ``ready`` says.

    Attributes:
      czxid: Which ``ready`` it is: the path is used for every round.
      roster: The names of the participants' znodes, in their order.

    """

    czxid: int
    roster: tuple[str, ...]


class DoubleBarrier:
    """A block that ``parties`` participants enter together and leave together.

    An async context manager; it yields the names of the participants' znodes,
    the first to arrive first. Entering waits until enough are there; leaving
    waits until all are gone. Then the same path serves for the next round.

    A participant that crashes, or leaves by an error, counts as having left;
    one that goes before the round began is not counted at all. Who comes while
    a round is on, or is one too many, gets :exc:`BrokenBarrier`.

    The block is cancelled, and raises the session's error, when the session can
    no longer be relied on; its own error comes before that, and is not held up
    by the others.
    """

    def __init__(self, session: Session, path: str, parties: int) -> None:
        """Describe a barrier; nothing is asked of the ensemble yet.

        Args:
          session: Whose life the participation depends on.
          path: The barrier.
          parties: How many take part; the same number for all of them.

        """
        if parties < 1:
            raise ValueError(f"a barrier is for at least 1, not {parties}")
        self._session = session
        self._path = path
        self._parties = parties
        self._members = child(path, "members")
        self._ready = child(path, "ready")
        self._inside: dict[
            trio.lowlevel.Task, AbstractAsyncContextManager[tuple[str, ...]]
        ] = {}

    async def __aenter__(self) -> tuple[str, ...]:
        """Wait until all are there.

        Raises:
          BrokenBarrier: A round is on without this participant.
          RuntimeError: This task is in it already.
          SessionError: The session is over.
          ReadOnlyError: No quorum answers. Nothing changed.

        """
        task = trio.lowlevel.current_task()
        if task in self._inside:
            raise RuntimeError(f"this task is already in {self._path}: it would wait")
        part = self._take_part()
        roster = await part.__aenter__()
        self._inside[task] = part
        return roster

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        part = self._inside.pop(trio.lowlevel.current_task())
        swallowed = await part.__aexit__(exc_type, exc, traceback)
        assert not swallowed, "a cancelled block ended without an error"

    @asynccontextmanager
    async def _take_part(self) -> AsyncIterator[tuple[str, ...]]:
        guid = new_guid(self._session)
        try:
            with raising_session_errors(self._session):
                path = child(self._members, f"{guid}{_MARKER}")
                own = await create(self._session, path, ephemeral=True, sequential=True)
                entered = await self._enter(own)
                czxid = await self._czxid(own)
            with (
                trio.CancelScope() as scope,
                self._session.bind(scope, own, czxid) as binding,
            ):
                yield entered.roster
            if binding.lost:
                self._raise_lost(own)
        finally:
            # Not a plain deletion: this is carried on through a time without a
            # quorum, and when nobody waits for it.
            self._session.reap(self._members, guid)
        with raising_session_errors(self._session):
            await self._wait_all_left(entered)

    def _raise_lost(self, own: str) -> NoReturn:
        self._session.check()
        raise self._deleted(own)

    # --- entering ---

    async def _enter(self, own: str) -> _Round:
        """Wait until there is a round, and return it if ``own`` is in it."""
        name = own.rpartition("/")[2]
        while True:
            on = await self._round()
            if on is not None:
                if name in on.roster:
                    return on
                if await self._living(on):
                    raise BrokenBarrier(f"{self._path}: a round is on, without {name}")
                await self._finish(on)
                continue
            present = await self._present()
            if name not in present:
                raise self._deleted(own)
            if present.index(name) >= self._parties - 1:
                await self._begin(present[: self._parties])
                continue
            # Enough others must come first, and the last of them begins. A
            # round that began since we looked has left its mark.
            await self._session.wait_for(own, lambda z: z is None or z.data == _IN)
            on = await self._round()
            if on is None or name not in on.roster:
                raise self._deleted(own)
            return on

    async def _begin(self, roster: list[str]) -> None:
        """Begin a round, unless one of the roster has gone or a round is on."""
        marks = [Set(child(self._members, name), _IN) for name in roster]
        ready = Create(self._ready, "\n".join(roster).encode())
        try:
            await self._session.multi([*marks, ready])
        except MultiError as refused:
            if not isinstance(refused.error, NoNodeError | NodeExistsError):
                raise

    # --- leaving ---

    async def _wait_all_left(self, on: _Round) -> None:
        """Wait until nobody of the round is there, this participant included."""
        while living := await self._living(on):
            # Whoever it is: if all waited for the same one, and it left first,
            # all would look again; so each is woken a few times only.
            await self._session.wait_deleted(
                child(self._members, random.choice(living))
            )
        # If it is refused, for want of a quorum, who comes next will do it.
        with suppress(OperationError):
            await self._finish(on)

    async def _finish(self, on: _Round) -> None:
        """Make room for the next round. Harmless when repeated."""
        stat = await self._session.exists(self._ready)
        if stat is not None and stat.czxid == on.czxid:
            with suppress(NoNodeError, BadVersionError):
                await self._session.delete(self._ready, czxid=on.czxid)

    # --- looking ---

    async def _round(self) -> _Round | None:
        try:
            data, stat = await self._session.get(self._ready)
        except NoNodeError:
            return None
        return _Round(stat.czxid, tuple(data.decode(errors="replace").split("\n")))

    async def _present(self) -> list[str]:
        """Return who is in or wants to be, by czxid."""
        try:
            names = await self._session.get_children(self._members)
        except NoNodeError:
            return []
        return [name for name in names if _MARKER in name]

    async def _living(self, on: _Round) -> list[str]:
        """Return who of a round has not left.

        Names are never used again: once nobody is left, nobody will be.
        """
        roster = frozenset(on.roster)
        return [name for name in await self._present() if name in roster]

    async def _czxid(self, own: str) -> int:
        stat = await self._session.exists(own)
        if stat is None:
            raise self._deleted(own)
        return stat.czxid

    def _deleted(self, own: str) -> BrokenBarrier:
        return BrokenBarrier(f"{self._path}: somebody deleted {own} or the round")
