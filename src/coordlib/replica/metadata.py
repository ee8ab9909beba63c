"""What passes between the consensus core and the store, which knows nothing of Zab.

The core's metadata as bytes and back (``docs/formats.md``), and what the store
can give to learners, in the core's words. Nothing is decided here.
"""

from __future__ import annotations

import attrs

from coordlib import encoding
from coordlib.consensus import Metadata, Stored
from coordlib.errors import ProtocolError
from coordlib.ids import Epoch, MemberId, Zxid
from coordlib.storage.interface import Extent, Recovered

__all__ = ["decode_metadata", "encode_metadata", "recovered_metadata", "stored_of"]


def stored_of(extent: Extent) -> Stored:
    """Return what the core should know of what a store can give."""
    kept = extent.snapshot
    snapshot = None if kept is None else (Zxid(kept[0]), kept[1])
    return Stored(Zxid(extent.base), extent.parts, snapshot)


def encode_metadata(metadata: Metadata) -> bytes:
    """Return what the store keeps for the core."""
    return encoding.encode(list(attrs.astuple(metadata)))


def decode_metadata(blob: bytes | None) -> Metadata:
    """Return what :func:`encode_metadata` wrote; the default for a new disk.

    Raises:
      ProtocolError: It wrote something else.

    """
    if blob is None:
        return Metadata()
    match encoding.decode(blob):
        case [int(accepted), int(current), bool(seasoned), bytes(id), *others]:
            metadata = Metadata(Epoch(accepted), Epoch(current), seasoned, id)
        case _:
            raise ProtocolError("not the metadata of a member")
    # What older ones have not.
    match others + [False, 0, []][len(others) :]:
        case [bool(damaged), int(start), list(pairs)] if start >= 0:
            levels = tuple(map(_level, pairs))
            return attrs.evolve(
                metadata, damaged=damaged, start=Zxid(start), levels=levels
            )
        case _:
            raise ProtocolError("not the metadata of a member")


def _level(pair: object) -> tuple[MemberId, Zxid]:
    match pair:
        case [int(member), int(zxid)]:
            return MemberId(member), Zxid(zxid)
        case _:
            raise ProtocolError("not the metadata of a member")


def recovered_metadata(recovered: Recovered) -> Metadata:
    """Return the metadata to start with.

    A log that was set aside left none, so storage says that there was one. From
    here on every save repeats it, until the disk is synchronised.

    Raises:
      ProtocolError: The metadata on the disk is not ours.

    """
    metadata = decode_metadata(recovered.meta)
    return attrs.evolve(metadata, damaged=metadata.damaged or recovered.damaged)
