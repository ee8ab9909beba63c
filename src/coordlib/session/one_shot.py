"""A watch that is told of one change. How the change gets here is the replica's."""

from __future__ import annotations

from typing import Self

import trio

from coordlib.replica.kept import KeptSession
from coordlib.replica.waiter import Bell
from coordlib.tree import WatchedEvent, WatchKind

__all__ = ["OneShotWatch"]


class OneShotWatch:
    """A watch that is told of the first change after the read that set it.

    Made by :meth:`Session.get_and_watch`, :meth:`Session.exists_and_watch` and
    :meth:`Session.get_children_and_watch`. It stands until it is told, removed,
    or the session is over, whether anybody waits or not: use it as ``with watch:``
    where the wait may be given up.
    """

    def __init__(self, kept: KeptSession, path: str, kind: WatchKind) -> None:
        self._kept = kept
        self._bell = Bell()
        self._event: WatchedEvent | None = None
        self._error: Exception | None = None
        self._watch = kept.replica.subscriptions.add(path, kind, self._see, kept.nonce)
        kept.listen(self._end)

    @property
    def path(self) -> str:
        """The watched znode."""
        return self._watch.path

    @property
    def kind(self) -> WatchKind:
        """What of it is told: ``DATA``, ``EXISTS`` or ``CHILD``."""
        return self._watch.kind

    @property
    def event(self) -> WatchedEvent | None:
        """What it was told; ``None`` while there is nothing."""
        return self._event

    async def wait(self) -> WatchedEvent:
        """Wait for the change, and return it; the same one if called again.

        A ``RESYNC`` says that there may have been one: read again, and set a new
        watch by it. A ``DATA_WATCH_REMOVED`` or ``CHILD_WATCH_REMOVED`` says that
        the watch was removed. For one task at a time.

        Raises:
          SessionError: The session ended first.
          trio.BusyResourceError: Another task is waiting.

        """
        if self._event is not None or self._error is not None:
            await trio.lowlevel.checkpoint()
        while self._event is None:
            if self._error is not None:
                raise self._error
            await self._bell.wait()
        return self._event

    def remove(self) -> None:
        """Be told nothing any more; harmless when repeated or told already.

        Nobody may be waiting: that would be for ever. :meth:`Session.remove_watches`
        wakes who waits.
        """
        self._kept.unlisten(self._end)
        self._kept.replica.subscriptions.remove(self._watch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _see(self, event: WatchedEvent) -> None:
        self._event = event
        self._kept.unlisten(self._end)
        self._kept.replica.subscriptions.ringer.add(self._bell)

    def _end(self, error: Exception) -> None:
        self._error = error
        subscriptions = self._kept.replica.subscriptions
        subscriptions.remove(self._watch)
        subscriptions.ringer.add(self._bell)
        subscriptions.ringer.ring_later()
