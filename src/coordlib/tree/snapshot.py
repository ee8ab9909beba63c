"""The whole state of a tree at one zxid, as bytes; :mod:`.restoration` is the way back.

So that the tree never stops for long, a :class:`Capture` is made in steps as
short as one likes, while the tree goes on; see :mod:`.frozen`. Where the bytes
are kept is not decided here.

Form: magic, then pieces, each its length, its CRC-32 and one CBOR value. The
first piece is the zxid and how many entries of each kind follow, so that a cut
between two pieces shows. Each other one is a kind and a list of its entries:
sessions, then outcomes, then ACLs, then znodes, parents before children. So
whoever restores them never has to wait for what an entry refers to; and pieces
are small.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from zlib import crc32

from coordlib import encoding
from coordlib.ids import MemberId, SessionId

from .acl import OPEN_ACL_UNSAFE, Acl, Identity
from .acl_codec import entry_fields, identity_fields
from .data_tree import DataTree
from .frozen import FrozenZnodes
from .operations import Result
from .result_codec import result_fields

__all__ = [
    "ACLS",
    "MAGIC",
    "OUTCOMES",
    "PIECE",
    "SESSIONS",
    "ZNODES",
    "Capture",
    "capture",
    "encode_snapshot",
]

MAGIC = b"coordlib tree\x00\x00\x01"
# Length and CRC-32 of what follows.
PIECE = struct.Struct(">II")

SESSIONS, OUTCOMES, ACLS, ZNODES = 1, 2, 3, 4

_PIECE_ENTRIES_MAX = 250
# A piece ends with the entry that takes it beyond this many bytes of data.
_PIECE_BYTES = 1 << 20

_Session = tuple[SessionId, bytes, bytes, MemberId, int, tuple[Identity, ...], int]
_Entry = tuple[Sequence[object], int]
"""A list that is written as it is, and roughly its bytes."""
_Outcomes = list[tuple[int, tuple[int, Result]]]


class Capture:
    """A snapshot in the making, exact at the zxid at which it was begun.

    The tree may change between two steps. Afterwards it must be closed, or the
    tree goes on to save old rows for it.

    Attributes:
      zxid: The last transaction it includes.
      count: How many znodes it includes.

    """

    def __init__(self, tree: DataTree) -> None:
        self.zxid = tree.zxid
        self._znodes = tree.znode_table()
        acls = _AclNumbers()
        self._frozen = self._znodes.freeze(tree.zxid, acls.number_of)
        self.count = self._frozen.count
        # At one go: they are few, and a microsecond each.
        sessions: list[_Session] = []
        outcomes: list[tuple[SessionId, _Outcomes]] = []
        for s in tree.sessions():
            sessions.append(
                (
                    s.id,
                    s.nonce,
                    s.owner,
                    s.member,
                    s.timeout_ms,
                    s.identities,
                    s.last_cxid,
                )
            )
            outcomes.append((s.id, list(s.outcomes.items())))
        # None of them refers to this object: large as it is, it goes when it is
        # dropped, and need not wait for the garbage collector.
        self._parts = (
            _Part(SESSIONS, _session_entries(sessions)),
            _Part(OUTCOMES, _outcome_entries(outcomes)),
            _Part(ACLS, _acl_entries(acls)),
            _Part(ZNODES, _znode_entries(self._frozen)),
        )
        # The ACLs last, when all are known.
        self._unfinished = sorted(self._parts, key=lambda part: part.kind == ACLS)

    def step(self, entries_max: int) -> bool:
        """Take over the next znodes or others; return whether there are more.

        Of large ones it takes fewer: it ends with the piece that it completes.

        Args:
          entries_max: At least 1. Each costs some 3 microseconds.

        """
        while self._unfinished:
            part = self._unfinished[0]
            taken, has_completed = part.take(entries_max)
            entries_max -= taken
            if has_completed or not entries_max:
                return True
            del self._unfinished[0]
        self.close()
        return False

    @property
    def done(self) -> int:
        """How many znodes it has taken over."""
        return self._parts[-1].count

    def pieces(self) -> list[bytes]:
        """Return the snapshot, to be joined, once there is no more."""
        assert not self._unfinished, "a snapshot that is not complete"
        counts = [part.count for part in self._parts]
        assert counts[-1] == self.count, "a znode too few or too many"
        pieces = [MAGIC, _piece([self.zxid, *counts])]
        for part in self._parts:
            pieces += part.finish()
        return pieces

    def close(self) -> None:
        """Need the tree no more. Idempotent."""
        self._znodes.thaw(self._frozen)


def capture(tree: DataTree) -> Capture:
    """Begin a snapshot of the tree as it is now."""
    return Capture(tree)


def encode_snapshot(captured: Capture) -> bytes:
    """Take all steps at once and return the bytes.

    Equal states have equal bytes if they did not change since :func:`capture`.
    """
    while captured.step(_PIECE_ENTRIES_MAX):
        pass
    return b"".join(captured.pieces())


def _session_entries(sessions: list[_Session]) -> Iterator[_Entry]:
    for *session, identities, last_cxid in sessions:
        fields = [identity_fields(identity) for identity in identities]
        yield [*session, fields, last_cxid], _size_of(fields)


def _outcome_entries(
    sessions: list[tuple[SessionId, _Outcomes]],
) -> Iterator[_Entry]:
    for owner, outcomes in sessions:
        for cxid, (zxid, result) in outcomes:
            outcome = result_fields(result)
            yield [owner, cxid, zxid, outcome], _size_of(outcome)


def _znode_entries(frozen: FrozenZnodes) -> Iterator[_Entry]:
    for row in frozen.rows():
        # Path and data; the rest is short.
        yield row, len(row[0]) + len(row[1] or b"")


def _acl_entries(acls: _AclNumbers) -> Iterator[_Entry]:
    for acl in acls.numbers:
        entry = entry_fields(acl)
        yield entry, _size_of(entry)


class _AclNumbers:
    """Numbers ACLs in the order of first use, from 1 on; the open one is 0."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[Acl, ...], int] = {}
        # By identity, because hashing 200,000 of them takes its time. With the
        # ACL itself: one that is released in the tree must not lend its
        # identity to another one.
        self._seen: dict[int, tuple[int, tuple[Acl, ...]]] = {}

    def number_of(self, acl: tuple[Acl, ...]) -> int:
        """Return the number of an ACL."""
        if acl is OPEN_ACL_UNSAFE:
            return 0
        if id(acl) not in self._seen:
            # One that nobody used for a while is another object, but equal.
            number = self.numbers.setdefault(acl, len(self.numbers) + 1)
            self._seen[id(acl)] = (number, acl)
        return self._seen[id(acl)][0]


class _Part:
    """The entries of one kind, in pieces of a bounded count and, nearly, size."""

    def __init__(self, kind: int, entries: Iterator[_Entry]) -> None:
        self.count = 0
        self.kind = kind
        self._entries = entries
        self._pieces: list[bytes] = []
        self._open: list[object] = []
        self._size = 0

    def take(self, entries_max: int) -> tuple[int, bool]:
        """Take over the next entries, to the end of a piece at most.

        Returns:
          How many: fewer than asked for, without a piece completed, are the last
          ones. And whether a piece was completed.

        """
        entries, size, before = self._open, self._size, len(self._open)
        room = min(entries_max, _PIECE_ENTRIES_MAX - before)
        for entry, entry_size in islice(self._entries, room):
            entries.append(entry)
            size += entry_size
            if size >= _PIECE_BYTES:
                break
        self._size = size
        taken = len(entries) - before
        self.count += taken
        is_full = len(entries) == _PIECE_ENTRIES_MAX or size >= _PIECE_BYTES
        if is_full:
            self._complete()
        return taken, is_full

    def finish(self) -> list[bytes]:
        """Return all pieces."""
        if self._open:
            self._complete()
        return self._pieces

    def _complete(self) -> None:
        self._pieces.append(_piece([self.kind, self._open]))
        self._open, self._size = [], 0


# Not `str | bytes`, which would be made anew for each znode.
_SIZED = (str, bytes)


def _size_of(value: object) -> int:
    if isinstance(value, list):
        return sum(map(_size_of, value))
    return len(value) if isinstance(value, _SIZED) else 1


def _piece(value: object) -> bytes:
    content = encoding.encode(value)
    return PIECE.pack(len(content), crc32(content)) + content
