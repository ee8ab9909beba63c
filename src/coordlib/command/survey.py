"""Reads all of a data directory, and says what it holds and what is wrong.

It changes nothing and takes no lock; recovery judges by the same rules, but
stops at the first damage and needs to know whose the directory is. Segments
are read by several processes, and put together by their heads' chains.

A replica may run meanwhile. Then the end of its log may look torn, for that is
what a batch looks like while it is written; and files may be gone that were
there a moment ago, so the survey begins again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs

from coordlib.errors import CorruptLogError, ProtocolError, StorageError
from coordlib.ids import format_zxid
from coordlib.replica.driver import decode_metadata
from coordlib.storage.directory import (
    Contents,
    Directory,
    segment_name,
    snapshot_name,
)
from coordlib.storage.history import Course
from coordlib.storage.interface import EntryKind
from coordlib.storage.record import PREFIX_SIZE, Identity, SegmentHead
from coordlib.storage.scan import SegmentScan
from coordlib.storage.snapshot import read_snapshot

from .terminal import Progress

__all__ = [
    "Finding",
    "SegmentSurvey",
    "SnapshotSurvey",
    "Survey",
    "again_if_purged",
    "look_at",
    "survey",
]

T = TypeVar("T")

# Below this a second process costs more than it does.
_POOL_BYTES = 32 << 20
_ATTEMPTS = 10
# A plain number compares faster, millions of times.
_TRANSACTION = int(EntryKind.TRANSACTION)


@attrs.frozen
class Finding:
    """Something about one place that is worth a line.

    Attributes:
      file: The name of the file.
      offset: Where in it.
      what: What is there, for people.
      is_damage: Whether something that was durable is damaged or missing.

    """

    file: str
    offset: int
    what: str
    is_damage: bool

    def __str__(self) -> str:
        return f"{self.file}, byte {self.offset}: {self.what}"


@attrs.frozen
class SegmentSurvey:
    """One segment of the log, by itself.

    Attributes:
      number: As in its name.
      size: In bytes.
      head: ``None`` if it is damaged.
      identity: Whose it is; ``None`` as well.
      records: How many good ones there are from the beginning, without seals.
      meta: The metadata in force at the end of them.
      highest_epoch: The highest epoch that the metadata in it promise.
      end: Where the good records end.
      chain: The hash of the last of them.
      course: Where the history goes in it; it begins at the head's base.
      anew: Whether it begins anew in this segment, after a received snapshot.
      sealed: Where the records end that have a seal.
      damage: What is wrong at ``end``.
      rot: Why no power cut can have done that, were this the last segment.

    """

    number: int
    size: int
    head: SegmentHead | None = None
    identity: Identity | None = None
    records: int = 0
    meta: bytes | None = None
    highest_epoch: int = 0
    end: int = 0
    chain: bytes = b""
    course: Course = attrs.Factory(lambda: Course(0))
    anew: bool = False
    sealed: int = 0
    damage: str | None = None
    rot: str | None = None

    @property
    def file(self) -> str:
        """Its name."""
        return segment_name(self.number)

    @property
    def is_whole(self) -> bool:
        """Whether all of it is good, up to a seal at its end."""
        return self.damage is None and self.sealed == self.end


@attrs.frozen
class SnapshotSurvey:
    """One snapshot, by itself.

    Attributes:
      zxid: As in its name.
      size: In bytes.
      identity: Whose it is, if that can be told.
      damage: What is wrong with it.

    """

    zxid: int
    size: int
    identity: Identity | None
    damage: Finding | None


@attrs.define
class Survey:
    """A whole data directory.

    Attributes:
      path: Where it is.
      segments: Ascending, those that are there.
      snapshots: Ascending, those that are there.
      findings: What is to be said, in the order of the log, then of snapshots.
      course: Where the history goes, up to the first damage of the log.
      state: The zxid of the newest good snapshot on that course; ``None``
        without one.

    """

    path: Path
    segments: list[SegmentSurvey]
    snapshots: list[SnapshotSurvey]
    findings: list[Finding] = attrs.Factory(list)
    course: Course = attrs.Factory(lambda: Course(0))
    state: int | None = None

    @property
    def damage(self) -> list[Finding]:
        """Those of the findings that are damage."""
        return [finding for finding in self.findings if finding.is_damage]

    @property
    def identity(self) -> Identity:
        """Whose the directory is, by its first file that tells."""
        for part in self._parts():
            if part.identity is not None:
                return part.identity
        raise StorageError(f"{self.path}: no file is good enough to tell whose it is")

    @property
    def size(self) -> int:
        """The bytes of all segments and snapshots."""
        return sum(part.size for part in self._parts())

    def _parts(self) -> list[SegmentSurvey | SnapshotSurvey]:
        return [*self.segments, *self.snapshots]


def look_at(path: Path) -> Directory:
    """Open a data directory for reading.

    Raises:
      StorageError: There is none, or nothing of ours is in it.

    """
    directory = Directory.look(path)
    contents = directory.contents()
    if not contents.segments and not contents.snapshots:
        directory.close()
        raise StorageError(f"{path} holds no log and no snapshot")
    return directory


def again_if_purged(attempt: Callable[[], T]) -> T:
    """Return what ``attempt`` does; again when a replica removes files meanwhile."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return attempt()
        except FileNotFoundError:
            continue
    return attempt()


def survey(path: Path) -> Survey:
    """Read all of a data directory.

    Raises:
      StorageError: It holds nothing, or files of an unknown version.
      OSError: The operating system refused.

    """
    look_at(path).close()
    return again_if_purged(partial(_survey, path))


def _survey(path: Path) -> Survey:
    directory = look_at(path)
    try:
        contents = directory.contents()
        names = [*map(segment_name, contents.segments)]
        names += map(snapshot_name, contents.snapshots)
        sizes = [directory.size(name) for name in names]
    finally:
        directory.close()
    jobs = [partial(survey_segment, path, number) for number in contents.segments]
    total = sum(sizes)
    with Progress("verify", total) as progress:
        segments: list[SegmentSurvey] = []
        for part in _in_parallel(jobs, sum(sizes[: len(jobs)])):
            segments.append(part)
            progress.add(part.size)
        snapshots: list[SnapshotSurvey] = []
        for zxid in contents.snapshots:
            snapshots.append(survey_snapshot(path, zxid))
            progress.add(snapshots[-1].size)
    found = Survey(path, segments, snapshots)
    _judge_log(found)
    _judge_snapshots(found)
    _mention_others(found, contents)
    return found


def _in_parallel(jobs: Sequence[Callable[[], T]], size: int) -> Iterator[T]:
    """Yield the results, in order."""
    processes = min(len(jobs), os.cpu_count() or 1)
    if size < _POOL_BYTES or processes == 1:
        yield from (job() for job in jobs)
        return
    with ProcessPoolExecutor(
        processes,
        # Nothing of this process is inherited, least of all its threads' locks.
        multiprocessing.get_context("spawn"),
        # The parent alone says that it was interrupted.
        partial(signal.signal, signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        try:
            yield from pool.map(_call, jobs)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _call(job: Callable[[], T]) -> T:
    return job()


def survey_segment(path: Path, number: int) -> SegmentSurvey:
    """Read one segment, whatever is before and after it.

    Raises:
      StorageError: It has a format of another version.
      OSError: It is gone, or the operating system refused.

    """
    file = segment_name(number)
    data = read_file(path, file)
    identity = Identity.named_in(data)
    try:
        head = SegmentHead.decode(file, data, identity)
    except CorruptLogError as error:
        return SegmentSurvey(number, len(data), damage=error.reason, rot=error.reason)
    if head.number != number:
        copy = f"the file is a copy of segment {head.number}"
        return SegmentSurvey(number, len(data), damage=copy, rot=copy)
    scan = SegmentScan(data, head)
    records = _Records(head)
    damage: str | None
    rot: str | None
    try:
        for kind, zxid, body in scan.entries():
            records.count += 1
            if kind == _TRANSACTION:
                records.course.append(zxid)
            else:
                records.take(kind, zxid, body)
        damage, rot = scan.damage, scan.rot()
    except (StorageError, ProtocolError) as error:
        # A good record in its place that makes no sense: it was written so.
        damage = rot = str(error)
    return SegmentSurvey(
        number,
        len(data),
        head,
        identity,
        records.count,
        records.meta,
        records.highest_epoch,
        scan.offset,
        scan.chain,
        records.course,
        records.anew,
        scan.sealed,
        damage,
        rot,
    )


def read_file(path: Path, file: str) -> bytes:
    """Return what the disk has of a file, as a start would see it."""
    directory = Directory.look(path)
    try:
        directory.settle(file)
        return directory.read(file)
    finally:
        directory.close()


class _Records:
    """Adds up the records of a segment."""

    def __init__(self, head: SegmentHead) -> None:
        self.count = 0
        self.course = Course(head.base)
        self.anew = False
        self.meta = head.meta
        self.highest_epoch = decode_metadata(head.meta).accepted_epoch

    def take(self, kind: int, zxid: int, body: bytes) -> None:
        """Take a record that is no transaction.

        Raises:
          ProtocolError: It is not the metadata of a member.

        """
        if kind == EntryKind.CUT:
            self.course.cut(zxid)
        elif kind == EntryKind.META:
            self.meta = body
            epoch = decode_metadata(body).accepted_epoch
            self.highest_epoch = max(self.highest_epoch, epoch)
        else:
            self.course, self.anew = Course(zxid), True


def survey_snapshot(path: Path, zxid: int) -> SnapshotSurvey:
    """Read one snapshot.

    Raises:
      StorageError: It has a format of another version.
      OSError: It is gone, or the operating system refused.

    """
    name = snapshot_name(zxid)
    directory = Directory.look(path)
    try:
        directory.settle(name)
        with directory.reading(name) as read:
            identity = Identity.named_in(read(0, PREFIX_SIZE))
            size = 0
            try:
                size = sum(map(len, read_snapshot(name, zxid, read, identity)))
            except CorruptLogError as error:
                damage = Finding(name, error.offset, error.reason, is_damage=True)
                return SnapshotSurvey(zxid, size, None, damage)
    finally:
        directory.close()
    return SnapshotSurvey(zxid, size, identity, None)


def _judge_log(found: Survey) -> None:
    """Put the segments together, as recovery does, but past the first damage."""
    previous: SegmentSurvey | None = None
    for segment in found.segments:
        found.findings += _misfits(found, segment, previous)
        if not found.damage:
            course = segment.course
            if previous is None or segment.anew:
                found.course = attrs.evolve(course)
            found.course.join(course)
        is_last = segment is found.segments[-1]
        if not segment.is_whole:
            found.findings.append(_judge_end(segment, is_last=is_last))
        previous = segment


def _misfits(
    found: Survey, segment: SegmentSurvey, previous: SegmentSurvey | None
) -> Iterator[Finding]:
    """Yield why a segment does not go on where the one before it ends."""
    if segment.identity not in {None, found.identity}:
        what = "of another member or ensemble than the files before it"
        yield Finding(segment.file, 0, what, is_damage=True)
    if previous is None:
        return
    if segment.number != previous.number + 1:
        missing = segment_name(previous.number + 1)
        count = segment.number - previous.number - 1
        what = (
            "the segment is missing" if count == 1 else f"{count} segments are missing"
        )
        yield Finding(missing, 0, what, is_damage=True)
    elif (
        segment.head is not None
        and previous.is_whole
        and segment.head.chain != previous.chain
    ):
        what = "the segment does not follow the one before it"
        yield Finding(segment.file, 0, what, is_damage=True)


def _judge_end(segment: SegmentSurvey, *, is_last: bool) -> Finding:
    damage = segment.damage or "the last seal is missing"
    if not is_last:
        what = f"{damage}, not in the last file: it was synced, so this is rot"
        return Finding(segment.file, segment.end, what, is_damage=True)
    if segment.rot is not None:
        return Finding(segment.file, segment.end, segment.rot, is_damage=True)
    size = segment.size - segment.end
    what = (
        f"a torn end of {size} bytes, never acknowledged: a power cut, or a replica "
        "that is writing; a start cuts it off"
        if size
        else "a power cut took the last seal, or a replica is writing; a start mends it"
    )
    return Finding(segment.file, segment.end, what, is_damage=False)


def _judge_snapshots(found: Survey) -> None:
    """Find the state to start from, and say what is wrong with the others."""
    log_is_good = not found.damage
    for snapshot in found.snapshots:
        name = snapshot_name(snapshot.zxid)
        if snapshot.damage is not None:
            found.findings.append(snapshot.damage)
        elif found.segments and snapshot.identity != found.identity:
            what = "of another member or ensemble than the log"
            found.findings.append(Finding(name, 0, what, is_damage=True))
        elif found.course.holds(snapshot.zxid):
            found.state = snapshot.zxid
        elif log_is_good:
            what = "no state that the log passes through: a start removes it"
            found.findings.append(Finding(name, 0, what, is_damage=False))
    if not found.segments:
        what = "there are snapshots, but no log at all"
        name = snapshot_name(found.snapshots[-1].zxid)
        found.findings.append(Finding(name, 0, what, is_damage=True))
    elif found.course.base and found.state is None:
        base = found.course.base
        what = f"no good snapshot, and the log begins after {format_zxid(base)}"
        found.findings.append(Finding(snapshot_name(base), 0, what, is_damage=True))


def _mention_others(found: Survey, contents: Contents) -> None:
    for name in contents.temporary:
        what = "never completed; a start removes it, unless a replica is writing it"
        found.findings.append(Finding(name, 0, what, is_damage=False))
    for name in contents.damaged:
        what = "set aside as damaged by a start; it counts no more"
        found.findings.append(Finding(name, 0, what, is_damage=False))
