"""Every message between members, in the order of the protocol.

Names are ZooKeeper's; the Zab paper's (DSN 2011) and its specification's are
in brackets. A message arrives whole and in order on its link, or never.
"""

from __future__ import annotations

from enum import IntEnum

import attrs

from coordlib.ids import Epoch, MemberId, Zxid

from .levels import Level

__all__ = [
    "Ack",
    "AckEpoch",
    "AckNewLeader",
    "Commit",
    "FollowerInfo",
    "HandOver",
    "LeaderInfo",
    "Message",
    "NewLeader",
    "Notification",
    "Ping",
    "Pong",
    "Proposal",
    "Role",
    "Snapshot",
    "Truncate",
    "UpToDate",
    "Vote",
]


class Role(IntEnum):
    """What a member is doing."""

    LOOKING = 0
    FOLLOWING = 1
    LEADING = 2


@attrs.frozen(order=True)
class Vote:
    """How good a member's history is: the greater vote makes the better leader.

    Attributes:
      seasoned: Whether its disk is known to hold all it ever acknowledged.
      current_epoch: The last epoch whose leader it followed to the end of
        synchronisation [f.a].
      last_zxid: The end of its durable log.
      member: Breaks ties, so that all choose alike (ZOOKEEPER-1419).

    """

    seasoned: bool
    current_epoch: Epoch
    last_zxid: Zxid
    member: MemberId


@attrs.frozen
class Notification:
    """To everybody: what I am doing. At every change, and on every new link.

    Attributes:
      number: Grows with each; one that was overtaken is ignored.
      role: What I am doing.
      leader: Whom I follow, myself if I lead, 0 while looking.
      epoch: The epoch that I lead or follow, 0 before it is established.
      vote: How good my history is, while no epoch is established; ``None``
        until my disk holds all of my log.

    """

    number: int
    role: Role
    leader: MemberId
    epoch: Epoch
    vote: Vote | None


@attrs.frozen
class FollowerInfo:
    """Learner to leader: let me follow you [CEPOCH]. Answer: :class:`LeaderInfo`.

    Attributes:
      number: Of my last notification; outdated if a later one has arrived.
      accepted_epoch: The last epoch I promised [f.p].
      seasoned: See :class:`Vote`.
      empty: Whether my log holds nothing at all, and never did as far as I know.
      current_epoch: See :class:`Vote`.
      last_zxid: See :class:`Vote`.
      levels: What I know of voters' disks, see :mod:`.levels`.

    """

    number: int
    accepted_epoch: Epoch
    seasoned: bool
    empty: bool
    current_epoch: Epoch
    last_zxid: Zxid
    levels: tuple[Level, ...] = ()


@attrs.frozen
class LeaderInfo:
    """Leader to learner: promise me this new epoch [NEWEPOCH].

    Attributes:
      epoch: The epoch.
      levels: What I know of voters' disks, see :mod:`.levels`.

    """

    epoch: Epoch
    levels: tuple[Level, ...] = ()


@attrs.frozen
class AckEpoch:
    """Learner to leader: I take part in no older epoch from now on [ACK-E].

    Attributes:
      epoch: The promised one.
      promised: False if I had promised it before, perhaps to somebody else:
        then it does not count (ZooKeeper's epoch -1).
      current_epoch: As in :class:`Vote`.
      tails: The last zxid of each epoch in my log, oldest first.

    """

    epoch: Epoch
    promised: bool
    current_epoch: Epoch
    tails: tuple[Zxid, ...]


@attrs.frozen
class Truncate:
    """Leader to learner: forget what follows ``zxid`` [TRUNC]."""

    zxid: Zxid


@attrs.frozen
class Snapshot:
    """Leader to learner: replace everything by the tree at ``zxid`` [SNAP]."""

    zxid: Zxid
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")


@attrs.define
class Proposal:
    """Leader to learner: log these transactions. Answer: :class:`Ack`.

    Attributes:
      epoch: The leader's.
      previous: The zxid right before them, which the learner must hold last.
      first: The zxid of the first; the others count on from it.
      payloads: One per transaction, opaque.

    """

    epoch: Epoch
    previous: Zxid
    first: Zxid
    payloads: list[bytes] = attrs.field(repr=lambda payloads: f"<{len(payloads)}>")


@attrs.frozen
class NewLeader:
    """Leader to learner: that was my whole history [NEWLEADER].

    Attributes:
      epoch: The leader's.
      ensemble_id: The ensemble's, 16 bytes, made by its first leader.

    """

    epoch: Epoch
    ensemble_id: bytes


@attrs.frozen
class AckNewLeader:
    """Learner to leader: your history and your epoch are on my disk [ACK-LD]."""

    epoch: Epoch


@attrs.frozen
class UpToDate:
    """Leader to learner: the epoch is established; serve [COMMIT-LD].

    ``committed`` is the leader's last committed zxid, not the start of the
    epoch (issue 3 of the Zab specification).
    """

    epoch: Epoch
    committed: Zxid


@attrs.define
class Ack:
    """Learner to leader: everything up to ``zxid`` is on my disk."""

    epoch: Epoch
    zxid: Zxid


@attrs.define
class Commit:
    """Leader to learner: everything up to ``zxid`` is on a quorum of disks."""

    epoch: Epoch
    zxid: Zxid


@attrs.frozen
class HandOver:
    """Leader to learner: I lead no longer, and all that I proposed is committed.

    Everybody looks for a leader now. ``successor`` holds everything, so it is
    preferred to its equals; nobody else's rights are touched.
    """

    epoch: Epoch
    successor: MemberId


@attrs.define
class Ping:
    """Leader to learner: I live. Answer: :class:`Pong` with the same number.

    Attributes:
      number: Grows with each.
      levels: What I know of voters' disks, with every heartbeat; see
        :mod:`.levels`.

    """

    number: int
    levels: tuple[Level, ...] = ()


@attrs.define
class Pong:
    """Learner to leader: I live, and followed you when I received this number."""

    number: int


Message = (
    Notification
    | FollowerInfo
    | LeaderInfo
    | AckEpoch
    | Truncate
    | Snapshot
    | Proposal
    | NewLeader
    | AckNewLeader
    | UpToDate
    | Ack
    | Commit
    | HandOver
    | Ping
    | Pong
)
