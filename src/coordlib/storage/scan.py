"""Reads the records of a segment, and says what its first damage can be.

Pure: it opens no file. What is to be done about damage is for ``recovery``.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from .interface import Entry, EntryKind
from .record import (
    CHECKED_RECORD,
    RECORD,
    RECORD_HEAD_SIZE,
    RECORD_MAGIC,
    SEAL,
    SegmentHead,
    hash_of,
    record_checksum,
)
from .seal import Seal, start_of_sealed

__all__ = ["SegmentScan"]

_KINDS = frozenset(int(kind) for kind in EntryKind)
_SEAL_BEGIN = RECORD_MAGIC + bytes((SEAL,))


@attrs.define
class SegmentScan:
    """Reads a segment's records from first to last.

    Attributes:
      offset: Where the record in hand begins; after the last good one, where
        the next would.
      sealed: Where the last good seal before it ends, or the head.
      chain: The hash that the record at ``offset`` must name.
      damage: What is wrong at ``offset``; ``None`` while nothing is.

    """

    _data: bytes
    _head: SegmentHead
    offset: int = attrs.field(init=False)
    sealed: int = attrs.field(init=False)
    chain: bytes = attrs.field(init=False)
    damage: str | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin after the head."""
        self.offset = self.sealed = self._head.size
        self.chain = self._head.chain

    @property
    def unsealed(self) -> bytes:
        """The good records that no seal follows."""
        return self._data[self.sealed : self.offset]

    def entries(self) -> Iterator[Entry]:
        """Yield the entries up to the end or to the first damage."""
        data, size = self._data, len(self._data)
        while (offset := self.offset) < size:
            record = self._record_at(offset)
            if record is None:
                self.damage = "damaged or incomplete record"
                return
            kind, zxid, chain, body = record
            if chain != self.chain:
                self.damage = "the record does not follow the one before it"
                return
            end = offset + RECORD_HEAD_SIZE + len(body)
            if kind == SEAL:
                if not self._is_own_seal(len(body)):
                    self.damage = "the seal is of other records"
                    return
                self.sealed = end
            elif kind in _KINDS:
                yield kind, zxid, body
            else:
                self.damage = f"unknown kind of record: {kind}"
                return
            self.chain = hash_of(data[offset:end])
            self.offset = end

    def rot(self) -> str | None:
        """Tell why the damage is none that a power cut does to what it interrupts.

        ``None`` if all is good up to the end, or if the damaged batch is the last
        and was never acknowledged; see ``seal`` for the reasons.
        """
        if self.damage is None:
            return None
        if self._record_at(self.offset) is not None:
            # Complete and in its place, so it was written like that.
            return self.damage
        seal = self._seal_beyond()
        if seal is None:
            return None
        if seal.start > self.offset:
            return f"{self.damage}, with a good batch at byte {seal.start}"
        if seal.end < len(self._data):
            return f"{self.damage}, with another batch at byte {seal.end}"
        if seal.is_torn(self._data):
            return None
        return f"{self.damage}, with a good seal at byte {seal.offset}"

    def _is_own_seal(self, size: int) -> bool:
        body_at = self.offset + RECORD_HEAD_SIZE
        start = start_of_sealed(self._data, self.offset, body_at, size)
        return start == self.sealed

    def _seal_beyond(self) -> Seal | None:
        """Return the first good seal of a batch that is damaged or comes later."""
        offset = self.offset
        while True:
            offset = self._data.find(_SEAL_BEGIN, offset)
            if offset < 0:
                return None
            body_at = offset + RECORD_HEAD_SIZE
            if body_at <= len(self._data):
                size: int = RECORD.unpack_from(self._data, offset)[2]
                # What may be a seal first: a payload of many that look like
                # records would take the square of its length.
                seal = Seal.decode(self._data, offset, body_at, size)
                if (
                    seal is not None
                    and (seal.start == self.sealed or seal.start > self.offset)
                    and self._record_at(offset) is not None
                ):
                    return seal
            offset += 1

    def _record_at(self, offset: int) -> tuple[int, int, bytes, bytes] | None:
        """Return the kind, zxid, chain and body of a record, if it is good."""
        data = self._data
        body_at = offset + RECORD_HEAD_SIZE
        if body_at > len(data):
            return None
        magic, kind, size, zxid, chain, crc = CHECKED_RECORD.unpack_from(data, offset)
        if magic != RECORD_MAGIC or size > len(data) - body_at:
            return None
        body = data[body_at : body_at + size]
        head = data[offset : offset + RECORD.size]
        if crc != record_checksum(head, body, self._head.number, offset):
            return None
        return kind, zxid, chain, body
