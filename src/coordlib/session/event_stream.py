"""The events of one watch, as an async iterator. How they get here is the replica's."""

from __future__ import annotations

from typing import Self

import trio

from coordlib.replica.kept import KeptSession
from coordlib.replica.subscriptions import EventQueue
from coordlib.tree import EventType, Watch, WatchedEvent, WatchKind

__all__ = ["EventStream"]


class EventStream:
    """The events of one watch; made by :meth:`Session.watch`.

    An async context manager and an async iterator, for one reading task.
    """

    def __init__(
        self, kept: KeptSession, path: str, kind: WatchKind, owner: bytes
    ) -> None:
        replica = kept.replica
        self._kept = kept
        self._path = path
        self._kind = kind
        self._owner = owner
        self._queue = EventQueue(
            path, replica.config.limits.events_max, replica.subscriptions.ringer
        )
        self._watch: Watch | None = None

    async def __aenter__(self) -> Self:
        # Before the checkpoint: the caller's next read comes after it.
        self._watch = self._kept.replica.subscriptions.add(
            self._path, self._kind, self._see, self._owner
        )
        self._kept.listen(self._end)
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop()
        # Shielded: Cancelled would take the place of the body's own error.
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _see(self, event: WatchedEvent) -> None:
        self._queue.put(event)
        if event.type is EventType.PERSISTENT_WATCH_REMOVED:
            self._end(StopAsyncIteration())

    def _end(self, error: Exception) -> None:
        # Or events would go on coming, and a busy stream would never end.
        self._stop()
        self._queue.end(error)

    def _stop(self) -> None:
        self._kept.unlisten(self._end)
        if self._watch is not None:
            self._kept.replica.subscriptions.remove(self._watch)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchedEvent:
        if self._watch is None:
            raise RuntimeError("a stream of events is read in its async with block")
        return await self._queue.get()

    async def wait(self) -> None:
        """Wait until there are events, and drop them all."""
        await self._queue.get()
        self._queue.clear()
