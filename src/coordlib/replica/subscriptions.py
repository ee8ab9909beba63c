"""Who in this process is told of which changes.

The watch table of :mod:`coordlib.tree` matches; this module delivers. It is
called from the apply loop, so it never waits: an event goes into a bounded
queue, or to a sink of the library's own that does next to nothing. All of one
transaction's events are where they belong before anybody can read what it did;
only the waking of readers is cut into slices, see :mod:`.ringer`. User code is
never called from here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import attrs
import trio

from coordlib.config import Limits
from coordlib.errors import OverloadedError
from coordlib.tree import (
    OPEN_ACL_UNSAFE,
    EventType,
    Gap,
    Identity,
    Permission,
    Told,
    TreeEvent,
    Watch,
    WatchedEvent,
    WatchKind,
    WatchTable,
    allows,
)

from .ringer import Ringer
from .waiter import Bell

__all__ = ["EventQueue", "Subscriptions"]

Sink = Callable[[WatchedEvent], None]

_REMOVED = {
    WatchKind.DATA: EventType.DATA_WATCH_REMOVED,
    WatchKind.EXISTS: EventType.DATA_WATCH_REMOVED,
    WatchKind.CHILD: EventType.CHILD_WATCH_REMOVED,
    WatchKind.PERSISTENT: EventType.PERSISTENT_WATCH_REMOVED,
    WatchKind.RECURSIVE: EventType.PERSISTENT_WATCH_REMOVED,
}


def _nobody(_owner: bytes) -> tuple[Identity, ...]:
    return ()


@attrs.define
class Subscriptions:
    """All watches of one replica and where their events go.

    Attributes:
      limits: How many watches there may be.
      identities_of: Who the session with this nonce is at this moment.
      ringer: Wakes their readers.

    """

    limits: Limits = attrs.field(factory=Limits)
    identities_of: Callable[[bytes], tuple[Identity, ...]] = _nobody
    ringer: Ringer = attrs.field(factory=Ringer, init=False)
    _table: WatchTable = attrs.field(factory=WatchTable, init=False)
    _sinks: dict[Watch, Sink] = attrs.field(factory=dict, init=False)
    # Invariant: of each session with watches, by nonce, how many.
    _counts: dict[bytes, int] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._sinks)

    def add(self, path: str, kind: WatchKind, sink: Sink, owner: bytes = b"") -> Watch:
        """Send the events at ``path`` to ``sink`` until :meth:`remove`.

        Args:
          path: What is watched.
          kind: What of it is told. One that is told once is removed before.
          sink: Is called in the apply loop.
          owner: The nonce of the session whose it is. The replica's own, without
            one, are not counted, and are told of what nobody may read.

        Raises:
          OverloadedError: The session, or all of them, have too many.

        """
        if owner:
            self._count(path, owner)
        watch = self._table.add(path, kind, owner)
        self._sinks[watch] = sink
        return watch

    def remove(self, watch: Watch) -> None:
        """Send no more. Harmless when repeated."""
        self._table.remove(watch)
        self._forget(watch)

    def remove_all(
        self, path: str, kind: WatchKind | None, owner: bytes, zxid: int
    ) -> bool:
        """Remove a session's watches at ``path``, and tell them so.

        Returns:
          Whether there was any.

        """
        found = self._table.find(path, owner, kind)
        for watch in found:
            self._table.remove(watch)
            sink = self._forget(watch)
            assert sink is not None
            sink(WatchedEvent(_REMOVED[watch.kind], path, zxid))
        self.ringer.ring()
        return bool(found)

    def fire(self, events: Iterable[TreeEvent]) -> int:
        """Tell everybody whom one transaction concerns; return how many."""
        number = 0
        for told in self._table.fire(events):
            number += len(told.watches)
            watches = told.watches
            if told.acl is not OPEN_ACL_UNSAFE:
                watches = self._readers(told)
            self._tell(watches, told.event)
        if number:
            self.ringer.ring()
        return number

    def resync(self, zxid: int) -> None:
        """Tell everybody that the tree was replaced by a snapshot."""
        for watch in list(self._sinks):
            if watch.one_shot:
                self._table.remove(watch)
            event = WatchedEvent(EventType.RESYNC, watch.path, zxid, gap=Gap.SNAPSHOT)
            self._tell([watch], event)
        self.ringer.ring()

    def _readers(self, told: Told) -> list[Watch]:
        """Return who may know of it, and tell one-shots of the others of a gap.

        Source:
          ``NIOServerCnxn.process``, which drops both (CVE-2024-23944). But a watch
          that is told once would then wait for nothing.

        """
        may: dict[bytes, bool] = {b"": True}
        readers: list[Watch] = []
        denied: list[Watch] = []
        for watch in told.watches:
            owner = watch.owner
            if owner not in may:
                identities = self.identities_of(owner)
                may[owner] = allows(told.acl, Permission.READ, identities)
            if may[owner]:
                readers.append(watch)
            elif watch.one_shot:
                denied.append(watch)
        for watch in denied:
            event = WatchedEvent(
                EventType.RESYNC, watch.path, told.event.zxid, gap=Gap.DENIED
            )
            self._tell([watch], event)
        return readers

    def _tell(self, watches: list[Watch], event: WatchedEvent) -> None:
        sinks = self._sinks
        for watch in watches:
            # A sink may have removed a later watch.
            sink = self._forget(watch) if watch.one_shot else sinks.get(watch)
            if sink is not None:
                sink(event)

    def _count(self, path: str, owner: bytes) -> None:
        own = self._counts.get(owner, 0)
        if own >= self.limits.session_watches_max:
            raise OverloadedError(path, f"{own} watches, Limits.session_watches_max")
        if len(self._sinks) >= self.limits.watches_max:
            raise OverloadedError(
                path, f"{len(self._sinks)} watches, Limits.watches_max"
            )
        self._counts[owner] = own + 1

    def _forget(self, watch: Watch) -> Sink | None:
        sink = self._sinks.pop(watch, None)
        if sink is not None and watch.owner:
            left = self._counts[watch.owner] - 1
            if left:
                self._counts[watch.owner] = left
            else:
                del self._counts[watch.owner]
        return sink


@attrs.define(eq=False)
class EventQueue:
    """Events for one reader, at most ``events_max``.

    A reader that falls behind by more gets one ``RESYNC`` in place of what it
    missed: memory stays bounded and the replica does not wait.
    """

    path: str
    events_max: int
    ringer: Ringer
    _events: deque[WatchedEvent] = attrs.field(factory=deque, init=False)
    _bell: Bell = attrs.field(factory=Bell, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)

    def put(self, event: WatchedEvent) -> None:
        """Add an event; a sink."""
        events = self._events
        if not events:
            # A reader only sleeps when there is none.
            self.ringer.add(self._bell)
        elif len(events) >= self.events_max:
            events.clear()
            event = WatchedEvent(
                EventType.RESYNC, self.path, event.zxid, gap=Gap.OVERRUN
            )
        events.append(event)

    def end(self, error: Exception) -> None:
        """Let the reader see ``error`` after the events that are there."""
        self._error = error
        self.ringer.add(self._bell)
        self.ringer.ring_later()

    def clear(self) -> None:
        """Drop the events that are there."""
        self._events.clear()

    async def get(self) -> WatchedEvent:
        """Wait for the next event; a checkpoint in any case.

        Raises:
          trio.BusyResourceError: Another task is waiting.

        """
        if self._events or self._error is not None:
            await trio.lowlevel.checkpoint()
        while not self._events:
            if self._error is not None:
                raise self._error
            await self._bell.wait()
        return self._events.popleft()
