"""What a data directory amounts to, and which damage a crash can explain.

Everything is read and judged before anything is changed. A directory that is
refused stays as it was found; or, where other members can repair it, all of it
is set aside by :mod:`.aside`, and the disk is empty but counts as damaged.

A crash leaves at most: unfinished files aside, an incomplete end of the last
segment, snapshots that a cut or a new base has overtaken, segments and
snapshots that were about to be purged. Only that is tidied up. A damaged end
of the last segment counts as torn, thus never acknowledged, only if its seal
does not object (see ``seal``); anything else is :exc:`CorruptLogError`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import attrs

from coordlib.errors import CorruptLogError, StorageError
from coordlib.ids import format_zxid

from .aside import set_aside
from .directory import Contents, Directory, segment_name, snapshot_name
from .history import Course, History
from .interface import Damage, EntryKind, Recovered, StoredSnapshot
from .log import Position
from .reading import CutMark
from .record import CHAIN_START, Identity, SegmentHead, encode_seal
from .scan import SegmentScan
from .snapshot import read_snapshot

__all__ = ["recover", "unreadable_is_damaged"]


def recover(
    directory: Directory, identity: Identity, *, repairable: bool = False
) -> tuple[Recovered, Position]:
    """Read the directory, tidy up after a crash, and say where the log goes on.

    Args:
      directory: Open and locked.
      identity: Whose it should be.
      repairable: Set a damaged log aside, and begin a new one.

    Raises:
      CorruptLogError: A file is damaged, unreadable or missing where no crash
        can have done it, and not ``repairable``; nothing was changed.
      ForeignStorageError: A file belongs to another member or ensemble.
      StorageError: A file has a format of another version.
      OSError: The operating system refused.

    """
    try:
        return _recover(directory, identity, repairable=repairable)
    except CorruptLogError as error:
        if not repairable:
            raise
        damage = Damage(error.file, error.offset, error.reason)
    set_aside(directory)
    recovered, position = _recover(directory, identity, repairable=True)
    return attrs.evolve(recovered, damage=(damage,)), position


def _recover(
    directory: Directory, identity: Identity, *, repairable: bool
) -> tuple[Recovered, Position]:
    contents = directory.contents()
    replay = _replay(directory, contents, identity)
    history, damage = replay.history, list[CorruptLogError]()
    # Until the first metadata is written: there is nothing else that could tell
    # this disk from a new one.
    damaged = bool(contents.damaged) and history == History()
    if damaged and not repairable:
        reason = "set aside as damaged, and nothing has taken its place"
        raise CorruptLogError(contents.damaged[0], 0, reason)
    snapshot = _newest_good_snapshot(directory, contents, identity, history, damage)
    good = [
        zxid
        for zxid in contents.snapshots
        if snapshot and zxid <= snapshot.zxid and history.holds(zxid)
    ]
    _tidy_up(directory, contents, replay, good, [error.file for error in damage])
    recovered = Recovered(
        history.meta,
        history.base,
        history.records,
        snapshot,
        tuple(Damage(error.file, error.offset, error.reason) for error in damage),
        damaged,
    )
    position = replay.position(good)
    position.snapshot_bytes = snapshot.size if snapshot else 0
    return recovered, position


@contextmanager
def unreadable_is_damaged(file: str) -> Iterator[None]:
    """Take a file that the disk cannot give back for damaged as any other."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EIO:
            raise CorruptLogError(file, 0, f"it cannot be read: {error}") from error
        raise


@attrs.define
class _Replay:
    """The log, read so far.

    Attributes:
      history: What it amounts to.
      segments: Number and base of each segment.
      chain: The hash of the last good record.
      head_size: The size of the last segment's head.
      end: Where the last segment ends, or will when it is tidied up.
      torn: Where something unfinished begins in it; ``None`` if nothing does.
      seal: What belongs there instead.
      sizes: Bytes of each segment but the last.
      cuts: What takes back records before it.

    """

    history: History = attrs.Factory(History)
    segments: list[tuple[int, int]] = attrs.Factory(list)
    chain: bytes = CHAIN_START
    head_size: int = 0
    end: int = 0
    torn: int | None = None
    seal: bytes = b""
    sizes: list[int] = attrs.Factory(list)
    cuts: list[CutMark] = attrs.Factory(list)

    def position(self, snapshots: list[int]) -> Position:
        """Return where the log goes on, given which snapshots are good."""
        course = Course(self.history.base)
        for zxid, _ in self.history.records:
            course.append(zxid)
        return Position(
            segments=self.segments,
            size=self.end,
            head_size=self.head_size,
            chain=self.chain,
            meta=self.history.meta,
            course=course,
            snapshots=snapshots,
            sizes=self.sizes,
            cuts=self.cuts,
        )


def _replay(directory: Directory, contents: Contents, identity: Identity) -> _Replay:
    numbers = contents.segments
    for number, following in pairwise(numbers):
        if following != number + 1:
            raise CorruptLogError(segment_name(number + 1), 0, "the segment is missing")
    if contents.snapshots and not numbers:
        # The metadata is lost, so promises may be forgotten.
        name = snapshot_name(contents.snapshots[-1])
        raise CorruptLogError(name, 0, "there is a snapshot, but no log at all")
    replay = _Replay()
    for number in numbers:
        file = segment_name(number)
        directory.settle(file)
        with unreadable_is_damaged(file):
            data = directory.read(file)
        head = SegmentHead.decode(file, data, identity)
        if head.number != number:
            reason = f"the file is a copy of segment {head.number}"
            raise CorruptLogError(file, 0, reason)
        if not replay.segments:
            replay.history = History(head.meta, head.base)
        elif head.chain != replay.chain:
            reason = "the segment does not follow the one before it"
            raise CorruptLogError(file, 0, reason)
        else:
            replay.sizes.append(replay.end)
        replay.segments.append((number, head.base))
        replay.head_size = head.size
        _replay_segment(replay, file, SegmentScan(data, head), last=numbers[-1])
    return replay


def _replay_segment(
    replay: _Replay, file: str, scan: SegmentScan, *, last: int
) -> None:
    for kind, zxid, body in scan.entries():
        if kind in (EntryKind.CUT, EntryKind.BASE):
            beyond = zxid if kind == EntryKind.CUT else 0
            replay.cuts.append(CutMark(replay.segments[-1][0], scan.offset, beyond))
        try:
            replay.history.apply(kind, zxid, body)
        except StorageError as error:
            raise CorruptLogError(file, scan.offset, str(error)) from error
    replay.chain, replay.end = scan.chain, scan.offset
    if scan.damage is None and not scan.unsealed:
        return
    number = replay.segments[-1][0]
    if number != last:
        damage = scan.damage or "the last seal is missing"
        raise CorruptLogError(file, scan.offset, f"{damage}, not in the last file")
    rot = scan.rot()
    if rot is not None:
        raise CorruptLogError(file, scan.offset, rot)
    replay.torn = scan.offset
    if scan.unsealed:
        # They count from now on, as if they had been written just now.
        replay.seal, replay.chain = encode_seal(
            scan.unsealed,
            replay.history.last,
            chain=scan.chain,
            segment=number,
            start=scan.sealed,
        )
        replay.end += len(replay.seal)


@attrs.frozen
class _Pieces:
    """The content of a snapshot, read anew by each iteration."""

    _directory: Directory
    _zxid: int
    _identity: Identity

    def __iter__(self) -> Iterator[bytes]:
        name = snapshot_name(self._zxid)
        with self._directory.reading(name) as read:
            yield from read_snapshot(name, self._zxid, read, self._identity)


def _newest_good_snapshot(
    directory: Directory,
    contents: Contents,
    identity: Identity,
    history: History,
    damage: list[CorruptLogError],
) -> StoredSnapshot | None:
    """Return the snapshot to start from; ``None`` if the log reaches back to 0.

    What is wrong with newer ones is added to ``damage``.
    """
    for zxid in reversed(contents.snapshots):
        if not history.holds(zxid):
            continue
        pieces = _Pieces(directory, zxid, identity)
        try:
            # All of it, so that there is still an older one to fall back to.
            with unreadable_is_damaged(snapshot_name(zxid)):
                size = sum(map(len, pieces))
        except CorruptLogError as error:
            damage.append(error)
        else:
            return StoredSnapshot(zxid, size, pieces)
    if history.base == 0:
        return None
    missing = f"no snapshot, and the log begins after {format_zxid(history.base)}"
    if damage:
        raise damage[0]
    raise CorruptLogError(snapshot_name(history.base), 0, missing)


def _tidy_up(
    directory: Directory,
    contents: Contents,
    replay: _Replay,
    good: list[int],
    damaged: list[str],
) -> None:
    names = {zxid: snapshot_name(zxid) for zxid in contents.snapshots}
    useless = [n for z, n in names.items() if z not in good and n not in damaged]
    for name in damaged:
        # The log reaches back further than they do, so nobody misses them.
        directory.set_aside(name, contents.generation + 1)
    if replay.torn is not None:
        directory.mend(segment_name(replay.segments[-1][0]), replay.torn, replay.seal)
    for name in (*contents.temporary, *useless):
        directory.remove(name)
    # Also what an interrupted predecessor renamed but did not get to sync.
    directory.sync()
