"""The tree as the shortest possible specification: ZooKeeper's rules, said plainly.

For :mod:`.witness`, which carries out committed logs anew and compares, and for
tests that hold :class:`coordlib.tree.DataTree` against it. It shares values with
:mod:`coordlib.tree` (operations, stats, what is a path, what an ACL may say), but
neither state nor rules: a mistake there is not made here as well.

Nothing here is fast: there is no index, what is asked for is searched for, and a
multi that fails puts the old dictionary back. Left out are digests, outcomes that
are kept for repetitions, numbers that wrap, and sizes, which were checked when
the operation was asked for.
"""

from __future__ import annotations

import attrs

from coordlib.errors import ErrorCode, InvalidAclError
from coordlib.ids import SessionId
from coordlib.tree import (
    ANY_VERSION,
    CONFIG_PATH,
    CXIDS_AHEAD,
    NO_SESSION,
    QUOTA_PATH,
    SYSTEM_PATHS,
    Acl,
    AddIdentities,
    Cause,
    Check,
    CloseSession,
    Configure,
    Create,
    Delete,
    DeleteContainer,
    EventType,
    Identity,
    Multi,
    OpenSession,
    Operation,
    Permission,
    QuotaLimits,
    ResumeSession,
    Set,
    SetAcl,
    Stat,
    SubOperation,
    Transaction,
    decode_limits,
    name_of,
    parent_of,
    stats_path,
    validate_acl,
)

from .history import ClientResult, Exists, Get, GetChildren, Read, Refusal
from .model_values import (
    ModelSession,
    ModelZnode,
    NotAllowed,
    check,
    governed_by,
    has_shape,
    is_meant,
    is_path,
    is_within,
    new_znodes,
    require,
)

__all__ = ["Change", "TreeModel"]

Change = tuple[EventType, str, Cause | None]
"""What happened to which znode, and, if it was deleted, why."""

_ANYONE, _SUPERUSER = Identity("world", "anyone"), Identity("super", "")


class TreeModel:
    """The state after some transactions, and what one more results in.

    Attributes:
      zxid: The last transaction; 0 before the first.
      changes: What the last transaction changed, in order.

    """

    def __init__(self) -> None:
        self.zxid = 0
        self.changes: list[Change] = []
        self._time_ms = 0
        self._asker = NO_SESSION
        self._znodes = new_znodes()
        self._sessions: dict[SessionId, ModelSession] = {}

    # --- transactions ---

    def repeats(self, transaction: Transaction) -> bool:
        """Tell whether this request was carried out before, so must not be again."""
        session = self._sessions.get(transaction.session)
        return session is not None and transaction.cxid <= session.last_cxid

    def apply(self, zxid: int, transaction: Transaction) -> ClientResult:
        """Carry out a transaction that repeats none, and return what its client gets.

        Of a session's opening, resumption or end nobody gets anything.
        """
        self.zxid, self._time_ms = zxid, transaction.time_ms
        self._asker, self.changes = transaction.session, []
        if self._asker:
            session = self._sessions.get(self._asker)
            if session is None:
                return Refusal(ErrorCode.SESSION_EXPIRED)
            self._sessions[self._asker] = attrs.evolve(
                session, last_cxid=transaction.cxid
            )
        before = dict(self._znodes)
        try:
            return self._perform(transaction.operation)
        except NotAllowed as refused:
            self._znodes, self.changes = before, []
            return Refusal(refused.code, refused.at)

    def _perform(self, operation: Operation) -> ClientResult:
        match operation:
            case Multi(parts):
                return self._perform_all(parts)
            case OpenSession():
                self._open(operation)
            case ResumeSession():
                self._resume(operation)
            case CloseSession():
                self._close(operation)
            case DeleteContainer():
                self._clean(operation)
            case AddIdentities(identities):
                self._identify(identities)
            case Configure(members):
                require(not self._asker, ErrorCode.BAD_ARGUMENTS)
                data = f"{members}version={self.zxid:x}".encode()
                return self._replace_data(CONFIG_PATH, data)
            case SetAcl():
                return self._set_acl(operation)
            case _:
                return self._perform_one(operation)
        return None

    def _perform_all(self, parts: tuple[SubOperation, ...]) -> list[str | Stat | None]:
        results: list[str | Stat | None] = []
        for index, part in enumerate(parts):
            try:
                results.append(self._perform_one(part))
            except NotAllowed as refused:
                refused.at = index
                raise
        return results

    def _perform_one(self, operation: SubOperation) -> str | Stat | None:
        match operation:
            case Create():
                return self._create(operation)
            case Set():
                return self._set(operation)
            case Delete():
                self._delete(operation)
            case Check(path, version, czxid):
                check(self._find(path, Permission.READ), version, czxid)
        return None

    # --- znodes ---

    def _create(self, operation: Create) -> str:
        path = operation.path
        require(self._asker or not operation.ephemeral, ErrorCode.SESSION_EXPIRED)
        require(has_shape(path), ErrorCode.BAD_ARGUMENTS)
        acl = self._granted(operation.acl)
        parent = self._znodes.get(parent_of(path))
        if parent is None:
            raise NotAllowed(ErrorCode.NO_NODE)
        require(self._may(parent, Permission.CREATE), ErrorCode.NO_AUTH)
        if operation.sequential:
            path += f"{parent.created:010}"
        require(is_path(path), ErrorCode.BAD_ARGUMENTS)
        require(path not in self._znodes, ErrorCode.NODE_EXISTS)
        require(not parent.owner, ErrorCode.NO_CHILDREN_FOR_EPHEMERALS)
        self._require_quota(path, 1, len(operation.data or b""))
        self._znodes[parent_of(path)] = attrs.evolve(
            parent, pzxid=self.zxid, created=parent.created + 1
        )
        self._znodes[path] = ModelZnode(
            operation.data,
            czxid=self.zxid,
            mzxid=self.zxid,
            pzxid=self.zxid,
            ctime=self._time_ms,
            mtime=self._time_ms,
            owner=self._asker if operation.ephemeral else NO_SESSION,
            container=operation.container,
            ttl_ms=operation.ttl_ms,
            acl=acl,
        )
        self._note(EventType.CREATED, path)
        return path

    def _set(self, operation: Set) -> Stat:
        path, data = operation.path, operation.data
        znode = self._find(path, Permission.WRITE)
        self._require_quota(path, 0, len(data or b"") - len(znode.data or b""))
        check(znode, operation.version)
        return self._replace_data(path, data)

    def _delete(self, operation: Delete) -> None:
        path = operation.path
        require(path not in SYSTEM_PATHS and has_shape(path), ErrorCode.BAD_ARGUMENTS)
        parent = self._znodes.get(path.rpartition("/")[0] or "/")
        require(
            parent is None or self._may(parent, Permission.DELETE), ErrorCode.NO_AUTH
        )
        znode = self._find(path)
        check(znode, operation.version, operation.czxid)
        require(not znode.stat.num_children, ErrorCode.NOT_EMPTY)
        self._remove(path, Cause.DELETED)

    def _clean(self, operation: DeleteContainer) -> None:
        """Delete a znode that may go and has not changed since it was seen."""
        require(not self._asker, ErrorCode.BAD_ARGUMENTS)
        require(operation.path in self._znodes, ErrorCode.NO_NODE)
        znode = self._znodes[operation.path]
        require(not znode.stat.num_children, ErrorCode.NOT_EMPTY)
        was_used = znode.container and znode.created > 0
        is_old = 0 < znode.ttl_ms < self._time_ms - znode.mtime
        is_as_seen = operation.mzxid == znode.mzxid
        require(is_as_seen and (was_used or is_old), ErrorCode.BAD_VERSION)
        self._remove(operation.path, Cause.TTL if is_old else Cause.CONTAINER)

    def _find(self, path: str, permission: Permission = Permission.NONE) -> ModelZnode:
        """Return the znode if it is there and may be used like this."""
        if path not in self._znodes:
            require(is_path(path), ErrorCode.BAD_ARGUMENTS)
            raise NotAllowed(ErrorCode.NO_NODE)
        require(self._may(self._znodes[path], permission), ErrorCode.NO_AUTH)
        return self._znodes[path]

    def _replace_data(self, path: str, data: bytes | None) -> Stat:
        znode = self._znodes[path]
        self._znodes[path] = attrs.evolve(
            znode,
            data=data,
            version=znode.version + 1,
            mzxid=self.zxid,
            mtime=self._time_ms,
        )
        self._note(EventType.DATA_CHANGED, path)
        return self._znodes[path].stat

    def _remove(self, path: str, cause: Cause) -> None:
        del self._znodes[path]
        parent = self._znodes[parent_of(path)]
        self._znodes[parent_of(path)] = attrs.evolve(
            parent, pzxid=self.zxid, deleted=parent.deleted + 1
        )
        self._note(EventType.DELETED, path, cause)

    def _note(self, kind: EventType, path: str, cause: Cause | None = None) -> None:
        self.changes.append((kind, path, cause))
        # Whatever anybody writes there, the stats of a quota say what is so.
        for governed, _ in self._quotas():
            stats = self._znodes.get(stats_path(governed))
            if stats is not None:
                use = b"count=%d,bytes=%d" % self._use(governed)
                self._znodes[stats_path(governed)] = attrs.evolve(stats, data=use)

    # --- quotas ---

    def _quotas(self) -> list[tuple[str, QuotaLimits]]:
        """Return what each quota is on, and its limits."""
        if not self._znodes[QUOTA_PATH].created:
            return []
        return [
            (governed, decode_limits(znode.data))
            for path, znode in self._znodes.items()
            if (governed := governed_by(path))
        ]

    def _use(self, governed: str) -> tuple[int, int]:
        """Return how many znodes there are at and below one, and bytes."""
        sizes = [
            len(znode.data or b"")
            for path, znode in self._znodes.items()
            if is_within(path, governed)
        ]
        return len(sizes), sum(sizes)

    def _require_quota(self, path: str, more: int, grown: int) -> None:
        """Require room for so many more znodes and bytes, where it is more."""
        for governed, limits in self._quotas():
            if not is_within(path, governed):
                continue
            count, size = self._use(governed)
            for most, now, extra in (
                (limits.count_hard, count, more),
                (limits.bytes_hard, size, grown),
            ):
                fits = most is None or extra <= 0 or now + extra <= most
                require(fits, ErrorCode.QUOTA_EXCEEDED)

    # --- permissions ---

    def _who(self) -> tuple[Identity, ...]:
        session = self._sessions.get(self._asker)
        return () if session is None else session.identities

    def _may(self, znode: ModelZnode, permission: Permission) -> bool:
        """Tell whether who asks may do one of these; the ensemble may do all."""
        who = (*self._who(), _ANYONE)
        if not self._asker or not permission or _SUPERUSER in who:
            return True
        return any(
            permission & entry.permissions
            and any(is_meant(identity, entry.identity) for identity in who)
            for entry in znode.acl
        )

    def _granted(self, acl: tuple[Acl, ...]) -> tuple[Acl, ...]:
        """Return the ACL that a znode gets for this wish of who asks."""
        try:
            validate_acl("", acl)
        except InvalidAclError:
            raise NotAllowed(ErrorCode.INVALID_ACL) from None
        own = [i for i in self._who() if i.scheme not in {"ip", "super"}]
        granted: list[Acl] = []
        for entry in dict.fromkeys(acl):
            if entry.identity.scheme == "auth":
                require(own, ErrorCode.INVALID_ACL)
                granted += [Acl(entry.permissions, identity) for identity in own]
            else:
                granted.append(entry)
        return tuple(granted)

    def _set_acl(self, operation: SetAcl) -> Stat:
        path = operation.path
        require(is_path(path), ErrorCode.BAD_ARGUMENTS)
        acl = self._granted(operation.acl)
        znode = self._find(path, Permission.ADMIN)
        is_expected = operation.version in (ANY_VERSION, znode.aversion)
        require(is_expected, ErrorCode.BAD_VERSION)
        changed = attrs.evolve(znode, acl=acl, aversion=znode.aversion + 1)
        self._znodes[path] = changed
        return changed.stat

    # --- sessions ---

    def _open(self, opening: OpenSession) -> None:
        if all(s.nonce != opening.nonce for s in self._sessions.values()):
            self._sessions[SessionId(self.zxid)] = ModelSession(
                opening.nonce,
                opening.owner,
                opening.member,
                tuple(dict.fromkeys(opening.identities)),
            )

    def _resume(self, resuming: ResumeSession) -> None:
        session = self._sessions.get(resuming.session)
        wished = resuming.nonce, resuming.member
        if session is None or (session.nonce, session.member) != wished:
            return
        if session.owner != resuming.owner:
            self._sessions[resuming.session] = attrs.evolve(
                session,
                owner=resuming.owner,
                last_cxid=session.last_cxid + CXIDS_AHEAD,
            )

    def _close(self, closing: CloseSession) -> None:
        session = self._sessions.get(closing.session)
        if session is None or session.owner != closing.owner:
            return
        del self._sessions[closing.session]
        for path in sorted(self._znodes):
            if self._znodes[path].owner == closing.session:
                self._remove(path, closing.cause)

    def _identify(self, identities: tuple[Identity, ...]) -> None:
        require(self._asker, ErrorCode.BAD_ARGUMENTS)
        session = self._sessions[self._asker]
        everybody = tuple(dict.fromkeys((*session.identities, *identities)))
        self._sessions[self._asker] = attrs.evolve(session, identities=everybody)

    # --- reads ---

    def read(self, read: Read, session: SessionId) -> ClientResult:
        """Return what ``session`` reads now; 0 is the ensemble itself."""
        self._asker = session
        try:
            match read:
                case Exists(path):
                    return self._find(path).stat
                case Get(path):
                    znode = self._find(path, Permission.READ)
                    # A client reads null as empty.
                    return znode.data or b"", znode.stat
                case GetChildren(path):
                    self._find(path, Permission.READ)
                    return self._children(path)
        except NotAllowed as refused:
            if isinstance(read, Exists) and refused.code is ErrorCode.NO_NODE:
                return None
            return Refusal(refused.code)

    def _children(self, path: str) -> list[str]:
        """Return names in the order of creation; what one multi created, by name."""
        children = [
            (znode.czxid, name_of(child))
            for child, znode in self._znodes.items()
            if child != "/" and parent_of(child) == path
        ]
        return [name for _, name in sorted(children)]

    def contents(self) -> dict[str, tuple[bytes | None, tuple[Acl, ...]]]:
        """Return the exact data and the ACL of every znode."""
        return {path: (z.data, z.acl) for path, z in self._znodes.items()}

    def sessions(self) -> dict[SessionId, tuple[bytes, int, tuple[Identity, ...]]]:
        """Return the keeper, the last number and the identities of every session."""
        return {
            number: (session.owner, session.last_cxid, session.identities)
            for number, session in self._sessions.items()
        }
