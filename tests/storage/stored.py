"""Snapshots in a store as values, to be compared with ``==``."""

from __future__ import annotations

import attrs

from coordlib.storage.interface import Recovered, StoredSnapshot


def stored(zxid: int, content: bytes) -> StoredSnapshot:
    return StoredSnapshot(zxid, len(content), [content])


def in_memory(recovered: Recovered) -> Recovered:
    """Read the snapshot, as long as its file is there."""
    if recovered.snapshot is None:
        return recovered
    zxid, pieces = recovered.snapshot.zxid, recovered.snapshot.pieces
    return attrs.evolve(recovered, snapshot=stored(zxid, b"".join(pieces)))
