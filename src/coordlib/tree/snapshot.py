"""The whole state of a tree at one zxid, as bytes and back.

Three steps, so that the tree never stops for long: :func:`capture` copies
references to immutable values, on the tree's own thread; :func:`encode_snapshot`
does the work, on any thread; :func:`restore` checks everything before it
replaces anything. Where the bytes are kept is not decided here.

Form: magic, then pieces, each its length, its CRC-32 and one CBOR value. The
first piece counts what follows, so that a cut between two pieces shows. Pieces
are small: strict decoding holds a piece, not the tree, twice in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from operator import attrgetter
from zlib import crc32

import attrs

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

__all__ = ["Captured", "capture", "encode_snapshot", "restore"]

_MAGIC = b"coordlib tree\x00\x00\x01"
# Length and CRC-32 of what follows.
_PIECE = struct.Struct(">II")

_SESSIONS, _OUTCOMES, _ACLS, _ZNODES = 1, 2, 3, 4

_PIECE_ENTRIES_MAX = 1000
# A piece ends with the entry that takes it beyond this many bytes of data.
_PIECE_BYTES = 1 << 20

_Row = tuple[bytes | None, int, int, int, int, int, int, int, int, int, tuple[Acl, ...]]
_row_of = attrgetter(
    "data",
    "czxid",
    "mzxid",
    "pzxid",
    "ctime",
    "mtime",
    "version",
    "ephemeral_owner",
    "creates",
    "aversion",
    "acl",
)


_Session = tuple[SessionId, bytes, bytes, MemberId, int, tuple[Identity, ...], int]


@attrs.frozen
class Captured:
    """The state at one zxid; nothing in it changes any more.

    Attributes:
      zxid: The last transaction it includes.
      paths: Of all znodes, parents first.
      rows: The other fields of each, in the same order.
      sessions: Id, nonce, owner, member, timeout, identities and last cxid of
        each, ascending by id.
      outcomes: Session, cxid, zxid and result of each, ascending.

    """

    zxid: int
    paths: list[str]
    rows: list[_Row]
    sessions: list[_Session]
    outcomes: list[tuple[SessionId, int, int, Result]]


def capture(tree: DataTree) -> Captured:
    """Return the tree's state now. Cheap: no byte of data is copied."""
    znodes, sessions = tree.znodes(), tree.sessions()
    return Captured(
        zxid=tree.zxid,
        paths=list(znodes),
        rows=list(map(_row_of, znodes.values())),
        sessions=[
            (
                s.id,
                s.nonce,
                s.owner,
                s.member,
                s.timeout_ms,
                s.identities,
                s.last_cxid,
            )
            for s in sessions
        ],
        outcomes=[
            (s.id, cxid, zxid, result)
            for s in sessions
            for cxid, (zxid, result) in s.outcomes.items()
        ],
    )


def encode_snapshot(captured: Captured) -> bytes:
    """Return the bytes of a snapshot; equal states have equal bytes."""
    # Numbered in the order of first use; the open one is 0. By identity, because
    # equal ones are one, and comparing 200,000 of them takes its time.
    acls: list[tuple[Acl, ...]] = []
    number_of = {id(OPEN_ACL_UNSAFE): 0}
    for *_, acl in captured.rows:
        if id(acl) not in number_of:
            acls.append(acl)
            number_of[id(acl)] = len(acls)
    head = [
        captured.zxid,
        len(captured.sessions),
        len(captured.outcomes),
        len(acls),
        len(captured.paths),
    ]
    sessions: Iterator[list[object]] = (
        [*session, [identity_fields(i) for i in identities], last_cxid]
        for *session, identities, last_cxid in captured.sessions
    )
    outcomes = [
        [session, cxid, zxid, result_fields(result)]
        for session, cxid, zxid, result in captured.outcomes
    ]
    znodes: Iterator[list[object]] = (
        [path, *row, number_of[id(acl)]]
        for path, (*row, acl) in zip(captured.paths, captured.rows, strict=True)
    )
    entries = (entry_fields(acl) for acl in acls)
    pieces = [_MAGIC, _piece(head)]
    pieces += (_piece([_SESSIONS, part]) for part in _parts(sessions))
    pieces += (_piece([_OUTCOMES, part]) for part in _parts(iter(outcomes)))
    pieces += (_piece([_ACLS, part]) for part in _parts(entries))
    pieces += (_piece([_ZNODES, part]) for part in _parts(znodes))
    return b"".join(pieces)


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


def _piece(value: object) -> bytes:
    content = encoding.encode(value)
    return _PIECE.pack(len(content), crc32(content)) + content


def _parts(entries: Iterator[list[object]]) -> Iterator[list[list[object]]]:
    """Group entries into pieces of a bounded count and, nearly, size."""
    part: list[list[object]] = []
    size = 0
    for entry in entries:
        part.append(entry)
        size += sum(len(field) for field in entry if isinstance(field, bytes | list))
        if len(part) == _PIECE_ENTRIES_MAX or size >= _PIECE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


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
