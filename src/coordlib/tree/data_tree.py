"""The replicated state machine: transactions in, outcomes and events out.

Everything the ensemble agrees upon is here: znodes and sessions, at one zxid.
The tree knows nothing of how a transaction came to be committed, and it has no
clock: what it needs to know is in the transaction. So all replicas that have
applied the same transactions are equal, and :meth:`DataTree.digest` shows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import assert_never

import attrs

from coordlib.errors import ErrorCode, NoNodeError, ProtocolError
from coordlib.ids import SessionId

from .acl import (
    IDENTITIES_MAX,
    OPEN_ACL_UNSAFE,
    SUPERUSER,
    Acl,
    Identity,
    Permission,
    allows,
)
from .codec import Transaction, decode_transaction, identity_of
from .digest import DIGEST_MAX
from .events import TreeEvent
from .fields import UINT64_MAX
from .mutations import Mutation
from .operations import (
    AddIdentities,
    Cause,
    Check,
    CloseSession,
    Configure,
    Create,
    Delete,
    DeleteContainer,
    Multi,
    OpenSession,
    Operation,
    Refused,
    Result,
    ResumeSession,
    Set,
    SetAcl,
)
from .paths import name_of, parent_of, validate_path
from .quotas import Quota
from .sessions import CXIDS_AHEAD, SessionRecord, SessionTable
from .stat import NO_SESSION, Stat
from .znodes import Znode, ZnodeTable

__all__ = ["Applied", "DataTree"]

# Stats kept for readers: enough for what is read all the time. One for each of a
# million znodes would take 200 MB, and the garbage collector half a second, at
# one go and again and again, to look at them.
_STATS_MAX = 1 << 14

# The ensemble itself may do everything.
_ENSEMBLE = (SUPERUSER,)


@attrs.define
class Applied:
    """What one transaction did. The hot path makes one for each.

    Attributes:
      zxid: The transaction.
      session: Who asked; 0 is the ensemble itself.
      cxid: The request's number in its session.
      result: The outcome, refusals included.
      events: What it changed, in order; for watches.
      duplicate: The request was applied before: nothing changed now, and
        ``result`` is what it resulted in then.
      closed: The session that it ended; 0 if none.
      cause: Why that session ended.

    """

    zxid: int
    session: SessionId
    cxid: int
    result: Result
    events: Sequence[TreeEvent] = ()
    duplicate: bool = False
    closed: SessionId = NO_SESSION
    cause: Cause | None = None


class DataTree:
    """Znodes and sessions, changed by :meth:`apply` alone.

    A new tree holds the root and the znodes of :mod:`.system`.

    Attributes:
      zxid: The last transaction applied; 0 before the first.

    """

    __slots__ = ("_by_path", "_sessions", "_with_stat", "_znodes", "zxid")

    def __init__(self) -> None:
        self.zxid = 0
        self._sessions = SessionTable()
        self._znodes = ZnodeTable(self._sessions)
        # The same dict as the table's: one step less on the way of every read.
        self._by_path = self._znodes.by_path
        # Where a stat is kept, the oldest first; perhaps not any more.
        self._with_stat: deque[str] = deque()

    def apply(self, zxid: int, payload: bytes) -> Applied:
        """Apply one committed transaction.

        Total: whatever the payload, it returns an outcome. A malformed one is
        refused with ``BAD_ARGUMENTS`` and changes nothing but :attr:`zxid`. A
        request of a session that does not exist is refused with
        ``SESSION_EXPIRED``; so is the repetition of one that closed its own
        session.

        Args:
          zxid: Above the tree's; the caller owns the order.
          payload: What :func:`.stamp` returned.

        """
        assert zxid > self.zxid, f"{zxid} after {self.zxid}"
        self.zxid = zxid
        try:
            transaction = decode_transaction(payload)
        except ProtocolError as error:
            session, cxid = identity_of(payload)
            refusal = Refused(ErrorCode.BAD_ARGUMENTS, "", str(error))
            return Applied(zxid, SessionId(session), cxid, refusal)
        if not transaction.session:
            return self._perform(zxid, transaction, None)
        return self._perform_once(zxid, transaction)

    def get(self, path: str) -> tuple[bytes, Stat]:
        """Return the data and stat of a znode; null data as empty.

        Raises:
          NoNodeError: There is no such znode.
          BadArgumentsError: ``path`` is malformed.

        """
        try:
            znode = self._by_path[path]
        except KeyError:
            raise _missing(path) from None
        return znode.data or b"", znode.stat or self._keep_stat(path, znode)

    def get_nullable(self, path: str) -> tuple[bytes | None, Stat]:
        """Return the data of a znode exactly, ``None`` if null, and its stat.

        For those who speak ZooKeeper's protocol.

        Raises:
          NoNodeError: There is no such znode.
          BadArgumentsError: ``path`` is malformed.

        """
        znode = self._lookup(path)
        return znode.data, znode.stat or self._keep_stat(path, znode)

    def exists(self, path: str) -> Stat | None:
        """Return the stat of a znode, or ``None`` if there is none.

        Raises:
          BadArgumentsError: ``path`` is malformed.

        """
        znode = self._by_path.get(path)
        if znode is None:
            validate_path(path)
            return None
        return znode.stat or self._keep_stat(path, znode)

    def get_children(self, path: str) -> list[str]:
        """Return the names of a znode's children, in the order of creation.

        Those that one multi created are in the order of their names.

        Raises:
          NoNodeError: There is no such znode.
          BadArgumentsError: ``path`` is malformed.

        """
        children = self._lookup(path).children
        if children is None:
            return []
        name_at = 1 if path == "/" else len(path) + 1
        return [child[name_at:] for _, child in children]

    def predecessor(self, path: str, containing: str = "") -> str | None:
        """Return the path of the sibling created last before this znode.

        The order is that of czxid, and of the name where one multi created
        both. Without ``containing`` it costs no more than a look-up, however
        many siblings there are.

        Args:
          path: The znode.
          containing: Only siblings with this text in their name count.

        Raises:
          NoNodeError: There is no znode at ``path``.
          BadArgumentsError: ``path`` is malformed.

        """
        znode = self._lookup(path)
        siblings = self._by_path[parent_of(path)].children
        if path == "/" or siblings is None:
            return None
        before = siblings.bisect_left((znode.czxid, path))
        for _, sibling in siblings.islice(0, before, reverse=True):
            if containing in name_of(sibling):
                return sibling
        return None

    def children_number(self, path: str) -> int:
        """Return how many children a znode has; 0 if there is no such znode."""
        znode = self._by_path.get(path)
        return 0 if znode is None or znode.children is None else len(znode.children)

    def quotas(self) -> Mapping[str, Quota]:
        """Return the quotas by the znode that they are on; to be read only."""
        return self._znodes.quotas.by_path

    def quotas_exceeded(self) -> list[str]:
        """Return the paths whose quota has a soft limit that is exceeded, sorted."""
        return sorted(self._znodes.quotas.exceeded)

    def get_acl(self, path: str) -> tuple[tuple[Acl, ...], Stat]:
        """Return the ACL, with all hashes, and the stat of a znode.

        Raises:
          NoNodeError: There is no such znode.
          BadArgumentsError: ``path`` is malformed.

        """
        znode = self._lookup(path)
        return znode.acl, znode.stat or self._keep_stat(path, znode)

    def may(self, session: SessionId, path: str, permission: Permission) -> bool:
        """Tell whether the ACL of the znode at ``path`` lets a session do this.

        Args:
          session: Whose identities count; one that does not exist is nobody.
          path: A znode without which there is nothing to refuse.
          permission: Of several, one is enough.

        """
        znode = self._by_path.get(path)
        if znode is None or znode.acl is OPEN_ACL_UNSAFE:
            return True
        return allows(znode.acl, permission, self.identities_of(session))

    def identities_of(self, session: SessionId) -> tuple[Identity, ...]:
        """Return who a session is; nobody, if it does not exist."""
        record = self._sessions.by_id.get(session)
        return () if record is None else record.identities

    def descendants(self, path: str) -> int:
        """Return how many znodes there are below this one.

        Costs a step for each of them, some 0.2 microseconds; none for the root.

        Raises:
          NoNodeError: There is no such znode.
          BadArgumentsError: ``path`` is malformed.

        """
        self._lookup(path)
        if path == "/":
            return len(self._by_path) - 1
        return sum(1 for _ in self._znodes.below(path))

    def ephemerals(self, session: SessionId, prefix: str = "/") -> list[str]:
        """Return the paths of a session's ephemerals that begin so, sorted.

        Text is compared, not names: ``"/a"`` finds ``"/ab"`` too. Costs a step
        for each that is found.
        """
        record = self._sessions.by_id.get(session)
        if record is None:
            return []
        found = takewhile(
            lambda path: path.startswith(prefix), record.ephemerals.irange(prefix)
        )
        return list(found)

    def session(self, id: SessionId) -> SessionRecord | None:
        """Return a live session; its record is to be read only."""
        return self._sessions.by_id.get(id)

    def session_by_nonce(self, nonce: bytes) -> SessionRecord | None:
        """Return the live session that was opened with ``nonce``."""
        return self._sessions.with_nonce(nonce)

    def sessions(self) -> list[SessionRecord]:
        """Return all live sessions, ascending by id."""
        return list(self._sessions.by_id.values())

    def overdue(self, count: int, time_ms: int) -> list[DeleteContainer]:
        """Return deletions of at most ``count`` znodes that nobody needs.

        Containers whose children are all gone, and znodes that have outlived
        their time to live at ``time_ms``. Costs what it returns, however many
        znodes there are.
        """
        return [
            DeleteContainer(path, self._by_path[path].mzxid)
            for path in self._znodes.candidates.first(count, time_ms)
        ]

    def sessions_by_id(self) -> dict[SessionId, SessionRecord]:
        """Return the live sessions themselves, ascending; to be read only."""
        return self._sessions.by_id

    def digest(self) -> int:
        """Return 64 bits that are equal on all replicas with the same state.

        Costs one hash for each znode and session changed since the last call.
        """
        return (self._znodes.digest() + self._sessions.digest()) & DIGEST_MAX

    def znodes(self) -> dict[str, Znode]:
        """Return every znode by path, parents first; to be read only."""
        return self._by_path

    def znode_table(self) -> ZnodeTable:
        """Return what holds the znodes now, for a snapshot."""
        return self._znodes

    def replace(self, zxid: int, znodes: ZnodeTable, sessions: SessionTable) -> None:
        """Take over another state, that of a snapshot."""
        self.zxid = zxid
        self._sessions = sessions
        self._znodes = znodes
        self._by_path = znodes.by_path

    def become(self, other: DataTree) -> None:
        """Take over the state of ``other``, which gets this one's in exchange."""
        zxid, znodes, sessions = self.zxid, self._znodes, self._sessions
        self.replace(other.zxid, other._znodes, other._sessions)
        other.replace(zxid, znodes, sessions)

    def dismantle(self, count: int) -> bool:
        """Take away so many znodes; return whether there are more.

        The tree must not be used any more, but for a snapshot that was begun.
        """
        return self._znodes.dismantle(count)

    def _keep_stat(self, path: str, znode: Znode) -> Stat:
        """Build a znode's stat and keep it for the next reader."""
        stat = znode.stat = znode.make_stat()
        self._with_stat.append(path)
        if len(self._with_stat) > _STATS_MAX:
            oldest = self._by_path.get(self._with_stat.popleft())
            if oldest is not None:
                oldest.stat = None
        return stat

    def _lookup(self, path: str) -> Znode:
        znode = self._by_path.get(path)
        if znode is None:
            raise _missing(path)
        return znode

    def _perform_once(self, zxid: int, transaction: Transaction) -> Applied:
        """Apply a session's request, unless it was applied before."""
        record = self._sessions.by_id.get(transaction.session)
        cxid = transaction.cxid
        if record is None:
            refusal = Refused(
                ErrorCode.SESSION_EXPIRED, _path_of(transaction.operation)
            )
            return Applied(zxid, transaction.session, cxid, refusal)
        if cxid <= record.last_cxid:
            outcome = record.outcome_of(cxid)
            return Applied(zxid, record.id, cxid, outcome, duplicate=True)
        applied = self._perform(zxid, transaction, record)
        if applied.closed != record.id:
            self._sessions.remember(
                record, cxid, acked=transaction.acked, zxid=zxid, result=applied.result
            )
        return applied

    def _perform(
        self, zxid: int, transaction: Transaction, record: SessionRecord | None
    ) -> Applied:
        session, cxid = transaction.session, transaction.cxid
        identities = _ENSEMBLE if record is None else record.identities
        mutation = Mutation(
            self._znodes, zxid, transaction.time_ms, session, identities
        )
        result: Result
        match transaction.operation:
            # The most frequent ones first: each case that does not match costs.
            case Set() | Create() | Delete() | Check() as operation:
                result = mutation.perform(operation)
            case Multi() as multi:
                result = mutation.perform_all(multi)
            case DeleteContainer() as deletion:
                result = mutation.delete_container(deletion)
            case OpenSession() as opening:
                return self._open(zxid, transaction, opening)
            case ResumeSession() as resuming:
                result, duplicate = self._resume(resuming)
                return Applied(zxid, session, cxid, result, duplicate=duplicate)
            case CloseSession() as closing:
                return self._close(mutation, transaction, closing)
            case Configure() as configuration:
                result = mutation.configure(configuration)
            case AddIdentities() as adding:
                result = self._identify(record, adding)
            case SetAcl() as setting:
                result = mutation.set_acl(setting)
            case _:
                assert_never(transaction.operation)
        return Applied(zxid, session, cxid, result, mutation.events)

    def _identify(
        self, record: SessionRecord | None, adding: AddIdentities
    ) -> Refused | None:
        if record is None:
            return Refused(ErrorCode.BAD_ARGUMENTS, "", "no session to be somebody")
        identities = tuple(dict.fromkeys(record.identities + adding.identities))
        if len(identities) > IDENTITIES_MAX:
            reason = f"more than {IDENTITIES_MAX} identities"
            return Refused(ErrorCode.BAD_ARGUMENTS, "", reason)
        self._sessions.identify(record, identities)
        return None

    def _open(
        self, zxid: int, transaction: Transaction, opening: OpenSession
    ) -> Applied:
        record = self._sessions.with_nonce(opening.nonce)
        duplicate = record is not None
        if record is None:
            record = SessionRecord(
                SessionId(zxid),
                opening.nonce,
                opening.owner,
                opening.member,
                opening.timeout_ms,
                tuple(dict.fromkeys(opening.identities)),
            )
            self._sessions.add(record)
        return Applied(
            zxid,
            transaction.session,
            transaction.cxid,
            record.opened(),
            duplicate=duplicate,
        )

    def _resume(self, resuming: ResumeSession) -> tuple[Result, bool]:
        """Return the outcome, and whether it was so before."""
        record = self._sessions.by_id.get(resuming.session)
        if record is None or record.nonce != resuming.nonce:
            # Which of the two is nobody's business, as in ZooKeeper.
            return Refused(ErrorCode.SESSION_EXPIRED, ""), False
        if record.member != resuming.member:
            reason = f"only member {record.member} can resume the session"
            return Refused(ErrorCode.BAD_ARGUMENTS, "", reason), False
        if record.last_cxid + CXIDS_AHEAD > UINT64_MAX:
            reason = "the session's numbers are used up"
            return Refused(ErrorCode.RUNTIME_INCONSISTENCY, "", reason), False
        duplicate = record.owner == resuming.owner
        if not duplicate:
            self._sessions.resume(record, resuming.owner)
        return record.opened(), duplicate

    def _close(
        self, mutation: Mutation, transaction: Transaction, closing: CloseSession
    ) -> Applied:
        applied = Applied(mutation.zxid, transaction.session, transaction.cxid, None)
        record = self._sessions.by_id.get(closing.session)
        if record is not None and record.owner == closing.owner:
            mutation.delete_ephemerals(list(record.ephemerals), closing.cause)
            self._sessions.remove(record)
            applied.events = mutation.events
            applied.closed = record.id
            applied.cause = closing.cause
        return applied


def _missing(path: str) -> NoNodeError:
    """Return the error for a path without a znode.

    Raises:
      BadArgumentsError: It is no path at all. Looked at on a miss only, as no
        znode has a malformed path.

    """
    validate_path(path)
    return NoNodeError(path)


def _path_of(operation: Operation) -> str:
    """Return the znode that the operation names, if it names one."""
    kinds = (
        Multi | AddIdentities | OpenSession | ResumeSession | CloseSession | Configure
    )
    if isinstance(operation, kinds):
        return ""
    return operation.path
