"""Reads the files of a data directory one by one, each by itself.

It changes nothing and takes no lock. How they fit together is ``survey``'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from coordlib.errors import CorruptLogError, ProtocolError, StorageError
from coordlib.replica.metadata import decode_metadata
from coordlib.storage.directory import Directory, segment_name, snapshot_name
from coordlib.storage.history import Course
from coordlib.storage.interface import EntryKind
from coordlib.storage.record import PREFIX_SIZE, Identity, SegmentHead
from coordlib.storage.recovery import unreadable_is_damaged
from coordlib.storage.scan import SegmentScan
from coordlib.storage.snapshot import read_snapshot

__all__ = [
    "Finding",
    "SegmentSurvey",
    "SnapshotSurvey",
    "look_at",
    "looking",
    "read_file",
    "survey_segment",
    "survey_snapshot",
]

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


def look_at(path: Path) -> None:
    """Check that this is a data directory.

    Raises:
      StorageError: Nothing of ours is in it.
      OSError: There is none, or the operating system refused.

    """
    with looking(path) as directory:
        contents = directory.contents()
    if not contents.segments and not contents.snapshots:
        raise StorageError(f"{path} holds no log and no snapshot")


def survey_segment(path: Path, number: int) -> SegmentSurvey:
    """Read one segment, whatever is before and after it.

    Raises:
      StorageError: It has a format of another version.
      OSError: It is gone, or the operating system refused.

    """
    file = segment_name(number)
    data = b""
    try:
        data = read_file(path, file)
        identity = Identity.named_in(data)
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
    """Return what the disk has of a file, as a start would see it.

    Raises:
      CorruptLogError: The disk cannot give it back.
      OSError: It is gone, or the operating system refused.

    """
    with looking(path) as directory, unreadable_is_damaged(file):
        directory.settle(file)
        return directory.read(file)


@contextmanager
def looking(path: Path) -> Iterator[Directory]:
    """Open a directory for the block, to read it."""
    directory = Directory.look(path)
    try:
        yield directory
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
    with looking(path) as directory:
        size = directory.size(name)
        try:
            with unreadable_is_damaged(name):
                directory.settle(name)
                with directory.reading(name) as read:
                    identity = Identity.named_in(read(0, PREFIX_SIZE))
                    for _ in read_snapshot(name, zxid, read, identity):
                        pass
        except CorruptLogError as error:
            damage = Finding(name, error.offset, error.reason, is_damage=True)
            return SnapshotSurvey(zxid, size, None, damage)
    return SnapshotSurvey(zxid, size, identity, None)
