"""Who may have a link with whom: how two members greet each other.

Sans-I/O, and shared by all transports. The dialling member speaks first; the
other answers with its own greeting or with a refusal. Each is one record of
fixed size, so that a stranger can make us read :data:`RECORD_BYTES` bytes and
no more. It keeps honest members of different ensembles apart; it does not
authenticate anybody (that is TLS's task).
"""

from __future__ import annotations

import struct
from collections.abc import Container
from enum import IntEnum
from hashlib import blake2b
from zlib import crc32

import attrs

from coordlib.ids import MemberId

from .interface import UNKNOWN_ENSEMBLE, Hello

__all__ = [
    "RECORD_BYTES",
    "Greeting",
    "HandshakeError",
    "Refusal",
    "check_greeting",
    "decode_record",
    "encode_greeting",
    "encode_refusal",
    "make_greeting",
]

_MAGIC = b"coordlib"
_VERSION = 1
# None is defined yet. A member ignores bits it does not know, so a later
# version may offer something without breaking this one.
_FEATURES = 0

# Magic, version, refusal (0: none), speaker, target, features, hash of the
# ensemble's name, ensemble id, incarnation.
_RECORD = struct.Struct(">8sHBBB3xQ16s16s16s")
_CHECKSUM = struct.Struct(">I")

RECORD_BYTES = _RECORD.size + _CHECKSUM.size


class Refusal(IntEnum):
    """Why a handshake failed; the number goes over the wire."""

    NAME = 1
    ENSEMBLE = 2
    MEMBER = 3
    VERSION = 4
    GARBAGE = 5
    TIMEOUT = 6
    BUSY = 7

    @property
    def reason(self) -> str:
        """The key in :attr:`TransportStatistics.refused`."""
        return self.name.lower()


class HandshakeError(Exception):
    """There will be no link.

    Attributes:
      refusal: Why.
      remote: Whether the other side said so.

    """

    def __init__(self, refusal: Refusal, *, remote: bool = False) -> None:
        super().__init__(refusal, remote)
        self.refusal = refusal
        self.remote = remote

    def __str__(self) -> str:
        by = "refused by the other side" if self.remote else "refused"
        return f"{by}: {self.refusal.reason}"


@attrs.frozen
class Greeting:
    """A :class:`Hello` as it travels.

    Attributes:
      member: Who is speaking.
      target: To whom, as the speaker thinks.
      name_hash: 16 bytes that stand for the ensemble's name.
      ensemble_id: As in :class:`Hello`.
      incarnation: As in :class:`Hello`.

    """

    member: MemberId
    target: MemberId
    name_hash: bytes
    ensemble_id: bytes
    incarnation: bytes


def make_greeting(hello: Hello, target: MemberId) -> Greeting:
    """Address ``hello`` to one member."""
    return Greeting(
        member=hello.member,
        target=target,
        name_hash=blake2b(hello.name.encode(), digest_size=16).digest(),
        ensemble_id=hello.ensemble_id,
        incarnation=hello.incarnation,
    )


def check_greeting(
    theirs: Greeting, ours: Greeting, expected: Container[MemberId]
) -> None:
    """Refuse a member that has no business with us.

    Args:
      theirs: What the other side said.
      ours: What we say to it.
      expected: Whom we may be talking to: the one we dialled, or those that
        may dial us. Never ourselves, so a reflected greeting is refused.

    Raises:
      HandshakeError: The two must not have a link.

    """
    if theirs.name_hash != ours.name_hash:
        raise HandshakeError(Refusal.NAME)
    ids = {theirs.ensemble_id, ours.ensemble_id}
    if len(ids) > 1 and UNKNOWN_ENSEMBLE not in ids:
        raise HandshakeError(Refusal.ENSEMBLE)
    if theirs.member not in expected or theirs.target != ours.member:
        raise HandshakeError(Refusal.MEMBER)


def encode_greeting(greeting: Greeting) -> bytes:
    """Return the record that says ``greeting``."""
    return _seal(
        _RECORD.pack(
            _MAGIC,
            _VERSION,
            0,
            greeting.member,
            greeting.target,
            _FEATURES,
            greeting.name_hash,
            greeting.ensemble_id,
            greeting.incarnation,
        )
    )


def encode_refusal(refusal: Refusal) -> bytes:
    """Return the record that says ``refusal``, and nothing about ourselves."""
    return _seal(_RECORD.pack(_MAGIC, _VERSION, refusal, 0, 0, 0, b"", b"", b""))


def decode_record(record: bytes) -> Greeting:
    """Return the greeting in a record of :data:`RECORD_BYTES` bytes.

    Raises:
      HandshakeError: It is no record of ours, of another version, or says
        that the other side refuses us.

    """
    if len(record) != RECORD_BYTES or not record.startswith(_MAGIC):
        raise HandshakeError(Refusal.GARBAGE)
    _, version, refusal, member, target, _, name_hash, ensemble_id, incarnation = (
        _RECORD.unpack_from(record)
    )
    # Before the checksum: another version may put it elsewhere.
    if version != _VERSION:
        raise HandshakeError(Refusal.VERSION)
    if _seal(record[: _RECORD.size]) != record:
        raise HandshakeError(Refusal.GARBAGE)
    if refusal:
        known = refusal in Refusal.__members__.values()
        raise HandshakeError(
            Refusal(refusal) if known else Refusal.GARBAGE, remote=True
        )
    return Greeting(
        MemberId(member), MemberId(target), name_hash, ensemble_id, incarnation
    )


def _seal(record: bytes) -> bytes:
    return record + _CHECKSUM.pack(crc32(record))
