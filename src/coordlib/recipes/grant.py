"""A turn at the front of a waiting line, for as long as it can be proved.

The block that relies on it runs in a cancel scope bound to the session and to
the own znode: no task and no nursery stand between the loss and the
cancellation, and the block's own errors come out as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

import trio

from coordlib import Check, Session
from coordlib.errors import BadVersionError, CoordError, LockLost, NoNodeError

__all__ = ["Grant"]

# How long leaving the block waits for the ensemble to confirm the release.
# After that the session goes on releasing, and the caller goes its way.
_RELEASE_PATIENCE = 1.0


class Grant:
    """Proof of one hold of a :class:`Lock`, or of one leadership.

    An async context manager, entered once, at once. Its block is cancelled when
    the hold can no longer be proved, and then raises :exc:`LockLost` (in an
    election :exc:`LeadershipLost`) when left, also if it came to its end. Two
    things come before that: the block's own error, and a cancellation from
    outside.

    Attributes:
      token: The fencing token: greater than that of every earlier grant of the
        same line, across restarts of everything. Hand it to outside systems
        that can refuse a smaller one than they have seen.
      path: The own znode.

    """

    def __init__(
        self,
        session: Session,
        path: str,
        token: int,
        *,
        line: str,
        lost: type[LockLost],
        held: dict[trio.lowlevel.Task, Grant],
    ) -> None:
        """Bind a znode that is the first of its line; see :mod:`waiting_line`.

        Args:
          session: The owner.
          path: The own znode.
          token: Its czxid.
          line: The path of the line.
          lost: The error to raise.
          held: Where to stand while the block runs.

        """
        self.token = token
        self.path = path
        self._session = session
        self._line = line
        self._lost_error = lost
        self._held = held
        self._released = False
        self._scope = trio.CancelScope()
        self._binding = session.bind(self._scope, path, token)
        self._block: AbstractAsyncContextManager[None] | None = None

    @property
    def deadline(self) -> float:
        """Until when it is proved, in trio's time; later heartbeats move it."""
        return self._session.deadline

    @property
    def lost(self) -> bool:
        """Whether it can no longer be proved; true after the release, too."""
        return self._released or self._binding.lost

    def check(self) -> None:
        """Check, by the clock, that the hold can be proved right now.

        Not a checkpoint. Call it before an effect on the outside world if the
        process may have been frozen, or the loop blocked, since the last one.

        Raises:
          LockLost: It cannot; or it was released.

        """
        if self.lost:
            raise self._lost_error(self._line, self.token)
        self._session.check()

    def guard(self) -> Check:
        """Return an operation that is refused once this hold is over.

        Put it first into a :meth:`Session.multi`: then the other operations
        happen only if the hold still exists at that place in the order of all
        writes, whatever any clock says.
        """
        return Check(self.path, czxid=self.token)

    async def __aenter__(self) -> Self:
        if self._block is not None:
            raise RuntimeError("a Grant is entered once")
        self._block = self._hold()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._block is not None
        swallowed = await self._block.__aexit__(exc_type, exc, traceback)
        assert not swallowed, "a cancelled block ended without LockLost"

    @asynccontextmanager
    async def _hold(self) -> AsyncIterator[None]:
        task = trio.lowlevel.current_task()
        self._held[task] = self
        lost = False
        try:
            try:
                with self._scope, self._binding:
                    yield
            finally:
                lost = self.lost
                await self._release()
        finally:
            self._released = True
            del self._held[task]
        if lost:
            raise self._lost_error(self._line, self.token)

    async def _release(self) -> None:
        """Delete the own znode; if that takes long, let the session do it.

        Whatever prevents it is no concern of the block, which has ended: the
        session carries on for as long as it lives, and its end deletes the
        znode. By czxid: a later hold is never deleted.
        """
        with trio.move_on_after(_RELEASE_PATIENCE, shield=True):
            try:
                await self._session.delete(self.path, czxid=self.token)
            except (NoNodeError, BadVersionError):
                return  # Somebody deleted it.
            except CoordError:
                pass
            else:
                return
        self._session.reap(self._line, self.path.rpartition("/")[2])
