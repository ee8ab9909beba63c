"""``coordlib log repair``: makes a damaged directory one that a start takes.

Never without a complete copy beside it, and never more than was asked for. What
is lost nowhere is repaired without further ado: a torn end, a snapshot that an
older one stands in for, and old segments that a good snapshot makes dispensable.
Else all from the first damage on is dropped, which may have been acknowledged;
that has to be said explicitly. The member does not vote then before the others
have synchronised it, unless it is the only one.

A crash may come anywhere. Dropping begins with the segment in which the damage
is: it is replaced, at one go, by its good part and a record that says that the
disk has forgotten something. What follows does not fit it then, nor does it when
some of that is gone; so what there is meanwhile is refused as before, or whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import attrs

from coordlib.errors import StorageError
from coordlib.ids import Epoch, epoch_of, format_zxid
from coordlib.replica.metadata import decode_metadata, encode_metadata
from coordlib.storage.directory import (
    OS,
    Directory,
    segment_name,
    snapshot_name,
    temporary_name,
)
from coordlib.storage.history import Course
from coordlib.storage.interface import EntryKind
from coordlib.storage.record import encode_record, encode_seal
from coordlib.storage.recovery import recover

from .copying import copy_files, new_directory
from .files import SegmentSurvey, look_at
from .rewriting import forgetful, standing_alone
from .survey import Survey, survey
from .terminal import note, say
from .verify import summary

__all__ = ["repair"]


@attrs.frozen
class Plan:
    """What is to be done about damage.

    Attributes:
      course: The history that will be left.
      segments: Those that go.
      snapshots: The zxids of those that go.
      cut: The last segment that stays, if what comes after its good part is lost.
      lost: What is lost, for people; empty if nothing is.

    """

    course: Course
    segments: list[int] = attrs.Factory(list)
    snapshots: list[int] = attrs.Factory(list)
    cut: SegmentSurvey | None = None
    lost: list[str] = attrs.Factory(list)


def repair(path: Path, *, yes: bool, drop_acknowledged: bool, standalone: bool) -> int:
    """Repair a directory on which no replica runs, and return the exit code.

    Args:
      path: The data directory.
      yes: Do it; otherwise only say what would be done.
      drop_acknowledged: Even if what may have been acknowledged is lost.
      standalone: The member is the only one of its ensemble.

    Raises:
      StorageLockedError: A replica runs on it.
      StorageError: It cannot be repaired.
      OSError: The operating system refused. The copy is there, and the directory
        is refused at a start, or good.

    """
    if not path.is_dir():
        raise StorageError(f"{path} is no data directory")
    # First: a directory without anything of ours gets no lock file.
    look_at(path)
    directory = Directory.open(path, OS)
    try:
        found = survey(path)
        for finding in found.findings:
            say(f"{'damage' if finding.is_damage else 'note'}: {finding}")
        if not found.findings:
            say(f"{path}: {summary(found)}; there is nothing to repair")
            return 0
        plan = _plan(found)
        _explain(plan)
        if not yes or (plan.lost and not drop_acknowledged):
            flags = "--yes" if not plan.lost else "--yes --drop-acknowledged"
            note(f"coordlib: nothing was changed; {flags} does it")
            return 1 if found.damage else 0
        _copy_aside(directory, path)
        _carry_out(directory, found, plan, standalone=standalone)
        # Tidies up as a start does, and refuses what is not good.
        recover(directory, found.identity)
    finally:
        directory.close()
    say(f"{path}: {summary(survey(path))}")
    if plan.cut is not None and not standalone:
        note("note: the member does not vote before the others have synchronised it")
    return 0


def _plan(found: Survey) -> Plan:
    if not found.segments or all(s.identity is None for s in found.segments):
        raise _hopeless(found)
    good = found.good_snapshots
    bad = [part.zxid for part in found.snapshots if part.zxid not in good]
    log_damage = [f for f in found.damage if not f.file.startswith("snapshot.")]
    if not log_damage:
        if found.course.base and found.state is None:
            raise _hopeless(found)
        return Plan(found.course, snapshots=bad)
    whole = _whole_end(found.segments)
    course = _course_of(whole)
    if whole and any(course.holds(zxid) for zxid in good):
        earlier = [s.number for s in found.segments if s.number < whole[0].number]
        overtaken = [zxid for zxid in good if not course.holds(zxid)]
        return Plan(course, earlier, bad + overtaken)
    return _lossy_plan(found, good)


def _lossy_plan(found: Survey, good: list[int]) -> Plan:
    """Plan to keep what comes before the first damage."""
    cut = _last_fitting(found)
    if cut is None or (found.course.base and not any(map(found.course.holds, good))):
        raise _hopeless(found)
    later = [s for s in found.segments if s.number > cut.number]
    gone = [p.zxid for p in found.snapshots if not found.course.holds(p.zxid)]
    bad = [p.zxid for p in found.snapshots if p.zxid not in good]
    return Plan(
        found.course,
        [segment.number for segment in later],
        sorted({*gone, *bad}),
        cut,
        list(_losses(found, cut, later)),
    )


def _hopeless(found: Survey) -> StorageError:
    return StorageError(
        f"{found.path} has no good state to begin with: {found.damage[0]}. Start the "
        "member with an empty directory, restore a backup, or export and import what "
        "snapshot there is"
    )


def _whole_end(segments: list[SegmentSurvey]) -> list[SegmentSurvey]:
    """Return the longest end of the log in which nothing is wrong."""
    whole: list[SegmentSurvey] = []
    for segment in reversed(segments):
        if whole:
            following = whole[0]
            fits = (
                segment.is_whole
                and following.head is not None
                and following.number == segment.number + 1
                and following.head.chain == segment.chain
            )
        else:
            fits = segment.rot is None
        if not fits:
            break
        whole.insert(0, segment)
    return whole


def _course_of(segments: list[SegmentSurvey]) -> Course:
    course = Course(0)
    for segment in segments:
        if segment is segments[0] or segment.anew:
            course = Course(segment.course.base)
        course.join(segment.course)
    return course


def _last_fitting(found: Survey) -> SegmentSurvey | None:
    """Return the last segment of which something stays: that of the first damage."""
    fitting: SegmentSurvey | None = None
    for segment in found.segments:
        if segment.identity != found.identity or (
            fitting is not None
            and (
                segment.number != fitting.number + 1
                or segment.head is None
                or segment.head.chain != fitting.chain
            )
        ):
            break
        fitting = segment
        if not segment.is_whole:
            break
    return fitting


def _losses(
    found: Survey, cut: SegmentSurvey, later: list[SegmentSurvey]
) -> Iterator[str]:
    kept = found.course.last
    size = cut.size - cut.end
    if size:
        yield f"{cut.file}, byte {cut.end}: {size} bytes to its end"
    for segment in later:
        yield f"{segment.file}: all of it, with {segment.records} records that are good"
    known = [s.course.last for s in later if s.head is not None]
    known += [s.head.base for s in later if s.head is not None]
    known += [part.zxid for part in found.snapshots]
    last = max(known, default=kept)
    until = f" to {format_zxid(last)}" if last > kept else ""
    yield (
        f"the transactions after {format_zxid(kept)}{until}, and perhaps later ones: "
        "they were synced, and may have been acknowledged"
    )


def _explain(plan: Plan) -> None:
    for number in plan.segments:
        say(f"to remove: {segment_name(number)}")
    for zxid in plan.snapshots:
        say(f"to remove: {snapshot_name(zxid)}")
    if plan.cut is not None:
        say(f"to cut: {plan.cut.file} at byte {plan.cut.end}")
    for loss in plan.lost:
        say(f"lost: {loss}")
    if not plan.lost:
        say("lost: nothing that was acknowledged")


def _copy_aside(directory: Directory, path: Path) -> None:
    contents = directory.contents()
    names = [*map(snapshot_name, contents.snapshots)]
    names += map(segment_name, contents.segments)
    names += contents.temporary + contents.damaged
    targets = (path.with_name(f"{path.name}.before-repair-{n}") for n in count(1))
    target = next(target for target in targets if not target.exists())
    with new_directory(target) as aside:
        copy_files(directory, names, aside, "copy")
    say(f"{target}: a copy of all that was there")


def _carry_out(
    directory: Directory, found: Survey, plan: Plan, *, standalone: bool
) -> None:
    if plan.cut is not None:
        _replace(directory, found, plan.cut, plan.course.last, standalone=standalone)
    for number in plan.segments:
        directory.remove(segment_name(number))
        directory.sync()
    for zxid in plan.snapshots:
        directory.remove(snapshot_name(zxid))
    directory.sync()


def _replace(
    directory: Directory,
    found: Survey,
    cut: SegmentSurvey,
    last: int,
    *,
    standalone: bool,
) -> None:
    """Put the good part of a segment in its place, with metadata that own up."""
    metadata = decode_metadata(cut.meta)
    # The newest promise may be among what is lost.
    epochs = [segment.highest_epoch for segment in found.segments]
    epochs += [epoch_of(segment.course.last) for segment in found.segments]
    epochs += [epoch_of(part.zxid) for part in found.snapshots]
    highest = max(metadata.accepted_epoch, *epochs)
    metadata = attrs.evolve(metadata, accepted_epoch=Epoch(highest))
    metadata = standing_alone(metadata) if standalone else forgetful(metadata)
    content = directory.read(cut.file)[: cut.end]
    number, chain, start = cut.number, cut.chain, cut.sealed
    record, chain = encode_record(
        EntryKind.META,
        0,
        encode_metadata(metadata),
        chain=chain,
        segment=number,
        offset=len(content),
    )
    content += record
    seal, _ = encode_seal(
        content[start:], last, chain=chain, segment=number, start=start
    )
    aside = temporary_name("repaired", number)
    directory.stage(aside, [content, seal])
    directory.publish(aside, cut.file)
