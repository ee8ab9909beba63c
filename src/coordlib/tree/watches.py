"""Standing requests to be told of changes, and who is told of what.

A watch belongs to one replica, not to the replicated state. The table only
matches: it neither calls nor wakes anybody, that is the driver's.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

import attrs

from .events import EventType, TreeEvent
from .operations import Cause
from .paths import parent_of

__all__ = ["Watch", "WatchKind", "WatchTable", "WatchedEvent"]


class WatchKind(Enum):
    """What a watch is told, and for how long.

    The first three are consumed by the first event; the others stay.
    """

    # Creation, deletion and data of its znode; for one that exists.
    DATA = auto()
    # The same; for one that may not exist.
    EXISTS = auto()
    # Creation and deletion of direct children; deletion of its znode.
    CHILD = auto()
    # Everything above.
    PERSISTENT = auto()
    # Creation, deletion and data of its znode and of all below; nothing of
    # children as such, for it is told of each child itself.
    RECURSIVE = auto()


_ONE_SHOT = frozenset({WatchKind.DATA, WatchKind.EXISTS, WatchKind.CHILD})
_OF_CHILDREN = frozenset({WatchKind.CHILD, WatchKind.PERSISTENT})


@attrs.frozen(eq=False)
class Watch:
    """One request; equal only to itself."""

    path: str
    kind: WatchKind


@attrs.frozen
class WatchedEvent:
    """What a watch reports.

    Attributes:
      type: What happened.
      path: To which znode; for ``CHILDREN_CHANGED`` that is the parent.
      zxid: In which transaction.
      cause: Why it was deleted; ``None`` for the other types.

    """

    type: EventType
    path: str
    zxid: int
    cause: Cause | None = None


_Told = list[tuple[Watch, WatchedEvent]]
# The watches of each path, in the order in which they were added.
_Table = dict[str, dict[Watch, None]]


class WatchTable:
    """All watches of one replica. Its length is their number."""

    __slots__ = ("_child", "_count", "_data", "_recursive")

    def __init__(self) -> None:
        # As ZooKeeper's DataTree has one table for data and one for children;
        # a persistent watch is in both, a recursive one apart from them.
        self._data: _Table = {}
        self._child: _Table = {}
        self._recursive: _Table = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, path: str, kind: WatchKind) -> Watch:
        """Watch ``path``, which need not exist."""
        watch = Watch(path, kind)
        for table in self._tables_of(watch):
            table.setdefault(path, {})[watch] = None
        self._count += 1
        return watch

    def remove(self, watch: Watch) -> None:
        """Stop watching. Does nothing if the watch was removed or consumed."""
        known = False
        for table in self._tables_of(watch):
            watches = table.get(watch.path)
            if watches is not None and watch in watches:
                known = True
                del watches[watch]
                if not watches:
                    del table[watch.path]
        self._count -= known

    def fire(self, events: Iterable[TreeEvent]) -> list[tuple[Watch, WatchedEvent]]:
        """Return who is to be told of what, in order, and consume one-shots.

        For each change in turn: those who watch the znode, then those who watch
        its children and see it deleted, then those who watch its parent's
        children. A watch is told of a change once.

        Source:
          ``DataTree.createNode``, ``deleteNode``, ``setData``.

        """
        if not self._count:
            return []
        told: _Told = []
        for event in events:
            self._fire_data(event, told)
            if event.kind is not EventType.DATA_CHANGED:
                self._fire_children(event, told)
        return told

    def _fire_data(self, event: TreeEvent, told: _Told) -> None:
        path = event.path
        watched = WatchedEvent(event.kind, path, event.zxid, event.cause)
        self._tell(self._data.get(path), watched, told)
        if self._recursive:
            self._tell(self._recursive.get(path), watched, told)
            while path != "/":
                path = parent_of(path)
                self._tell(self._recursive.get(path), watched, told)
        if event.kind is EventType.DELETED:
            # The persistent ones of this table have just been told.
            watches = self._child.get(event.path, ())
            once = {w: None for w in watches if w.kind is WatchKind.CHILD}
            self._tell(once, watched, told)

    def _fire_children(self, event: TreeEvent, told: _Told) -> None:
        if self._child:
            parent = parent_of(event.path)
            watched = WatchedEvent(EventType.CHILDREN_CHANGED, parent, event.zxid)
            self._tell(self._child.get(parent), watched, told)

    def _tell(
        self, watches: dict[Watch, None] | None, event: WatchedEvent, told: _Told
    ) -> None:
        for watch in tuple(watches or ()):
            told.append((watch, event))
            if watch.kind in _ONE_SHOT:
                self.remove(watch)

    def _tables_of(self, watch: Watch) -> list[_Table]:
        """Return where a watch stands."""
        if watch.kind is WatchKind.RECURSIVE:
            return [self._recursive]
        tables = [] if watch.kind is WatchKind.CHILD else [self._data]
        if watch.kind in _OF_CHILDREN:
            tables.append(self._child)
        return tables
