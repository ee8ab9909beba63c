"""Carries effects out: the consensus core meets disk, network and clock.

Inputs come from the links' readers, the disk's reports, the timer and the
replica; each is one plain call into the core, followed by its effects, in
order and without awaiting. What the effects mean for znodes and sessions is
the replica's business, see :mod:`.state_machine`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial

import attrs
import trio

from coordlib.config import Config
from coordlib.consensus import (
    Append,
    Close,
    Confirmed,
    Cut,
    Deliver,
    Distrust,
    Effect,
    Halt,
    History,
    InstallSnapshot,
    KeepSnapshot,
    LeadKept,
    LinkId,
    Message,
    Metadata,
    Notification,
    Peer,
    PeerStatistics,
    Ping,
    Role,
    RoleChanged,
    SaveMetadata,
    Send,
    SendRecords,
    SendSnapshot,
    Settings,
    Snapshot,
    Undecided,
)
from coordlib.errors import (
    LeadTransferError,
    ProtocolError,
    ReplicaClosedError,
    StorageError,
)
from coordlib.ids import (
    NO_EPOCH,
    NO_MEMBER,
    NO_ZXID,
    MemberId,
    Zxid,
    format_zxid,
)
from coordlib.storage.interface import (
    Damage,
    EntryKind,
    Extent,
    LogStore,
    Recovered,
    Write,
)
from coordlib.transport.interface import Link, LinkClosed
from coordlib.tree import DataTree

from .incoming import Incoming
from .links import Job, ReplicaLink, ReplicaLinks
from .metadata import encode_metadata, recovered_metadata, stored_of
from .outgoing import Outgoing
from .progress import LongWork
from .state_machine import StateMachine
from .wire import (
    Body,
    Confirm,
    Forward,
    SnapshotFrom,
    SnapshotOffer,
    SnapshotPiece,
    Touch,
    decode_body,
    encode_body,
)

__all__ = ["Driver"]

logger = logging.getLogger("coordlib.replica")

_NOT_LOADED = PeerStatistics(
    Role.LOOKING,
    NO_EPOCH,
    NO_MEMBER,
    last_zxid=NO_ZXID,
    delivered=NO_ZXID,
    linked=(),
    seasoned=False,
    distrusted=(),
)


class Driver:
    """Runs one peer. Everything here happens on trio's thread."""

    def __init__(
        self,
        machine: StateMachine,
        store: LogStore,
        config: Config,
        long_work: LongWork,
    ) -> None:
        self.links = ReplicaLinks(config.limits.backlog_bytes_max)
        # How many links were cut because of what came over them.
        self.broken_frames = 0
        # What was set aside at the start.
        self.damage: tuple[Damage, ...] = ()
        self._machine = machine
        self._store = store
        self._config = config
        self._long_work = long_work
        self._peer: Peer | None = None
        self._name = "member"
        self._nursery: trio.Nursery | None = None
        self._busy = False
        self._last_io = 0
        self._durable_io = 0
        self._durable = trio.lowlevel.ParkingLot()
        # Messages that claim durability, until their write is durable.
        self._gated: deque[Send] = deque()
        self._timer = trio.CancelScope()
        # Where wait those who handed the lead over, for the role or a link to end.
        self._moved = trio.lowlevel.ParkingLot()
        # Why the lead was kept, the last time that it was.
        self._kept_because = ""
        self._ended = False
        # The tree of the snapshot that the core is being told of.
        self._staged: DataTree | None = None
        # What is received of a snapshot, and from where it was offered last.
        self._incoming = Incoming()
        self._offered_by: LinkId = 0
        # Around what is told of it while it comes.
        self._receiving = ExitStack()
        self._received: Callable[[int], None] = _tell_nobody
        # What the core was told of the store.
        self._extent: Extent | None = None
        self._outgoing = Outgoing(store, Settings(), long_work)

    # --- life ---

    def load(
        self,
        recovered: Recovered,
        me: MemberId,
        voters: frozenset[MemberId],
        founding_id: bytes,
    ) -> None:
        """Make the peer from what the disk held.

        Raises:
          ProtocolError: The metadata on the disk is not ours.

        """
        config = self._config
        self._name = f"member {me}"
        metadata = recovered_metadata(recovered)
        self.damage = recovered.damage
        self._log_damage(metadata)
        settings = Settings(
            heartbeat_interval=config.heartbeat_interval,
            silence_timeout=config.silence_timeout,
            election_wait=config.election_wait,
            uncommitted_records_max=config.limits.requests_max,
            uncommitted_bytes_max=config.limits.requests_bytes_max,
            history_records_max=config.history_records_max,
            history_bytes_max=config.history_bytes_max,
        )
        self._outgoing = attrs.evolve(self._outgoing, settings=settings)
        self._peer = Peer(
            me,
            voters,
            metadata=metadata,
            history=History.recovered(recovered.base, recovered.records),
            applied=Zxid(recovered.snapshot.zxid if recovered.snapshot else 0),
            founding_id=founding_id,
            settings=settings,
        )
        self.look_at_store()

    def _log_damage(self, metadata: Metadata) -> None:
        for damage in self.damage:
            logger.error("%s: damaged and set aside: %s", self._name, damage)
        if metadata.damaged:
            logger.warning(
                "%s: its log is set aside as damaged; it does not vote before a "
                "leader that the others elect has given it a new one",
                self._name,
            )

    def start(self, nursery: trio.Nursery) -> None:
        """Begin; tasks that effects need live in ``nursery``."""
        self._nursery = nursery
        self.peer.start(trio.current_time())
        self._carry_out()
        nursery.start_soon(self._keep_time)

    @property
    def peer(self) -> Peer:
        """The core."""
        assert self._peer is not None, "load() comes first"
        return self._peer

    def statistics(self) -> PeerStatistics:
        """Return what the core does at this moment."""
        return _NOT_LOADED if self._peer is None else self._peer.statistics()

    # --- inputs ---

    def propose(self, payloads: Sequence[bytes]) -> bool:
        """See :meth:`Peer.propose`."""
        taken = self.peer.propose(payloads, trio.current_time())
        self._carry_out()
        return taken

    def barrier(self, cookies: list[int]) -> bool:
        """See :meth:`Peer.barrier`."""
        taken = self.peer.barrier(cookies)
        self._carry_out()
        return taken

    def persisted(self, io: int) -> None:
        """Take the disk's report: every write up to ``io`` is durable."""
        self._durable_io = io
        self._durable.unpark_all()
        self.look_at_store()
        while self._gated and self._gated[0].after <= io:
            send = self._gated.popleft()
            self.links.send(send.links, send.message)
        self.peer.persisted(io, trio.current_time())
        self._carry_out()

    async def serve(self, link: Link) -> None:
        """Read one link until it breaks."""
        own = self.links.add(link)
        # Perhaps because something turned out damaged.
        self.look_at_store()
        self.peer.link_up(own.id, link.member, trio.current_time())
        self._carry_out()
        try:
            while True:
                frames = await link.recv()
                self._receive(own, map(decode_body, frames))
        except LinkClosed:
            pass
        except ProtocolError as error:
            self.broken_frames += 1
            logger.warning("%s: cut off member %s: %s", self._name, link.member, error)
        finally:
            self.links.remove(own)
            if own.id == self._offered_by:
                self._receiving.close()
            self._drop_held(own.id)
            self.peer.link_down(own.id, trio.current_time())
            self._carry_out()
            self._moved.unpark_all()

    def _receive(self, link: ReplicaLink, bodies: Iterable[Body]) -> None:
        """Sort what arrived: runs of messages to the core, the rest upwards."""
        messages: list[Message] = []
        for body in bodies:
            if link.staging and not isinstance(body, Ping):
                raise ProtocolError("it goes on before its snapshot was taken")
            if isinstance(body, SnapshotOffer | SnapshotPiece):
                self._to_core(link, messages)
                self.peer.heard(link.id, trio.current_time())
                self._receive_snapshot(link, body)
            elif isinstance(body, SnapshotFrom):
                link.answer(body)
            elif isinstance(body, Forward | Touch | Confirm):
                self._to_core(link, messages)
                self._machine.hear(link, body)
            else:
                messages.append(body)
        self._to_core(link, messages)

    def _receive_snapshot(
        self, link: ReplicaLink, body: SnapshotOffer | SnapshotPiece
    ) -> None:
        """Take an offer of the leader's, or a piece of what it offered."""
        if isinstance(body, SnapshotOffer):
            if self.peer.statistics().leader != link.member:
                # Of a role that is over: what is here of another one stays.
                return
            self._offered_by = link.id
            self._tell_received(link.member, body.size)
            offset = self._incoming.offered(body)
            if offset < body.size:
                link.send(encode_body(SnapshotFrom(body.zxid, offset)))
        elif link.id == self._offered_by:
            self._incoming.take(body)
            self._received(body.offset + len(body.part))
        else:
            return
        snapshot = self._incoming.complete()
        if snapshot is not None:
            self._receiving.close()
            # Decoded bit by bit; only pings are answered meanwhile. It is
            # checked before the core hears of it, for there is no way back.
            link.staging = True
            if self._nursery is not None:
                self._nursery.start_soon(self._stage, link, snapshot)

    def _tell_received(self, member: MemberId, size: int) -> None:
        self._receiving.close()
        work = f"receiving a snapshot from member {member}"
        doing = self._long_work.doing(work, total=size, unit="bytes")
        self._received = self._receiving.enter_context(doing)

    async def _stage(self, link: ReplicaLink, snapshot: Snapshot) -> None:
        try:
            staged = await self._machine.load(snapshot)
        except ProtocolError as error:
            self.broken_frames += 1
            self._incoming.forget()
            self._close(link.id, str(error))
            return
        if self.links.get(link.id) is not link:
            return
        link.staging = False
        self._staged = staged
        self._to_core(link, [snapshot])
        self._staged = None
        if self._incoming.is_empty:
            link.send(encode_body(SnapshotFrom(snapshot.zxid, len(snapshot.body))))

    def _to_core(self, link: ReplicaLink, messages: list[Message]) -> None:
        if messages:
            self.peer.receive(link.id, messages, trio.current_time())
            messages.clear()
            self._carry_out()

    async def _keep_time(self) -> None:
        """Call the core when something is due."""
        while True:
            with trio.CancelScope(deadline=self.peer.next_deadline()) as self._timer:
                await trio.sleep_forever()
            # If our own loop was held up, signs of life wait in the sockets:
            # the readers take them first.
            await trio.lowlevel.checkpoint()
            self.peer.on_deadline(trio.current_time())
            self._carry_out()

    # --- effects ---

    def _carry_out(self) -> None:
        """Carry out all effects; those that they cause come after them."""
        if self._busy:
            return
        self._busy = True
        try:
            while effects := self.peer.drain():
                for effect in effects:
                    self._carry_out_one(effect)
        finally:
            self._busy = False
        deadline = self.peer.next_deadline()
        # A later deadline needs nothing: the timer looks again when it wakes.
        if deadline < self._timer.deadline:  # noqa: PLR1730 - setting it is not free
            self._timer.deadline = deadline

    def _carry_out_one(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - one match over all effects
        match effect:
            case Send():
                if effect.after <= self._durable_io:
                    self.links.send(effect.links, effect.message)
                else:
                    self._hold(effect)
            case Append(io, transactions):
                self._write(
                    io, [(EntryKind.TRANSACTION, z, p) for z, p in transactions]
                )
            case Deliver(transactions):
                self._machine.deliver(transactions)
            case Confirmed():
                self._machine.confirmed(effect)
            case Cut(io, zxid):
                self._write(io, [(EntryKind.CUT, zxid, b"")])
            case SaveMetadata(io, metadata):
                self._write(io, [(EntryKind.META, 0, encode_metadata(metadata))])
            case InstallSnapshot(io, zxid, body):
                assert self._staged is not None, "a snapshot that never arrived"
                self._machine.install(self._staged)
                self._incoming.forget()
                self._write(io, [(EntryKind.BASE, zxid, body)])
            case SendSnapshot(id, zxid):
                if link := self.links.get(id):
                    self._stream(
                        link, partial(self._outgoing.send_snapshot, link, zxid)
                    )
            case SendRecords(id):
                if link := self.links.get(id):
                    # What is delivered may not be on our own disk yet.
                    wait = partial(self.wait_durable, self._last_io)
                    self._stream(
                        link, partial(self._outgoing.send_records, link, effect, wait)
                    )
            case KeepSnapshot():
                self._machine.keep_snapshot()
            case RoleChanged():
                self._log_role(effect)
                self._end_streams(effect)
                self._machine.role_changed(effect)
                self._moved.unpark_all()
            case Distrust():
                self._log_distrust(effect)
            case Undecided(doubtful):
                self._log_undecided(doubtful)
            case LeadKept(why):
                self._kept_because = why
                self._machine.lead_kept()
                self._moved.unpark_all()
            case Close(id, why):
                self._close(id, why)
            case Halt(why):
                self._halt(why)

    def _hold(self, send: Send) -> None:
        """Keep a message until its write is durable, however long that takes."""
        if isinstance(send.message, Notification):
            # Only the newest counts, and there is one more in every second.
            links = frozenset(send.links)
            self._gated = deque(
                held
                for held in self._gated
                if not isinstance(held.message, Notification)
                or held.after != send.after
                or not links.issuperset(held.links)
            )
        self._gated.append(send)

    def _drop_held(self, link: LinkId) -> None:
        """Forget what was to be sent over a link that is gone."""
        held, self._gated = self._gated, deque()
        for send in held:
            links = tuple(other for other in send.links if other != link)
            if links:
                self._gated.append(attrs.evolve(send, links=links))

    def _log_role(self, change: RoleChanged) -> None:
        if change.epoch:
            part = change.role.name.lower()
            logger.info("%s: %s in epoch %s", self._name, part, change.epoch)

    def _log_distrust(self, distrust: Distrust) -> None:
        logger.warning(
            "%s: the disk of member %s has lost what it acknowledged: it has got to "
            "%s, and had got to %s; it does not count until it is synchronised",
            self._name,
            distrust.member,
            format_zxid(distrust.standing),
            format_zxid(distrust.level),
        )

    def _log_undecided(self, doubtful: Sequence[MemberId]) -> None:
        logger.warning(
            "%s: nobody leads yet: the disks of members %s do not count, for they are "
            "new, wiped, damaged or rolled back; a majority of all members with sound "
            "disks is needed, or, the first time, all members with new ones",
            self._name,
            ", ".join(map(str, doubtful)),
        )

    def _close(self, id: LinkId, why: str) -> None:
        link = self.links.get(id)
        if link is not None:
            # Ordinary: members come and go.
            logger.info("%s: cut off member %s: %s", self._name, link.member, why)
        self.links.close(id)

    def _write(self, io: int, entries: list[tuple[int, int, bytes]]) -> None:
        self._last_io = io
        self._store.submit(Write(io, entries))

    def _stream(self, link: ReplicaLink, job: Job) -> None:
        """Send something from the disk; what is sent later stays behind it."""
        if link.hold(job) and self._nursery is not None:
            self._nursery.start_soon(self._send_held, link)

    async def _send_held(self, link: ReplicaLink) -> None:
        try:
            await link.send_held()
        except (StorageError, ProtocolError) as error:
            logger.warning("%s: to member %s: %s", self._name, link.member, error)
            self._close(link.id, str(error))

    def _end_streams(self, change: RoleChanged) -> None:
        """Let what was under way end with the role that it was of."""
        if change.role is not Role.LEADING:
            for link in self.links.with_jobs():
                self._close(link, "we lead no longer")

    def _halt(self, why: str) -> None:
        """Let the error come out of the nursery, wherever we are now."""
        if self._nursery is not None:
            self._nursery.start_soon(_raise, ReplicaClosedError(why))

    # --- for the replica ---

    async def transfer_lead(self, to: MemberId | None) -> MemberId:
        """Hand the lead over, and wait until there is a leader again.

        Cancelling stops waiting for it. The wait ends by itself unless a quorum
        is linked and does not answer.

        Returns:
          Who leads now: the successor, unless it ended meanwhile.

        Raises:
          LeadTransferError: Nothing came of it, or something else.
          ReplicaClosedError: The replica ended meanwhile.

        """
        successor = self.peer.transfer_lead(to, trio.current_time())
        self._kept_because = ""
        self._carry_out()
        await trio.lowlevel.checkpoint()
        while self.peer.transferring or (
            not self.statistics().epoch and self.peer.quorum_is_linked
        ):
            await self._moved.park()
            if self._ended:
                raise ReplicaClosedError("the replica is closed")
        present = self.statistics()
        if self._kept_because:
            raise LeadTransferError(self._kept_because)
        if not present.epoch:
            raise LeadTransferError("too few members are linked to elect a leader")
        if present.leader != successor and (to or present.role is Role.LEADING):
            raise LeadTransferError(f"member {present.leader} was elected instead")
        return present.leader

    def make_way(self) -> None:
        """Begin to hand the lead over, if this member leads and another can."""
        with suppress(LeadTransferError):
            self.peer.transfer_lead(None, trio.current_time())
        self._carry_out()

    def cut_off(self, link: ReplicaLink, why: str) -> None:
        """Cut a link whose other end asks for too much."""
        self._close(link.id, why)

    def end(self) -> None:
        """Let nobody wait any longer: the replica ends."""
        self._ended = True
        self._moved.unpark_all()

    def look_at_store(self) -> None:
        """Tell the core what the store can give to learners."""
        extent = self._store.extent
        if extent is not self._extent:
            self._extent = extent
            self.peer.stored(stored_of(extent))

    @property
    def last_io(self) -> int:
        """The last write so far; see :meth:`wait_durable`."""
        return self._last_io

    async def wait_durable(self, io: int) -> None:
        """Wait until every write up to this one is durable."""
        while self._durable_io < io:
            await self._durable.park()


def _tell_nobody(_done: int) -> None:
    """Nothing is being received."""


async def _raise(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error
