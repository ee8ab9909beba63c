"""What members say to each other, as frame bodies and back.

A body is a two-byte length, a CBOR list of small things (kind and fields), and
the large things as plain bytes behind it. So what CBOR has to parse is bounded
by the length field's 64 KiB, and a payload is copied, never encoded again.

Besides the messages of :mod:`coordlib.consensus` there are a few of the
replicas' own: forwarded requests, heartbeats of sessions, pieces of snapshots.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Protocol, cast
from zlib import crc32

import attrs

from coordlib import encoding
from coordlib.consensus import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    FollowerInfo,
    HandOver,
    LeaderInfo,
    Message,
    NewLeader,
    Notification,
    Ping,
    Pong,
    Proposal,
    Role,
    Truncate,
    UpToDate,
    Vote,
)
from coordlib.errors import ProtocolError
from coordlib.ids import EPOCH_MAX, MEMBER_ID_MAX, Epoch, MemberId, Zxid

__all__ = [
    "Body",
    "Confirm",
    "Forward",
    "SnapshotFrom",
    "SnapshotOffer",
    "SnapshotPiece",
    "Touch",
    "decode_body",
    "encode_body",
]


@attrs.define
class Forward:
    """Learner to leader: propose these requests of my sessions.

    Attributes:
      epoch: The leader's. In any other one they are dropped: the sender knows
        then by the history which of them survived, and sends the rest again.
      requests: In the order of their sessions.

    """

    epoch: Epoch
    requests: list[bytes]


@attrs.define
class Touch:
    """Learner to leader: I keep my sessions alive. Answer: :class:`Confirm`.

    Attributes:
      epoch: The leader's; in any other one it is dropped.
      number: Names this one; grows.
      owner: 16 bytes: which start of the replica keeps the sessions.

    """

    epoch: Epoch
    number: int
    owner: bytes


@attrs.define
class Confirm:
    """Leader to learner: I led when your :class:`Touch` came.

    Attributes:
      number: Of the touch.
      zxid: Every write acknowledged before the touch is at or before it.

    """

    number: int
    zxid: Zxid


@attrs.frozen
class SnapshotOffer:
    """Leader to learner: replace all you have by this. Answer: :class:`SnapshotFrom`.

    Attributes:
      zxid: Of which state it is.
      size: In bytes, at least 1.
      digest: 16 bytes: BLAKE2b of the content.

    """

    zxid: Zxid
    size: int
    digest: bytes


@attrs.frozen
class SnapshotFrom:
    """Learner to leader: I have so much of the snapshot; send the rest.

    Once before the pieces, and once more when all of it was checked and has
    taken the place of what was there: go on with what follows.

    Attributes:
      zxid: Of the offer.
      offset: How many bytes are here; at last the size.

    """

    zxid: Zxid
    offset: int


@attrs.define
class SnapshotPiece:
    """Leader to learner: a part of the snapshot that was offered.

    Attributes:
      zxid: Of the offer.
      offset: Where the part begins; parts come in order, without a gap.
      part: At least one byte.

    """

    zxid: Zxid
    offset: int
    part: bytes


Body = (
    Message | Forward | Touch | Confirm | SnapshotOffer | SnapshotFrom | SnapshotPiece
)

_LENGTH = struct.Struct(">H")
_INT_MAX = (1 << 63) - 1
_ID_BYTES = 16

# What each kind's fields are: i a number, e an epoch, b a truth value, s sixteen
# bytes, l a list of numbers, p a list of members and their levels. A kind's place
# in the list is its number on the wire, so a new one goes to the end.
_KINDS: list[tuple[type[Body], str]] = [
    (LeaderInfo, "ep"),
    (AckEpoch, "ebel"),
    (Truncate, "i"),
    (NewLeader, "es"),
    (AckNewLeader, "e"),
    (UpToDate, "ei"),
    (Ack, "ei"),
    (Commit, "ei"),
    (Ping, "ip"),
    (Pong, "i"),
    (FollowerInfo, "iebbeip"),
    (Touch, "eis"),
    (Confirm, "ii"),
    (HandOver, "ei"),
    (SnapshotOffer, "iis"),
    (SnapshotFrom, "ii"),
]
_PROPOSAL, _FORWARD, _PIECE, _NOTIFICATION = range(100, 104)
_NUMBER_OF: dict[object, int] = {kind: i for i, (kind, _) in enumerate(_KINDS)}


class _Make(Protocol):
    """A class of ``_KINDS``, called with fields that its layout has checked."""

    def __call__(self, *fields: object) -> Body: ...


_LAYOUTS = [(cast("_Make", kind), layout) for kind, layout in _KINDS]


def encode_body(body: Body) -> bytes:
    """Return the frame body that says ``body``."""
    match body:
        case Proposal(epoch, previous, first, payloads):
            head = [_PROPOSAL, epoch, previous, first, [len(p) for p in payloads]]
            return _join(head, payloads)
        case Forward(epoch, requests):
            return _join([_FORWARD, epoch, [len(r) for r in requests]], requests)
        case SnapshotPiece(zxid, offset, part):
            return _join([_PIECE, zxid, offset, crc32(part)], [part])
        case Notification(number, role, leader, epoch, vote):
            ballot = None if vote is None else list(attrs.astuple(vote))
            return _join([_NOTIFICATION, number, role, leader, epoch, ballot], ())
        case _:
            fields = attrs.astuple(body, recurse=False)
            return _join([_NUMBER_OF[type(body)], *fields], ())


def _join(head: list[object], parts: Sequence[bytes]) -> bytes:
    encoded = encoding.encode(head)
    return b"".join((_LENGTH.pack(len(encoded)), encoded, *parts))


def decode_body(frame: bytes) -> Body:
    """Return what a frame says.

    Raises:
      ProtocolError: It says nothing that a member may say.

    """
    if len(frame) < _LENGTH.size:
        raise ProtocolError("a frame without a head")
    start = _LENGTH.size + _LENGTH.unpack_from(frame)[0]
    if start > len(frame):
        raise ProtocolError("a frame shorter than its head")
    head = encoding.decode(frame[_LENGTH.size : start])
    if type(head) is not list or not head or type(head[0]) is not int:
        raise ProtocolError("a frame of no kind")
    kind, fields, rest = head[0], head[1:], frame[start:]
    if 0 <= kind < len(_LAYOUTS):
        make, layout = _LAYOUTS[kind]
        if rest:
            raise ProtocolError("bytes after the head")
        return make(*_checked(fields, layout))
    match kind:
        case 100:
            return _decode_proposal(fields, rest)
        case 101:
            epoch, lengths = _checked(fields, "el")
            return Forward(Epoch(_number(epoch)), _split(rest, lengths))
        case 102:
            return _decode_piece(fields, rest)
        case 103:
            return _decode_notification(fields, rest)
        case _:
            raise ProtocolError(f"a frame of unknown kind {kind}")


def _checked(fields: Sequence[object], layout: str) -> list[object]:
    """Return the fields if they are what ``layout`` says, lists as tuples."""
    if len(fields) != len(layout):
        raise ProtocolError("a wrong number of fields")
    return [_CHECKS[kind](field) for kind, field in zip(layout, fields, strict=True)]


def _number(field: object) -> int:
    if type(field) is int and 0 <= field <= _INT_MAX:
        return field
    raise ProtocolError("not a number")


def _epoch(field: object) -> int:
    if type(field) is int and 0 <= field <= EPOCH_MAX:
        return field
    raise ProtocolError("not an epoch")


def _truth(field: object) -> bool:
    if type(field) is bool:
        return field
    raise ProtocolError("not a truth value")


def _id(field: object) -> bytes:
    if type(field) is bytes and len(field) == _ID_BYTES:
        return field
    raise ProtocolError("not sixteen bytes")


def _numbers(field: object) -> tuple[int, ...]:
    if type(field) is list:
        return tuple(map(_number, field))
    raise ProtocolError("not a list of numbers")


def _levels(field: object) -> tuple[tuple[MemberId, Zxid], ...]:
    if type(field) is not list:
        raise ProtocolError("not a list of levels")
    levels = list[tuple[MemberId, Zxid]]()
    for level in field:
        match _numbers(level):
            case (member, zxid) if 0 < member <= MEMBER_ID_MAX:
                levels.append((MemberId(member), Zxid(zxid)))
            case _:
                raise ProtocolError("not a level")
    return tuple(levels)


_CHECKS: dict[str, Callable[[object], object]] = {
    "i": _number,
    "e": _epoch,
    "b": _truth,
    "s": _id,
    "l": _numbers,
    "p": _levels,
}


def _split(rest: bytes, lengths: object) -> list[bytes]:
    """Return the parts of ``rest`` with these lengths; they must fill it."""
    sizes = lengths if isinstance(lengths, tuple) else ()
    ends = list(accumulate(sizes, initial=0))
    if not sizes or ends[-1] != len(rest):
        raise ProtocolError("lengths that do not add up")
    return [rest[start:end] for start, end in pairwise(ends)]


def _decode_proposal(fields: Sequence[object], rest: bytes) -> Proposal:
    epoch, previous, first, lengths = _checked(fields, "eiil")
    return Proposal(
        Epoch(_number(epoch)),
        Zxid(_number(previous)),
        Zxid(_number(first)),
        _split(rest, lengths),
    )


def _decode_piece(fields: Sequence[object], part: bytes) -> SnapshotPiece:
    zxid, offset, checksum = map(_number, _checked(fields, "iii"))
    if not part or crc32(part) != checksum:
        raise ProtocolError("a damaged piece of a snapshot")
    return SnapshotPiece(Zxid(zxid), offset, part)


def _decode_notification(fields: Sequence[object], rest: bytes) -> Notification:
    number, role, leader, epoch = map(_number, _checked(fields[:4], "iiie"))
    if rest or role > max(Role) or len(fields) != len(attrs.fields(Notification)):
        raise ProtocolError("not a notification")
    vote = None
    if fields[4] is not None:
        if type(fields[4]) is not list:
            raise ProtocolError("not a vote")
        seasoned, *numbers = _checked(fields[4], "beii")
        current_epoch, last_zxid, member = map(_number, numbers)
        vote = Vote(
            bool(seasoned), Epoch(current_epoch), Zxid(last_zxid), MemberId(member)
        )
    return Notification(number, Role(role), MemberId(leader), Epoch(epoch), vote)
