"""The bytes of the log: segment heads and records.

Pure: bytes in, bytes out. It opens no file; ``scan`` reads records. Whatever is
read is taken for hostile. ``docs/formats.md`` is the same, byte by byte.

All numbers are big-endian. A *segment* is a head, then batches to its end, each
of which is records, then their seal (see ``seal``), written and synced at once::

    8s  magic "coordlog"         Q   number, from 1 on, without gaps
    H   format version           Q   base: last zxid of the history before it
    H   member                   8s  chain: hash of the last record before it
    16s hash of the name         I   length of the metadata, or 2**32-1: none
                                 I   CRC-32 of all above and of the metadata
    ..  the metadata in force, so that earlier segments can be purged

A *record*::

    2s  magic                    Q   zxid
    B   kind                     8s  chain: hash of the record before it
    I   length of the body       I   CRC-32 of all above and of the body
    ..  body

A seal is a record of kind 5. The CRC of a record starts from a number made of
its segment and its offset, so a good record in a wrong place counts as damage: a
write that went astray, or a payload that holds a copy of a log. The chain, the
BLAKE2b of whole records, proves that none is missing or from another history.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TypeVar

import attrs

from coordlib.errors import CorruptLogError, ForeignStorageError, StorageError

from .seal import encode_seal_body

__all__ = [
    "CHAIN_START",
    "CHECKED_RECORD",
    "PREFIX_SIZE",
    "RECORD",
    "RECORD_HEAD_SIZE",
    "RECORD_MAGIC",
    "SEAL",
    "Identity",
    "SegmentHead",
    "encode_record",
    "encode_seal",
    "hash_of",
    "reader_of",
    "record_checksum",
]

CHAIN_START = bytes(8)

_VERSION = 1
_PREFIX = struct.Struct(">8sHH16s")
PREFIX_SIZE = _PREFIX.size
_SEGMENT_MAGIC = b"coordlog"
_SEGMENT = struct.Struct(">QQ8sI")
_CRC = struct.Struct(">I")
_SEGMENT_HEAD_SIZE = _PREFIX.size + _SEGMENT.size + _CRC.size
_NO_META = 0xFFFFFFFF
RECORD_MAGIC = b"\xc0\x1d"
RECORD = struct.Struct(">2sBIQ8s")
CHECKED_RECORD = struct.Struct(">2sBIQ8sI")
RECORD_HEAD_SIZE = CHECKED_RECORD.size
# Beside the kinds of ``EntryKind``: a record that seals those before it.
SEAL = 5
# A large odd number: neighbouring segments' places do not overlap.
_PLACE_STEP = 2654435761

_Reader = TypeVar("_Reader")


@attrs.frozen
class Identity:
    """Whose files these are.

    Attributes:
      member: The member's id.
      name: The name of its ensemble; of files that are merely looked at, what is
        known of it.
      digest: The hash of the name, which is all that files tell of it.

    """

    member: int
    name: str = attrs.field(eq=False)
    digest: bytes = attrs.field(kw_only=True)

    @digest.default
    def _digest_of_name(self) -> bytes:
        return blake2b(self.name.encode(), digest_size=16).digest()

    @staticmethod
    def named_in(prefix: bytes) -> Identity:
        """Return whose the file is that begins with ``prefix``, unchecked.

        For those who only look; of a file too short to tell, the rest counts as
        zeros.
        """
        prefix = prefix[:PREFIX_SIZE].ljust(PREFIX_SIZE, b"\0")
        _, _, member, digest = _PREFIX.unpack(prefix)
        return Identity(member, f"(hash {digest.hex()})", digest=digest)

    def prefix(self, magic: bytes) -> bytes:
        """Return what a file of the kind ``magic`` begins with."""
        return _PREFIX.pack(magic, _VERSION, self.member, self.digest)

    def check(self, file: str, prefix: bytes) -> None:
        """Check that the file beginning with ``prefix`` is ours.

        Raises:
          ForeignStorageError: It belongs to another member or ensemble.

        """
        _, _, member, digest = _PREFIX.unpack_from(prefix)
        if (member, digest) != (self.member, self.digest):
            raise ForeignStorageError(
                f"{file} belongs to member {member} of an ensemble whose name has "
                f"the hash {digest.hex()}; expected member {self.member} of "
                f"{self.name!r}, hash {self.digest.hex()}"
            )


def reader_of(file: str, prefix: bytes, readers: Mapping[int, _Reader]) -> _Reader:
    """Return what reads the file beginning with ``prefix``, by its version.

    Raises:
      StorageError: It has a format of another version.

    """
    _, version, _, _ = _PREFIX.unpack_from(prefix)
    if version not in readers:
        raise StorageError(
            f"{file} has format version {version}; this is version {_VERSION}"
        )
    return readers[version]


@attrs.frozen
class SegmentHead:
    """What a segment says about itself and about what came before it.

    Attributes:
      number: Its place among the segments.
      base: The last zxid of the history where it begins.
      chain: The hash of the last record before it.
      meta: The metadata in force where it begins.

    """

    number: int
    base: int
    chain: bytes
    meta: bytes | None

    @property
    def size(self) -> int:
        """Where the first record begins."""
        return _SEGMENT_HEAD_SIZE + len(self.meta or b"")

    def encode(self, identity: Identity) -> bytes:
        """Return the bytes that begin the file."""
        meta_size = _NO_META if self.meta is None else len(self.meta)
        head = identity.prefix(_SEGMENT_MAGIC) + _SEGMENT.pack(
            self.number, self.base, self.chain, meta_size
        )
        meta = self.meta or b""
        return head + _CRC.pack(zlib.crc32(meta, zlib.crc32(head))) + meta

    @staticmethod
    def decode(file: str, data: bytes, identity: Identity) -> SegmentHead:
        """Return the head of the segment ``data``.

        Raises:
          CorruptLogError: It is damaged, which no crash can do: a segment gets
            its name after it is synced.
          ForeignStorageError: It belongs to another member or ensemble.
          StorageError: It has a format of another version.

        """
        if len(data) < _SEGMENT_HEAD_SIZE or data[:8] != _SEGMENT_MAGIC:
            raise CorruptLogError(file, 0, "not a log segment")
        # First: in another version, all that follows may be elsewhere.
        return reader_of(file, data, _HEAD_READERS)(file, data, identity)

    @staticmethod
    def _decode(file: str, data: bytes, identity: Identity) -> SegmentHead:
        """Return the head of a segment of version 1."""
        number, base, chain, meta_size = _SEGMENT.unpack_from(data, _PREFIX.size)
        end = _SEGMENT_HEAD_SIZE + (0 if meta_size == _NO_META else meta_size)
        meta = data[_SEGMENT_HEAD_SIZE:end]
        crc_at = _SEGMENT_HEAD_SIZE - _CRC.size
        crc = zlib.crc32(meta, zlib.crc32(data[:crc_at]))
        if end > len(data) or data[crc_at:_SEGMENT_HEAD_SIZE] != _CRC.pack(crc):
            raise CorruptLogError(file, 0, "the segment's head is damaged")
        identity.check(file, data)
        return SegmentHead(number, base, chain, None if meta_size == _NO_META else meta)


# By version: a coming one reads this one's files, too.
_HEAD_READERS: Mapping[int, Callable[[str, bytes, Identity], SegmentHead]] = {
    1: SegmentHead._decode,  # noqa: SLF001 - a part of it, by version
}


def encode_record(
    kind: int, zxid: int, body: bytes, *, chain: bytes, segment: int, offset: int
) -> tuple[bytes, bytes]:
    """Return a record, made for its place, and the hash that the next one names."""
    head = RECORD.pack(RECORD_MAGIC, kind, len(body), zxid, chain)
    crc = _CRC.pack(record_checksum(head, body, segment, offset))
    record = b"".join((head, crc, body))
    return record, hash_of(record)


def encode_seal(
    records: bytes, zxid: int, *, chain: bytes, segment: int, start: int
) -> tuple[bytes, bytes]:
    """Return the seal of a batch that begins at ``start``, and the seal's hash.

    Args:
      records: The batch.
      zxid: Where the history is after them.
      chain: The hash of the last of them.
      segment: The segment's number.
      start: Where they begin in it.

    """
    return encode_record(
        SEAL,
        zxid,
        encode_seal_body(records, start),
        chain=chain,
        segment=segment,
        offset=start + len(records),
    )


def record_checksum(head: bytes, body: bytes, segment: int, offset: int) -> int:
    """Return the number between the head and the body of a record in this place."""
    place = (segment * _PLACE_STEP + offset) & 0xFFFFFFFF
    return zlib.crc32(body, zlib.crc32(head, place))


def hash_of(record: bytes | memoryview) -> bytes:
    """Return the hash of a whole record, which the next one names."""
    return blake2b(record, digest_size=8).digest()
