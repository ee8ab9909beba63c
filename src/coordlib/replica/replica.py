"""The running part: one member's tree and requests, and how it all ends.

Requests of local sessions go to the leader, here or elsewhere, and are
answered when this replica applies them. The sessions themselves are in
:mod:`.sessions`, what a leader's replica does for all in :mod:`.reign`. The
order of transactions is the consensus core's business, reached through
:mod:`.driver`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from coordlib.config import Config
from coordlib.consensus import Confirmed, Role, RoleChanged, Snapshot, Transaction
from coordlib.errors import (
    LeadTransferError,
    ReplicaClosedError,
)
from coordlib.ids import NO_EPOCH, NO_MEMBER, MemberId, SessionId, Zxid
from coordlib.storage.interface import LogStore, Recovered
from coordlib.transport.interface import UNKNOWN_ENSEMBLE, Hello, Transport
from coordlib.tree import (
    Applied,
    Capture,
    DataTree,
    Identity,
    Operation,
    SessionOpened,
    capture,
    stamp,
)

from .backup import Backup, write_backup
from .contact import Contact
from .disk_watch import DiskWatch
from .driver import Driver
from .kept import closed_error
from .links import Blocking, ReplicaLink
from .progress import LongWork
from .proposals import Proposals
from .quota_warnings import QuotaWarnings
from .reign import Reign
from .requests import Outstanding, Request
from .sessions import LocalSessions
from .snapshots import SnapshotMaker, load, load_received, release
from .subscriptions import Subscriptions
from .waiter import Bell, Waiter
from .wire import Confirm, Forward, Touch

__all__ = ["Replica", "Surroundings"]

logger = logging.getLogger("coordlib.replica")

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
        self.long_work = LongWork(f"member {member}")
        self.driver = Driver(self, store, config, self.long_work)
        self._voters = voters
        self._name = name
        self._store = store
        self._transport = transport
        self._surroundings = surroundings
        self.sessions = LocalSessions(self, surroundings.entropy)
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
        # While we lead and serve.
        self._reign: Reign | None = None
        self._proposals = Proposals(self._offer, config.limits)
        self._quota_warnings = QuotaWarnings()
        self.disk_watch = DiskWatch(f"member {member}")
        # What /zookeeper/config should say, without the version; may be empty.
        self._configuration = configuration
        # Leader: it has to be looked whether it does.
        self._unconfigured = False
        # Transactions applied since the last snapshot, and their bytes.
        self._applied_since = 0
        self._applied_bytes = 0
        self._saving = False
        self._snapshots = SnapshotMaker()
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
            recovered = await self._recover()
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

    async def _recover(self) -> Recovered:
        """Read the disk, and let the tree be what its newest snapshot says."""
        with self.long_work.doing("recovering the log"):
            recovered = await self._surroundings.blocking(self._store.recover)
        snapshot, freeze = recovered.snapshot, self.config.gc_freeze
        if snapshot is not None:
            with self.long_work.doing(
                "loading a snapshot", total=snapshot.size, unit="bytes"
            ) as tell:
                await load(self.tree, snapshot, tell, freeze=freeze)
        return recovered

    def _end(self) -> None:
        """Tell everybody who waits that it is over."""
        self.closed = True
        self.serving = False
        self.driver.end()
        self.outstanding.fail_all(closed_error)
        self._contact.fail_all(closed_error)
        self._ready.unpark_all()
        self.sessions.end()

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

    def next_cxid(self) -> int:
        """Return the number for a request of the replica itself."""
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
        if self._unconfigured and self._reign is not None:
            self._unconfigured = False
            self._reign.configure(self._configuration)
        while bodies := self.outstanding.take_unsent(now):
            if self.role.role is Role.LEADING:
                self.propose(bodies)
            else:
                self._to_leader(Forward(self.role.epoch, bodies))
        if self._contact.has_syncs:
            self._touch(now)

    def propose(self, requests: list[bytes]) -> None:
        """Leader: order these, now or when the core takes them."""
        self._proposals.add(requests)

    def wall_ms(self) -> int:
        """Return the milliseconds since 1970, by this machine."""
        return int(self._surroundings.wall_clock() * 1000)

    def _offer(self, requests: list[bytes]) -> bool:
        if not self.driver.peer.takes_proposals:
            return False
        time_ms = self.wall_ms()
        return self.driver.propose([stamp(request, time_ms) for request in requests])

    def lead_kept(self) -> None:
        """Propose what was held: the core takes it again."""
        self._proposals.offer_held()

    def _take_forward(self, link: ReplicaLink, forward: Forward) -> None:
        """Leader: propose these, unless their sender ignores its share.

        Members that count as we do never have that much under way; one that
        links up anew again and again may. All that it sends then has to be
        ignored, not a part: what comes later would seem to be the newest. It
        sends all of it again over its next link.
        """
        if link.ignored:
            return
        if self._proposals.is_full:
            link.ignored = True
            self.driver.cut_off(link, "it has too many requests under way")
        else:
            self.propose(forward.requests)

    def _to_leader(self, body: Forward | Touch) -> None:
        link = self.driver.links.to(self.role.leader)
        if link is not None:
            self.driver.links.send((link.id,), body)

    def _touch(self, now: float) -> None:
        number = self._contact.touch(now)
        if self.role.role is Role.LEADING:
            self._touched(None, Touch(self.role.epoch, number, self.incarnation))
        else:
            self._to_leader(Touch(self.role.epoch, number, self.incarnation))

    # --- hearing from other replicas ---

    def hear(self, link: ReplicaLink, body: Forward | Touch | Confirm) -> None:
        """Take what another replica said, if it is for the present epoch."""
        if isinstance(body, Confirm):
            if link.member == self.role.leader:
                self.touch_confirmed(body)
        elif self.role.role is Role.LEADING and body.epoch == self.role.epoch:
            if isinstance(body, Touch):
                self._touched(link, body)
            else:
                self._take_forward(link, body)

    def _touched(self, link: ReplicaLink | None, touch: Touch) -> None:
        if self._reign is not None:
            self._reign.touched(link, touch)

    def confirmed(self, confirmed: Confirmed) -> None:
        """Leader: answer touches."""
        if self._reign is not None:
            self._reign.confirmed(confirmed)

    def touch_confirmed(self, answer: Confirm) -> None:
        """Note that one of our touches was answered."""
        if self._contact.confirm(answer.number, answer.zxid, self.tree.zxid):
            self.sessions.confirmed(self._contact.confirmed)

    async def _beat_forever(self) -> None:
        """Keep sessions alive, notice their loss; when leading, expire and clean."""
        while True:
            await trio.sleep(self.config.heartbeat_interval)
            now = trio.current_time()
            if self.serving:
                self._touch(now)
                # A session that ended made room, too.
                self._flush_bell.ring()
            self.sessions.check(now)
            self._quota_warnings.look(self.tree, now)
            self._look_at_disk(now)
            if self._reign is not None:
                self._reign.expire(now)
                # What waits to be proposed is more urgent.
                if not self._proposals:
                    self._reign.clean(now)

    def _look_at_disk(self, now: float) -> None:
        """See whether the disk is full; then let another lead at once, if one can.

        Else the core notices a disk that stalls, and gives up the lead then.
        """
        no_room = self._store.no_room
        self.disk_watch.look(no_room, now)
        if no_room:
            self.driver.make_way()

    # --- the state machine: called by the driver, in order ---

    def role_changed(self, change: RoleChanged) -> None:
        """Note the new part; serve once the tree has what the epoch began with."""
        self.role = change
        self.serving = False
        self._proposals.drop_all()
        self._reign = None
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
            self._reign = Reign(self)
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
        self._proposals.offer_held()
        if self._snapshot_is_due and not self._saving:
            self._begin_snapshot()

    def _apply(self, zxid: Zxid, payload: bytes) -> int:
        """Apply one transaction and return how many watches it concerned."""
        applied = self.tree.apply(zxid, payload)
        # Before anybody can read what it changed.
        told = self.subscriptions.fire(applied.events) if applied.events else 0
        if applied.closed:
            self.sessions.closed(applied.closed, applied.cause)
            if self._reign is not None:
                self._reign.session_closed(applied.closed)
        elif isinstance(applied.result, SessionOpened):
            self.sessions.opened(applied.result)
            if self._reign is not None:
                self._reign.session_opened(applied.result)
        self._applied_since += 1
        self._applied_bytes += len(payload)
        # Last: an event is queued before its cause's author is woken.
        self.outstanding.applied(applied)
        return told

    def _identities_of(self, nonce: bytes) -> tuple[Identity, ...]:
        """Return who a session is: nobody, until the ensemble has opened it."""
        record = self.tree.session_by_nonce(nonce)
        return () if record is None else record.identities

    def keep_snapshot(self) -> None:
        """Save a snapshot now: those that are kept are of no use."""
        if not self._saving:
            self._begin_snapshot()

    async def load(self, snapshot: Snapshot) -> DataTree:
        """Return the tree that a received snapshot holds."""
        with self.long_work.doing(
            "loading a received snapshot", total=len(snapshot.body), unit="bytes"
        ) as tell:
            return await load_received(snapshot, tell, freeze=self.config.gc_freeze)

    def install(self, staged: DataTree) -> None:
        """Replace the tree; find out what that means for sessions and requests."""
        self._to_apply.clear()
        self.tree.become(staged)
        if self._nursery is not None:
            self._nursery.start_soon(release, staged)
        zxid = Zxid(self.tree.zxid)
        self._applied_since = self._applied_bytes = 0
        self.sessions.installed()
        self.outstanding.restored(self.tree)
        self._contact.release(zxid)
        self.subscriptions.resync(zxid)

    # --- backups and own snapshots ---

    async def back_up(self, target: Path, blocking: Blocking) -> Backup:
        """Write the tree as it is now into a file; see :meth:`Ensemble.backup`."""
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise closed_error()
        captured = capture(self.tree)
        zxid = Zxid(captured.zxid)
        with self.long_work.doing(
            "making a backup", total=captured.count, unit="znodes"
        ) as tell:
            pieces = await self._snapshots.finish(captured, tell)
        return Backup(zxid, await write_backup(target, zxid, pieces, blocking))

    @property
    def _snapshot_is_due(self) -> bool:
        return (
            self._applied_since >= self.config.snapshot_interval
            or self._applied_bytes >= self.config.snapshot_interval_bytes
        )

    def _begin_snapshot(self) -> None:
        assert self._nursery is not None
        self._saving = True
        self._applied_since = self._applied_bytes = 0
        self._nursery.start_soon(self._save_snapshot, capture(self.tree))

    async def _save_snapshot(self, captured: Capture) -> None:
        io = self.driver.last_io
        with self.long_work.doing(
            "saving a snapshot", total=captured.count, unit="znodes"
        ) as tell:
            pieces = await self._snapshots.finish(captured, tell)
            # The tree may be ahead of our own disk, and a snapshot must not be.
            await self.driver.wait_durable(io)
            is_saved = await self._store.save_snapshot(captured.zxid, pieces)
        if not is_saved:
            logger.warning(
                "member %d: no room on the disk for a snapshot; the log grows until "
                "the next one, which is tried as usual",
                self.member,
            )
        self.driver.look_at_store()
        self._saving = False
