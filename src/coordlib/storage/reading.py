"""Reads log and snapshots back while they are being written and purged.

For members that are behind. Blocking and for one thread at a time, but not the
one that writes: what is read is opened at the beginning, so a purge takes names
away and not content, and gets its space when the reading ends. Nothing is
believed: checksums and chain are checked as at every start.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b

import attrs

from coordlib.errors import CorruptLogError, StorageError
from coordlib.ids import format_zxid

from .directory import Directory, segment_name, snapshot_name
from .interface import EntryKind
from .record import Identity, SegmentHead
from .scan import SegmentScan
from .snapshot import read_snapshot

__all__ = ["DIGEST_SIZE", "CutMark", "Layout", "RecordReading", "SnapshotReading"]

DIGEST_SIZE = 16
"""Bytes of what tells one snapshot's content from another's."""

# What one step reads at most, so that others have their turns.
_ENTRIES_MAX = 512
_BYTES_MAX = 1 << 18


@attrs.frozen
class CutMark:
    """A place in the log that takes back what came before it.

    Attributes:
      segment: The number of the segment.
      offset: The place in it.
      zxid: What lies beyond this, and before the place, is gone.

    """

    segment: int
    offset: int
    zxid: int


@attrs.frozen
class Layout:
    """Where what is in a log.

    Attributes:
      segments: Number and base of each segment, in order.
      cuts: In order.

    """

    segments: tuple[tuple[int, int], ...]
    cuts: tuple[CutMark, ...]

    def from_before(self, zxid: int) -> tuple[tuple[int, int], ...]:
        """Return the segments that replay the whole history after ``zxid``.

        Raises:
          StorageError: What comes after it was purged.

        """
        enough = [i for i, (_, base) in enumerate(self.segments) if base <= zxid]
        if not enough:
            raise StorageError(f"the log does not reach back to {format_zxid(zxid)}")
        return self.segments[enough[-1] :]

    def stands(self, segment: int, offset: int, zxid: int) -> bool:
        """Tell whether nothing later takes back ``zxid``, logged in this place."""
        place = (segment, offset)
        return not any(
            cut.zxid < zxid and (cut.segment, cut.offset) >= place for cut in self.cuts
        )


@attrs.define(eq=False)
class RecordReading:
    """The transactions with ``after < zxid <= upto``; all of them are durable.

    Attributes:
      segment: The number of the segment that is being read.

    """

    _directory: Directory
    _identity: Identity
    _layout: Layout
    _after: int
    _upto: int
    segment: int = attrs.field(default=0, init=False)
    # Number, base and descriptor of what is still to be read.
    _files: list[tuple[int, int, int]] | None = attrs.field(default=None, init=False)
    _scan: SegmentScan | None = attrs.field(default=None, init=False)
    _entries: Iterator[tuple[int, int, bytes]] = attrs.field(
        factory=lambda: iter(()), init=False
    )
    _chain: bytes | None = attrs.field(default=None, init=False)
    # The last zxid of the history up to here; -1 while it is not known.
    _last: int = attrs.field(default=-1, init=False)

    def next(self) -> list[tuple[int, bytes]] | None:
        """Return the next ones; few, perhaps none; ``None`` after the last.

        Raises:
          CorruptLogError: The segment ``segment`` is damaged.
          StorageError: The history does not pass through ``after``, or not
            through ``upto``; or it was purged before this was called first.
          OSError: The operating system refused.

        """
        if self._files is None:
            self._open()
        if self._last >= self._upto:
            return None
        records: list[tuple[int, bytes]] = []
        size = 0
        for _ in range(_ENTRIES_MAX):
            record = self._step()
            if record is not None:
                records.append(record)
                size += len(record[1])
            if self._last >= self._upto or size >= _BYTES_MAX:
                break
        return records

    def close(self) -> None:
        """Let go of the files. Idempotent, also if nothing was read."""
        for _, _, fd in self._files or ():
            self._directory.close_file(fd)
        self._files = []

    def _open(self) -> None:
        self._files = []
        for number, base in self._layout.from_before(self._after):
            try:
                fd = self._directory.open_start(segment_name(number))
            except FileNotFoundError as error:
                raise StorageError("the log was purged meanwhile") from error
            self._files.append((number, base, fd))
        number, base, _ = self._files[0]
        if self._layout.stands(number, 0, base):
            self._last = base

    def _step(self) -> tuple[int, bytes] | None:
        """Take one entry; return it if it is a transaction that is asked for."""
        entry = next(self._entries, None)
        if entry is None:
            self._begin_segment()
            return None
        kind, zxid, body = entry
        assert self._scan is not None
        if kind == EntryKind.BASE:
            self._last = zxid
        if kind != EntryKind.TRANSACTION or not self._layout.stands(
            self.segment, self._scan.offset, zxid
        ):
            return None
        if zxid > self._after > self._last:
            raise StorageError(
                f"the log does not pass through {format_zxid(self._after)}"
            )
        self._last = zxid
        return (zxid, body) if zxid > self._after else None

    def _begin_segment(self) -> None:
        """Go on to the next segment: this one has nothing more."""
        if self._scan is not None:
            self._chain = self._scan.chain
            if self._scan.damage is not None:
                raise CorruptLogError(
                    segment_name(self.segment), self._scan.offset, self._scan.damage
                )
        # Two segments at a time would be twice the memory.
        self._scan, self._entries = None, iter(())
        if not self._files:
            raise StorageError(f"the log ends before {format_zxid(self._upto)}")
        self.segment, base, fd = self._files.pop(0)
        name = segment_name(self.segment)
        try:
            content = self._directory.read_open(fd)
        finally:
            self._directory.close_file(fd)
        head = SegmentHead.decode(name, content, self._identity)
        if (head.number, head.base) != (self.segment, base):
            raise CorruptLogError(name, 0, "the head is of another segment")
        if self._chain not in (None, head.chain):
            reason = "the segment does not follow the one before it"
            raise CorruptLogError(name, 0, reason)
        self._scan = SegmentScan(content, head)
        self._entries = self._scan.entries()


@attrs.define(eq=False)
class SnapshotReading:
    """The content of a kept snapshot, chunk by chunk."""

    _directory: Directory
    _identity: Identity
    _zxid: int
    _fd: int = attrs.field(default=-1, init=False)
    # Set by :meth:`begin_at`: what to leave out of what comes.
    _skip: int = attrs.field(default=0, init=False)
    _chunks: Iterator[bytes] | None = attrs.field(default=None, init=False)

    def identify(self) -> tuple[int, bytes]:
        """Read all of it; return the size and the digest of the content.

        The digest is BLAKE2b, and the same at all members that hold the same.

        Raises:
          CorruptLogError: It is damaged.
          StorageError: It was purged meanwhile.
          OSError: The operating system refused.

        """
        size, digest = 0, blake2b(digest_size=DIGEST_SIZE)
        for chunk in self._open():
            size += len(chunk)
            digest.update(chunk)
        return size, digest.digest()

    def begin_at(self, offset: int) -> None:
        """Leave out so many bytes of what :meth:`next` returns."""
        self._skip = offset

    def next(self) -> bytes | None:
        """Return the next part of the content, perhaps nothing; ``None`` at the end.

        Raises:
          CorruptLogError: It is damaged.
          StorageError: It was purged meanwhile.
          OSError: The operating system refused.

        """
        if self._chunks is None:
            self._chunks = self._open()
        chunk = next(self._chunks, None)
        if chunk is not None and self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            return chunk[skipped:]
        return chunk

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if self._fd >= 0:
            self._directory.close_file(self._fd)
            self._fd = -1

    def _open(self) -> Iterator[bytes]:
        name = snapshot_name(self._zxid)
        if self._fd < 0:
            try:
                self._fd = self._directory.open_start(name)
            except FileNotFoundError as error:
                raise StorageError("the snapshot was purged meanwhile") from error
        read = partial(self._directory.read_at, self._fd)
        return read_snapshot(name, self._zxid, read, self._identity)
