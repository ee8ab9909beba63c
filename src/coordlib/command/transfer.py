"""``coordlib snapshot export`` and ``import``: a state leaves and founds an ensemble.

The file is that of ``storage.portable``, as ``Ensemble.backup`` writes it, too.
An import is the beginning of a new ensemble: it has another id, so that members
of the old one are refused; sessions of the old one are closed, with their
ephemerals; and zxids go on beyond all that the old one can have used, since they
are fencing tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from hashlib import blake2b
from pathlib import Path

from coordlib.consensus import Metadata
from coordlib.errors import CorruptLogError, ProtocolError, StorageError
from coordlib.ids import MEMBER_ID_MAX, Zxid, epoch_of, format_zxid, make_zxid
from coordlib.replica.metadata import encode_metadata
from coordlib.storage.directory import segment_name, snapshot_name
from coordlib.storage.history import History
from coordlib.storage.interface import EntryKind
from coordlib.storage.portable import read_portable, save_portable
from coordlib.storage.record import Identity, SegmentHead
from coordlib.storage.scan import SegmentScan
from coordlib.storage.snapshot import read_snapshot
from coordlib.tree import (
    Cause,
    CloseSession,
    DataTree,
    capture,
    encode_request,
    encode_snapshot,
    restore,
    stamp,
)

from .copying import new_directory
from .files import looking, read_file
from .rewriting import beyond, opened_log
from .survey import Survey, again_if_purged, survey
from .terminal import Progress, megabytes, note, say

__all__ = ["export_state", "import_state"]


def export_state(path: Path, target: Path, upto: int | None, *, with_log: bool) -> int:
    """Write the newest good state into a new file, and return the exit code.

    Args:
      path: The data directory; a replica may run on it.
      target: The file.
      upto: The zxid of the state that is wanted; implies ``with_log``.
      with_log: Not the newest snapshot, but with all that the log holds after
        it. The end of a replicated member's log may never have been committed.

    Raises:
      CorruptLogError: There is damage in what is needed.
      StorageError: There is no such state, or ``target`` exists.
      OSError: The operating system refused.

    """
    if with_log or upto is not None:
        zxid, pieces = again_if_purged(partial(_replayed, path, upto))
    else:
        zxid, pieces = again_if_purged(partial(_newest_snapshot, path))
    size = sum(map(len, pieces))
    with Progress("export", size) as progress:
        for done in save_portable(target, zxid, pieces):
            progress.add(done)
    say(f"{target}: the state at {format_zxid(zxid)}, {megabytes(size)}")
    return 0


def _newest_snapshot(path: Path) -> tuple[int, list[bytes]]:
    found = survey(path)
    zxid = found.state
    if zxid is None and found.damage:
        zxid = max(found.good_snapshots, default=None)
        note(f"note: the log is damaged: {found.damage[0]}")
    if zxid is None:
        raise StorageError(f"{path} holds no good snapshot; --with-log takes the log")
    return zxid, _pieces_of(found, zxid)


def _pieces_of(found: Survey, zxid: int) -> list[bytes]:
    name = snapshot_name(zxid)
    with looking(found.path) as directory, directory.reading(name) as read:
        return list(read_snapshot(name, zxid, read, found.identity))


def _replayed(path: Path, upto: int | None) -> tuple[int, list[bytes]]:
    found = survey(path)
    if found.damage:
        first = found.damage[0]
        raise CorruptLogError(first.file, first.offset, first.what)
    last = found.course.last if upto is None else upto
    if not found.course.holds(last):
        raise StorageError(f"{path} holds no state at {format_zxid(last)}")
    good = found.good_snapshots
    usable = [z for z in good if z <= last and found.course.holds(z)]
    tree = DataTree()
    if usable:
        restore(tree, b"".join(_pieces_of(found, usable[-1])))
    elif found.course.base:
        raise StorageError(f"{path} holds no snapshot before {format_zxid(last)}")
    for zxid, payload in _read_history(found).records:
        if tree.zxid < zxid <= last:
            tree.apply(Zxid(zxid), payload)
    if tree.zxid != last:
        raise StorageError(f"{path}: its replica has changed the log meanwhile")
    return last, [encode_snapshot(capture(tree))]


def _read_history(found: Survey) -> History:
    history: History | None = None
    for segment in found.segments:
        file = segment_name(segment.number)
        data = read_file(found.path, file)
        head = SegmentHead.decode(file, data, found.identity)
        history = history or History(head.meta, head.base)
        for entry in SegmentScan(data, head).entries():
            history.apply(*entry)
    assert history is not None, "a directory without damage has a log"
    return history


def import_state(source: Path, path: Path, identity: Identity, token: str) -> int:
    """Make a data directory that begins with an exported state.

    Args:
      source: The file.
      path: The directory; new or empty.
      identity: The member whose directory it will be.
      token: With the file and the ensemble's name it makes the ensemble's id:
        the same for all members, another one each time that a file is used.

    Raises:
      CorruptLogError: The file is damaged.
      StorageError: It is no exported state, or ``path`` is not empty.
      OSError: The operating system refused.

    """
    if not 1 <= identity.member <= MEMBER_ID_MAX:
        raise StorageError(f"a member is 1 to {MEMBER_ID_MAX}, not {identity.member}")
    tree, digest = _load(source)
    sessions = len(tree.sessions())
    epoch = beyond(epoch_of(tree.zxid))
    for counter, session in enumerate(list(tree.sessions()), 1):
        close = CloseSession(session.id, Cause.EXPIRED, session.owner)
        request = encode_request(0, counter, 0, close)
        tree.apply(make_zxid(epoch, counter), stamp(request, 0))
    ensemble_id = _ensemble_id(digest, identity, token)
    start = Zxid(tree.zxid)
    metadata = Metadata(epoch, epoch, ensemble_id=ensemble_id, start=start)
    with new_directory(path) as aside, opened_log(aside, identity) as (log, _):
        body = encode_snapshot(capture(tree))
        log.append([(EntryKind.BASE, start, body)])
        log.append([(EntryKind.META, 0, encode_metadata(metadata))])
        log.flush()
    say(
        f"{path}: member {identity.member} of {identity.name!r}, a new ensemble with "
        f"the id {ensemble_id.hex()}, from {format_zxid(start)} on; "
        f"{sessions} sessions of the old one were closed"
    )
    return 0


def _load(source: Path) -> tuple[DataTree, bytes]:
    digest = blake2b(digest_size=16)
    pieces: list[bytes] = []
    tree = DataTree()
    with read_portable(source) as (zxid, blocks):
        for block in blocks:
            digest.update(block)
            pieces.append(block)
    try:
        restore(tree, b"".join(pieces))
    except ProtocolError as error:
        raise CorruptLogError(str(source), 0, f"it holds no tree: {error}") from error
    if tree.zxid != zxid:
        raise CorruptLogError(str(source), 0, "it holds the tree of another zxid")
    return tree, digest.digest()


def _ensemble_id(digest: bytes, identity: Identity, token: str) -> bytes:
    known: Iterable[bytes] = (digest, identity.digest, token.encode())
    return blake2b(b"".join(known), digest_size=16).digest()
