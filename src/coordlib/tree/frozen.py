"""All znodes as they were at one zxid, while the table goes on changing.

Copy on write, in both directions: a walk copies one znode after the other, and
the table saves the old row of a znode before it changes one that the walk has
not reached. So nobody has to wait for the whole, and what is saved is no more
than what changed meanwhile. What the rows are for is not known here.

The walk goes down from the root, siblings in the order of creation. Hence a
parent comes before its children, what was created later is not met, and whether
the walk has passed a znode shows by its place: nothing is kept of those that
were copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from .acl import OPEN_ACL_UNSAFE, Acl

if TYPE_CHECKING:
    from .znodes import Znode

__all__ = ["AclNumber", "FrozenZnodes", "Row", "row_of"]

Row = tuple[str, bytes | None, int, int, int, int, int, int, int, int, int, object]
"""Path and data of a znode, its other fields, and what stands for its ACL."""

AclNumber = Callable[[tuple[Acl, ...]], int]

# Children looked up at a time: between two rows, the table may change.
_CHILDREN_AT_ONCE = 128


class FrozenZnodes:
    """The znodes of one table at ``zxid``, which is the last one applied to it.

    Args:
      zxid: See above.
      by_path: The table's znodes.
      number_of: Returns the number that stands for an ACL; is asked in the order
        of the rows.

    Attributes:
      count: How many they are.

    """

    __slots__ = (
        "_by_path",
        "_kept",
        "_kept_acls",
        "_last",
        "_number_of",
        "_root",
        "_zxid",
        "count",
    )

    def __init__(
        self, zxid: int, by_path: dict[str, Znode], number_of: AclNumber
    ) -> None:
        self.count = len(by_path)
        self._zxid = zxid
        self._by_path = by_path
        self._number_of = number_of
        self._root = row_of("/", by_path["/"], number_of(by_path["/"].acl))
        # Czxid and path of the last child that was passed: of the root, of that
        # child, and so on down to where the walk is. Empty when it is over.
        self._last: list[tuple[int, str]] = [(0, "")]
        # Old rows of what the walk has not passed, as if their ACLs were open.
        # Invariant: those of deleted znodes are in the order of deletion, children
        # before their parent. Tuples of plain values, because there may be as many
        # as znodes: after its first look the garbage collector leaves them alone.
        self._kept: dict[str, Row] = {}
        # The ACLs of those of them that have another one than the open one.
        self._kept_acls: dict[str, tuple[Acl, ...]] = {}

    def rows(self) -> Iterator[Row]:
        """Return all rows, a parent before its children. Once only.

        The table may change between any two of them.
        """
        yield self._root
        yield from self._walk()
        # What is kept now is gone from the table. The last one deleted comes
        # first, as its parent can only have gone later.
        while self._kept:
            yield self._unkeep(next(reversed(self._kept)))

    def changing(self, path: str, znode: Znode) -> None:
        """Note that a znode is about to change."""
        if (
            znode.czxid <= self._zxid
            and path not in self._kept
            and not self._has_passed(path)
        ):
            self._kept[path] = row_of(path, znode, 0)
            if znode.acl is not OPEN_ACL_UNSAFE:
                self._kept_acls[path] = znode.acl

    def going(self, path: str, znode: Znode) -> None:
        """Note that a znode is about to be deleted."""
        self.changing(path, znode)
        if znode.czxid <= self._zxid and path in self._kept:
            # To the end.
            self._kept[path] = self._kept.pop(path)

    def _walk(self) -> Iterator[Row]:
        """Return the rows of those that are still there, but the root's."""
        by_path, kept, last = self._by_path, self._kept, self._last
        number_of = self._number_of
        parents = ["/"]
        while parents:
            keys = self._next_children(parents[-1])
            if not keys:
                parents.pop()
                last.pop()
            for key in keys:
                created, path = last[-1] = key
                znode = by_path.get(path)
                if znode is None or znode.czxid != created:
                    # Deleted since we looked.
                    continue
                if path in kept:
                    row = self._unkeep(path)
                else:
                    row = row_of(path, znode, number_of(znode.acl))
                if znode.children:
                    # Before anything can change: they are not passed.
                    parents.append(path)
                    last.append((0, ""))
                    yield row
                    break
                yield row

    def _unkeep(self, path: str) -> Row:
        """Return and forget an old row."""
        row = self._kept.pop(path)
        if path in self._kept_acls:
            number = self._number_of(self._kept_acls.pop(path))
            row = (*row[:-1], number)
        return row

    def _next_children(self, path: str) -> list[tuple[int, str]]:
        parent = self._by_path.get(path)
        if parent is None or parent.children is None:
            return []
        # Of a new znode at this path all children are too new.
        end = (self._zxid + 1, "")
        found = parent.children.irange(self._last[-1], end, (False, False))
        return list(islice(found, _CHILDREN_AT_ONCE))

    def _has_passed(self, path: str) -> bool:
        """Tell whether the walk has passed the znode at ``path``, which exists.

        Its ancestors are as old as it is: a newer one would have no old child.
        """
        end = 0 if path != "/" else -1
        for last in self._last:
            if end < 0:
                break
            end = path.find("/", end + 1)
            name = path if end < 0 else path[:end]
            place = (self._by_path[name].czxid, name)
            if place != last:
                return place < last
        return True


def row_of(path: str, znode: Znode, acl: object) -> Row:
    """Return all there is of one znode: for snapshots, and for the digest.

    Args:
      path: Its path.
      znode: It.
      acl: What stands for its ACL.

    """
    return (
        path,
        znode.data,
        znode.czxid,
        znode.mzxid,
        znode.pzxid,
        znode.ctime,
        znode.mtime,
        znode.version,
        znode.ephemeral_owner,
        znode.creates,
        znode.aversion,
        acl,
    )
