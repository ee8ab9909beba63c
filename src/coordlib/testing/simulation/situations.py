"""The situations that many seeds must reach, or the simulator tests too little.

"Sometimes" assertions: a fault that never meets the moment it was made for
proves nothing. Each name is what ``Kernel.mark`` is given when it is reached.
"""

from __future__ import annotations

__all__ = ["SITUATIONS"]

_EFFECTS = (
    "Append",
    "Close",
    "Confirmed",
    "Cut",
    "Deliver",
    "InstallSnapshot",
    "RoleChanged",
    "SaveMetadata",
    "Send",
    "SendRecords",
    "SendSnapshot",
)

SITUATIONS = frozenset(
    (
        # How learners were brought level, and epochs began and ended.
        "sync.damage-found",
        "sync.diff",
        "sync.diff-from-disk",
        "sync.purged-while-sending",
        "sync.trunc",
        "sync.snap",
        "epoch.established",
        "epoch.used-up",
        "agreed.by-a-later-leader",
        "two-leaders-alive",
        "leader.woke-deposed",
        "observer.follows",
        "transfer.begun",
        "transfer.done",
        "transfer.given-up",
        "transfer.held-requests",
        # What a member was doing when it was ended.
        "ended.looking",
        "ended.following",
        "ended.follower-not-yet-level",
        "ended.leader-alone",
        "ended.leader-with-a-new-epoch",
        "ended.leader-with-uncommitted",
        "ended.leader",
        *(f"killed-before.{effect}" for effect in _EFFECTS),
        # What its disk was doing, and what a power loss left.
        "crash.while-appending",
        "crash.while-cutting",
        "crash.while-installing",
        "crash.while-publishing",
        "crash.while-saving-epochs",
        "crash.while-setting-aside",
        "crash.while-staging",
        "power-loss.lost-a-name",
        "power-loss.lost-bytes",
        "power-loss.tore-bytes",
        "recovery.torn-tail-cut",
        # Full disks.
        "disk.full-leader-made-way",
        "disk.no-room-for-a-snapshot",
        "disk.waited-for-room",
        # How it came back.
        "start.new",
        "start.empty-again",
        "start.from-purged-log",
        "start.from-snapshot",
        "start.refused-by-the-disk",
        "start.damaged-again",
        "start.set-aside-damage",
        "start.with-an-older-snapshot",
        "start.while-others-run",
        "start.wiped",
        "wiped-again",
        "wiped.synchronised",
        "damaged.repaired",
        "damaged.restored",
        "snapshot.resumed",
        "rolled-back.noticed",
        "rolled-back.told",
        "snapshot.saved",
        "snapshot.while-the-tree-changed",
        # Links.
        "link.lost-frames",
        "link.many-frames-held-back",
        "link.replaced",
        "link.reset-by-nobody",
        "closed.no-good-snapshot",
        "closed.own-disk-stalls",
        "closed.silent-leader",
        "closed.silent-learner",
        # Sessions and requests.
        "request.after-its-session",
        "request.answered-by-a-snapshot",
        "request.dropped-as-done",
        "request.refused-for-now",
        "request.sent-again",
        "request.without-permission",
        "session.closed",
        "session.expired",
        "session.lost-locally",
        "session.opened-twice",
        "session.outlived-its-leader",
        "session.resumed",
        "session.too-late-to-resume",
        # What the ensemble deleted of itself.
        "znode.deleted-as-container",
        "znode.deleted-as-ttl",
        "znode.set-after-all",
        "znode.used-after-all",
        # Who was outside of the healed quorum in the end.
        "life.cut-off-outsider",
        "life.dead-outsider",
        "life.deaf-outsider",
        "life.mute-outsider",
        "life.stalled-outsider",
        "life.stopped-outsider",
    )
)
