"""A client that sees changes only: what it was told must add up to the tree.

It watches everything for good, and one znode and the root's children once, again
and again. Nothing may be missing from what it is told, out of order, or told
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import attrs

from coordlib.ids import MemberId, format_zxid
from coordlib.replica.subscriptions import Subscriptions
from coordlib.tree import (
    Applied,
    DataTree,
    EventType,
    TreeEvent,
    WatchedEvent,
    WatchKind,
    parent_of,
)

from .kernel import Violation

__all__ = ["Watcher"]

# What is watched once, each time anew.
_ONCE = {
    WatchKind.DATA: "/shared-0",
    WatchKind.EXISTS: "/shared-0",
    WatchKind.CHILD: "/",
}
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
    # The one-shot watches that are set.
    _armed: set[WatchKind] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with the tree as it is."""
        self._subscriptions.add("/", WatchKind.RECURSIVE, self._hear)
        self._read_all()

    def applied(self, applied: Applied) -> None:
        """Take what one transaction did."""
        if applied.events:
            self._arm()
            self._subscriptions.fire(applied.events)
            for event in applied.events:
                self._check(event.path)
            self._check_once(applied.events)
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

    def _arm(self) -> None:
        for kind, path in _ONCE.items():
            if kind not in self._armed:
                self._armed.add(kind)
                self._subscriptions.add(path, kind, partial(self._hear_once, kind))

    def _hear_once(self, kind: WatchKind, event: WatchedEvent) -> None:
        if kind not in self._armed:
            raise self._violation("watch-once", f"{event} although it was told before")
        self._armed.remove(kind)

    def _check_once(self, events: Sequence[TreeEvent]) -> None:
        """Compare who of the one-shots was told with what there was to tell."""
        for kind, path in _ONCE.items():
            concerned = any(_concerns(event, kind, path) for event in events)
            if concerned and kind in self._armed:
                raise self._violation("watch-complete", f"of {path} nothing is told")
            if not concerned and kind not in self._armed:
                raise self._violation("watch-once", f"{path} did not change")

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


def _concerns(event: TreeEvent, kind: WatchKind, path: str) -> bool:
    if kind is WatchKind.CHILD and event.kind is not EventType.DATA_CHANGED:
        return path in (event.path, parent_of(event.path))
    return kind is not WatchKind.CHILD and path == event.path
