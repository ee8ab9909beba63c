"""Phase 2's choice: how to bring one learner's log level with the leader's.

One pure function, apart from its use in ``leader``, because most of the lost
data in ZooKeeper's history was lost here (ZOOKEEPER-1154, -2846, -3911).
Unlike ZooKeeper, a learner reports where each of its epochs ends, so the
leader computes the exact point where the logs part, also across epochs, and
needs a snapshot only when it no longer holds that point.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from coordlib.ids import Zxid, epoch_of

from .history import History

__all__ = ["TAILS_MAX", "Diff", "Snap", "plan_synchronization"]

# What fits a frame's head comfortably; a log with more epochs than this in
# memory is brought level by a snapshot.
TAILS_MAX = 1000


@attrs.frozen
class Diff:
    """Cut the learner's log to ``common``, then send everything after it."""

    common: Zxid


@attrs.frozen
class Snap:
    """Send the tree, and everything after it."""


def plan_synchronization(history: History, tails: Sequence[Zxid]) -> Diff | Snap:
    """Decide how a learner gets the leader's ``history``.

    Args:
      history: The leader's.
      tails: The last zxid of each epoch in the learner's log, oldest first.

    """
    for tail in reversed(tails):
        own = history.last_of_epoch(epoch_of(tail))
        if own is not None:
            # Both hold this epoch, so they agree up to the shorter of the two.
            common = min(tail, own)
            return Diff(common) if common >= history.base else Snap()
    if history.base == 0 and len(tails) < TAILS_MAX:
        return Diff(Zxid(0))
    return Snap()
