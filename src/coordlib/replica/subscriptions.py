"""Who in this process is told of which changes.

The watch table of :mod:`coordlib.tree` matches; this module delivers. It is
called from the apply loop, so it never waits: an event goes into a bounded
queue, or to a sink of the library's own that does next to nothing. User code
is never called from here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import attrs
import trio

from coordlib.tree import (
    EventType,
    TreeEvent,
    Watch,
    WatchedEvent,
    WatchKind,
    WatchTable,
)

from .waiter import Bell

__all__ = ["EventQueue", "Subscriptions"]

Sink = Callable[[WatchedEvent], None]


@attrs.define
class Subscriptions:
    """All watches of one replica and where their events go."""

    _table: WatchTable = attrs.field(factory=WatchTable, init=False)
    _sinks: dict[Watch, Sink] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._sinks)

    def add(self, path: str, kind: WatchKind, sink: Sink) -> Watch:
        """Send the events at ``path`` to ``sink`` until :meth:`remove`."""
        watch = self._table.add(path, kind)
        self._sinks[watch] = sink
        return watch

    def remove(self, watch: Watch) -> None:
        """Send no more. Harmless when repeated."""
        self._table.remove(watch)
        self._sinks.pop(watch, None)

    def fire(self, events: Iterable[TreeEvent]) -> None:
        """Tell everybody whom one transaction concerns."""
        for watch, event in self._table.fire(events):
            sink = self._sinks.get(watch)
            if sink is not None:
                sink(event)

    def resync(self, zxid: int) -> None:
        """Tell everybody that the tree was replaced by a snapshot."""
        for watch, sink in list(self._sinks.items()):
            sink(WatchedEvent(EventType.RESYNC, watch.path, zxid))


@attrs.define(eq=False)
class EventQueue:
    """Events for one reader, at most ``events_max``.

    A reader that falls behind by more gets one ``RESYNC`` in place of what it
    missed: memory stays bounded and the replica does not wait.
    """

    path: str
    events_max: int
    _events: deque[WatchedEvent] = attrs.field(factory=deque, init=False)
    _bell: Bell = attrs.field(factory=Bell, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)

    def put(self, event: WatchedEvent) -> None:
        """Add an event; a sink."""
        if len(self._events) >= self.events_max:
            self._events.clear()
            event = WatchedEvent(EventType.RESYNC, self.path, event.zxid)
        self._events.append(event)
        self._bell.ring()

    def end(self, error: Exception) -> None:
        """Let the reader see ``error`` after the events that are there."""
        self._error = error
        self._bell.ring()

    def clear(self) -> None:
        """Drop the events that are there."""
        self._events.clear()

    async def get(self) -> WatchedEvent:
        """Wait for the next event; a checkpoint in any case."""
        if self._events:
            await trio.lowlevel.checkpoint()
        while not self._events:
            if self._error is not None:
                raise self._error
            await self._bell.wait()
        return self._events.popleft()
