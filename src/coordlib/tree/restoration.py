"""A tree out of the bytes of a snapshot, a little at a time.

The bytes may come from a hostile member, so everything is checked, and before
anything is replaced. They come in parts of any size, and no more than a piece of
them is kept; for their form see :mod:`.snapshot`. Each step is short; what runs
between two steps is the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from coordlib import encoding
from coordlib.errors import BadArgumentsError, InvalidAclError, ProtocolError
from coordlib.ids import SessionId

from . import fields as read
from .acl import OPEN_ACL_UNSAFE, validate_acl
from .acl_codec import read_acl, read_identities
from .data_tree import DataTree
from .lifetimes import CONTAINER_OWNER, is_owner
from .operations import ANY_VERSION, DATA_BYTES_MAX
from .paths import parent_of, validate_path
from .result_codec import decode_result
from .sessions import OUTCOMES_MAX, SessionRecord, SessionTable
from .snapshot import ACLS, MAGIC, OUTCOMES, PIECE, SESSIONS, ZNODES
from .system import SYSTEM_PATHS, born_children
from .znodes import Znode, ZnodeTable

__all__ = ["Restoration", "restore"]

# Znodes that a step of the last checks looks at: less than a millisecond.
_STEP = 500


class Restoration:
    """A state in the making: :meth:`add`, :meth:`finish`, :meth:`install`.

    After an error it must not be used again.
    """

    def __init__(self) -> None:
        # What is left of the parts: less than a piece.
        self._buffer = bytearray()
        self._has_magic = False
        self._zxid = 0
        # How many entries are still to come, by kind; the first piece tells.
        self._missing: dict[int, int] = {}
        # Invariant: never goes back, so whatever an entry refers to is there.
        self._kind = SESSIONS
        self._sessions = SessionTable()
        # By their numbers, of which those up to the last are in use.
        self._acls = [OPEN_ACL_UNSAFE]
        self._distinct_acls = {OPEN_ACL_UNSAFE}
        self._last_acl = 0
        self._znodes: ZnodeTable | None = None
        # Those that have children, and those that may be candidates.
        self._parents: list[str] = []
        self._mortal: list[str] = []
        self._is_whole = False

    def add(self, part: bytes) -> None:
        """Take the next bytes: some 4 microseconds for each znode in them.

        Raises:
          ProtocolError: They are malformed or contradict themselves; no other
            error is possible, whatever the bytes.

        """
        buffer = self._buffer
        buffer += part
        offset = 0
        if not self._has_magic and len(buffer) >= len(MAGIC):
            if not buffer.startswith(MAGIC):
                raise ProtocolError("no snapshot of a tree, or of another version")
            self._has_magic = True
            offset = len(MAGIC)
        while self._has_magic and len(buffer) - offset >= PIECE.size:
            length, checksum = PIECE.unpack_from(buffer, offset)
            end = offset + PIECE.size + length
            if end > len(buffer):
                break
            content = bytes(buffer[offset + PIECE.size : end])
            if crc32(content) != checksum:
                raise ProtocolError("a snapshot with a damaged piece")
            # Nobody keeps these bytes: what counts is the value.
            self._add_piece(encoding.decode(content, canonical=False))
            offset = end
        del buffer[:offset]

    def finish(self) -> Iterator[None]:
        """Check what shows only when all is there; each step is short.

        Raises:
          ProtocolError: As :meth:`add`.

        """
        znodes = self._complete()
        by_path = znodes.by_path
        for number, path in enumerate(self._parents):
            if not number % _STEP:
                yield
            znode = by_path[path]
            if len(znode.children or ()) > znode.creates + born_children(path):
                raise ProtocolError("more children than were ever created")
        for number, path in enumerate(self._mortal):
            if not number % _STEP:
                yield
            # When it was linked, its children were not there yet.
            znodes.candidates.judge(path, by_path[path])
        yield from znodes.adopt_quotas(_STEP)
        if not znodes.quotas_are_right():
            raise ProtocolError("a quota with other stats than its znodes have")
        self._is_whole = True

    def install(self, tree: DataTree) -> None:
        """Replace the whole state of ``tree``, when :meth:`finish` is over.

        The object stays the same, so its readers go on with the new state.
        """
        assert self._is_whole, "finish() comes first"
        tree.replace(self._zxid, self._complete(), self._sessions)

    def _complete(self) -> ZnodeTable:
        """Return the znodes, if nothing is missing."""
        if self._buffer or self._znodes is None or any(self._missing.values()):
            raise ProtocolError("a snapshot that is cut off")
        if self._last_acl != len(self._acls) - 1:
            raise ProtocolError("an ACL that no znode has")
        for path in SYSTEM_PATHS:
            znode = self._znodes.by_path.get(path)
            if znode is None or znode.ephemeral_owner:
                raise ProtocolError(f"a tree without its own {path}")
        return self._znodes

    def _add_piece(self, piece: object) -> None:
        if not self._missing:
            zxid, *counts = (read.unsigned(number) for number in read.exactly(5, piece))
            self._zxid = zxid
            self._missing = dict(zip(range(SESSIONS, ZNODES + 1), counts, strict=True))
            return
        kind, part = read.exactly(2, piece)
        self._kind = read.integer(kind, self._kind, ZNODES)
        entries = read.items(part)
        self._missing[self._kind] -= len(entries)
        if self._missing[self._kind] < 0:
            raise ProtocolError("a snapshot with entries to spare")
        if self._kind == SESSIONS:
            for entry in entries:
                self._add_session(entry)
        elif self._kind == OUTCOMES:
            for entry in entries:
                self._add_outcome(entry)
        elif self._kind == ACLS:
            for entry in entries:
                self._add_acl(entry)
        else:
            self._add_znodes(entries)

    def _add_session(self, entry: object) -> None:
        number, nonce, owner, member, timeout_ms, identities, last_cxid = read.exactly(
            7, entry
        )
        id_min = next(reversed(self._sessions.by_id), 0) + 1
        record = SessionRecord(
            SessionId(read.integer(number, id_min, self._zxid)),
            read.nonce(nonce),
            read.owner(owner),
            read.member(member),
            read.integer(timeout_ms, 1, read.INT32_MAX),
            read_identities(identities),
            read.unsigned(last_cxid),
        )
        if len(set(record.identities)) != len(record.identities):
            raise ProtocolError("an identity twice")
        if self._sessions.with_nonce(record.nonce) is not None:
            raise ProtocolError("two sessions with one nonce")
        self._sessions.add(record)

    def _add_outcome(self, entry: object) -> None:
        session, cxid, zxid, result = read.exactly(4, entry)
        record = self._sessions.by_id.get(SessionId(read.unsigned(session)))
        if record is None:
            raise ProtocolError("an outcome without its session")
        outcomes = record.outcomes
        cxid_min = next(reversed(outcomes)) + 1 if outcomes else 1
        number = read.integer(cxid, cxid_min, record.last_cxid)
        if len(outcomes) == OUTCOMES_MAX:
            raise ProtocolError("a session with too many outcomes")
        outcomes[number] = (read.integer(zxid, 1, self._zxid), decode_result(result))

    def _add_acl(self, entry: object) -> None:
        acl = read_acl(entry)
        try:
            validate_acl("", acl)
        except InvalidAclError as error:
            raise ProtocolError(f"a malformed ACL: {error.reason}") from error
        if any(part.identity.scheme == "auth" for part in acl):
            raise ProtocolError("a znode's ACL names nobody by auth")
        if acl in self._distinct_acls:
            raise ProtocolError("an ACL twice")
        self._distinct_acls.add(acl)
        self._acls.append(acl)

    def _add_znodes(self, entries: list[object]) -> None:
        znodes = self._znodes
        for entry in entries:
            path, znode = self._read_znode(entry)
            if znodes is None:
                if path != "/" or znode.ephemeral_owner:
                    raise ProtocolError("a tree begins with its root")
                znodes = self._znodes = ZnodeTable(self._sessions, znode)
                continue
            if path in znodes.by_path:
                raise ProtocolError("two znodes at one path")
            parent_path = parent_of(path)
            parent = znodes.by_path.get(parent_path)
            if parent is None or parent.ephemeral_owner > 0:
                raise ProtocolError("a znode without a parent that may have children")
            if parent.children is None:
                self._parents.append(parent_path)
            owner = znode.ephemeral_owner
            if owner > 0 and SessionId(owner) not in self._sessions.by_id:
                raise ProtocolError("an ephemeral without its session")
            if owner < 0:
                self._mortal.append(path)
            znodes.link(path, znode, parent)

    def _read_znode(self, entry: object) -> tuple[str, Znode]:
        """Return a znode by itself. A million times: so there is no call a field."""
        path, data, czxid, mzxid, pzxid, ctime, mtime, version, owner, *rest = (
            read.exactly(12, entry)
        )
        creates, aversion, acl = rest
        if (
            type(czxid) is not int
            or type(mzxid) is not int
            or type(pzxid) is not int
            or type(ctime) is not int
            or type(mtime) is not int
            or type(version) is not int
            or type(owner) is not int
            or type(creates) is not int
            or type(aversion) is not int
            or type(acl) is not int
        ):
            raise ProtocolError("a znode with a number that is none")
        if not (
            0 <= czxid <= mzxid <= self._zxid
            and czxid <= pzxid <= self._zxid
            and 0 <= ctime <= read.UINT64_MAX
            and 0 <= mtime <= read.UINT64_MAX
            and read.INT32_MIN <= version <= read.INT32_MAX
            and version != ANY_VERSION
            and is_owner(owner)
            and 0 <= creates <= read.UINT64_MAX
            and read.INT32_MIN <= aversion <= read.INT32_MAX
            and 0 <= acl < len(self._acls)
        ):
            raise ProtocolError("a znode with a number out of bounds")
        content = read.data(data)
        if content is not None and len(content) > DATA_BYTES_MAX:
            raise ProtocolError("a znode with too much data")
        name = read.text(path)
        try:
            validate_path(name)
        except BadArgumentsError as error:
            raise ProtocolError(f"a malformed path: {error.reason}") from error
        if acl > self._last_acl:
            if acl > self._last_acl + 1:
                raise ProtocolError("ACLs that are not numbered by their first use")
            self._last_acl = acl
        return name, Znode(
            content,
            czxid,
            # Equal numbers are one object, as in the tree that was saved.
            czxid if mzxid == czxid else mzxid,
            czxid if pzxid == czxid else pzxid,
            ctime,
            ctime if mtime == ctime else mtime,
            version,
            CONTAINER_OWNER if owner == CONTAINER_OWNER else owner,
            creates,
            aversion=aversion,
            acl=self._acls[acl],
        )


def restore(tree: DataTree, body: bytes) -> None:
    """Replace the whole state of ``tree`` by that of a snapshot, at one go.

    Raises:
      ProtocolError: As :meth:`Restoration.add`. The tree is as it was.

    """
    restoration = Restoration()
    restoration.add(body)
    for _ in restoration.finish():
        pass
    restoration.install(tree)
