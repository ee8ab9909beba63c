"""What members remember of each other's disks, so that a rolled-back one shows.

A data directory that was put back from an old copy looks sound: its metadata are
valid, only older. Nothing in it tells that its member acknowledged more. So every
member remembers, for each voter, a *level* that this voter's disk must have. An
established leader knows it from acknowledgements; the others are told with every
heartbeat, and when an epoch begins; each save of metadata takes it to the disk.

The *standing* of a disk is the greater of its last zxid and the beginning of its
current epoch. The level of a voter, once it has acknowledged NEWLEADER of an
established epoch e, is the greater of the beginning of e and of the least of what
it acknowledged and what is committed. A voter whose standing is below its level
has lost what it acknowledged. For its standing never falls below by itself:

* It has made e its current epoch, and that never falls.
* What else it acknowledged and is committed, all later leaders hold (Zab, leader
  completeness). So its log and theirs part there or later. That is where TRUNC
  cuts, and SNAP is only sent of a later state (``plan_synchronization``).
* Its disk's stream keeps its order: if it holds the change to an epoch, it holds
  all of the history that the epoch began with.

Where the rule is wrong all the same, somebody who could decide may not; never the
other way round. What nobody remembers is not seen: the last heartbeat's writes,
and what was acknowledged since the rememberers started or changed their epoch,
if they restart too.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from coordlib.ids import NO_ZXID, Epoch, MemberId, Zxid, make_zxid

__all__ = ["Level", "Levels", "standing"]

Level = tuple[MemberId, Zxid]
"""A voter, and the standing that its disk must have."""


def standing(current_epoch: Epoch, last_zxid: Zxid) -> Zxid:
    """Return how far the disk has got that claims these."""
    return max(last_zxid, make_zxid(current_epoch, 0))


@attrs.define
class Levels:
    """What one member knows of all."""

    # Invariant: only grows.
    _known: dict[MemberId, Zxid]

    def learn(self, levels: Iterable[Level]) -> None:
        """Remember these, too."""
        for member, level in levels:
            if level > self._known.get(member, NO_ZXID):
                self._known[member] = level

    def of(self, member: MemberId) -> Zxid:
        """Return a member's level; 0 if none is known."""
        return self._known.get(member, NO_ZXID)

    def all(self) -> tuple[Level, ...]:
        """Return all that are known, by member."""
        return tuple(sorted(self._known.items()))

    def __bool__(self) -> bool:
        return bool(self._known)
