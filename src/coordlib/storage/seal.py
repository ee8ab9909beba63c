"""What is known twice: the seal that ends each batch of records.

A batch is what one write and one sync carry to the disk: some records, then a
record that says how long they are together and has a checksum of each sector
of them. So the end of a log can be judged, where nothing later proves that it
was ever synced. Pure.

What may have happened to the *last* batch, and what then is to be seen:

* The power failed before its sync returned; it was never acknowledged. Of each
  sector the disk has what was written or what was there before, which is
  nothing: zeros, or the end of the file. Where writes are not atomic, the last
  sector that got there, and any after it, may be garbage. Hence the seal, which
  comes last, is gone or bad; or it is good, and all that is bad is zeros.
* It was synced, perhaps acknowledged, then a bit, or a few, rotted. Either the
  seal is good, and what is bad are not all zeros; or what rotted is the seal
  itself, and every record is good.

So: seal bad, and no other batch after it: keep the good records that there are,
cut the rest. That loses nothing acknowledged, as two faults in one batch would
be needed. Seal good and all that is bad are sectors of zeros: torn. Seal good
and something else is bad: rot. A sector in which one flipped bit leaves zeros
(all but empty, so a long row of zeros in a payload) counts as rot: it was more
likely acknowledged than not. What cannot be told apart is a synced sector that
turned to zeros *as a whole*, in the last batch alone, from one never written.

When anything follows a seal, its batch was synced, for a batch is written after
the sync of the one before it: then all damage is rot.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache

import attrs

__all__ = ["Seal", "encode_seal_body", "start_of_sealed"]

# The smallest unit that any disk writes as a whole; larger ones are some of it.
_SECTOR = 512
_LENGTH = struct.Struct(">Q")
_CRC_SIZE = 4


def _sectors(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where each sector's part of these bytes of the file begins and ends."""
    while start < end:
        following = min(end, start - start % _SECTOR + _SECTOR)
        yield start, following
        start = following


def encode_seal_body(records: bytes, start: int) -> bytes:
    """Return the body of the seal of ``records``, which begin at byte ``start``."""
    # Not by _sectors, which takes half as long again: this is done for each write.
    crc32, view, size = zlib.crc32, memoryview(records), len(records)
    first = _SECTOR - start % _SECTOR
    checksums = [crc32(view[:first])]
    checksums += [crc32(view[at : at + _SECTOR]) for at in range(first, size, _SECTOR)]
    return struct.pack(f">Q{len(checksums)}I", size, *checksums)


def start_of_sealed(data: bytes, offset: int, body_at: int, size: int) -> int | None:
    """Return where that begins which may have its seal at ``offset``.

    ``None`` if this is no seal. The arguments are those of :meth:`Seal.decode`.
    """
    if size < _LENGTH.size or body_at + size > len(data):
        return None
    (length,) = _LENGTH.unpack_from(data, body_at)
    start: int = offset - length
    if start < 0 or start == offset:
        return None
    count = (offset - 1) // _SECTOR - start // _SECTOR + 1
    return start if size == _LENGTH.size + _CRC_SIZE * count else None


@lru_cache(maxsize=64)
def _one_bit_from_nothing(size: int) -> frozenset[int]:
    """Return the checksums of all parts of this size that have a single bit set."""
    return frozenset(
        zlib.crc32((1 << bit).to_bytes(size, "big")) for bit in range(8 * size)
    )


@attrs.frozen
class Seal:
    """A seal in its place.

    Attributes:
      offset: Where it begins, and what it seals ends.
      end: Where it ends.
      start: Where what it seals begins.

    """

    offset: int
    end: int
    start: int
    _checksums: bytes

    @staticmethod
    def decode(data: bytes, offset: int, body_at: int, size: int) -> Seal | None:
        """Return what may be a seal at ``offset``; its own checksum is not ours.

        Args:
          data: The segment.
          offset: Where the record begins.
          body_at: Where its body begins.
          size: The length of the body, as the record says.

        """
        start = start_of_sealed(data, offset, body_at, size)
        if start is None:
            return None
        checksums = data[body_at + _LENGTH.size : body_at + size]
        return Seal(offset, body_at + size, start, checksums)

    def is_torn(self, data: bytes) -> bool:
        """Tell whether sectors are bad, and each of them as if never written."""
        torn = False
        checksums = struct.iter_unpack(">I", self._checksums)
        for (begin, end), (checksum,) in zip(
            _sectors(self.start, self.offset), checksums, strict=True
        ):
            part = data[begin:end]
            if zlib.crc32(part) == checksum:
                continue
            if part.count(0) < len(part) or checksum in _one_bit_from_nothing(
                len(part)
            ):
                return False
            torn = True
        return torn
