"""A lock for many processes: a lease with a fencing token."""

from __future__ import annotations

from types import TracebackType

from coordlib import Session
from coordlib.errors import LockLost

from .grant import Grant
from .waiting_line import WaitingLine

__all__ = ["Lock"]


class Lock:
    """Mutual exclusion, first come, first served.

    An async context manager, for any number of tasks and any number of times.
    The task that is in the block may not enter the same object again. Two
    objects with the same path are two contenders, also within one session or
    one task; a task that nests them waits for itself.

    While nobody else wants the lock, a hold costs two transactions: one to
    take it and one to release it. The znode at ``path`` is made when it is
    missing, a container, which the ensemble deletes when nobody wants the lock.

    What is guaranteed: while clocks of this process and the leader's run at
    nearly the same rate, a block has been cancelled before another contender's
    begins. A block that ignores cancellation, blocks the loop, or runs in a
    process that was frozen, may overlap with the next: let the outside world
    compare :attr:`Grant.token`, and guard writes to the ensemble by
    :meth:`Grant.guard`.

    Examples:
      ::

          async with Lock(session, "/locks/report") as grant:
              await database.execute(SQL, fence=grant.token)
              await session.multi([grant.guard(), Set("/report", b"done")])

    """

    def __init__(self, session: Session, path: str, *, data: bytes = b"") -> None:
        """Describe a lock; nothing is asked of the ensemble yet.

        Args:
          session: Whose life the holds depend on.
          path: The lock. Its children are the contenders.
          data: What :meth:`contenders` tells others about this one.

        """
        self._line = WaitingLine(
            session, path, own_data=data, kind="lock", lost=LockLost
        )

    async def __aenter__(self) -> Grant:
        """Wait for the lock, and hold it.

        Raises:
          RuntimeError: This task holds it already.
          SessionError: The session is over.
          ReadOnlyError: No quorum answers. Nothing changed.

        """
        grant = await self._line.wait_turn()
        return await grant.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        grant = self._line.held()
        assert grant is not None, "left by another task than the one that entered"
        await grant.__aexit__(exc_type, exc, traceback)

    async def try_acquire(self) -> Grant | None:
        """Take the lock if it is free as far as this member knows.

        Asks the ensemble for nothing while somebody holds the lock, however
        often it is called. Enter what it returns at once: ``async with grant:``.

        Returns:
          The grant, or ``None`` if the lock is taken.

        Raises:
          RuntimeError: This task holds it already.
          SessionError: The session is over.
          ReadOnlyError: No quorum answers. Nothing changed.

        """
        return await self._line.take_if_free()

    async def contenders(self) -> list[bytes]:
        """Return the data of the holder and of those who wait, in order.

        Read from this member's tree, like :meth:`Session.get`.
        """
        return await self._line.data()
