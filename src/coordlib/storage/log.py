"""The log and the snapshots in a data directory, being written.

Blocking and for one thread at a time: the file store's own. What is there
already is ``recovery``'s business. The order of the steps is the point of this
module: after any number of them a crash leaves a directory that recovers
everything that was reported durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import attrs

from .directory import Directory, segment_name, snapshot_name, temporary_name
from .history import Course, cut_refused
from .interface import Entry, EntryKind, Extent
from .reading import CutMark, Layout, RecordReading, SnapshotReading
from .record import Identity, SegmentHead, encode_record, encode_seal
from .snapshot import encode_snapshot

__all__ = ["Bounds", "Log", "Position"]


@attrs.frozen
class Bounds:
    """How large the files grow and how many stay.

    Attributes:
      segment_bytes_max: A segment that has grown beyond this is the last one
        no more. It may exceed it by one batch of writes.
      snapshots_kept: The newest snapshots, and the log since the oldest of
        them; as long as there are fewer, the whole log.
      kept_bytes_max: Fewer of them, if their files and what the log has only
        for them are larger than this. The newest, and the log since, stay.

    """

    segment_bytes_max: int
    snapshots_kept: int
    kept_bytes_max: int = 1 << 30


@attrs.define
class Position:
    """Where the log stands, and what there is besides.

    Attributes:
      segments: Number and base of each segment, without gaps; the last one
        grows.
      size: Bytes in the last segment.
      head_size: How many of them are its head.
      chain: The hash that the next record names.
      meta: The metadata in force.
      course: The zxids that the history passes through.
      snapshots: Zxids of the snapshots, ascending, each on the course.
      snapshot_bytes: The size of the content of the newest.
      sizes: Bytes of each segment but the last.
      cuts: What takes back records before it, in order.

    """

    segments: list[tuple[int, int]]
    size: int
    head_size: int
    chain: bytes
    meta: bytes | None
    course: Course
    snapshots: list[int]
    snapshot_bytes: int = 0
    sizes: list[int] = attrs.Factory(list)
    cuts: list[CutMark] = attrs.Factory(list)


@attrs.define(eq=False)
class Log:
    """Appends entries, keeps snapshots, purges what no recovery needs.

    An ``OSError`` out of any method that changes something, but for
    :meth:`stage_snapshot`, is final: this object must not be used again, and
    what is on the disk is known only after the next recovery.

    Attributes:
      extent: What can be read back; another value when that changes. Any thread
        may look.

    """

    _directory: Directory
    _identity: Identity
    _bounds: Bounds
    _at: Position
    # The same directory, for other threads, which do not wait for room.
    _beside: Directory = attrs.field(kw_only=True)
    # The last segment, or -1 before the first.
    _fd: int = attrs.field(default=-1, init=False)
    # Encoded for the place where the segment will be when they are written.
    _pending: list[bytes] = attrs.field(factory=list, init=False)
    extent: Extent = attrs.field(default=Extent(), init=False)
    _layout: Layout = attrs.field(default=Layout((), ()), init=False)
    # The size of a snapshot that is written aside.
    _staged_bytes: int = attrs.field(default=0, init=False)
    # What is damaged: snapshots, and segments up to this one.
    _bad_snapshots: set[int] = attrs.field(factory=set, init=False)
    _bad_segment: int = attrs.field(default=0, init=False)

    @_beside.default
    def _same(self) -> Directory:
        return self._directory

    def open(self) -> None:
        """Get ready to append, with a first segment where there is none."""
        if self._at.segments:
            number, _ = self._at.segments[-1]
            self._fd = self._directory.open_end(segment_name(number))
        else:
            self._begin_segment(1)
        self._survey()

    def close(self) -> None:
        """Release the segment's descriptor; what is pending is lost."""
        if self._fd >= 0:
            # Even if it fails the descriptor is gone, and soon somebody else's.
            fd, self._fd = self._fd, -1
            self._directory.close_file(fd)

    def append(self, entries: list[Entry]) -> None:
        """Take over the entries of one write; durable after :meth:`flush`.

        Raises:
          StorageError: The entries make no sense in this order.

        """
        at = self._at
        for kind, zxid, body in entries:
            if kind == EntryKind.TRANSACTION:
                at.course.append(zxid)
                self._encode(kind, zxid, body)
            elif kind == EntryKind.META:
                at.meta = body
                self._encode(kind, zxid, body)
            elif kind == EntryKind.CUT:
                self._cut(zxid)
            else:
                self._start_anew(zxid, body)

    def flush(self) -> None:
        """Make everything taken over durable."""
        if self._pending:
            self._directory.append(self._fd, self._sealed())
            self._pending.clear()
        if self._at.size > self._bounds.segment_bytes_max:
            self.roll()

    def stage_snapshot(self, zxid: int, pieces: Sequence[bytes]) -> None:
        """Write a snapshot aside; any thread may do this.

        Raises:
          OSError: Nothing is left of it: perhaps it was what filled the disk.

        """
        content = encode_snapshot(zxid, pieces, self._identity)
        name = temporary_name("saved", zxid)
        try:
            self._beside.stage(name, content)
        except OSError:
            # The error that counts is the first one.
            with suppress(OSError):
                self._beside.remove(name)
            raise
        self._staged_bytes = sum(map(len, pieces))

    def publish_snapshot(self, zxid: int) -> None:
        """Make a staged snapshot count, then purge; everything is flushed.

        If a cut or a new base has overtaken it, it is no state of ours any
        more and is dropped.
        """
        at = self._at
        newest = at.snapshots[-1] if at.snapshots else -1
        if zxid == newest and zxid in self._bad_snapshots:
            # It takes the place of one that is damaged.
            self._bad_snapshots.remove(zxid)
            at.snapshots.pop()
        elif zxid <= newest or not at.course.holds(zxid):
            self._directory.remove(temporary_name("saved", zxid))
            return
        self._directory.publish(temporary_name("saved", zxid), snapshot_name(zxid))
        at.snapshots.append(zxid)
        at.snapshot_bytes = self._staged_bytes
        # So that the segment that ends here can go before it is full.
        self.roll()
        self._purge()
        self._survey()

    def roll(self) -> None:
        """Go on in a new segment, unless this one is still empty."""
        if self._at.size == self._at.head_size:
            return
        number, _ = self._at.segments[-1]
        self.close()
        self._at.sizes.append(self._at.size)
        self._begin_segment(number + 1)
        self._survey()

    def _begin_segment(self, number: int) -> None:
        at = self._at
        head = SegmentHead(number, at.course.last, at.chain, at.meta)
        aside, name = temporary_name("log", number), segment_name(number)
        self._directory.stage(aside, [head.encode(self._identity)])
        self._directory.publish(aside, name)
        self._fd = self._directory.open_end(name)
        at.segments.append((number, head.base))
        at.size = at.head_size = head.size

    def _encode(self, kind: int, zxid: int, body: bytes) -> None:
        at = self._at
        record, at.chain = encode_record(
            kind,
            zxid,
            body,
            chain=at.chain,
            segment=at.segments[-1][0],
            offset=at.size,
        )
        at.size += len(record)
        self._pending.append(record)

    def _sealed(self) -> bytes:
        """Return what is pending, and a second account of it, for the same sync."""
        at = self._at
        records = b"".join(self._pending)
        seal, at.chain = encode_seal(
            records,
            at.course.last,
            chain=at.chain,
            segment=at.segments[-1][0],
            start=at.size - len(records),
        )
        at.size += len(seal)
        return records + seal

    def _cut(self, zxid: int) -> None:
        at = self._at
        beyond = [snapshot for snapshot in at.snapshots if snapshot > zxid]
        if at.course.base and zxid and len(beyond) == len(at.snapshots):
            raise cut_refused(zxid)
        at.cuts.append(CutMark(at.segments[-1][0], at.size, zxid))
        self._encode(EntryKind.CUT, zxid, b"")
        at.course.cut(zxid)
        # A crash before the cut is durable loses nothing: the whole log since
        # the older snapshot, or since the beginning, is there.
        self._remove_snapshots(beyond)
        self._survey()

    def _start_anew(self, zxid: int, body: bytes) -> None:
        at = self._at
        self.flush()
        aside = temporary_name("received", zxid)
        self._directory.stage(aside, encode_snapshot(zxid, [body], self._identity))
        self._directory.publish(aside, snapshot_name(zxid))
        at.cuts.append(CutMark(at.segments[-1][0], at.size, 0))
        self._encode(EntryKind.BASE, zxid, b"")
        at.course = Course(zxid)
        old = [snapshot for snapshot in at.snapshots if snapshot != zxid]
        at.snapshots, at.snapshot_bytes = [*old, zxid], len(body)
        # From here on nothing before the base counts.
        self.flush()
        self._remove_snapshots(old)
        self.roll()
        self._remove_segments(len(at.segments) - 1)
        self._survey()

    def _remove_snapshots(self, zxids: list[int]) -> None:
        for zxid in zxids:
            self._directory.remove(snapshot_name(zxid))
            self._at.snapshots.remove(zxid)
        if zxids:
            self._directory.sync()

    def _purge(self) -> None:
        """Remove what is not worth its bytes; the newest snapshot was read back."""
        at, bounds = self._at, self._bounds
        count, first = len(at.snapshots), 0
        if count >= bounds.snapshots_kept:
            count = bounds.snapshots_kept
            first = self._first_needed(at.snapshots[-count])
        while count > 1 and self._bytes_beside_newest(count, first) > (
            bounds.kept_bytes_max
        ):
            count -= 1
            first = self._first_needed(at.snapshots[-count])
        if self._bytes_beside_newest(count, first) > bounds.kept_bytes_max:
            first = self._first_needed(at.snapshots[-1])
        self._remove_snapshots(at.snapshots[:-count])
        if first > 0:
            self._remove_segments(first)
            at.course.base = max(at.course.base, at.segments[0][1])

    def _bytes_beside_newest(self, count: int, first: int) -> int:
        """Return the bytes that are kept, but not for the newest snapshot.

        Args:
          count: How many snapshots are kept.
          first: The index of the first segment that is kept.

        """
        at = self._at
        older = at.snapshots[-count:-1]
        files = sum(self._directory.size(snapshot_name(zxid)) for zxid in older)
        return files + sum(at.sizes[first : self._first_needed(at.snapshots[-1])])

    def _first_needed(self, zxid: int) -> int:
        """Return the index of the first segment that a recovery from ``zxid`` needs.

        A segment whose base is not beyond ``zxid`` replays the whole history
        since: whatever came before it ends at its base, or was cut.
        """
        enough = [i for i, (_, base) in enumerate(self._at.segments) if base <= zxid]
        return enough[-1] if enough else 0

    def _remove_segments(self, count: int) -> None:
        for number, _ in self._at.segments[:count]:
            self._directory.remove(segment_name(number))
            # One by one: a crash must not leave a gap.
            self._directory.sync()
        del self._at.segments[:count], self._at.sizes[:count]
        first = self._at.segments[0][0]
        self._at.cuts = [cut for cut in self._at.cuts if cut.segment >= first]

    # --- reading it back ---

    def read_records(self, after: int, upto: int) -> RecordReading:
        """Return what reads the transactions with ``after < zxid <= upto``.

        They are durable. Any thread may call this and use the result.
        """
        return RecordReading(self._beside, self._identity, self._layout, after, upto)

    def read_snapshot(self, zxid: int) -> SnapshotReading:
        """Return what reads a kept snapshot. Any thread may call and use this."""
        return SnapshotReading(self._beside, self._identity, zxid)

    def distrust_segment(self, number: int) -> None:
        """Read neither this segment back any more nor those before it."""
        self._bad_segment = max(self._bad_segment, number)
        if number >= self._at.segments[-1][0]:
            self.roll()
        self._survey()

    def distrust_snapshot(self, zxid: int) -> None:
        """Do not send this snapshot any more."""
        if zxid in self._at.snapshots:
            self._bad_snapshots.add(zxid)
        self._survey()

    def _survey(self) -> None:
        """Write down what others may read."""
        at = self._at
        self._layout = Layout(tuple(at.segments), tuple(at.cuts))
        self._bad_snapshots.intersection_update(at.snapshots)
        good = [
            (base, size)
            for (number, base), size in zip(
                at.segments, [*at.sizes, at.size], strict=True
            )
            if number > self._bad_segment
        ]
        newest = at.snapshots[-1] if at.snapshots else None
        snapshot = None
        if newest is not None and newest not in self._bad_snapshots:
            snapshot = newest, at.snapshot_bytes
        base = max(at.course.base, good[0][0]) if good else at.course.last
        self.extent = Extent(base, tuple(good), snapshot)
