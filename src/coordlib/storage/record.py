"""The bytes of the log: segment heads and records.

Pure: bytes in, bytes out. It opens no file and decides nothing; what damage
means is for ``recovery`` to say. Whatever is read is taken for hostile.

All numbers are big-endian. A *segment* is a head, then records to its end::

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

The CRC of a record starts from a number made of its segment and its offset, so
a good record in a wrong place counts as damage: a write that went astray, or a
payload that holds a copy of a log. The chain, the BLAKE2b of whole records,
proves that none is missing or from another history.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from hashlib import blake2b

import attrs

from coordlib.errors import CorruptLogError, ForeignStorageError, StorageError

from .interface import Entry, EntryKind

__all__ = [
    "CHAIN_START",
    "Identity",
    "SegmentHead",
    "SegmentScan",
    "check_version",
    "encode_record",
]

CHAIN_START = bytes(8)

_VERSION = 1
_PREFIX = struct.Struct(">8sHH16s")
_SEGMENT_MAGIC = b"coordlog"
_SEGMENT = struct.Struct(">QQ8sI")
_CRC = struct.Struct(">I")
_SEGMENT_HEAD_SIZE = _PREFIX.size + _SEGMENT.size + _CRC.size
_NO_META = 0xFFFFFFFF
_RECORD_MAGIC = b"\xc0\x1d"
_RECORD = struct.Struct(">2sBIQ8s")
_RECORD_HEAD_SIZE = _RECORD.size + _CRC.size
_KINDS = frozenset(int(kind) for kind in EntryKind)
# A large odd number: neighbouring segments' places do not overlap.
_PLACE_STEP = 2654435761


@attrs.frozen
class Identity:
    """Whose files these are.

    Attributes:
      member: The member's id.
      name: The name of its ensemble.

    """

    member: int
    name: str

    def prefix(self, magic: bytes) -> bytes:
        """Return what a file of the kind ``magic`` begins with."""
        return _PREFIX.pack(magic, _VERSION, self.member, self._digest())

    def check(self, file: str, prefix: bytes) -> None:
        """Check that the file beginning with ``prefix`` is ours.

        Raises:
          ForeignStorageError: It belongs to another member or ensemble.

        """
        _, _, member, digest = _PREFIX.unpack_from(prefix)
        if (member, digest) != (self.member, self._digest()):
            raise ForeignStorageError(
                f"{file} belongs to member {member} of an ensemble whose name has "
                f"the hash {digest.hex()}; expected member {self.member} of "
                f"{self.name!r}, hash {self._digest().hex()}"
            )

    def _digest(self) -> bytes:
        return blake2b(self.name.encode(), digest_size=16).digest()


def check_version(file: str, prefix: bytes) -> None:
    """Check that we can read the file beginning with ``prefix``.

    Raises:
      StorageError: It has a format of another version.

    """
    _, version, _, _ = _PREFIX.unpack_from(prefix)
    if version != _VERSION:
        raise StorageError(
            f"{file} has format version {version}; this is version {_VERSION}"
        )


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
        check_version(file, data)
        number, base, chain, meta_size = _SEGMENT.unpack_from(data, _PREFIX.size)
        end = _SEGMENT_HEAD_SIZE + (0 if meta_size == _NO_META else meta_size)
        meta = data[_SEGMENT_HEAD_SIZE:end]
        crc_at = _SEGMENT_HEAD_SIZE - _CRC.size
        crc = zlib.crc32(meta, zlib.crc32(data[:crc_at]))
        if end > len(data) or data[crc_at:_SEGMENT_HEAD_SIZE] != _CRC.pack(crc):
            raise CorruptLogError(file, 0, "the segment's head is damaged")
        identity.check(file, data)
        return SegmentHead(number, base, chain, None if meta_size == _NO_META else meta)


def encode_record(
    kind: int, zxid: int, body: bytes, *, chain: bytes, segment: int, offset: int
) -> tuple[bytes, bytes]:
    """Return a record, made for its place, and the hash that the next one names."""
    head = _RECORD.pack(_RECORD_MAGIC, kind, len(body), zxid, chain)
    crc = zlib.crc32(body, zlib.crc32(head, _place(segment, offset)))
    record = b"".join((head, _CRC.pack(crc), body))
    return record, blake2b(record, digest_size=8).digest()


def _place(segment: int, offset: int) -> int:
    return (segment * _PLACE_STEP + offset) & 0xFFFFFFFF


@attrs.define
class SegmentScan:
    """Reads a segment's records from first to last.

    Attributes:
      offset: Where the record in hand begins; after the last good one, where
        the next would.
      chain: The hash that the record at ``offset`` must name.
      damage: What is wrong at ``offset``; ``None`` while nothing is.

    """

    _data: bytes
    _head: SegmentHead
    offset: int = attrs.field(init=False)
    chain: bytes = attrs.field(init=False)
    damage: str | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin after the head."""
        self.offset = self._head.size
        self.chain = self._head.chain

    def entries(self) -> Iterator[Entry]:
        """Yield the entries up to the end or to the first damage."""
        while self.offset < len(self._data):
            end = self._end_of_record(self.offset)
            if end is None:
                self.damage = "damaged or incomplete record"
                return
            _, kind, _, zxid, chain = _RECORD.unpack_from(self._data, self.offset)
            if chain != self.chain:
                self.damage = "the record does not follow the one before it"
                return
            if kind not in _KINDS:
                self.damage = f"unknown kind of record: {kind}"
                return
            yield kind, zxid, self._data[self.offset + _RECORD_HEAD_SIZE : end]
            record = memoryview(self._data)[self.offset : end]
            self.chain = blake2b(record, digest_size=8).digest()
            self.offset = end

    def good_record_from(self, offset: int) -> int | None:
        """Return where a record with a good checksum begins, at or after ``offset``."""
        while True:
            offset = self._data.find(_RECORD_MAGIC, offset)
            if offset < 0:
                return None
            if self._end_of_record(offset) is not None:
                return offset
            offset += 1

    def _end_of_record(self, offset: int) -> int | None:
        """Return where the record at ``offset`` ends, or ``None`` if it is no good."""
        data = self._data
        body_at = offset + _RECORD_HEAD_SIZE
        if body_at > len(data):
            return None
        magic, _, size, _, _ = _RECORD.unpack_from(data, offset)
        end: int = body_at + size
        if magic != _RECORD_MAGIC or end > len(data):
            return None
        crc_at = offset + _RECORD.size
        crc = zlib.crc32(data[offset:crc_at], _place(self._head.number, offset))
        crc = zlib.crc32(memoryview(data)[body_at:end], crc)
        return end if data[crc_at:body_at] == _CRC.pack(crc) else None
