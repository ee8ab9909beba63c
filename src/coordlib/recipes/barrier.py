"""ZooKeeper's barrier: a gate that holds everybody up while it is closed.

Not Python's ``threading.Barrier``, where participants wait for each other; that
is :class:`coordlib.recipes.DoubleBarrier`.
"""

from __future__ import annotations

from contextlib import suppress

from coordlib import Session
from coordlib.errors import NodeExistsError, NoNodeError

from .znodes import create

__all__ = ["Barrier"]


class Barrier:
    """A gate, closed for as long as its znode exists.

    The znode is persistent: the gate stays as it is when whoever closed it is
    gone. Anybody may close and open it, any number of times.
    """

    def __init__(self, session: Session, path: str) -> None:
        """Describe a gate; nothing is asked of the ensemble yet.

        Args:
          session: Asks and waits.
          path: The gate.

        """
        self._session = session
        self._path = path

    async def close(self) -> None:
        """Close the gate, or leave it closed."""
        with suppress(NodeExistsError):
            await create(self._session, self._path)

    async def open(self) -> None:
        """Open the gate, or leave it open.

        Raises:
          NotEmptyError: The znode has children, so it is no gate. Nothing
            changed.

        """
        with suppress(NoNodeError):
            await self._session.delete(self._path)

    async def wait(self) -> None:
        """Wait until the gate is open.

        Linearizable: a gate that somebody closed before the call, and has been
        told so, holds the caller up, whichever members the two talk to. An
        opening so short that this task did not run meanwhile does not count.
        """
        await self._session.sync()
        await self._session.wait_deleted(self._path)
