"""Phase 2's choice: how to bring one learner's log level with the leader's.

Pure functions, apart from their use in ``leader``, because most of the lost
data in ZooKeeper's history was lost here (ZOOKEEPER-1154, -2846, -3911).
Unlike ZooKeeper, a learner reports where each of its epochs ends, so the
leader computes the exact point where the logs part, also across epochs. From there
on the learner gets what the leader's memory holds, or its disk; or a snapshot
that the disk keeps and what follows it, where the disk no longer holds that
point or that is less.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import attrs

from coordlib.ids import NO_ZXID, Epoch, Zxid, epoch_of

from .core import Settings
from .history import History, Transaction
from .messages import Proposal
from .stored import Stored

__all__ = [
    "TAILS_MAX",
    "Diff",
    "Snap",
    "pack_proposals",
    "plan_synchronization",
]

# What fits a frame's head comfortably; a log with more epochs than this in
# memory is brought level by a snapshot.
TAILS_MAX = 1000


@attrs.frozen
class Diff:
    """Cut the learner's log to ``common``, then send everything after it."""

    common: Zxid


@attrs.frozen
class Snap:
    """Send the snapshot that is kept of ``zxid``, then everything after it."""

    zxid: Zxid


def plan_synchronization(
    history: History, tails: Sequence[Zxid], stored: Stored
) -> Diff | Snap | None:
    """Decide how a learner gets the leader's ``history``.

    A :class:`Diff` or :class:`Snap` of a zxid before the history's base goes on
    with what the disk holds.

    Args:
      history: The leader's.
      tails: The last zxid of each epoch in the learner's log, oldest first.
      stored: What the leader's disk holds.

    Returns:
      ``None`` if nothing can be done before another snapshot is kept.

    """
    reach = min(history.base, stored.base)
    common = _common(history, tails, whole=reach == NO_ZXID)
    if common is not None and common >= history.base:
        return Diff(common)
    snapshot, size = stored.snapshot or (NO_ZXID, 0)
    may_snap = bool(snapshot) and snapshot >= reach
    if common is None or common < reach:
        return Snap(snapshot) if may_snap else None
    # What follows the snapshot is sent in any case.
    if may_snap and stored.bytes_between(common, snapshot) > size:
        return Snap(snapshot)
    return Diff(common)


def _common(history: History, tails: Sequence[Zxid], *, whole: bool) -> Zxid | None:
    """Return where the logs part; ``None`` if that is too long ago to know.

    Args:
      history: The leader's.
      tails: The learner's.
      whole: Whether the leader's memory or disk goes back to the beginning.

    """
    for tail in reversed(tails):
        own = history.last_of_epoch(epoch_of(tail))
        if own is not None:
            # Both hold this epoch, so they agree up to the shorter of the two.
            return min(tail, own)
    return NO_ZXID if whole and len(tails) < TAILS_MAX else None


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
