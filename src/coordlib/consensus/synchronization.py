"""Phase 2's choice: how to bring one learner's log level with the leader's.

Pure functions, apart from their use in ``leader``, because most of the lost
data in ZooKeeper's history was lost here (ZOOKEEPER-1154, -2846, -3911).
Unlike ZooKeeper, a learner reports where each of its epochs ends, so the
leader computes the exact point where the logs part, also across epochs, and
needs a snapshot only when it no longer holds that point.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import attrs

from coordlib.ids import NO_ZXID, Epoch, Zxid, epoch_of

from .core import Settings
from .history import History, Transaction
from .messages import Proposal

__all__ = ["TAILS_MAX", "Diff", "Snap", "pack_proposals", "plan_synchronization"]

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
    if history.base == NO_ZXID and len(tails) < TAILS_MAX:
        return Diff(NO_ZXID)
    return Snap()


def pack_proposals(
    epoch: Epoch,
    previous: Zxid,
    transactions: Sequence[Transaction],
    settings: Settings,
) -> list[Proposal]:
    """Pack what follows ``previous`` into proposals of one run of zxids each."""
    proposals: list[Proposal] = []
    size = 0
    for (before, _), (zxid, payload) in pairwise([(previous, b""), *transactions]):
        size += len(payload)
        if (
            not proposals
            or epoch_of(zxid) != epoch_of(before)
            or size > settings.batch_bytes_max
            or len(proposals[-1].payloads) >= settings.batch_records_max
        ):
            proposals.append(Proposal(epoch, before, zxid, []))
            size = len(payload)
        proposals[-1].payloads.append(payload)
    return proposals
