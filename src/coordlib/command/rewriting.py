"""Writes to a data directory that no replica runs on, as its store would.

Above all the metadata: a member that forgot anything that it acknowledged must
not vote before the others have synchronised it; and where there are no others,
or all begin anew, no zxid may be given twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from coordlib.consensus import Metadata
from coordlib.errors import StorageError
from coordlib.ids import EPOCH_MAX, Epoch
from coordlib.replica.metadata import decode_metadata, encode_metadata
from coordlib.storage.directory import OS, Directory
from coordlib.storage.interface import EntryKind
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover

__all__ = ["beyond", "change_metadata", "forgetful", "opened_log", "standing_alone"]

# What was forgotten may have used so many epochs: their zxids must not come again,
# for they are fencing tokens.
_EPOCHS_AHEAD = 1 << 16


@contextmanager
def opened_log(path: Path, identity: Identity) -> Iterator[tuple[Log, bytes | None]]:
    """Open a directory and tidy it up, as a start does; with its metadata.

    Raises:
      CorruptLogError: It is damaged.
      StorageLockedError: A replica uses it.

    """
    directory = Directory.open(path, OS)
    try:
        recovered, position = recover(directory, identity)
        log = Log(directory, identity, Bounds(1 << 62, 2), position)
        log.open()
        try:
            yield log, recovered.meta
        finally:
            log.close()
    finally:
        directory.close()


def change_metadata(
    path: Path, identity: Identity, change: Callable[[Metadata], Metadata]
) -> None:
    """Add a record with other metadata to a log."""
    with opened_log(path, identity) as (log, meta):
        blob = encode_metadata(change(decode_metadata(meta)))
        log.append([(EntryKind.META, 0, blob)])
        log.flush()


def forgetful(metadata: Metadata) -> Metadata:
    """Return the metadata of a member that does not vote before it is synchronised."""
    return attrs.evolve(metadata, seasoned=False, damaged=True)


def standing_alone(metadata: Metadata) -> Metadata:
    """Return the metadata of the only member, which goes on with what it has."""
    epoch = beyond(metadata.accepted_epoch)
    return attrs.evolve(
        metadata, accepted_epoch=epoch, seasoned=True, damaged=False, levels=()
    )


def beyond(epoch: int) -> Epoch:
    """Return an epoch beyond all that may have followed ``epoch``.

    Raises:
      StorageError: There are none left.

    """
    if epoch + _EPOCHS_AHEAD >= EPOCH_MAX:
        raise StorageError(f"there are no epochs left after {epoch}")
    return Epoch(epoch + _EPOCHS_AHEAD)
