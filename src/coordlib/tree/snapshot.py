"""The whole state of a tree at one zxid, as bytes and back.

So that the tree never stops for long, a :class:`Capture` is made in steps as
short as one likes, while the tree goes on; see :mod:`.frozen`. And
:func:`restore` checks everything before it replaces anything. Where the bytes
are kept is not decided here.

Form: magic, then pieces, each its length, its CRC-32 and one CBOR value. The
first piece counts what follows, so that a cut between two pieces shows. Pieces
are small: strict decoding holds a piece, not the tree, twice in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from zlib import crc32

from coordlib import encoding
from coordlib.errors import BadArgumentsError, InvalidAclError, ProtocolError
from coordlib.ids import MemberId, SessionId

from . import fields as read
from .acl import OPEN_ACL_UNSAFE, Acl, Identity, validate_acl
from .acl_codec import entry_fields, identity_fields, read_acl, read_identities
from .data_tree import DataTree
from .lifetimes import CONTAINER_OWNER, OWNER_MAX, is_owner
from .operations import ANY_VERSION, DATA_BYTES_MAX, Result
from .paths import parent_of, validate_path
from .result_codec import decode_result, result_fields
from .sessions import OUTCOMES_MAX, SessionRecord, SessionTable
from .system import SYSTEM_PATHS, born_children
from .znodes import Znode, ZnodeTable

__all__ = ["Capture", "capture", "encode_snapshot", "restore"]

_MAGIC = b"coordlib tree\x00\x00\x01"
# Length and CRC-32 of what follows.
_PIECE = struct.Struct(">II")

_KINDS = _SESSIONS, _OUTCOMES, _ACLS, _ZNODES = 1, 2, 3, 4

_PIECE_ENTRIES_MAX = 250
# A piece ends with the entry that takes it beyond this many bytes of data.
_PIECE_BYTES = 1 << 20

_Session = tuple[SessionId, bytes, bytes, MemberId, int, tuple[Identity, ...], int]
_Outcomes = list[tuple[int, tuple[int, Result]]]


class Capture:
    """A snapshot in the making, exact at the zxid at which it was begun.

    The tree may change between two steps. Afterwards it must be closed, or the
    tree goes on to save old rows for it.

    Attributes:
      zxid: The last transaction it includes.

    """

    def __init__(self, tree: DataTree) -> None:
        self.zxid = tree.zxid
        self._znodes = tree.znode_table()
        self._frozen = self._znodes.freeze(tree.zxid)
        # At one go: they are few, and a microsecond each.
        self._sessions: list[_Session] = []
        self._outcomes: list[tuple[SessionId, _Outcomes]] = []
        for s in tree.sessions():
            self._sessions.append(
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
            self._outcomes.append((s.id, list(s.outcomes.items())))
        self._acls = _AclNumbers()
        self._parts = {kind: _Part(kind) for kind in _KINDS}
        self._rest = self._entries()
        self._has_more = True

    def step(self, entries_max: int) -> bool:
        """Take over the next znodes or others; return whether there are more.

        Of large ones it takes fewer: it ends with the piece that it completes.

        Args:
          entries_max: At least 1. Each costs some 5 microseconds.

        """
        for kind, entry in islice(self._rest, entries_max):
            if self._parts[kind].add(entry):
                return True
            entries_max -= 1
        self._has_more = not entries_max
        if not self._has_more:
            self.close()
        return self._has_more

    def pieces(self) -> list[bytes]:
        """Return the snapshot, to be joined, once there is no more."""
        assert not self._has_more, "a snapshot that is not complete"
        counts = [part.count for part in self._parts.values()]
        assert counts[-1] == self._frozen.count, "a znode too few or too many"
        pieces = [_MAGIC, _piece([self.zxid, *counts])]
        for part in self._parts.values():
            pieces += part.finish()
        return pieces

    def close(self) -> None:
        """Need the tree no more. Idempotent."""
        self._znodes.thaw(self._frozen)

    def _entries(self) -> Iterator[tuple[int, list[object]]]:
        for *session, identities, last_cxid in self._sessions:
            fields = [identity_fields(identity) for identity in identities]
            yield _SESSIONS, [*session, fields, last_cxid]
        for owner, outcomes in self._outcomes:
            for cxid, (zxid, result) in outcomes:
                yield _OUTCOMES, [owner, cxid, zxid, result_fields(result)]
        number_of = self._acls.number_of
        for row, acl in self._frozen.rows():
            row.append(0 if acl is OPEN_ACL_UNSAFE else number_of(acl))
            yield _ZNODES, row
        for acl in self._acls.numbers:
            yield _ACLS, entry_fields(acl)


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


def restore(tree: DataTree, body: bytes) -> None:
    """Replace the whole state of ``tree`` by that of a snapshot.

    The object stays the same, so its readers go on with the new state.

    Raises:
      ProtocolError: ``body`` is malformed or contradicts itself; no other error
        is possible, whatever its bytes. The tree is as it was.

    """
    pieces = _read_pieces(body)
    head = read.exactly(5, next(pieces, None))
    zxid, *counts = [read.unsigned(number) for number in head]
    entries: dict[int, list[object]] = {
        _SESSIONS: [],
        _OUTCOMES: [],
        _ACLS: [],
        _ZNODES: [],
    }
    for piece in pieces:
        kind, part = read.exactly(2, piece)
        entries[read.integer(kind, _SESSIONS, _ZNODES)] += read.items(part)
    if [len(part) for part in entries.values()] != counts:
        raise ProtocolError("a snapshot with entries missing or to spare")
    sessions = SessionTable()
    for entry in entries[_SESSIONS]:
        _add_session(sessions, entry, zxid)
    for entry in entries[_OUTCOMES]:
        _add_outcome(sessions, entry, zxid)
    acls = _read_acls(entries[_ACLS])
    znodes = _read_znodes(sessions, acls, entries[_ZNODES], zxid)
    tree.replace(zxid, znodes, sessions)


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
        if id(acl) not in self._seen:
            # One that nobody used for a while is another object, but equal.
            number = self.numbers.setdefault(acl, len(self.numbers) + 1)
            self._seen[id(acl)] = (number, acl)
        return self._seen[id(acl)][0]


class _Part:
    """The entries of one kind, in pieces of a bounded count and, nearly, size."""

    def __init__(self, kind: int) -> None:
        self.count = 0
        self._kind = kind
        self._pieces: list[bytes] = []
        self._open: list[list[object]] = []
        self._size = 0

    def add(self, entry: list[object]) -> bool:
        """Add an entry; return whether it completed a piece."""
        self.count += 1
        self._open.append(entry)
        for field in entry:
            if isinstance(field, bytes | list):
                self._size += len(field)
        if len(self._open) < _PIECE_ENTRIES_MAX and self._size < _PIECE_BYTES:
            return False
        self._complete()
        return True

    def finish(self) -> list[bytes]:
        """Return all pieces."""
        if self._open:
            self._complete()
        return self._pieces

    def _complete(self) -> None:
        self._pieces.append(_piece([self._kind, self._open]))
        self._open, self._size = [], 0


def _piece(value: object) -> bytes:
    content = encoding.encode(value)
    return _PIECE.pack(len(content), crc32(content)) + content


def _read_pieces(body: bytes) -> Iterator[object]:
    if not body.startswith(_MAGIC):
        raise ProtocolError("no snapshot of a tree, or of another version")
    view = memoryview(body)
    offset = len(_MAGIC)
    while offset < len(body):
        if len(body) - offset < _PIECE.size:
            raise ProtocolError("a snapshot cut off within a piece")
        length, checksum = _PIECE.unpack_from(body, offset)
        offset += _PIECE.size
        content = bytes(view[offset : offset + length])
        if len(content) != length or crc32(content) != checksum:
            raise ProtocolError("a snapshot with a damaged piece")
        yield encoding.decode(content)
        offset += length


def _add_session(sessions: SessionTable, entry: object, zxid_max: int) -> None:
    number, nonce, owner, member, timeout_ms, identities, last_cxid = read.exactly(
        7, entry
    )
    id_min = next(reversed(sessions.by_id), 0) + 1
    record = SessionRecord(
        SessionId(read.integer(number, id_min, zxid_max)),
        read.nonce(nonce),
        read.owner(owner),
        read.member(member),
        read.integer(timeout_ms, 1, read.INT32_MAX),
        read_identities(identities),
        read.unsigned(last_cxid),
    )
    if len(set(record.identities)) != len(record.identities):
        raise ProtocolError("an identity twice")
    if sessions.with_nonce(record.nonce) is not None:
        raise ProtocolError("two sessions with one nonce")
    sessions.add(record)


def _add_outcome(sessions: SessionTable, entry: object, zxid_max: int) -> None:
    session, cxid, zxid, result = read.exactly(4, entry)
    record = sessions.by_id.get(SessionId(read.unsigned(session)))
    if record is None:
        raise ProtocolError("an outcome without its session")
    outcomes = record.outcomes
    cxid_min = next(reversed(outcomes)) + 1 if outcomes else 1
    number = read.integer(cxid, cxid_min, record.last_cxid)
    if len(outcomes) == OUTCOMES_MAX:
        raise ProtocolError("a session with too many outcomes")
    outcomes[number] = (read.integer(zxid, 1, zxid_max), decode_result(result))


def _read_acls(entries: Sequence[object]) -> list[tuple[Acl, ...]]:
    """Return the ACLs by their numbers, the open one included."""
    acls = [OPEN_ACL_UNSAFE]
    for entry in entries:
        acl = read_acl(entry)
        try:
            validate_acl("", acl)
        except InvalidAclError as error:
            raise ProtocolError(f"a malformed ACL: {error.reason}") from error
        if any(part.identity.scheme == "auth" for part in acl):
            raise ProtocolError("a znode's ACL names nobody by auth")
        acls.append(acl)
    return acls


def _read_znodes(
    sessions: SessionTable,
    acls: list[tuple[Acl, ...]],
    entries: Sequence[object],
    zxid_max: int,
) -> ZnodeTable:
    if not entries:
        raise ProtocolError("a tree without a root")
    path, root = _read_znode(entries[0], acls, zxid_max)
    if path != "/" or root.ephemeral_owner:
        raise ProtocolError("a tree begins with its root")
    znodes = ZnodeTable(sessions, root)
    for entry in entries[1:]:
        path, znode = _read_znode(entry, acls, zxid_max)
        if path in znodes.by_path:
            raise ProtocolError("two znodes at one path")
        parent = znodes.by_path.get(parent_of(path))
        if parent is None or parent.ephemeral_owner > 0:
            raise ProtocolError("a znode without a parent that may have children")
        owner = znode.ephemeral_owner
        if owner > 0 and SessionId(owner) not in sessions.by_id:
            raise ProtocolError("an ephemeral without its session")
        znodes.link(path, znode, parent)
    _check_whole(znodes, acls)
    for path, znode in znodes.by_path.items():
        if znode.ephemeral_owner < 0:
            # When it was linked, its children were not there yet.
            znodes.candidates.judge(path, znode)
    return znodes


def _check_whole(znodes: ZnodeTable, acls: list[tuple[Acl, ...]]) -> None:
    """Check what shows only when all znodes are there."""
    by_path = znodes.by_path
    for path in SYSTEM_PATHS:
        if path not in by_path or by_path[path].ephemeral_owner:
            raise ProtocolError(f"a tree without its own {path}")
    for path, znode in by_path.items():
        if znode.children and len(znode.children) > znode.creates + born_children(path):
            raise ProtocolError("more children than were ever created")
    used = [z.acl for z in znodes.by_path.values() if z.acl is not OPEN_ACL_UNSAFE]
    if list(dict.fromkeys(used)) != acls[1:]:
        raise ProtocolError("ACLs that are not numbered by their first use")
    if not znodes.adopt_quotas():
        raise ProtocolError("a quota with other stats than its znodes have")


def _read_znode(
    entry: object, acls: list[tuple[Acl, ...]], zxid_max: int
) -> tuple[str, Znode]:
    path, data, czxid, mzxid, pzxid, ctime, mtime, version, owner, *rest = read.exactly(
        12, entry
    )
    creates, aversion, acl = rest
    created = read.integer(czxid, 0, zxid_max)
    znode = Znode(
        data=read.data(data),
        czxid=created,
        mzxid=read.integer(mzxid, created, zxid_max),
        pzxid=read.integer(pzxid, created, zxid_max),
        ctime=read.unsigned(ctime),
        mtime=read.unsigned(mtime),
        version=read.version(version),
        ephemeral_owner=_read_owner(owner),
        creates=read.unsigned(creates),
        aversion=read.version(aversion),
        acl=acls[read.integer(acl, 0, len(acls) - 1)],
    )
    if len(znode.data or b"") > DATA_BYTES_MAX or znode.version == ANY_VERSION:
        raise ProtocolError("a znode that no operation can make")
    name = read.text(path)
    try:
        validate_path(name)
    except BadArgumentsError as error:
        raise ProtocolError(f"a malformed path: {error.reason}") from error
    return name, znode


def _read_owner(value: object) -> int:
    owner = read.integer(value, CONTAINER_OWNER, OWNER_MAX)
    # One object for all containers, not one for each.
    if owner == CONTAINER_OWNER:
        return CONTAINER_OWNER
    if not is_owner(owner):
        raise ProtocolError(f"no owner of a znode: {owner}")
    return owner
