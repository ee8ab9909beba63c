"""What the core asks its driver to do, to be carried out in order.

Writes form one ordered durable stream; ``io`` numbers them from 1 on. A
``Send`` leaves only when the write ``after`` is durable.
"""

from __future__ import annotations

import attrs

from coordlib.ids import NO_EPOCH, NO_ZXID, Epoch, MemberId, Zxid

from .history import Transaction
from .levels import Level
from .messages import Message, Role

__all__ = [
    "Append",
    "Close",
    "Confirmed",
    "Cut",
    "Deliver",
    "Distrust",
    "Effect",
    "Halt",
    "InstallSnapshot",
    "KeepSnapshot",
    "LeadKept",
    "LinkId",
    "Metadata",
    "RoleChanged",
    "SaveMetadata",
    "Send",
    "SendRecords",
    "SendSnapshot",
    "Undecided",
]

LinkId = int
"""Names one link for as long as the replica runs; never used twice."""


@attrs.frozen
class Metadata:
    """What a member must remember besides its log.

    Attributes:
      accepted_epoch: The last epoch promised [f.p].
      current_epoch: The last epoch synchronised with [f.a]; at most the
        accepted one.
      seasoned: Whether the disk holds all this member ever acknowledged. False
        on a new or wiped disk, which must not vote (ZOOKEEPER-261).
      ensemble_id: 16 bytes, or empty while it belongs to none.
      damaged: Whether the disk held something that was set aside as damaged, and
        has not been synchronised since. It may look new, and is not.
      start: Where the ensemble's history began: the zxid of what every member
        imported before its first start, else 0.
      levels: What each voter's disk must hold, as far as this member knows; by
        member. See :mod:`.levels`.

    """

    accepted_epoch: Epoch = NO_EPOCH
    current_epoch: Epoch = NO_EPOCH
    seasoned: bool = False
    ensemble_id: bytes = b""
    damaged: bool = False
    start: Zxid = NO_ZXID
    levels: tuple[Level, ...] = ()


@attrs.define
class Send:
    """Send one message over each of the links once ``after`` is durable."""

    links: tuple[LinkId, ...]
    message: Message
    after: int = 0


@attrs.define
class Append:
    """Write: the log grows."""

    io: int
    transactions: list[Transaction]


@attrs.frozen
class Cut:
    """Write: the log and the snapshots end at ``zxid``."""

    io: int
    zxid: Zxid


@attrs.frozen
class SaveMetadata:
    """Write: remember this."""

    io: int
    metadata: Metadata


@attrs.frozen
class InstallSnapshot:
    """Write, and replace the tree: everything is what the snapshot holds."""

    io: int
    zxid: Zxid
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")


@attrs.frozen
class SendSnapshot:
    """Send the snapshot that is kept of ``zxid``; close the link if that fails.

    Later sends to the link stay behind it.
    """

    link: LinkId
    zxid: Zxid


@attrs.frozen
class SendRecords:
    """Send as proposals of ``epoch`` what the log holds after ``after``.

    Up to and including ``upto``: all of it was delivered, so it is committed,
    but it may still be on its way to the own disk. Later sends to the link stay
    behind it. Close the link if it fails.
    """

    link: LinkId
    epoch: Epoch
    after: Zxid
    upto: Zxid


@attrs.frozen
class KeepSnapshot:
    """Save a snapshot of the tree now: those that are kept are of no use."""


@attrs.define
class Deliver:
    """These transactions are committed; apply them in order."""

    transactions: list[Transaction]


@attrs.frozen
class RoleChanged:
    """The member's part changed.

    Attributes:
      role: The new part.
      epoch: The established epoch; 0 as long as there is none.
      leader: Who leads it; 0 while looking.

    """

    role: Role
    epoch: Epoch
    leader: MemberId


@attrs.define
class Confirmed:
    """Answer to ``barrier``: this member led when the call was made.

    Attributes:
      cookies: Those of the call.
      zxid: Every write acknowledged before the call is at or before it.

    """

    cookies: list[int]
    zxid: Zxid


@attrs.frozen
class LeadKept:
    """The lead was not handed over after all: proposals are taken again."""

    why: str


@attrs.frozen
class Distrust:
    """Tell people: a member's disk has lost what it acknowledged.

    It counts for nothing until it has been synchronised.

    Attributes:
      member: Whose; perhaps our own.
      standing: How far the disk has got: a zxid; counter 0 stands for the
        beginning of an epoch.
      level: How far it had got before.

    """

    member: MemberId
    standing: Zxid
    level: Zxid


@attrs.frozen
class Undecided:
    """Tell people: a quorum would follow this member, but too few disks count.

    Attributes:
      doubtful: The voters that are here and whose disks are new, wiped, damaged
        or rolled back.

    """

    doubtful: tuple[MemberId, ...]


@attrs.frozen
class Close:
    """Cut the link: its other end is dead or breaks the rules."""

    link: LinkId
    why: str


@attrs.frozen
class Halt:
    """Stop this replica: going on could serve wrong answers."""

    why: str


Effect = (
    Send
    | Append
    | Cut
    | SaveMetadata
    | InstallSnapshot
    | SendSnapshot
    | SendRecords
    | KeepSnapshot
    | Deliver
    | RoleChanged
    | Confirmed
    | LeadKept
    | Distrust
    | Undecided
    | Close
    | Halt
)
