"""What a store is made to do, and what it may then hold."""

from __future__ import annotations

from coordlib.storage.history import History
from coordlib.storage.interface import Entry, EntryKind, Recovered
from coordlib.storage.record import Identity

IDENTITY = Identity(member=1, name="test")


def body(zxid: int) -> bytes:
    return b"state at %d" % zxid


def transactions(*zxids: int) -> list[Entry]:
    return [(EntryKind.TRANSACTION, zxid, b"t%d" % zxid) for zxid in zxids]


def meta(blob: bytes) -> Entry:
    return (EntryKind.META, 0, blob)


def cut(zxid: int) -> Entry:
    return (EntryKind.CUT, zxid, b"")


def base(zxid: int) -> Entry:
    return (EntryKind.BASE, zxid, body(zxid))


Step = list[Entry] | int | None
"""A batch of entries; or a snapshot at a zxid; or None, a restart."""


def states_of(script: list[Step]) -> list[History]:
    """Return what the history amounts to after each entry."""
    state = History()
    states = [History()]
    for step in script:
        for entry in step if isinstance(step, list) else []:
            state.apply(*entry)
            states.append(History(state.meta, state.base, state.records.copy()))
    return states


def is_state(recovered: Recovered, state: History) -> bool:
    """Tell whether ``recovered``, which may be purged, is ``state``."""
    if recovered.meta != state.meta or not state.holds(recovered.base):
        return False
    if recovered.records != [r for r in state.records if r[0] > recovered.base]:
        return False
    if recovered.snapshot is None:
        return recovered.base == 0
    zxid = recovered.snapshot.zxid
    if zxid < recovered.base or not state.holds(zxid):
        return False
    return b"".join(recovered.snapshot.pieces) == body(zxid)
