"""Standing requests to be told of changes, and who is told of what.

A watch belongs to one replica, not to the replicated state. The table only
matches: it neither calls nor wakes anybody, that is the driver's; nor does it
know who may read what, but it says which ACL decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import assert_never

import attrs

from .acl import Acl
from .events import EventType, Gap, TreeEvent
from .operations import Cause
from .paths import parent_of

__all__ = ["Told", "Watch", "WatchKind", "WatchTable", "WatchedEvent"]


class WatchKind(Enum):
    """What a watch is told, and for how long.

    The first three are consumed by the first event; the others stay.
    """

    # Creation, deletion and data of its znode; set by reading one that exists.
    DATA = auto()
    # The same; set by asking for one that may not exist.
    EXISTS = auto()
    # Creation and deletion of direct children; deletion of its znode.
    CHILD = auto()
    # Everything above.
    PERSISTENT = auto()
    # Creation, deletion and data of its znode and of all below; nothing of
    # children as such, for it is told of each child itself.
    RECURSIVE = auto()


_ONE_SHOT = frozenset({WatchKind.DATA, WatchKind.EXISTS, WatchKind.CHILD})


@attrs.frozen(eq=False)
class Watch:
    """One request; equal only to itself.

    Attributes:
      path: What is watched.
      kind: What of it is told.
      owner: Whose it is: the nonce of a session, which it has before it has an id;
        empty for the replica's own.
      one_shot: Whether the first event consumes it.

    """

    path: str
    kind: WatchKind
    owner: bytes = attrs.field(default=b"", repr=False)
    # Not a property: ten thousand are asked in one go.
    one_shot: bool = attrs.field(init=False)

    @one_shot.default
    def _is_one_shot(self) -> bool:
        return self.kind in _ONE_SHOT


@attrs.frozen
class WatchedEvent:
    """What a watch reports.

    Attributes:
      type: What happened.
      path: To which znode; for ``CHILDREN_CHANGED`` that is the parent, and for
        what is no change the watched path.
      zxid: In which transaction; for what is no change, the last one applied.
      cause: Why it was deleted; ``None`` for the other types.
      gap: Why changes may be missing; ``None`` unless it is a ``RESYNC``.

    """

    type: EventType
    path: str
    zxid: int
    cause: Cause | None = None
    gap: Gap | None = None


@attrs.frozen
class Told:
    """One event and all who are told of it.

    Attributes:
      event: What they are told.
      watches: Who; each once.
      acl: Only sessions may know that it lets read.

    """

    event: WatchedEvent
    watches: list[Watch]
    acl: tuple[Acl, ...]


# The watches of each path, in the order in which they were added.
_Table = dict[str, dict[Watch, None]]


class WatchTable:
    """All watches of one replica. Its length is their number."""

    __slots__ = ("_child", "_count", "_data", "_persistent", "_recursive")

    def __init__(self) -> None:
        # Invariant: a watch is in one of them. ZooKeeper has two tables, and a
        # persistent watch in both; that it is told of a deletion once comes of
        # itself here.
        self._data: _Table = {}
        self._child: _Table = {}
        self._persistent: _Table = {}
        self._recursive: _Table = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, path: str, kind: WatchKind, owner: bytes = b"") -> Watch:
        """Watch ``path``, which need not exist."""
        watch = Watch(path, kind, owner)
        self._table_of(kind).setdefault(path, {})[watch] = None
        self._count += 1
        return watch

    def remove(self, watch: Watch) -> None:
        """Stop watching. Does nothing if the watch was removed or consumed."""
        table = self._table_of(watch.kind)
        watches = table.get(watch.path)
        if watches is not None and watch in watches:
            del watches[watch]
            if not watches:
                del table[watch.path]
            self._count -= 1

    def find(self, path: str, owner: bytes, kind: WatchKind | None) -> list[Watch]:
        """Return an owner's watches of ``path``: those of a kind, or all.

        ``DATA`` and ``EXISTS`` are one kind here.

        Source:
          ``WatcherType``, ``ZKWatchManager.removeWatcher``.

        """
        if kind is None:
            tables = [self._data, self._child, self._persistent, self._recursive]
        else:
            tables = [self._table_of(kind)]
        return [w for t in tables for w in t.get(path, ()) if w.owner == owner]

    def fire(self, events: Iterable[TreeEvent]) -> list[Told]:
        """Return who is to be told of what, in order, and consume one-shots.

        For each change in turn: those who watch the znode, then those who watch
        its children and see it deleted, then those who watch its parent's
        children. A watch is told of a change once. The cost is that of the
        path's depth and of the watches told, whatever the number of others.

        Source:
          ``DataTree.createNode``, ``deleteNode``, ``setData``.

        """
        if not self._count:
            return []
        told: list[Told] = []
        for event in events:
            if watches := self._who_sees(event):
                seen = WatchedEvent(event.kind, event.path, event.zxid, event.cause)
                told.append(Told(seen, watches, event.acl))
            if event.kind is not EventType.DATA_CHANGED and (
                self._child or self._persistent
            ):
                parent = parent_of(event.path)
                if watches := self._who_sees_children(parent):
                    seen = WatchedEvent(EventType.CHILDREN_CHANGED, parent, event.zxid)
                    told.append(Told(seen, watches, event.parent_acl))
        return told

    def _who_sees(self, event: TreeEvent) -> list[Watch]:
        """Return the watches of the znode itself and the recursive ones above."""
        path = event.path
        watches = [*self._consumed(self._data, path), *self._persistent.get(path, ())]
        if self._recursive:
            for above in _upwards(path):
                watches += self._recursive.get(above, ())
        if event.kind is EventType.DELETED:
            watches += self._consumed(self._child, path)
        return watches

    def _who_sees_children(self, parent: str) -> list[Watch]:
        return [
            *self._consumed(self._child, parent),
            *self._persistent.get(parent, ()),
        ]

    def _consumed(self, table: _Table, path: str) -> Iterable[Watch]:
        watches = table.pop(path, None)
        if watches is None:
            return ()
        self._count -= len(watches)
        return watches

    def _table_of(self, kind: WatchKind) -> _Table:
        match kind:
            case WatchKind.DATA | WatchKind.EXISTS:
                return self._data
            case WatchKind.CHILD:
                return self._child
            case WatchKind.PERSISTENT:
                return self._persistent
            case WatchKind.RECURSIVE:
                return self._recursive
            case _:
                assert_never(kind)


def _upwards(path: str) -> Iterator[str]:
    """Yield the path and all above it, up to the root."""
    yield path
    while path != "/":
        path = parent_of(path)
        yield path
