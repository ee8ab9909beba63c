"""What transactions must result in, said once more, in the plainest way.

For :mod:`.witness`, which carries out the committed log anew and compares. It
shares values with :mod:`coordlib.tree` (operations, stats, what is a path), but
neither state nor rules: a mistake there is not made here as well. No events, no
digest, no quotas; versions and sequence numbers do not wrap; sizes were checked
when the operation was asked for; ACLs name nobody by a range of addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from coordlib.errors import BadArgumentsError, ErrorCode, InvalidAclError
from coordlib.ids import SessionId
from coordlib.tree import (
    ANY_VERSION,
    CONFIG_PATH,
    CXIDS_AHEAD,
    NO_SESSION,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    SYSTEM_PATHS,
    Acl,
    AddIdentities,
    Check,
    CloseSession,
    Configure,
    Create,
    Delete,
    DeleteContainer,
    Identity,
    Multi,
    OpenSession,
    Operation,
    Permission,
    ResumeSession,
    Set,
    SetAcl,
    Stat,
    SubOperation,
    Transaction,
    name_of,
    parent_of,
    validate_acl,
    validate_path,
)

from .history import ClientResult, Exists, Get, GetChildren, Read, Refusal

__all__ = ["Specification"]


@attrs.define(eq=False)
class _Znode:
    data: bytes
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    owner: SessionId
    container: bool = False
    ttl_ms: int = 0
    acl: tuple[Acl, ...] = OPEN_ACL_UNSAFE
    version: int = 0
    aversion: int = 0
    created: int = 0
    deleted: int = 0
    # Czxid by name.
    children: dict[str, int] = attrs.field(factory=dict)
    # The stat since the last change, once somebody has asked for it.
    stat: Stat | None = None


@attrs.define(eq=False)
class _Session:
    nonce: bytes
    owner: bytes
    member: int
    identities: list[Identity]
    last_cxid: int = 0
    # Where it has ever made ephemerals; some are gone, or somebody else's now.
    paths: list[str] = attrs.field(factory=list)


class Specification:
    """The state after some transactions, and what one more results in.

    Attributes:
      zxid: The last transaction; 0 before the first.

    """

    def __init__(self) -> None:
        self.zxid = 0
        self._time_ms = 0
        self._asker = NO_SESSION
        self._znodes = _new_znodes()
        self._sessions: dict[SessionId, _Session] = {}
        self._nonces: set[bytes] = set()
        # What takes back the multi that is under way.
        self._undo: list[Callable[[], None]] | None = None

    def repeats(self, transaction: Transaction) -> bool:
        """Tell whether this request was carried out before, so must not be again."""
        session = self._sessions.get(transaction.session)
        return session is not None and transaction.cxid <= session.last_cxid

    def apply(self, zxid: int, transaction: Transaction) -> ClientResult:
        """Carry out a transaction that repeats none, and return what its client gets.

        Of a session's opening or end nobody gets anything.
        """
        self.zxid, self._time_ms = zxid, transaction.time_ms
        self._asker = transaction.session
        if self._asker:
            session = self._sessions.get(self._asker)
            if session is None:
                return Refusal(ErrorCode.SESSION_EXPIRED)
            session.last_cxid = transaction.cxid
        return self._perform(transaction.operation)

    def read(self, read: Read, session: SessionId) -> ClientResult:
        """Return what ``session`` reads now."""
        self._asker = session
        znode = self._znodes.get(read.path)
        if znode is None:
            refusal = _missing(read.path)
            is_none = isinstance(read, Exists) and refusal.code is ErrorCode.NO_NODE
            return None if is_none else refusal
        if not isinstance(read, Exists) and not self._may(znode, Permission.READ):
            return Refusal(ErrorCode.NO_AUTH)
        match read:
            case Get():
                return znode.data, _stat_of(znode)
            case Exists():
                return _stat_of(znode)
            case GetChildren():
                # In the order of creation; what one multi created, by name.
                children = znode.children.items()
                return [name for _, name in sorted((z, n) for n, z in children)]

    def _perform(self, operation: Operation) -> ClientResult:
        match operation:
            case OpenSession(nonce=nonce):
                if nonce not in self._nonces:
                    self._nonces.add(nonce)
                    session = _Session(
                        nonce,
                        operation.owner,
                        operation.member,
                        list(operation.identities),
                    )
                    self._sessions[SessionId(self.zxid)] = session
                return None
            case ResumeSession():
                self._resume(operation)
                return None
            case CloseSession(id, owner=owner):
                self._close(id, owner)
                return None
            case Configure(members):
                data = f"{members}version={self.zxid:x}".encode()
                return self._set(self._znodes[CONFIG_PATH], data)
            case Multi(parts):
                return self._perform_all(parts)
            case DeleteContainer():
                return self._clean(operation)
            case AddIdentities(identities):
                self._sessions[self._asker].identities += identities
                return None
            case SetAcl():
                return self._set_acl(operation)
            case _:
                return self._perform_one(operation)

    def _may(self, znode: _Znode, permission: Permission) -> bool:
        """Tell whether who asks may do this with a znode."""
        if not self._asker:
            return True
        session = self._sessions.get(self._asker)
        who = [] if session is None else session.identities
        everybody = [*who, Identity("world", "anyone")]
        return any(identity.scheme == "super" for identity in who) or any(
            permission in entry.permissions and entry.identity in everybody
            for entry in znode.acl
        )

    def _acl_of(self, acl: tuple[Acl, ...]) -> tuple[Acl, ...]:
        """Return the ACL that a znode gets, or an empty one, which is wrong."""
        try:
            validate_acl("", acl)
        except InvalidAclError:
            return ()
        session = self._sessions.get(self._asker)
        who = [] if session is None else list(dict.fromkeys(session.identities))
        who = [i for i in who if i.scheme not in ("ip", "super")]
        granted: list[Acl] = []
        for index, entry in enumerate(acl):
            if entry in acl[:index]:
                continue
            if entry.identity.scheme != "auth":
                granted.append(entry)
            elif not who:
                return ()
            else:
                granted += [Acl(entry.permissions, identity) for identity in who]
        return tuple(granted)

    def _set_acl(self, operation: SetAcl) -> Stat | Refusal:
        missing = _missing(operation.path)
        if missing.code is ErrorCode.BAD_ARGUMENTS:
            return missing
        acl = self._acl_of(operation.acl)
        if not acl:
            return Refusal(ErrorCode.INVALID_ACL)
        znode = self._znodes.get(operation.path)
        if znode is None:
            return missing
        if not self._may(znode, Permission.ADMIN):
            return Refusal(ErrorCode.NO_AUTH)
        if operation.version not in (ANY_VERSION, znode.aversion):
            return Refusal(ErrorCode.BAD_VERSION)
        znode.acl, znode.stat = acl, None
        znode.aversion += 1
        return _stat_of(znode)

    def _resume(self, resuming: ResumeSession) -> None:
        session = self._sessions.get(resuming.session)
        if (
            session is not None
            and (session.nonce, session.member) == (resuming.nonce, resuming.member)
            and session.owner != resuming.owner
        ):
            session.owner = resuming.owner
            session.last_cxid += CXIDS_AHEAD

    def _close(self, id: SessionId, owner: bytes) -> None:
        session = self._sessions.get(id)
        if session is None or session.owner != owner:
            return
        del self._sessions[id]
        self._nonces.discard(session.nonce)
        for path in session.paths:
            znode = self._znodes.get(path)
            if znode is not None and znode.owner == id:
                self._delete(path)

    def _clean(self, operation: DeleteContainer) -> Refusal | None:
        """Delete a znode that may go and has not changed since it was seen."""
        znode = self._znodes.get(operation.path)
        if self._asker:
            return Refusal(ErrorCode.BAD_ARGUMENTS)
        if znode is None:
            return Refusal(ErrorCode.NO_NODE)
        if znode.children:
            return Refusal(ErrorCode.NOT_EMPTY)
        was_used = znode.container and znode.created > 0
        is_old = znode.ttl_ms > 0 and self._time_ms > znode.mtime + znode.ttl_ms
        if operation.mzxid != znode.mzxid or not (was_used or is_old):
            return Refusal(ErrorCode.BAD_VERSION)
        self._delete(operation.path)
        return None

    def _perform_all(self, parts: tuple[SubOperation, ...]) -> ClientResult:
        results: list[str | Stat | None] = []
        undo: list[Callable[[], None]] = []
        self._undo = undo
        for index, part in enumerate(parts):
            result = self._perform_one(part)
            if isinstance(result, Refusal):
                for take_back in reversed(undo):
                    take_back()
                self._undo = None
                return Refusal(result.code, index)
            results.append(result)
        self._undo = None
        return results

    def _perform_one(self, operation: SubOperation) -> str | Stat | Refusal | None:
        if isinstance(operation, Create):
            return self._create(operation)
        path = operation.path
        if isinstance(operation, Delete) and (
            path in SYSTEM_PATHS or "/" not in path or "\0" in path
        ):
            return Refusal(ErrorCode.BAD_ARGUMENTS)
        if self._is_forbidden(operation):
            return Refusal(ErrorCode.NO_AUTH)
        znode = self._znodes.get(path)
        if znode is None:
            return _missing(path)
        if not _is_expected(znode, operation):
            return Refusal(ErrorCode.BAD_VERSION)
        match operation:
            case Check():
                return None
            case Set():
                # A client reads null as empty.
                return self._set(znode, operation.data or b"")
            case Delete():
                if znode.children:
                    return Refusal(ErrorCode.NOT_EMPTY)
                self._delete(path)
                return None

    def _is_forbidden(self, operation: Set | Delete | Check) -> bool:
        path = operation.path
        match operation:
            case Set():
                permission = Permission.WRITE
            case Check():
                permission = Permission.READ
            case _:
                # The parent's affair, whether or not there is such a child.
                path, permission = path.rpartition("/")[0] or "/", Permission.DELETE
        znode = self._znodes.get(path)
        return znode is not None and not self._may(znode, permission)

    def _create(self, operation: Create) -> str | Refusal:
        path = operation.path
        if operation.ephemeral and not self._asker:
            return Refusal(ErrorCode.SESSION_EXPIRED)
        if "/" not in path or "\0" in path:
            return Refusal(ErrorCode.BAD_ARGUMENTS)
        acl = self._acl_of(operation.acl)
        if not acl:
            return Refusal(ErrorCode.INVALID_ACL)
        parent = self._znodes.get(parent_of(path))
        if parent is None:
            return Refusal(ErrorCode.NO_NODE)
        if not self._may(parent, Permission.CREATE):
            return Refusal(ErrorCode.NO_AUTH)
        return self._create_below(parent, operation, acl)

    def _create_below(
        self, parent: _Znode, operation: Create, acl: tuple[Acl, ...]
    ) -> str | Refusal:
        path = operation.path
        if operation.sequential:
            path += f"{parent.created:010}"
        if path in self._znodes:
            return Refusal(ErrorCode.NODE_EXISTS)
        if (refusal := _missing(path)).code is not ErrorCode.NO_NODE:
            return refusal
        if parent.owner:
            return Refusal(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS)
        if self._undo is not None:
            self._undo.append(partial(self._uncreate, path, parent, parent.pzxid))
        zxid, now, owner = self.zxid, self._time_ms, NO_SESSION
        if operation.ephemeral:
            owner = self._asker
            self._sessions[owner].paths.append(path)
        znode = _Znode(operation.data or b"", zxid, zxid, zxid, now, now, owner)
        znode.container, znode.ttl_ms = operation.container, operation.ttl_ms
        znode.acl = acl
        self._znodes[path] = znode
        parent.children[name_of(path)] = zxid
        parent.created += 1
        parent.pzxid, parent.stat = zxid, None
        return path

    def _uncreate(self, path: str, parent: _Znode, pzxid: int) -> None:
        del self._znodes[path]
        del parent.children[name_of(path)]
        parent.created -= 1
        parent.pzxid, parent.stat = pzxid, None

    def _set(self, znode: _Znode, data: bytes) -> Stat:
        if self._undo is not None:
            before = (znode.data, znode.version, znode.mzxid, znode.mtime)
            self._undo.append(partial(_unset, znode, before))
        znode.data = data
        znode.version += 1
        znode.mzxid, znode.mtime, znode.stat = self.zxid, self._time_ms, None
        return _stat_of(znode)

    def _delete(self, path: str) -> None:
        parent = self._znodes[parent_of(path)]
        znode = self._znodes.pop(path)
        if self._undo is not None:
            undo = partial(self._undelete, path, znode, parent, parent.pzxid)
            self._undo.append(undo)
        del parent.children[name_of(path)]
        parent.deleted += 1
        parent.pzxid, parent.stat = self.zxid, None

    def _undelete(self, path: str, znode: _Znode, parent: _Znode, pzxid: int) -> None:
        self._znodes[path] = znode
        parent.children[name_of(path)] = znode.czxid
        parent.deleted -= 1
        parent.pzxid, parent.stat = pzxid, None


def _new_znodes() -> dict[str, _Znode]:
    znodes = {path: _Znode(b"", 0, 0, 0, 0, 0, NO_SESSION) for path in SYSTEM_PATHS}
    for path in SYSTEM_PATHS[1:]:
        parent = znodes[parent_of(path)]
        parent.children[name_of(path)] = 0
        # As in ZooKeeper: it is a child that was never created.
        parent.deleted -= 1
    znodes[CONFIG_PATH].acl, znodes[CONFIG_PATH].aversion = READ_ACL_UNSAFE, -1
    return znodes


def _is_expected(znode: _Znode, operation: Set | Delete | Check) -> bool:
    if not isinstance(operation, Set) and operation.czxid not in (0, znode.czxid):
        return False
    return operation.version in (ANY_VERSION, znode.version)


def _unset(znode: _Znode, before: tuple[bytes, int, int, int]) -> None:
    znode.data, znode.version, znode.mzxid, znode.mtime = before
    znode.stat = None


def _missing(path: str) -> Refusal:
    """Return what is said of a path at which there is no znode."""
    try:
        validate_path(path)
    except BadArgumentsError:
        return Refusal(ErrorCode.BAD_ARGUMENTS)
    return Refusal(ErrorCode.NO_NODE)


def _stat_of(znode: _Znode) -> Stat:
    if znode.stat is None:
        znode.stat = Stat(
            czxid=znode.czxid,
            mzxid=znode.mzxid,
            pzxid=znode.pzxid,
            ctime=znode.ctime,
            mtime=znode.mtime,
            version=znode.version,
            cversion=znode.created + znode.deleted,
            aversion=znode.aversion,
            ephemeral_owner=znode.owner,
            data_length=len(znode.data),
            num_children=len(znode.children),
        )
    return znode.stat
