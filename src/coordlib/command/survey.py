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

from coordlib.errors import StorageError
from coordlib.ids import format_zxid
from coordlib.storage.directory import (
    Contents,
    segment_name,
    snapshot_name,
)
from coordlib.storage.history import Course
from coordlib.storage.record import Identity

from .files import (
    Finding,
    SegmentSurvey,
    SnapshotSurvey,
    look_at,
    looking,
    survey_segment,
    survey_snapshot,
)
from .terminal import Progress

__all__ = ["Survey", "again_if_purged", "survey"]

T = TypeVar("T")

# Below this a second process costs more than it does.
_POOL_BYTES = 32 << 20
_ATTEMPTS = 10


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

    @property
    def good_snapshots(self) -> list[int]:
        """The zxids of those that are whole and of the same member."""
        return [
            part.zxid
            for part in self.snapshots
            if part.damage is None and part.identity == self.identity
        ]

    def _parts(self) -> list[SegmentSurvey | SnapshotSurvey]:
        return [*self.segments, *self.snapshots]


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
    look_at(path)
    return again_if_purged(partial(_survey, path))


def _survey(path: Path) -> Survey:
    with looking(path) as directory:
        contents = directory.contents()
        names = [*map(segment_name, contents.segments)]
        names += map(snapshot_name, contents.snapshots)
        sizes = list(map(directory.size, names))
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


def _judge_log(found: Survey) -> None:
    """Put the segments together, as recovery does, but past the first damage."""
    previous: SegmentSurvey | None = None
    for segment in found.segments:
        found.findings += _misfits(found, segment, previous)
        if segment.head is not None and not found.damage:
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
    if segment.identity is not None and segment.identity != found.identity:
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
