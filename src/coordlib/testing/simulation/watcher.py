"""A client that sees changes only: what it was told must add up to the tree.

It watches everything for good, and one znode once, again and again. Nothing
may be missing from what it is told, out of order, or told twice.
"""

from __future__ import annotations

import attrs

from coordlib.ids import MemberId, format_zxid
from coordlib.replica.subscriptions import Subscriptions
from coordlib.tree import Applied, DataTree, EventType, WatchedEvent, WatchKind

from .kernel import Violation

__all__ = ["Watcher"]

_ONCE = "/shared-0"
# One in so many zxids has everything compared; a prime, against rhythms.
_SAMPLE = 101


@attrs.define(eq=False)
class Watcher:
    """Looks on at one replica's tree."""

    member: MemberId
    tree: DataTree
    _subscriptions: Subscriptions = attrs.field(factory=Subscriptions, init=False)
    # By path, the zxid of the last event.
    _told: dict[str, int] = attrs.field(factory=dict, init=False)
    _last: int = attrs.field(default=0, init=False)
    # Whether the one-shot watch is set, and how often it was told meanwhile.
    _armed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with the tree as it is."""
        self._subscriptions.add("/", WatchKind.RECURSIVE, self._hear)
        self._read_all()

    def applied(self, applied: Applied) -> None:
        """Take what one transaction did."""
        if not self._armed:
            self._armed = True
            self._subscriptions.add(_ONCE, WatchKind.EXISTS, self._hear_once)
        if applied.events:
            self._subscriptions.fire(applied.events)
            for event in applied.events:
                self._check(event.path)
            if self._armed and any(event.path == _ONCE for event in applied.events):
                raise self._violation("watch-complete", f"of {_ONCE} nothing is told")
        if applied.zxid % _SAMPLE == 0:
            self.check_all()

    def installed(self) -> None:
        """Everything was replaced: all watches are told so."""
        self._subscriptions.resync(self.tree.zxid)
        self.check_all()

    def check_all(self) -> None:
        """Compare everything that was told with everything there is."""
        znodes = self.tree.znodes()
        if self._told.keys() != znodes.keys():
            differing = sorted(self._told.keys() ^ znodes.keys())
            raise self._violation("watch-complete", f"it is wrong about {differing}")
        for path in znodes:
            self._check(path)

    def _hear(self, event: WatchedEvent) -> None:
        if event.zxid < self._last:
            raise self._violation("watch-order", f"{event} after {self._last:#x}")
        self._last = event.zxid
        if event.type is EventType.RESYNC:
            self._read_all()
        elif event.type is EventType.DELETED:
            self._told.pop(event.path, None)
        else:
            self._told[event.path] = event.zxid

    def _hear_once(self, event: WatchedEvent) -> None:
        if event.type is EventType.RESYNC:
            return
        if not self._armed:
            raise self._violation("watch-once", f"{event} although it was told before")
        self._armed = False

    def _read_all(self) -> None:
        znodes = self.tree.znodes()
        self._told = {path: znode.mzxid for path, znode in znodes.items()}

    def _check(self, path: str) -> None:
        znode = self.tree.znodes().get(path)
        if self._told.get(path) != (None if znode is None else znode.mzxid):
            raise self._violation("watch-complete", f"it is wrong about {path}")

    def _violation(self, oracle: str, text: str) -> Violation:
        where = format_zxid(self.tree.zxid)
        return Violation(oracle, f"at member {self.member} and {where}: {text}")
