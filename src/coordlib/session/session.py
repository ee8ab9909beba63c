"""A session: how an application talks to the ensemble.

One API for every place a session may live; recipes use nothing else. All
methods are ``async`` and always checkpoint, except those that only look at
this process. How long the session can be relied on is decided in
:mod:`coordlib.replica.kept`; this module asks, and makes errors of refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self

import attrs
import trio

from coordlib.errors import (
    BadVersionError,
    ErrorCode,
    MultiError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NoWatchError,
    OperationError,
    QuotaExceededError,
    ReadOnlyError,
    ReplicaClosedError,
    SessionExpiredError,
    operation_error,
)
from coordlib.ids import SessionId
from coordlib.replica.kept import (
    Binding,
    KeptSession,
    SessionState,
    SessionTicket,
)
from coordlib.replica.subscriptions import EventQueue
from coordlib.tree import (
    ANY_VERSION,
    CHILDREN_MAX,
    OPEN_ACL_UNSAFE,
    Acl,
    AddIdentities,
    Applied,
    Create,
    Created,
    Delete,
    EventType,
    Get,
    GetChildren,
    Identity,
    Multi,
    MultiRefused,
    Operation,
    Permission,
    Refused,
    Result,
    Set,
    SetAcl,
    Stat,
    SubOperation,
    Watch,
    WatchedEvent,
    WatchKind,
    limits_path,
    masked,
    parent_of,
    shown,
)

from .arguments import (
    check_czxid,
    check_flag,
    check_path,
    check_reads,
    check_text,
    checked_path,
    to_acl,
    to_credential,
    to_ttl_ms,
)
from .authentication import Authentication
from .event_stream import EventStream
from .one_shot import OneShotWatch
from .quotas import QuotaStatus, checked_limit, plan_quota, plan_removal, status_of

__all__ = ["Session", "Znode"]

# What a plan for a quota's znodes is refused with if others have changed them.
# Whoever was faster has done something, so this does not go on for ever.
_OVERTAKEN = (NodeExistsError, NoNodeError, BadVersionError, NotEmptyError)

# How long leaving a session's block waits for the ensemble to confirm. After
# that the replica goes on closing it, and the application goes its way.
_CLOSE_PATIENCE = 1.0


@attrs.frozen
class Znode:
    """What :meth:`Session.wait_for` shows its predicate.

    Attributes:
      path: Where it is.
      data: Its data.
      stat: Its stat.

    """

    path: str
    data: bytes
    stat: Stat


class Session:
    """A conversation with the ensemble, which owns ephemeral znodes.

    Made by :meth:`coordlib.Ensemble.session`. Use it from as many tasks as you
    like, in the process and trio run that made it.

    Any method may raise:

    * :exc:`SessionExpiredError`: the session is over, its ephemerals are gone
      or soon will be. A write that was under way may have been applied if it
      raises :exc:`ConnectionLossError`; otherwise nothing changed.
    * :exc:`SessionClosedError`: you closed it. Nothing changed.
    * :exc:`ReplicaClosedError`: the replica does not run here. A write that was
      under way may have been applied.
    * :exc:`BadArgumentsError`: an argument is impossible. Nothing changed.
    * :exc:`NoAuthError`: the ACL of a znode refuses this to the session. Nothing
      changed.

    Writes may also raise :exc:`ReadOnlyError` (no quorum answers for a third of
    the session timeout, or the session is not open yet) and
    :exc:`OverloadedError`; nothing changed. Cancelling a write stops waiting for
    it; it may still be applied, once.
    """

    def __init__(
        self,
        kept: KeptSession,
        check_process: Callable[[], None],
        authentication: Authentication,
    ) -> None:
        self._kept = kept
        self._authentication = authentication
        self._replica = kept.replica
        self._tree = kept.replica.tree
        self._check_process = check_process

    # --- about the session ---

    @property
    def id(self) -> SessionId:
        """The session's id: the owner in :attr:`Stat.ephemeral_owner`.

        0 while it is not open yet.
        """
        return self._kept.id

    @property
    def timeout(self) -> float:
        """After so many seconds of silence the ensemble ends the session."""
        return self._kept.timeout

    @property
    def cxid(self) -> int:
        """The number of its newest write; 0 before the first.

        The log names a request by :attr:`id` and this number. A call takes it
        before its first checkpoint; one that is refused unsent takes none.
        """
        return self._kept.cxid

    @property
    def state(self) -> SessionState:
        """Whether it can be relied on."""
        self._kept.check(trio.current_time())
        return self._kept.state

    @property
    def deadline(self) -> float:
        """When it is lost unless a heartbeat is answered, in trio's time."""
        return self._kept.deadline

    @property
    def ticket(self) -> SessionTicket:
        """What to keep, if the session is to outlive this process.

        The next process of the same member hands it to
        :meth:`coordlib.Ensemble.session` as ``resume``, within :attr:`timeout`.

        Raises:
          ReadOnlyError: The session is not open yet.

        Source:
          ``ZooKeeper.getSessionId`` and ``getSessionPasswd``.

        """
        if not self._kept.id:
            raise ReadOnlyError("", "the session is not open yet")
        return SessionTicket(self._kept.id, self._kept.nonce)

    async def wait_connected(self) -> None:
        """Wait until the ensemble can be relied on to take writes.

        Returns at once if it is so; else when the session has been opened, or
        is no longer suspended.

        Raises:
          SessionExpiredError: It is over; so may a resumed one be.
          BadArgumentsError: It cannot be resumed here.

        """
        await trio.lowlevel.checkpoint()
        while self.state is not SessionState.CONNECTED:
            self.check()
            await self._kept.moved.park()

    def check(self) -> None:
        """Check, by the clock, that the session can be relied on right now.

        Call it before an effect on the outside world if the process may have
        been frozen in between; nothing else can notice that in time.

        Raises:
          SessionError: It is over.

        """
        self._check_process()
        self._kept.require()

    async def __aenter__(self) -> Self:
        # Shielded: a session whose entry fails would never be closed.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session; its ephemerals are deleted.

        Waits up to a second for the ensemble to confirm, even if cancelled;
        after that the replica goes on trying for as long as it lives.
        Idempotent.
        """
        self._check_process()
        if self.state is SessionState.READ_ONLY:
            self._kept.abandon()
        elif self.state in {SessionState.CONNECTED, SessionState.SUSPENDED}:
            closing, confirmed = self._kept.leave(), False
            # A replica that ends takes the session with it.
            with (
                suppress(ReplicaClosedError),
                trio.move_on_after(_CLOSE_PATIENCE, shield=True),
            ):
                await closing.wait()
                confirmed = True
            self._kept.left(confirmed=confirmed)
        # Shielded: Cancelled would take the place of the body's own error.
        await trio.lowlevel.cancel_shielded_checkpoint()

    # --- writes ---

    async def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        acl: Sequence[Acl] | None = None,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl: float | None = None,
    ) -> str:
        """Make a znode.

        Args:
          path: Its path, such as ``"/config/limits"``. With ``sequential`` the
            ensemble appends ten digits, and the path may end with ``/``.
          data: At most :attr:`Limits.data_bytes_max` bytes (1 MiB); or
            ``None``, null to ZooKeeper's clients, which :meth:`get` reads as
            empty.
          acl: Who may do what with it; ``None`` is ``OPEN_ACL_UNSAFE``:
            everybody everything. It is the znode's alone: those below it have
            their own.
          ephemeral: Delete it when this session ends.
          sequential: Append a number that grows with every child created at
            the same parent.
          container: Have the ensemble delete it some time after its last child
            is gone; neither ephemeral nor sequential. It may vanish between two
            calls: if making a child raises :exc:`NoNodeError`, make it again.
          ttl: Have the ensemble delete it some time after it has had no
            children and its data has not been set for so many seconds: a
            millisecond to 34 years, in whole milliseconds. Not ephemeral, not
            a container.

        Returns:
          The path, with the number if it is sequential.

        Raises:
          NodeExistsError: There is one already. Nothing changed.
          NoNodeError: The parent does not exist. Nothing changed.
          NoChildrenForEphemeralsError: The parent is ephemeral. Nothing changed.
          BadArgumentsError: The kinds of znode contradict each other. Nothing
            changed.
          NoAuthError: The parent does not grant CREATE. Nothing changed.
          InvalidAclError: ``acl`` is empty or malformed, or holds ``auth`` and
            the session has no identity. Nothing changed.

        Source:
          ``ZooKeeper.create``.

        """
        operation = Create(
            path,
            data,
            acl=OPEN_ACL_UNSAFE if acl is None else to_acl(acl),
            ephemeral=ephemeral,
            sequential=sequential,
            container=container,
            ttl_ms=to_ttl_ms(path, ttl),
        )
        result = await self._ask(operation)
        assert isinstance(result, Created)
        return result.path

    async def set(
        self, path: str, data: bytes | None, *, version: int = ANY_VERSION
    ) -> Stat:
        """Replace the data of a znode.

        Args:
          path: Which.
          data: As in :meth:`create`.
          version: Refuse unless the znode has this :attr:`Stat.version`.
            ``ANY_VERSION`` (-1) accepts any.

        Returns:
          The stat after the write; ``mzxid`` is the write's zxid.

        Raises:
          NoNodeError: There is no such znode. Nothing changed.
          BadVersionError: It has another version. Nothing changed.
          NoAuthError: It does not grant WRITE. Nothing changed.

        Source:
          ``ZooKeeper.setData``.

        """
        result = await self._ask(Set(path, data, version))
        assert isinstance(result, Stat)
        return result

    async def delete(
        self, path: str, *, version: int = ANY_VERSION, czxid: int = 0
    ) -> None:
        """Delete a znode without children.

        Args:
          path: Which.
          version: As in :meth:`set`.
          czxid: Refuse unless the znode is the one that this transaction
            created, not one made anew at the same path; 0 accepts any.

        Raises:
          NoNodeError: There is no such znode. Nothing changed.
          BadVersionError: It has another version, or czxid. Nothing changed.
          NotEmptyError: It has children. Nothing changed.
          NoAuthError: Its *parent* does not grant DELETE. Nothing changed.

        Source:
          ``ZooKeeper.delete``; ``czxid`` is coordlib's.

        """
        await self._ask(Delete(path, version, czxid))

    async def multi(
        self, operations: Sequence[SubOperation]
    ) -> list[str | Stat | None]:
        """Do all of these in one transaction, or none.

        Args:
          operations: :class:`Create`, :class:`Set`, :class:`Delete` and
            :class:`Check`; each sees the effects of those before it. None at
            all is done at once.

        Returns:
          For each: the path of a :class:`Create`, the stat of a :class:`Set`,
          ``None`` otherwise.

        Raises:
          MultiError: One was refused; nothing changed. It says which, and why.

        Source:
          ``ZooKeeper.multi``.

        """
        if not isinstance(operations, Sequence):
            raise TypeError(f"operations is a sequence, not {operations!r}")
        if not operations:
            self.check()
            await trio.lowlevel.checkpoint()
            return []
        result = await self._ask(Multi(tuple(operations)))
        assert isinstance(result, list)
        return [r.path if isinstance(r, Created) else r for r in result]

    async def set_acl(
        self, path: str, acl: Sequence[Acl], *, version: int = ANY_VERSION
    ) -> Stat:
        """Replace the ACL of a znode; those below it keep theirs.

        Nobody is told of it. Take care not to lock yourself out: what no
        identity is granted, only the superuser (:attr:`Config.superuser`) can
        give back.

        Args:
          path: Which.
          acl: Who may do what with it from now on. Entries that come twice
            count once; ``auth`` stands for all identities that this session has
            now, addresses excepted.
          version: Refuse unless the znode has this :attr:`Stat.aversion`.
            ``ANY_VERSION`` (-1) accepts any.

        Returns:
          The stat after the write. Only ``aversion`` has changed.

        Raises:
          NoNodeError: There is no such znode. Nothing changed.
          NoAuthError: It does not grant ADMIN. Nothing changed.
          BadVersionError: Its ACL has another version. Nothing changed.
          InvalidAclError: As in :meth:`create`. Nothing changed.

        Source:
          ``ZooKeeper.setACL``.

        """
        result = await self._ask(SetAcl(path, to_acl(acl), version))
        assert isinstance(result, Stat)
        return result

    async def add_auth(self, scheme: str, credential: bytes | str) -> None:
        """Prove to be somebody; the session is that, too, until it ends.

        What the credential proves is found out at this member, and only that is
        agreed upon and logged. Doing it again changes nothing. It belongs to
        the session: unlike ZooKeeper's, it need not be repeated.

        Args:
          scheme: ``"digest"``, or that of an :class:`AuthenticationProvider`
            given to the :class:`Ensemble`.
          credential: For ``digest``, ``user:password``. A new user is one with
            a name that nobody has used, for there is no list of them. Text is
            encoded in UTF-8.

        Raises:
          AuthFailedError: The credential was refused, or this member does not
            know the scheme. Nothing changed, and unlike in ZooKeeper the
            session goes on.
          BadArgumentsError: More than 64 identities, or one that is too long.
            Nothing changed.

        Source:
          ``ZooKeeper.addAuthInfo``.

        """
        self.check()
        proof = to_credential(scheme, credential)
        identities = await self._authentication.prove(scheme, proof)
        await self._ask(AddIdentities(identities))

    async def _ask(self, operation: Operation) -> Result:
        """Submit, wait for the local apply, and raise what was refused."""
        self._check_process()
        path = checked_path(operation, self._replica.config.limits)
        self._check_schemes(operation)
        self._check_children(operation)
        result = (await self._submit(operation, path)).result
        if isinstance(result, Refused):
            _raise_refusal(result)
        if isinstance(result, MultiRefused):
            errors = [_error_of(refusal) for refusal in result.refusals]
            raise MultiError(errors, result.failed_at)
        return result

    def _check_children(self, operation: Operation) -> None:
        """Check the limit of this member; the tree has its own."""
        most = self._replica.config.limits.children_max
        match operation:
            case Create(path):
                if self._tree.children_number(parent_of(path)) >= most:
                    reason = f"its parent has {most} children, Limits.children_max"
                    raise QuotaExceededError(path, reason)
            case Multi(operations) if most < CHILDREN_MAX:
                for part in operations:
                    self._check_children(part)

    def _check_schemes(self, operation: Operation) -> None:
        match operation:
            case Multi(operations):
                for part in operations:
                    self._check_schemes(part)
            case Create(acl=acl) | SetAcl(acl=acl) if acl is not OPEN_ACL_UNSAFE:
                self._authentication.check_schemes(operation.path, acl)

    async def _submit(self, operation: Operation, path: str) -> Applied:
        return await self._kept.submit(operation, path).wait()

    # --- reads: from this member's tree ---

    async def get(self, path: str) -> tuple[bytes, Stat]:
        """Return the data and the stat of a znode; null data as empty.

        Read from this member's tree: the session sees all of its own completed
        writes, and never goes back in time. Call :meth:`sync` first to see
        everybody's.

        Raises:
          NoNodeError: There is no such znode.
          NoAuthError: It does not grant READ.

        Source:
          ``ZooKeeper.getData``.

        """
        await self._begin_read(path)
        return self._tree.get(path)

    async def exists(self, path: str) -> Stat | None:
        """Return the stat of a znode, or ``None`` if there is none.

        See :meth:`get` for what is read. Everybody may ask, whatever the ACL,
        as in ZooKeeper 3.8.0. Source: ``ZooKeeper.exists``.
        """
        self.check()
        check_text("path", path)
        await trio.lowlevel.checkpoint()
        return self._tree.exists(path)

    async def get_children(self, path: str) -> list[str]:
        """Return the names of a znode's children, in the order of creation.

        See :meth:`get` for what is read.

        Raises:
          NoNodeError: There is no such znode.
          NoAuthError: It does not grant READ.

        Source:
          ``ZooKeeper.getChildren``, which promises no order.

        """
        await self._begin_read(path)
        return self._tree.get_children(path)

    async def get_children_and_stat(self, path: str) -> tuple[list[str], Stat]:
        """Return what :meth:`get_children` does, and the znode's stat with it.

        Both are of one moment. Raises what :meth:`get_children` does.

        Source:
          ``ZooKeeper.getChildren`` with a ``Stat``, the operation getChildren2.

        """
        await self._begin_read(path)
        return self._tree.get_children(path), self._tree.get(path)[1]

    async def get_all_children_number(self, path: str) -> int:
        """Return how many znodes there are below one, at any depth.

        Costs this process a step for each of them, some 0.2 microseconds, in
        which nothing else runs; nothing for the root.

        Raises:
          NoNodeError: There is no such znode.
          NoAuthError: It does not grant READ; those below are not asked.

        Source:
          ``ZooKeeper.getAllChildrenNumber``.

        """
        await self._begin_read(path)
        return self._tree.descendants(path)

    async def get_ephemerals(self, prefix: str = "/") -> list[str]:
        """Return the paths of this session's own ephemerals, sorted.

        Args:
          prefix: Only those that begin so. It is compared as text: ``"/a"``
            finds ``"/ab"`` too. Empty is like ``"/"``: all of them.

        Source:
          ``ZooKeeper.getEphemerals``.

        """
        check_text("prefix", prefix)
        self.check()
        await trio.lowlevel.checkpoint()
        return self._tree.ephemerals(self.id, prefix)

    async def multi_read(
        self, reads: Sequence[Get | GetChildren]
    ) -> list[tuple[bytes, Stat] | list[str] | OperationError]:
        """Read several znodes at one zxid: no write comes in between.

        Args:
          reads: At most :attr:`Limits.operations_max`.

        Returns:
          For each: what :meth:`get` or :meth:`get_children` returns, or the
          error that it would raise.

        Source:
          ``ZooKeeper.multi`` of reads, the operation multiRead.

        """
        check_reads(reads, self._replica.config.limits)
        self.check()
        await trio.lowlevel.checkpoint()
        return [self._read(read) for read in reads]

    def _read(
        self, read: Get | GetChildren
    ) -> tuple[bytes, Stat] | list[str] | OperationError:
        try:
            self._require(read.path, Permission.READ)
            if isinstance(read, Get):
                return self._tree.get(read.path)
            return self._tree.get_children(read.path)
        except OperationError as error:
            return error

    # --- quotas ---

    async def get_quota(self, path: str) -> QuotaStatus | None:
        """Return the quota on a znode, and its use; ``None`` if there is none.

        See :meth:`get` for what is read. One above the znode is not looked for.

        Raises:
          NoAuthError: The znode of the limits does not grant READ.

        """
        check_path(path, self._replica.config.limits.path_chars_max)
        await self._begin_read(limits_path(path))
        return status_of(self._tree.quotas().get(path))

    async def set_quota(
        self,
        path: str,
        *,
        count: int | None = None,
        bytes: int | None = None,
        count_hard: int | None = None,
        bytes_hard: int | None = None,
    ) -> None:
        """Bound how much may be at and below a znode; or change such a bound.

        Each limit: ``None`` leaves it as it is, -1 takes it away.

        Args:
          path: Which znode; not the root, and nothing of ``/zookeeper``.
          count: This many znodes, itself included, or there is a warning.
          bytes: This many bytes of data, or there is a warning.
          count_hard: What would make more znodes is refused.
          bytes_hard: What would make more bytes of data is refused.

        Raises:
          NoNodeError: There is no such znode. Nothing changed.
          TypeError: No limit is given, or one that is no int. Nothing changed.
          BadArgumentsError: There is a quota above or below it already. Nothing
            changed. Two that are made at the same time may pass; then both bind.
          NoAuthError: An ACL below ``/zookeeper/quota`` forbids it. Nothing
            changed.

        """
        asked = {
            "count": count,
            "bytes": bytes,
            "count_hard": count_hard,
            "bytes_hard": bytes_hard,
        }
        check_path(path, self._replica.config.limits.path_chars_max)
        changes = {
            name: limit
            for name, number in asked.items()
            if (limit := checked_limit(path, name, number)) is not None
        }
        if not changes:
            raise TypeError("set_quota() needs a limit")
        await self._change_quota(lambda: plan_quota(self._tree, path, changes))

    async def del_quota(self, path: str) -> None:
        """Remove the quota on a znode.

        Raises:
          NoNodeError: It has none. Nothing changed.
          NoAuthError: An ACL below ``/zookeeper/quota`` forbids it. Nothing
            changed.

        """
        check_path(path, self._replica.config.limits.path_chars_max)
        await self._change_quota(lambda: plan_removal(self._tree, path))

    async def _change_quota(self, plan: Callable[[], Multi]) -> None:
        """Do what is planned; plan anew when somebody else was faster."""
        while True:
            self.check()
            try:
                await self._ask(plan())
            except MultiError as refused:
                if not isinstance(refused.error, _OVERTAKEN):
                    raise refused.error from None
            else:
                return

    async def predecessor(self, path: str, containing: str = "") -> str | None:
        """Return the path of the sibling that was created last before a znode.

        What a waiting line needs, without listing it. See :meth:`get` for what
        is read.

        Args:
          path: The znode.
          containing: Only siblings with this text in their name count.

        Raises:
          NoNodeError: There is no znode at ``path``.
          NoAuthError: It, or its parent, does not grant READ.

        """
        check_text("containing", containing)
        await self._begin_read(path)
        before = self._tree.predecessor(path, containing)
        self._require(parent_of(path), Permission.READ)
        return before

    async def get_acl(self, path: str) -> tuple[tuple[Acl, ...], Stat]:
        """Return the ACL and the stat of a znode.

        See :meth:`get` for what is read. Without ADMIN, the hashes of passwords
        are masked: ``user:x``.

        Raises:
          NoNodeError: There is no such znode.
          NoAuthError: It grants neither READ nor ADMIN.

        Source:
          ``ZooKeeper.getACL``.

        """
        await self._begin_read(path, Permission.READ | Permission.ADMIN)
        acl, stat = self._tree.get_acl(path)
        if not self._tree.may(self.id, path, Permission.ADMIN):
            acl = masked(acl)
        return acl, stat

    async def whoami(self) -> list[Identity]:
        """Return who this session has proved to be, in that order.

        An identity of the scheme ``digest`` is shown without its hash, as the
        user's name. Everybody is also ``world:anyone``, which is left out.

        Source:
          ``ZooKeeper.whoAmI``.

        """
        self.check()
        await trio.lowlevel.checkpoint()
        return [shown(identity) for identity in self._tree.identities_of(self.id)]

    async def _begin_read(
        self, path: str, permission: Permission = Permission.READ
    ) -> None:
        """Pass a checkpoint, and then require a permission.

        Raises:
          NoAuthError: There is such a znode, and it does not grant it.

        """
        self.check()
        check_text("path", path)
        await trio.lowlevel.checkpoint()
        self._require(path, permission)

    def _require(self, path: str, permission: Permission) -> None:
        if not self._tree.may(self.id, path, permission):
            # A session that has just ended is nobody any more.
            self.check()
            raise NoAuthError(path, f"{permission.name} is not granted")

    async def sync(self) -> None:
        """Wait until this member has every write acknowledged before the call.

        Linearizable, unlike ZooKeeper's ``sync`` (ZOOKEEPER-1675): the leader
        answers only after a quorum has confirmed that it leads. Reads after it
        see everything that anybody was told before it began. Calls at the same
        time share one round.
        """
        self.check()
        waiter = self._replica.sync()
        self._kept.listen(waiter.fail)
        try:
            await waiter.wait()
        finally:
            self._kept.unlisten(waiter.fail)
            self._replica.forget_sync(waiter)

    # --- watching ---

    def watch(self, path: str, *, recursive: bool = False) -> EventStream:
        """Return a stream of the changes at a znode, from now on.

        Use it as ``async with session.watch(path) as events``, then ``async for
        event in events``. The znode need not exist. No change is left out: where
        one may have been, there is an event of type ``RESYNC`` that says why
        (:class:`Gap`): read again. Changes of what the session may not read are
        not told. Iteration ends after :meth:`remove_watches`, and with the
        session's error.

        Args:
          path: Which znode: its creation, deletion, data, and that children
            came or went (``CHILDREN_CHANGED``).
          recursive: It and everything below: creation, deletion and data of
            each, without ``CHILDREN_CHANGED``.

        Raises:
          OverloadedError: On entry: there are too many watches, see
            :class:`Limits`. None was set.

        Source:
          ``ZooKeeper.addWatch``.

        """
        self.check()
        check_path(path, self._replica.config.limits.path_chars_max)
        check_flag("recursive", recursive)
        kind = WatchKind.RECURSIVE if recursive else WatchKind.PERSISTENT
        return EventStream(self._kept, path, kind, self._kept.nonce)

    async def get_and_watch(self, path: str) -> tuple[bytes, Stat, OneShotWatch]:
        """Return data and stat, as :meth:`get`, and a watch for the next change.

        The watch is told of the first deletion or setting of data after exactly
        this state, once.

        Raises:
          NoNodeError: There is no such znode. No watch was set.
          OverloadedError: There are too many watches, see :class:`Limits`. None
            was set.

        Source:
          ``ZooKeeper.getData`` with a watcher.

        """
        data, stat = await self.get(path)
        # No checkpoint since the tree was read, nor in the other two.
        return data, stat, OneShotWatch(self._kept, path, WatchKind.DATA)

    async def exists_and_watch(self, path: str) -> tuple[Stat | None, OneShotWatch]:
        """Return the stat or ``None``, as :meth:`exists`, and a watch.

        The watch is told of the first creation, deletion or setting of data
        after exactly this state, once. See :meth:`get_and_watch` for errors; the
        znode need not exist.

        Source:
          ``ZooKeeper.exists`` with a watcher.

        """
        stat = await self.exists(path)
        return stat, OneShotWatch(self._kept, path, WatchKind.EXISTS)

    async def get_children_and_watch(self, path: str) -> tuple[list[str], OneShotWatch]:
        """Return the children's names, as :meth:`get_children`, and a watch.

        The watch is told, once, of the first child created or deleted after
        exactly this state, or of the deletion of the znode itself. See
        :meth:`get_and_watch` for errors.

        Source:
          ``ZooKeeper.getChildren`` with a watcher.

        """
        names = await self.get_children(path)
        return names, OneShotWatch(self._kept, path, WatchKind.CHILD)

    async def remove_watches(self, path: str, kind: WatchKind | None = None) -> None:
        """Remove this session's watches at a znode, all or those of one kind.

        Who waits for one of them gets an event that says so
        (``DATA_WATCH_REMOVED``, ``CHILD_WATCH_REMOVED`` or
        ``PERSISTENT_WATCH_REMOVED``), after those that are there; then a stream
        ends. To remove one watch, leave its block. What :meth:`wait_for`,
        :meth:`wait_deleted` and grants watch is their own and stays.

        Args:
          path: The watched znode.
          kind: Which; ``DATA`` and ``EXISTS`` are one kind here. ``None`` is all.

        Raises:
          NoWatchError: There is none. Nothing changed.

        Source:
          ``ZooKeeper.removeAllWatches``.

        """
        self.check()
        check_path(path, self._replica.config.limits.path_chars_max)
        if kind is not None and not isinstance(kind, WatchKind):
            raise TypeError(f"a kind is a WatchKind, not {type(kind).__name__}")
        await trio.lowlevel.checkpoint()
        if not self._replica.subscriptions.remove_all(
            path, kind, self._kept.nonce, self._tree.zxid
        ):
            raise NoWatchError(path)

    async def wait_for(
        self, path: str, predicate: Callable[[Znode | None], bool]
    ) -> Znode | None:
        """Wait until ``predicate`` holds for the znode as it is.

        Level-triggered: it looks first, and again after each change of the
        znode or of its set of children; what happened in between does not
        matter.

        Args:
          path: Which znode.
          predicate: Gets the znode, or ``None`` if there is none. Plain and
            quick.

        Returns:
          What the predicate accepted.

        Raises:
          NoAuthError: The znode does not grant READ; perhaps not any more.

        """
        self.check()
        check_path(path, self._replica.config.limits.path_chars_max)
        if not callable(predicate):
            raise TypeError(f"predicate is callable, not {predicate!r}")
        # Its own watch, not the session's: what it may not read, _look() says.
        async with EventStream(self._kept, path, WatchKind.PERSISTENT, b"") as events:
            while True:
                znode = self._look(path)
                if predicate(znode):
                    return znode
                await events.wait()

    async def wait_deleted(self, *paths: str) -> str:
        """Wait until one of these znodes does not exist, and return its path.

        A znode that does not exist now counts. Of several, the first given is
        returned.

        Raises:
          TypeError: No path is given: that would be a wait for ever.

        """
        self.check()
        if not paths:
            raise TypeError("wait_deleted() needs a path")
        for path in paths:
            check_path(path, self._replica.config.limits.path_chars_max)
        subscriptions = self._replica.subscriptions
        # What happened does not matter, so one event is all it has to hold.
        queue = EventQueue(paths[0], 1, subscriptions.ringer)
        watches = [self._watch_deletion(path, queue) for path in paths]
        self._kept.listen(queue.end)
        try:
            await trio.lowlevel.checkpoint()
            while True:
                self.check()
                for path in paths:
                    if self._tree.exists(path) is None:
                        return path
                await queue.get()
        finally:
            self._kept.unlisten(queue.end)
            for watch in watches:
                subscriptions.remove(watch)

    def _watch_deletion(self, path: str, queue: EventQueue) -> Watch:
        def see(event: WatchedEvent) -> None:
            if event.type in {EventType.DELETED, EventType.RESYNC}:
                queue.put(event)

        return self._replica.subscriptions.add(path, WatchKind.PERSISTENT, see)

    def _look(self, path: str) -> Znode | None:
        self.check()
        self._require(path, Permission.READ)
        try:
            data, stat = self._tree.get(path)
        except NoNodeError:
            return None
        return Znode(path, data, stat)

    # --- for recipes ---

    def bind(self, scope: trio.CancelScope, path: str, czxid: int) -> Binding:
        """Tie a cancel scope to this session and to one znode.

        Use it as ``with session.bind(scope, path, czxid) as binding`` around
        what relies on the znode. The scope is cancelled when the session can no
        longer be relied on, or when the znode that the transaction ``czxid``
        created at ``path`` is deleted; its deadline is the session's. Then
        ``binding.lost`` is true.
        """
        self._check_process()
        check_path(path, self._replica.config.limits.path_chars_max)
        check_czxid(path, czxid)
        return Binding(self._kept, scope, path, czxid)

    def reap(self, parent: str, containing: str) -> None:
        """Delete this session's own znodes in the background; do not wait.

        For clean-up by a task that is being cancelled: every child of
        ``parent`` that this session owns (as an ephemeral) and whose name
        contains ``containing`` is deleted, also if its creation is still under
        way. Carried on until done or until the session is over, which deletes
        ephemerals anyway. Never raises.
        """

        def delete_them() -> None:
            try:
                names = self._tree.get_children(parent)
            except OperationError:
                return
            for name in names:
                if containing in name:
                    self._reap_one(f"{parent.rstrip('/')}/{name}")

        self._kept.after_outstanding(delete_them)

    def _reap_one(self, path: str) -> None:
        stat = self._tree.exists(path)
        if stat is not None and stat.ephemeral_owner == self.id:
            self._kept.submit_unattended(Delete(path, czxid=stat.czxid))


def _raise_refusal(refusal: Refused) -> NoReturn:
    if refusal.code is ErrorCode.SESSION_EXPIRED:
        raise SessionExpiredError("the ensemble has expired the session")
    raise _error_of(refusal)


def _error_of(refusal: Refused) -> OperationError:
    return operation_error(refusal.code, refusal.path, refusal.reason)
