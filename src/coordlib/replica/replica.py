"""The running part: one member's tree, sessions and requests.

Requests of local sessions go to the leader, here or elsewhere, and are
answered when this replica applies them. The leader's replica also expires
sessions. The order of transactions is the consensus core's business, reached
through :mod:`driver`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import attrs
import trio

from coordlib.config import Config
from coordlib.consensus import Confirmed, Role, RoleChanged, Transaction
from coordlib.errors import (
    BadArgumentsError,
    CoordError,
    ErrorCode,
    LeadTransferError,
    OverloadedError,
    ReplicaClosedError,
    SessionExpiredError,
    operation_error,
)
from coordlib.ids import NO_EPOCH, NO_MEMBER, MemberId, SessionId, Zxid
from coordlib.storage.interface import LogStore
from coordlib.transport.interface import UNKNOWN_ENSEMBLE, Hello, Transport
from coordlib.tree import (
    CONFIG_PATH,
    NO_SESSION,
    Applied,
    Captured,
    Cause,
    CloseSession,
    Configure,
    DataTree,
    Identity,
    OpenSession,
    Operation,
    Refused,
    ResumeSession,
    SessionOpened,
    SessionRecord,
    capture,
    config_data,
    encode_request,
    encode_snapshot,
    restore,
    stamp,
)

from .cleaner import Cleaner
from .contact import Contact
from .driver import Driver
from .expiry import Expiry
from .kept import SECRET_BYTES, KeptSession, SessionState, closed_error
from .links import Blocking, ReplicaLink
from .quota_warnings import QuotaWarnings
from .requests import Outstanding, Request
from .subscriptions import Subscriptions
from .waiter import Bell, Waiter
from .wire import Confirm, Forward, Touch

__all__ = ["Replica", "Surroundings"]

# Transactions applied before other tasks run, so that heartbeats are not late:
# some 3 ms of pure Python.
_SLICE = 256

# Watches told before other tasks run: a slice ends early at so many.
_TOLD_SLICE = 2048

# Seconds for the last requests of a member that is leaving.
_FAREWELL = 1.0


@attrs.frozen(kw_only=True)
class Surroundings:
    """What a replica takes from the machine; tests give their own.

    Attributes:
      entropy: Returns that many random bytes.
      wall_clock: Seconds since 1970.
      blocking: Runs slow pure functions.

    """

    entropy: Callable[[int], bytes]
    wall_clock: Callable[[], float]
    blocking: Blocking


class Replica:
    """One start of one member. :meth:`run` is its whole life."""

    def __init__(
        self,
        *,
        member: MemberId,
        voters: frozenset[MemberId],
        members: int,
        configuration: str,
        name: str,
        store: LogStore,
        transport: Transport | None,
        config: Config,
        surroundings: Surroundings,
    ) -> None:
        self.member = member
        self.config = config
        self.tree = DataTree()
        self.subscriptions = Subscriptions(config.limits, self._identities_of)
        self.outstanding = Outstanding(
            config.limits.transaction_bytes_max,
            config.limits.requests_max,
            config.limits.requests_bytes_max,
            shares=members,
        )
        self.role = RoleChanged(Role.LOOKING, NO_EPOCH, NO_MEMBER)
        self.serving = False
        self.incarnation = surroundings.entropy(16)
        self.driver = Driver(self, store, config, surroundings.blocking)
        self._voters = voters
        self._name = name
        self._store = store
        self._transport = transport
        self._surroundings = surroundings
        self._kept: dict[SessionId, KeptSession] = {}
        self._opening: dict[KeptSession, Request] = {}
        # Requests of the replica itself, such as opening a session.
        self._cxid = int.from_bytes(surroundings.entropy(5), "big") << 22
        self._to_apply: deque[Transaction] = deque()
        self._apply_bell = Bell()
        self._flush_bell = Bell()
        self._ready = trio.lowlevel.ParkingLot()
        self._ready_at = Zxid(0)
        # The last epoch that we served in.
        self._served = NO_EPOCH
        self._contact = Contact(trio.current_time())
        self._expiry: Expiry | None = None
        self._expiring: set[SessionId] = set()
        self._cleaner: Cleaner | None = None
        self._quota_warnings = QuotaWarnings()
        # What /zookeeper/config should say, without the version; may be empty.
        self._configuration = configuration
        # Leader: it has to be looked whether it does.
        self._unconfigured = False
        # Barriers under way: who is told, and the number of its touch.
        self._barriers: dict[int, tuple[ReplicaLink | None, int]] = {}
        # Leader: what the core does not take now, in order. It is proposed when
        # the core takes it again, or dropped when the role ends: then everybody
        # sends again what has no outcome.
        self._held: deque[list[bytes]] = deque()
        self._held_count = self._held_bytes = 0
        self._cookie = 0
        # Transactions applied since the last snapshot.
        self._applied_since = 0
        self._saving = False
        self._nursery: trio.Nursery | None = None
        self.closed = False

    # --- life ---

    async def run(self, started: Callable[[], None]) -> None:
        """Recover, then run until cancelled.

        Args:
          started: Called once the member listens, before it has a leader.

        Raises:
          StorageError: The disk cannot be trusted, at start or later.
          ConfigError: The transport cannot listen.
          ReplicaClosedError: The core cannot go on.

        """
        try:
            recovered = await self._surroundings.blocking(self._store.recover)
            if recovered.snapshot is not None:
                restore(self.tree, recovered.snapshot[1])
            self.driver.load(
                recovered, self.member, self._voters, self._surroundings.entropy(16)
            )
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._store.run, self.driver.persisted)
                nursery.start_soon(self._apply_forever)
                nursery.start_soon(self._flush_forever)
                nursery.start_soon(self._beat_forever)
                nursery.start_soon(self.subscriptions.ringer.run)
                self.driver.start(nursery)
                if self._transport is not None:
                    await nursery.start(
                        self._transport.run, self._hello, self.driver.serve
                    )
                started()
        finally:
            self._end()
            self._store.close()

    def _end(self) -> None:
        """Tell everybody who waits that it is over."""
        self.closed = True
        self.serving = False
        self.driver.end()
        self.outstanding.fail_all(closed_error)
        self._contact.fail_all(closed_error)
        self._ready.unpark_all()
        for session in [*self._kept.values(), *self._opening]:
            session.ended(None)
        self._kept.clear()
        self._opening.clear()

    def abort(self) -> None:
        """End at once: what is queued anywhere is lost."""
        self._end()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def take_leave(self) -> None:
        """Leave no work behind and nobody without a leader, but do not take long.

        For the end of the user's block: releases and closes on their way
        should arrive, or others wait for the sessions to expire; and who leads
        hands the lead over, so that nobody has to find out that it is gone.
        """
        with trio.move_on_after(_FAREWELL, shield=True):
            while self.serving and len(self.outstanding):
                await self.outstanding.emptied.park()
            if not self.closed:
                with suppress(LeadTransferError, ReplicaClosedError):
                    await self.driver.transfer_lead(None)

    async def transfer_lead(self, to: MemberId | None) -> MemberId:
        """Hand the lead over; see :meth:`coordlib.Ensemble.transfer_lead`."""
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise closed_error()
        # One for the successor to get level, one for the election.
        with trio.move_on_after(2 * self.config.silence_timeout):
            return await self.driver.transfer_lead(to)
        raise LeadTransferError("no new leader was elected in time")

    def _hello(self) -> Hello:
        known = self.driver.peer.metadata.ensemble_id
        return Hello(
            self._name, known or UNKNOWN_ENSEMBLE, self.member, self.incarnation
        )

    async def wait_ready(self) -> None:
        """Wait until a quorum has formed and this replica has caught up.

        Raises:
          ReplicaClosedError: The replica ended meanwhile.

        """
        await trio.lowlevel.checkpoint()
        while not self.serving:
            if self.closed:
                raise closed_error()
            await self._ready.park()

    # --- what sessions ask for ---

    def submit(
        self,
        session: SessionId,
        cxid: int,
        operation: Operation,
        waiter: Waiter[Applied] | None,
    ) -> Request:
        """Take a request; it will be applied once, or its session will end.

        Raises:
          ReplicaClosedError: The replica does not run.

        """
        if self.closed:
            raise closed_error()
        request = self.outstanding.add(session, cxid, operation, waiter=waiter)
        self._flush_bell.ring()
        return request

    def open_session(self, timeout: float) -> KeptSession:
        """Open a session, and keep it alive from the moment it is applied.

        Args:
          timeout: The session's, in seconds.

        Raises:
          OverloadedError: Too many requests are without an answer, or too many
            sessions live here already.

        """
        nonce = self._surroundings.entropy(SECRET_BYTES)
        kept = KeptSession(self, nonce, timeout)
        timeout_ms = round(timeout * 1000)
        self._ask_for(
            kept, OpenSession(nonce, self.incarnation, self.member, timeout_ms)
        )
        return kept

    def resume_session(self, id: SessionId, nonce: bytes) -> KeptSession:
        """Go on with a session of an earlier incarnation of this member.

        Raises:
          OverloadedError: Too many requests are without an answer, or too many
            sessions live here already.

        """
        kept = KeptSession(self, nonce, math.inf)
        self._ask_for(kept, ResumeSession(id, nonce, self.incarnation, self.member))
        return kept

    def _ask_for(
        self, kept: KeptSession, operation: OpenSession | ResumeSession
    ) -> None:
        if self.outstanding.is_full:
            raise OverloadedError("", "too many operations of all sessions")
        most = self.config.limits.sessions_max
        if len(self._kept) + len(self._opening) >= most:
            raise OverloadedError("", f"{most} sessions live here, Limits.sessions_max")

        def opened(applied: Applied) -> None:
            del self._opening[kept]
            if isinstance(applied.result, SessionOpened):
                record = self.tree.session(applied.result.session)
                assert record is not None
                self._session_found(kept, record, request.sent)
            else:
                assert isinstance(applied.result, Refused)
                kept.refused(partial(_error_of, applied.result))

        request = self.submit(NO_SESSION, self._next_cxid(), operation, None)
        request.then.append(opened)
        self._opening[kept] = request

    def _session_found(
        self, kept: KeptSession, record: SessionRecord, sent: float
    ) -> None:
        if record.id in self._kept:
            kept.refused(_in_use)
        elif kept.state is SessionState.READ_ONLY:
            # The ensemble counts its timeout from when the leader applied it,
            # which is after we sent it.
            kept.opened(record, sent)
            self._kept[record.id] = kept
        else:
            self.close_session(record.id, Cause.CLOSED)

    def withdraw_session(self, kept: KeptSession) -> None:
        """Forget a session that is not open yet; close it if it ever will be."""
        # Without a quorum, each new try would leave one behind.
        if self.outstanding.withdraw(self._opening[kept]):
            del self._opening[kept]

    def close_session(self, session: SessionId, cause: Cause) -> Waiter[Applied]:
        """Have a session closed, however long it takes and whoever waits."""
        self._kept.pop(session, None)
        waiter: Waiter[Applied] = Waiter()
        if self.closed:
            waiter.fail(closed_error())
        else:
            operation = CloseSession(session, cause, self.incarnation)
            self.submit(NO_SESSION, self._next_cxid(), operation, waiter)
        return waiter

    def sync(self) -> Waiter[None]:
        """Return what resolves when the tree holds all that was acknowledged."""
        if self.closed:
            raise closed_error()
        waiter: Waiter[None] = Waiter()
        self._contact.add_sync(waiter)
        self._flush_bell.ring()
        return waiter

    def forget_sync(self, waiter: Waiter[None]) -> None:
        """Undo :meth:`sync` for a caller that has gone."""
        self._contact.forget_sync(waiter)

    @property
    def kept_sessions(self) -> int:
        """How many sessions live here."""
        return len(self._kept)

    def _next_cxid(self) -> int:
        self._cxid += 1
        return self._cxid

    # --- sending ---

    async def _flush_forever(self) -> None:
        """Send what piled up while others ran: batches form by themselves."""
        while True:
            await self._flush_bell.wait()
            self._flush()

    def _flush(self) -> None:
        if not self.serving:
            return
        now = trio.current_time()
        if self._unconfigured:
            self._configure()
        while bodies := self.outstanding.take_unsent(now):
            if self.role.role is Role.LEADING:
                self._propose(bodies)
            else:
                self._to_leader(Forward(self.role.epoch, bodies))
        if self._contact.has_syncs:
            self._touch(now)

    def _configure(self) -> None:
        """Leader: have it noted who the members are, if the tree says otherwise.

        Like an expiry, not among the outstanding requests. If it is lost, the
        next leader looks again.
        """
        self._unconfigured = False
        data, stat = self.tree.get(CONFIG_PATH)
        if data != config_data(self._configuration, stat.mzxid):
            operation = Configure(self._configuration)
            self._propose([encode_request(NO_SESSION, self._next_cxid(), 0, operation)])

    def _propose(self, requests: list[bytes]) -> None:
        """Leader: order these, now or when the core takes them."""
        if requests and (self._held or not self._offer(requests)):
            self._held.append(requests)
            self._held_count += len(requests)
            self._held_bytes += sum(map(len, requests))

    def _offer(self, requests: list[bytes]) -> bool:
        time_ms = int(self._surroundings.wall_clock() * 1000)
        return self.driver.propose([stamp(request, time_ms) for request in requests])

    def _propose_held(self) -> None:
        while self._held and self.driver.peer.takes_proposals:
            if not self._offer(self._held[0]):
                break
            proposed = self._held.popleft()
            self._held_count -= len(proposed)
            self._held_bytes -= sum(map(len, proposed))

    def lead_kept(self) -> None:
        """Propose what was held: the core takes it again."""
        self._propose_held()

    def _take_forward(self, link: ReplicaLink, forward: Forward) -> None:
        """Leader: propose these, unless their sender ignores its share.

        Members that count as we do never have that much under way; one that
        links up anew again and again may. All that it sends then has to be
        ignored, not a part: what comes later would seem to be the newest. It
        sends all of it again over its next link.
        """
        if link.ignored:
            return
        limits = self.config.limits
        if (
            self._held_count >= limits.requests_max
            or self._held_bytes >= limits.requests_bytes_max
        ):
            link.ignored = True
            self.driver.cut_off(link, "it has too many requests under way")
        else:
            self._propose(forward.requests)

    def _to_leader(self, body: Forward | Touch) -> None:
        link = self.driver.links.to(self.role.leader)
        if link is not None:
            self.driver.links.send((link.id,), body)

    def _touch(self, now: float) -> None:
        number = self._contact.touch(now)
        if self.role.role is Role.LEADING:
            self._on_touch(None, Touch(self.role.epoch, number, self.incarnation))
        else:
            self._to_leader(Touch(self.role.epoch, number, self.incarnation))

    # --- hearing from other replicas ---

    def hear(self, link: ReplicaLink, body: Forward | Touch | Confirm) -> None:
        """Take what another replica said, if it is for the present epoch."""
        if isinstance(body, Confirm):
            if link.member == self.role.leader:
                self._on_confirm(body.number, body.zxid)
        elif self.role.role is Role.LEADING and body.epoch == self.role.epoch:
            if isinstance(body, Touch):
                self._on_touch(link, body)
            else:
                self._take_forward(link, body)

    def _on_touch(self, link: ReplicaLink | None, touch: Touch) -> None:
        """Leader: these sessions live; answer once a quorum says that we lead."""
        if self._expiry is not None:
            self._expiry.touch(touch.owner, trio.current_time())
            self._cookie += 1
            self._barriers[self._cookie] = (link, touch.number)
            self.driver.barrier([self._cookie])

    def confirmed(self, confirmed: Confirmed) -> None:
        """Leader: answer touches."""
        for cookie in confirmed.cookies:
            link, number = self._barriers.pop(cookie, (None, 0))
            if link is not None:
                self.driver.links.send((link.id,), Confirm(number, confirmed.zxid))
            elif number:
                self._on_confirm(number, confirmed.zxid)

    def _on_confirm(self, number: int, zxid: Zxid) -> None:
        if self._contact.confirm(number, zxid, self.tree.zxid):
            for session in list(self._kept.values()):
                session.confirmed(self._contact.confirmed)

    async def _beat_forever(self) -> None:
        """Keep sessions alive, notice their loss; when leading, expire and clean."""
        while True:
            await trio.sleep(self.config.heartbeat_interval)
            now = trio.current_time()
            if self.serving:
                self._touch(now)
                # A session that ended made room, too.
                self._flush_bell.ring()
            for session in list(self._kept.values()):
                session.check(now)
            self._quota_warnings.look(self.tree, now)
            if self._expiry is not None and self.serving:
                self._expire(self._expiry, now)
            # What waits to be proposed is more urgent.
            if self._cleaner is not None and self.serving and not self._held:
                self._clean(self._cleaner, now)

    def _expire(self, expiry: Expiry, now: float) -> None:
        overdue = expiry.expired(self.tree.sessions_by_id(), now)
        closings = [
            CloseSession(record.id, Cause.EXPIRED, record.owner)
            for record in map(self.tree.session, overdue)
            if record is not None and record.id not in self._expiring
        ]
        self._expiring.update(closing.session for closing in closings)
        requests = [
            encode_request(NO_SESSION, self._next_cxid(), 0, closing)
            for closing in closings
        ]
        # Not among the outstanding requests: those are sent again in the next
        # epoch, and only the leader of that one may say who is overdue in it.
        self._propose(requests)

    def _clean(self, cleaner: Cleaner, now: float) -> None:
        """Propose to delete what nobody needs; refused where that has changed."""
        count = cleaner.allowance(now)
        if count:
            time_ms = int(self._surroundings.wall_clock() * 1000)
            deletions = self.tree.overdue(count, time_ms)
            cleaner.cleaned(len(deletions), now)
            self._propose(
                [
                    encode_request(NO_SESSION, self._next_cxid(), 0, deletion)
                    for deletion in deletions
                ]
            )

    # --- the state machine: called by the driver, in order ---

    def role_changed(self, change: RoleChanged) -> None:
        """Note the new part; serve once the tree has what the epoch began with."""
        self.role = change
        self.serving = False
        self._barriers.clear()
        self._held.clear()
        self._held_count = self._held_bytes = 0
        self._expiring.clear()
        self._expiry = None
        self._cleaner = None
        self._unconfigured = False
        if change.epoch:
            self._ready_at = Zxid(
                self._to_apply[-1][0] if self._to_apply else self.tree.zxid
            )
            self._serve_when_ready()

    def _serve_when_ready(self) -> None:
        if self.serving or not self.role.epoch or self.tree.zxid < self._ready_at:
            return
        self.serving = True
        if self.role.role is Role.LEADING:
            self._unconfigured = bool(self._configuration)
            self._expiry = Expiry(
                trio.current_time(), 5 * self.config.heartbeat_interval
            )
            self._cleaner = Cleaner(
                trio.current_time(),
                interval=self.config.clean_interval,
                per_minute_max=self.config.cleaned_per_minute_max,
            )
        # What is unanswered now is in no history: see requests.
        self.outstanding.send_all_again(new_epoch=self.role.epoch != self._served)
        self._served = self.role.epoch
        self._contact.start_over()
        self._ready.unpark_all()
        self._flush_bell.ring()

    def deliver(self, transactions: list[Transaction]) -> None:
        """Apply: at once if it is little, else in slices."""
        waiting = bool(self._to_apply)
        self._to_apply.extend(transactions)
        if not waiting:
            self._apply_slice()
            if self._to_apply:
                self._apply_bell.ring()

    async def _apply_forever(self) -> None:
        while True:
            await self._apply_bell.wait()
            while self._to_apply:
                self._apply_slice()
                await trio.lowlevel.checkpoint()

    def _apply_slice(self) -> None:
        told = 0
        for _ in range(min(_SLICE, len(self._to_apply))):
            told += self._apply(*self._to_apply.popleft())
            if told >= _TOLD_SLICE:
                break
        self._contact.release(self.tree.zxid)
        self._serve_when_ready()
        if self.outstanding.has_unsent:
            # Each outcome makes room for more.
            self._flush_bell.ring()
        if self._held:
            self._propose_held()
        if self._applied_since >= self.config.snapshot_interval and not self._saving:
            self._begin_snapshot()

    def _apply(self, zxid: Zxid, payload: bytes) -> int:
        """Apply one transaction and return how many watches it concerned."""
        applied = self.tree.apply(zxid, payload)
        # Before anybody can read what it changed.
        told = self.subscriptions.fire(applied.events) if applied.events else 0
        if applied.closed:
            self._session_closed(applied.closed, applied.cause)
        elif isinstance(applied.result, SessionOpened):
            self._session_opened(applied.result)
        self._applied_since += 1
        # Last: an event is queued before its cause's author is woken.
        self.outstanding.applied(applied)
        return told

    def _identities_of(self, nonce: bytes) -> tuple[Identity, ...]:
        """Return who a session is: nobody, until the ensemble has opened it."""
        record = self.tree.session_by_nonce(nonce)
        return () if record is None else record.identities

    def _session_opened(self, opened: SessionOpened) -> None:
        # It may be resumed, and so never end as it was about to.
        self._expiring.discard(opened.session)
        if opened.session in self._kept and opened.owner != self.incarnation:
            self._kept.pop(opened.session).vanished()
        if self._expiry is not None:
            self._expiry.touch(opened.owner, trio.current_time())

    def _session_closed(self, session: SessionId, cause: Cause | None) -> None:
        self._expiring.discard(session)
        kept = self._kept.pop(session, None)
        if kept is not None:
            kept.ended(cause)

    def capture(self, zxid: Zxid) -> Captured:
        """Return the tree at ``zxid``, applying at once what is delivered."""
        while self._to_apply:
            self._apply_slice()
        assert self.tree.zxid == zxid, f"{self.tree.zxid:#x} is not {zxid:#x}"
        return capture(self.tree)

    def install(self, staged: DataTree) -> None:
        """Replace the tree; find out what that means for sessions and requests."""
        self._to_apply.clear()
        self.tree.become(staged)
        zxid = Zxid(self.tree.zxid)
        self._applied_since = 0
        for kept in list(self._kept.values()):
            record = self.tree.session(kept.id)
            if record is None or record.owner != self.incarnation:
                self._kept.pop(kept.id).vanished()
        self.outstanding.restored(self.tree)
        self._contact.release(zxid)
        self.subscriptions.resync(zxid)

    # --- own snapshots ---

    def _begin_snapshot(self) -> None:
        assert self._nursery is not None
        self._saving = True
        self._applied_since = 0
        self._nursery.start_soon(
            self._save_snapshot, self.tree.zxid, capture(self.tree)
        )

    async def _save_snapshot(self, zxid: int, captured: Captured) -> None:
        # The tree may be ahead of our own disk, and a snapshot must not be.
        await self.driver.wait_durable()
        body = await self._surroundings.blocking(lambda: encode_snapshot(captured))
        await self._store.save_snapshot(zxid, body)
        self._saving = False


def _in_use() -> CoordError:
    return BadArgumentsError("", "the session is in use in this process")


def _error_of(refused: Refused) -> CoordError:
    """Return why a session was not opened."""
    if refused.code is ErrorCode.SESSION_EXPIRED:
        return SessionExpiredError("no such session, or another password")
    return operation_error(refused.code, refused.path, refused.reason)
