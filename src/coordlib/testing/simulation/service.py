"""What one process does for its sessions: requests, heartbeats, expiry.

The counterpart of ``coordlib.replica.replica`` without trio. The books are the
real ones: outstanding requests, the contact with the quorum, the leader's
expiry. What clients ask for is :mod:`.workers`' business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from coordlib.consensus import Confirmed, Role, RoleChanged, Transaction
from coordlib.errors import CoordError, SessionExpiredError
from coordlib.ids import SessionId
from coordlib.replica.cleaner import Cleaner
from coordlib.replica.contact import Contact
from coordlib.replica.expiry import Expiry
from coordlib.replica.requests import Outstanding, Request
from coordlib.replica.waiter import Waiter
from coordlib.replica.wire import Confirm, Forward, Touch
from coordlib.tree import (
    NO_SESSION,
    Applied,
    Capture,
    Cause,
    CloseSession,
    OpenSession,
    Operation,
    ResumeSession,
    SessionOpened,
    capture,
    encode_request,
    stamp,
)

from .network import End
from .watcher import Watcher
from .workers import Ticket, Worker

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Kept", "Service"]

_REQUEST_BYTES_MAX = 4 << 20
_CLEANED_PER_MINUTE = 600
_BATCH_REQUESTS = 4096
# Few and slow, so that transactions come between.
_SNAPSHOT_STEP = 3
_SNAPSHOT_PAUSE = 2_000


@attrs.define(eq=False)
class Kept:
    """One session of this process.

    Attributes:
      heard: The last heartbeat that was answered was sent then, in the
        member's time.

    """

    id: SessionId
    timeout: float
    heard: float
    worker: Worker

    def deadline(self) -> float:
        """When nobody may rely on it any more, unless it is confirmed."""
        return self.heard + self.timeout * 2 / 3


@attrs.define(eq=False)
class Service:
    """The sessions and requests of one process.

    Attributes:
      serving: The tree has what the epoch began with.
      saving: A snapshot is being kept.
      quiet: Clients ask for nothing more.
      hangs_up: The link to the leader breaks as soon as requests were sent over it.

    """

    process: Process
    outstanding: Outstanding = attrs.field(init=False)
    contact: Contact = attrs.field(init=False)
    serving: bool = attrs.field(default=False, init=False)
    saving: bool = attrs.field(default=False, init=False)
    quiet: bool = attrs.field(default=False, init=False)
    hangs_up: bool = attrs.field(default=False, init=False)
    kept: dict[SessionId, Kept] = attrs.field(factory=dict, init=False)
    workers: list[Worker] = attrs.field(factory=list, init=False)
    watcher: Watcher = attrs.field(init=False)
    _ready_at: int = attrs.field(default=0, init=False)
    _expiry: Expiry | None = attrs.field(default=None, init=False)
    _cleaner: Cleaner | None = attrs.field(default=None, init=False)
    _barriers: dict[int, tuple[End | None, int]] = attrs.field(factory=dict, init=False)
    _cookie: int = attrs.field(default=0, init=False)
    _cxid: int = attrs.field(init=False)
    _applied_since: int = attrs.field(default=0, init=False)
    _flushing: bool = attrs.field(default=False, init=False)
    # Who waits for a sync, and what comes after it.
    _syncs: dict[Waiter[None], Callable[[], None]] = attrs.field(
        factory=dict, init=False
    )
    # The snapshot that waits until the log has what it holds.
    _captured: tuple[int, Capture] | None = attrs.field(default=None, init=False)
    _is_whole: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Keep nothing yet."""
        process = self.process
        # Few enough that a flood has to wait for its turn, and that some epochs,
        # however short, are enough for all that is asked for before the end.
        self.outstanding = Outstanding(
            _REQUEST_BYTES_MAX,
            min(400, 2 * process.profile.settings.counter_max),
            1 << 20,
            shares=len(process.everybody),
        )
        self.contact = Contact(process.clock.now())
        self.watcher = Watcher(process.member, process.tree)
        self._cxid = int.from_bytes(process.incarnation[:5], "big") << 22

    def start(self) -> None:
        """Begin to beat, and let clients come."""
        self._beat_after()
        for number in range(self.process.profile.workers):
            worker = Worker(self, number)
            self.workers.append(worker)
            worker.start()

    @property
    def barriers(self) -> int:
        """How many touches wait for a quorum."""
        return len(self._barriers)

    # --- requests ---

    def submit(
        self,
        session: SessionId,
        cxid: int,
        operation: Operation,
        then: Callable[[Applied], None],
    ) -> Request:
        """Take a request; ``then`` is told its outcome."""
        request = self.outstanding.add(session, cxid, operation, None)
        request.then.append(then)
        self._flush_soon()
        return request

    def sync(self, then: Callable[[], None]) -> None:
        """Call ``then`` when the tree holds all that was acknowledged before now."""
        waiter: Waiter[None] = Waiter()
        self._syncs[waiter] = then
        self.contact.add_sync(waiter)
        self._flush_soon()

    def _end_syncs(self) -> None:
        """Tell those whose sync is over."""
        for waiter in [waiter for waiter in self._syncs if waiter.filled]:
            self._syncs.pop(waiter)()

    def open_session(self, worker: Worker, nonce: bytes) -> None:
        """Open a session for ``worker``."""
        process = self.process
        timeout = process.profile.session_timeout
        operation = OpenSession(
            nonce, process.incarnation, process.member, round(timeout * 1000)
        )

        def opened(applied: Applied) -> None:
            assert isinstance(applied.result, SessionOpened)
            kept = Kept(applied.result.session, timeout, request.sent, worker)
            self.kept[kept.id] = kept
            process.tickets[worker.number] = Ticket(kept.id, nonce)
            worker.opened(kept.id, 0)

        request = self.submit(NO_SESSION, self.next_cxid(), operation, opened)

    def resume_session(self, worker: Worker, ticket: Ticket) -> None:
        """Go on with what an earlier process of this member left behind."""
        process, session = self.process, ticket.session
        operation = ResumeSession(
            session, ticket.nonce, process.incarnation, process.member
        )

        def resumed(applied: Applied) -> None:
            record = process.tree.session(session)
            if not isinstance(applied.result, SessionOpened) or record is None:
                process.kernel.mark("session.too-late-to-resume")
                worker.lost()
                return
            process.kernel.mark("session.resumed")
            timeout = process.profile.session_timeout
            self.kept[session] = Kept(session, timeout, request.sent, worker)
            process.tickets[worker.number] = ticket
            worker.opened(session, record.last_cxid)

        request = self.submit(NO_SESSION, self.next_cxid(), operation, resumed)

    def open_again(self, nonce: bytes) -> None:
        """Ask for the same session a second time, as after a lost answer."""
        process = self.process
        timeout = round(process.profile.session_timeout * 1000)
        operation = OpenSession(nonce, process.incarnation, process.member, timeout)
        self.submit(NO_SESSION, self.next_cxid(), operation, _ignore)

    def close_session(self, session: SessionId, cause: Cause) -> None:
        """Have a session closed."""
        self.kept.pop(session, None)
        operation = CloseSession(session, cause, self.process.incarnation)
        self.submit(NO_SESSION, self.next_cxid(), operation, _ignore)

    def next_cxid(self) -> int:
        """Return the number for a request of the process itself."""
        self._cxid += 1
        return self._cxid

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.process.kernel.after(0, self.process, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        process = self.process
        if not self.serving:
            return
        now = process.clock.now()
        oddly = process.kernel.oddly
        if oddly("service.late-flush", 0.02):
            self._flushing = True
            process.kernel.after(50_000, process, self._flush)
            return
        if oddly("service.sends-again", 0.02):
            self.outstanding.send_all_again()
        while bodies := self.outstanding.take_unsent(now):
            if process.role.role is Role.LEADING:
                self._propose(bodies)
            elif oddly("service.single-forwards"):
                for body in bodies:
                    self._to_leader(Forward(process.role.epoch, [body]))
            else:
                self._to_leader(Forward(process.role.epoch, bodies))
        if self.contact.has_syncs:
            self.touch(now)
        self._end_syncs()
        if self.hangs_up:
            self.hangs_up = False
            pause = process.clock.random.randrange(20_000, 400_000)
            process.hang_up(process.role.leader, pause)

    def _propose(self, requests: list[bytes]) -> None:
        if self.process.kernel.oddly("service.proposes-twice", 0.02):
            requests = requests + requests
        time_ms = self.process.clock.wall_ms()
        # An epoch of a simulation may be shorter than a batch, which no epoch
        # of real length is, and a batch is taken as a whole or not at all.
        size = min(_BATCH_REQUESTS, self.process.profile.settings.counter_max)
        for at in range(0, len(requests), size):
            batch = requests[at : at + size]
            self.process.propose([stamp(request, time_ms) for request in batch])

    def _to_leader(self, body: Forward | Touch) -> None:
        end = self.process.link_to(self.process.role.leader)
        if end is not None:
            self.process.say(end, body)

    # --- heartbeats of sessions ---

    def _beat_after(self) -> None:
        process = self.process
        delay = process.clock.delay(process.profile.settings.heartbeat_interval)
        if process.kernel.oddly("service.late-beat", 0.05):
            delay *= 5
        process.kernel.after(delay, process, self._beat)

    def _beat(self) -> None:
        self._beat_after()
        if self.outstanding.has_unsent:
            self._flush_soon()
        self.process.oracles.check_memory(self.process)
        self.process.reign.beat()
        now = self.process.clock.now()
        if self.serving and not self.process.kernel.oddly("service.skips-a-touch"):
            self.touch(now)
        if self.process.kernel.oddly("clock.wall-jumps", 0.1):
            self.process.clock.wall_offset *= -1
        for kept in list(self.kept.values()):
            self._check(kept, now)
        if self._expiry is not None and self.serving:
            self._expire(self._expiry, now)
        if self._cleaner is not None and self.serving:
            self._clean(self._cleaner, now)

    def _check(self, kept: Kept, now: float) -> None:
        if now >= kept.deadline():
            self.process.kernel.mark("session.lost-locally")
            self.close_session(kept.id, Cause.EXPIRED)
            self._lost(kept)

    def _lost(self, kept: Kept) -> None:
        self.outstanding.end_session(kept.id, _expired)
        kept.worker.lost()

    def touch(self, now: float) -> None:
        """Let the ensemble hear of the sessions, and ask what is committed."""
        process = self.process
        touch = Touch(process.role.epoch, self.contact.touch(now), process.incarnation)
        process.oracles.touched(process, touch.number)
        if process.role.role is Role.LEADING:
            self._on_touch(None, touch)
        else:
            self._to_leader(touch)

    def hear(self, end: End, body: Forward | Touch | Confirm) -> None:
        """Take what another replica said, if it is for the present epoch."""
        role = self.process.role
        if isinstance(body, Confirm):
            if end.other.user.member == role.leader:
                self._on_confirm(body)
        elif role.role is Role.LEADING and body.epoch == role.epoch:
            if isinstance(body, Touch):
                self._on_touch(end, body)
            else:
                self._propose(body.requests)

    def _on_touch(self, end: End | None, touch: Touch) -> None:
        if self._expiry is not None:
            self._expiry.touch(touch.owner, self.process.clock.now())
            self._cookie += 1
            self._barriers[self._cookie] = (end, touch.number)
            self.process.barrier([self._cookie])

    def confirmed(self, confirmed: Confirmed) -> None:
        """Leader: answer touches."""
        for cookie in confirmed.cookies:
            end, number = self._barriers.pop(cookie, (None, 0))
            answer = Confirm(number, confirmed.zxid)
            if end is not None:
                self.process.say(end, answer)
            elif number:
                self._on_confirm(answer)

    def _on_confirm(self, answer: Confirm) -> None:
        process = self.process
        process.oracles.confirmed(process, answer)
        if self.contact.confirm(answer.number, answer.zxid, process.tree.zxid):
            now = process.clock.now()
            for kept in list(self.kept.values()):
                self._check(kept, now)
                kept.heard = max(kept.heard, self.contact.confirmed)
        self._end_syncs()

    def _expire(self, expiry: Expiry, now: float) -> None:
        overdue = expiry.expired(self.process.tree.sessions_by_id(), now)
        closings = [
            CloseSession(record.id, Cause.EXPIRED, record.owner)
            for record in map(self.process.tree.session, overdue)
            if record is not None
        ]
        if closings and self.process.kernel.oddly("service.expires-twice"):
            closings = closings + closings
        self._propose(
            [
                encode_request(NO_SESSION, self.next_cxid(), 0, closing)
                for closing in closings
            ]
        )

    def _clean(self, cleaner: Cleaner, now: float) -> None:
        process = self.process
        count = cleaner.allowance(now)
        if not count:
            return
        deletions = process.tree.overdue(count, process.clock.wall_ms())
        cleaner.cleaned(len(deletions), now)
        requests = [
            encode_request(NO_SESSION, self.next_cxid(), 0, deletion)
            for deletion in deletions
        ]

        def propose() -> None:
            if self._cleaner is cleaner:
                self._propose(requests)

        if process.kernel.oddly("service.cleans-late"):
            # Much may be written between the look and the deletion.
            process.kernel.after(100_000, process, propose)
        else:
            propose()

    # --- the state machine ---

    def role_changed(self, change: RoleChanged) -> None:
        """Note the new part; serve once the tree has what the epoch began with."""
        self.serving = False
        self._barriers.clear()
        self._expiry = None
        self._cleaner = None
        if change.epoch:
            self._begin_to_serve()

    def _begin_to_serve(self) -> None:
        process = self.process
        self.serving = True
        if len(self.outstanding):
            process.kernel.mark("request.sent-again")
        if self.kept:
            process.kernel.mark("session.outlived-its-leader")
        if process.role.role is Role.LEADING:
            interval = process.profile.settings.heartbeat_interval
            self._expiry = Expiry(process.clock.now(), 5 * interval)
            self._cleaner = Cleaner(
                process.clock.now(),
                interval=interval,
                per_minute_max=_CLEANED_PER_MINUTE,
            )
        self.outstanding.send_all_again()
        self.contact.start_over()
        self._flush_soon()

    def deliver(self, transactions: list[Transaction]) -> None:
        """Apply what is committed."""
        process, oracles = self.process, self.process.oracles
        for zxid, payload in transactions:
            oracles.delivering(process, zxid, payload)
            applied = process.tree.apply(zxid, payload)
            oracles.applied(process, applied)
            self.watcher.applied(applied)
            if applied.closed:
                self._session_closed(applied)
            elif self._expiry is not None and isinstance(applied.result, SessionOpened):
                opened = applied.result
                self._expiry.opened(opened.session, opened.owner, process.clock.now())
            self.outstanding.applied(applied)
        self.contact.release(process.tree.zxid)
        self._end_syncs()
        if self.outstanding.has_unsent:
            self._flush_soon()
        self._applied_since += len(transactions)
        due = self._applied_since >= process.profile.snapshot_interval
        if not self.saving and (due or process.kernel.oddly("snapshot.early", 0.01)):
            self._begin_snapshot()

    def _session_closed(self, applied: Applied) -> None:
        if self._expiry is not None:
            self._expiry.closed(applied.closed)
        kept = self.kept.pop(applied.closed, None)
        if kept is not None:
            self._lost(kept)

    def installed(self) -> None:
        """Find out what a received snapshot means for sessions and requests."""
        self._applied_since = 0
        process, tree = self.process, self.process.tree
        self.watcher.installed()
        for session in [s for s in self.kept if tree.session(s) is None]:
            self._lost(self.kept.pop(session))
        waiting = len(self.outstanding)
        self.outstanding.restored(tree)
        self.contact.release(tree.zxid)
        self._end_syncs()
        if len(self.outstanding) < waiting:
            process.kernel.mark("request.answered-by-a-snapshot")

    # --- own snapshots ---

    def keep_snapshot(self) -> None:
        """Save a snapshot now, unless one is being made."""
        if not self.saving:
            self._begin_snapshot()

    def _begin_snapshot(self) -> None:
        process = self.process
        self.saving = True
        self._applied_since = 0
        process.oracles.captured(process.tree)
        self._captured = (process.last_io, capture(process.tree))
        self._step()

    def _step(self) -> None:
        """Go on with the snapshot; the tree may change between two steps."""
        assert self._captured is not None
        process, (_, captured) = self.process, self._captured
        if captured.step(_SNAPSHOT_STEP):
            process.kernel.after(_SNAPSHOT_PAUSE, process, self._step)
        else:
            if captured.zxid < process.tree.zxid:
                process.kernel.mark("snapshot.while-the-tree-changed")
            self._is_whole = True
            self.durable(process.durable_io)

    def durable(self, io: int) -> None:
        """Save the snapshot once the log holds everything that it does."""
        if self._captured is not None and self._is_whole and self._captured[0] <= io:
            _, captured = self._captured
            self._captured, self._is_whole = None, False
            self.process.kernel.mark("snapshot.saved")
            self.process.store.save_snapshot(captured.zxid, captured.pieces())


def _ignore(_applied: Applied) -> None:
    pass


def _expired() -> CoordError:
    return SessionExpiredError()
