"""Which znodes the ensemble may delete of itself, in an order to look at them.

An index, so that nobody has to search the tree: it holds the containers that
had children and have none, and all childless znodes with a time to live, those
first whose time ends first. Derived from the znodes: neither digest nor
snapshot hold it. Whether a znode goes is decided when its deletion is applied,
in :mod:`.mutations`.

Source: ``ContainerManager.getCandidates``, which looks at all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

from sortedcontainers import SortedList

from .lifetimes import CONTAINER_OWNER, ttl_of

if TYPE_CHECKING:
    from .znodes import Znode

__all__ = ["Candidates"]


class Candidates:
    """The containers and the znodes with a time to live of one tree."""

    __slots__ = ("_deadlines", "_emptied", "_mortal")

    def __init__(self) -> None:
        # Containers, in the order in which this replica saw them emptied. Not a
        # plain dict: see SessionRecord.outcomes.
        self._emptied: OrderedDict[str, None] = OrderedDict()
        # Deadline, in milliseconds since 1970, and path.
        self._mortal: SortedList[tuple[int, str]] = SortedList()
        self._deadlines: dict[str, int] = {}

    def judge(self, path: str, znode: Znode) -> None:
        """Look at a container or a znode with a time to live as it is now."""
        self.discard(path)
        if znode.children:
            return
        if znode.ephemeral_owner != CONTAINER_OWNER:
            deadline = znode.mtime + ttl_of(znode.ephemeral_owner)
            self._deadlines[path] = deadline
            self._mortal.add((deadline, path))
        elif znode.creates:
            self._emptied[path] = None

    def discard(self, path: str) -> None:
        """Forget a znode, which need not be here."""
        self._emptied.pop(path, None)
        deadline = self._deadlines.pop(path, None)
        if deadline is not None:
            self._mortal.remove((deadline, path))

    def first(self, count: int, time_ms: int) -> list[str]:
        """Return at most ``count`` paths of what may go at this time.

        First those that have outlived their time to live, the oldest first;
        then containers. Costs no more than what it returns.
        """
        overdue = self._mortal.irange(maximum=(time_ms, ""), inclusive=(True, False))
        paths = [path for _, path in islice(overdue, count)]
        return paths + list(islice(self._emptied, count - len(paths)))
