"""One start of one member: the real core between a simulated disk and network.

The counterpart of ``coordlib.replica.driver`` without trio: every input is a
plain call, and what it causes is carried out in order before the next one.
What transactions mean for sessions and clients is :mod:`.service`'s business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence, Set as AbstractSet
from contextlib import suppress
from functools import partial

import attrs

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
    NewLeader,
    Notification,
    Peer,
    Ping,
    Proposal,
    Role,
    RoleChanged,
    SaveMetadata,
    Send,
    SendRecords,
    SendSnapshot,
    Snapshot,
    Truncate,
    Vote,
)
from coordlib.errors import LeadTransferError, ProtocolError
from coordlib.ids import NO_EPOCH, NO_MEMBER, Epoch, MemberId, Zxid
from coordlib.replica.incoming import Incoming
from coordlib.replica.metadata import encode_metadata, recovered_metadata, stored_of
from coordlib.replica.wire import (
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
from coordlib.storage.interface import Entry, EntryKind, Extent, Recovered
from coordlib.transport.interface import DIAL_PAUSE_MAX, DIAL_PAUSE_MIN
from coordlib.tree import DataTree, restore

from .clock import Clock
from .kernel import SECOND, Crashed, Kernel
from .network import End, Frame, Network
from .oracles import CLOSINGS, Oracles
from .profile import Profile
from .reign import Reign
from .service import Service
from .store import Store
from .streams import Streams
from .workers import Ticket

__all__ = ["Process"]


@attrs.define(eq=False)
class Process:
    """A member that runs.

    Attributes:
      role: What the core last said.
      position: How many of the agreed transactions the tree holds.
      fuse: After so many more effects the process is killed; -1: never.
      dies_before: It is killed before the next effect of this name.
      tickets: By worker, its session, for the next process of this member.
      dies_writing: It ends while its disk works on an entry of this kind.
      loses_power: If it ends by itself, its machine does too.

    """

    member: MemberId
    voters: frozenset[MemberId]
    everybody: list[MemberId]
    profile: Profile
    kernel: Kernel
    network: Network
    clock: Clock
    oracles: Oracles
    incarnation: bytes
    store: Store = attrs.field(init=False)
    peer: Peer = attrs.field(init=False)
    service: Service = attrs.field(init=False)
    reign: Reign = attrs.field(init=False)
    tree: DataTree = attrs.field(factory=DataTree, init=False)
    role: RoleChanged = attrs.field(
        default=RoleChanged(Role.LOOKING, NO_EPOCH, NO_MEMBER), init=False
    )
    gone: bool = attrs.field(default=False, init=False)
    paused: bool = attrs.field(default=False, init=False)
    deferred: deque[Callable[[], None]] = attrs.field(factory=deque, init=False)
    position: int = attrs.field(default=0, init=False)
    fuse: int = attrs.field(default=-1, init=False)
    dies_before: str = attrs.field(default="", init=False)
    tickets: dict[int, Ticket] = attrs.field(kw_only=True)
    dies_writing: EntryKind | None = attrs.field(default=None, init=False)
    loses_power: bool = attrs.field(default=False, init=False)
    # Ends this process; the world's.
    die: Callable[[str], None] = attrs.field(kw_only=True)
    links: dict[int, End] = attrs.field(factory=dict, init=False)
    streams: Streams = attrs.field(init=False)
    # What is received of a snapshot, over which link, and whether it is decoded.
    _incoming: Incoming = attrs.field(factory=Incoming, init=False)
    _offered_by: int = attrs.field(default=0, init=False)
    _staging: int = attrs.field(default=0, init=False)
    _extent: Extent | None = attrs.field(default=None, init=False)
    _last_link: int = attrs.field(default=0, init=False)
    durable_io: int = attrs.field(default=0, init=False)
    last_io: int = attrs.field(default=0, init=False)
    _gated: deque[Send] = attrs.field(factory=deque, init=False)
    _busy: bool = attrs.field(default=False, init=False)
    _timer_at: int = attrs.field(default=0, init=False)
    # Proposals that the core does not take while it hands the lead over.
    _refused: list[list[bytes]] = attrs.field(factory=list, init=False)
    _staged: DataTree | None = attrs.field(default=None, init=False)
    # How learners are being brought level, by link.
    _plans: dict[int, str] = attrs.field(factory=dict, init=False)

    # --- life ---

    def start(
        self, recovered: Recovered, open_store: Callable[[Process], Store]
    ) -> None:
        """Begin with what the disk held."""
        if recovered.snapshot is not None:
            restore(self.tree, b"".join(recovered.snapshot.pieces))
        self.store = open_store(self)
        self.streams = Streams(self)
        self.service = Service(self)
        self.reign = Reign(self)
        last = recovered.records[-1][0] if recovered.records else recovered.base
        self.reign.log(0, last)
        self.peer = Peer(
            self.member,
            self.voters,
            metadata=recovered_metadata(recovered),
            history=History.recovered(recovered.base, recovered.records),
            applied=Zxid(self.tree.zxid),
            founding_id=self.incarnation,
            settings=self.profile.settings,
        )
        self._look_at_store()
        self.position = self.oracles.restored(self, "recovered")
        if self.kernel.oddly("process.ends-at-start", 0.1):
            self.kernel.after(0, self, partial(self._end_oddly, "at its start"))
        self.network.register(self)
        self.peer.start(self.clock.now())
        self.carry_out()
        for member in self.everybody:
            if member < self.member:
                self._dial_after(member, DIAL_PAUSE_MIN)
        self.service.start()

    def resume(self) -> None:
        """Go on after a pause: what waited happens now, in order."""
        self.paused = False
        if self.gone:
            return
        # Clients may come before the network and the timers do.
        self.visit()
        role = self.role
        if role.role is Role.LEADING and 0 < role.epoch < self.oracles.newest_epoch:
            self.kernel.mark("leader.woke-deposed")
        waiting = list(self.deferred)
        self.deferred.clear()
        for do in waiting:
            self.kernel.after(0, self, do)

    def visit(self) -> None:
        """Ask what is committed, as clients may at the worst of moments."""
        if self.service.serving and not (self.gone or self.paused):
            self.service.touch(self.clock.now())

    # --- links ---

    def _dial_after(self, member: MemberId, pause: float) -> None:
        delay = round(pause * SECOND * self.clock.random.uniform(0.5, 1.0))
        if self.kernel.oddly("dial.late"):
            delay += 300_000
        if self.kernel.oddly("dial.at-once"):
            delay = 1
        self.kernel.after(delay, self, partial(self._dial, member, pause))

    def _dial(self, member: MemberId, pause: float) -> None:
        if self.link_to(member) is not None:
            return
        network = self.network
        other = network.running(member)
        if (
            other is None
            or network.is_cut(self.member, member)
            or network.is_cut(member, self.member)
        ):
            self._dial_after(member, min(2 * pause, DIAL_PAUSE_MAX))
        else:
            network.connect(self, other)

    def link_to(self, member: MemberId) -> End | None:
        """Return the newest link to a member."""
        for end in reversed(self.links.values()):
            if end.other.user.member == member:
                return end
        return None

    def link_up(self, end: End) -> None:
        """See ``NetworkUser``. A newer link replaces an older one."""
        older = self.link_to(end.other.user.member)
        self._last_link += 1
        end.number = self._last_link
        self.links[end.number] = end
        self._look_at_store()
        self.peer.link_up(end.number, end.other.user.member, self.clock.now())
        self.carry_out()
        if older is not None and older.is_open:
            self.kernel.mark("link.replaced")
            self.network.close(older)
            self._forget(older)

    def link_down(self, end: End) -> None:
        """See ``NetworkUser``."""
        self._forget(end)

    def hang_up(self, member: MemberId, pause: int) -> None:
        """Close the link to a member, behind what was sent over it; be deaf for it."""
        if not self.kernel.is_odd:
            return
        end, direction = self.link_to(member), (member, self.member)
        if end is not None and end.is_open and not self.network.is_cut(*direction):
            self.network.close(end)
            self.network.cut(*direction)
            self._forget(end)
            self.kernel.after(pause, None, partial(self._hear_again, direction))

    def _hear_again(self, direction: tuple[MemberId, MemberId]) -> None:
        # In the end it is decided otherwise who hears whom.
        if self.kernel.is_odd:
            self.network.heal(*direction)

    def _forget(self, end: End) -> None:
        if self.links.pop(end.number, None) is None:
            return
        self.streams.forget(end.number)
        other = end.other.user.member
        self.peer.link_down(end.number, self.clock.now())
        self.carry_out()
        if other < self.member and self.link_to(other) is None:
            self._dial_after(other, DIAL_PAUSE_MIN)

    def arrived(self, end: End, frame: Frame) -> None:
        """See ``NetworkUser``."""
        if end.number not in self.links:
            return
        body = decode_body(frame) if isinstance(frame, bytes) else frame
        if self.kernel.timeline is not None:
            self.kernel.say(f"{end.other.user.member}->{self.member} {body}")
        self.reign.hear(end.number, body)
        if end.number == self._staging and not isinstance(body, Ping):
            raise ProtocolError("it goes on before its snapshot was taken")
        if isinstance(body, SnapshotOffer | SnapshotPiece):
            self._receive_snapshot(end, body)
        elif isinstance(body, SnapshotFrom):
            self.streams.answered(end, body)
        elif isinstance(body, Forward | Touch | Confirm):
            self.service.hear(end, body)
        else:
            self.peer.receive(end.number, (body,), self.clock.now())
            self.carry_out()
            self.reign.check_commit(self.durable_io)

    def _receive_snapshot(self, end: End, body: SnapshotOffer | SnapshotPiece) -> None:
        self.peer.heard(end.number, self.clock.now())
        if isinstance(body, SnapshotOffer):
            if self.peer.statistics().leader != end.other.user.member:
                return
            self._offered_by = end.number
            offset = self._incoming.offered(body)
            if offset < body.size:
                self.say(end, SnapshotFrom(body.zxid, offset))
        elif end.number == self._offered_by:
            self._incoming.take(body)
        else:
            return
        snapshot = self._incoming.complete()
        if snapshot is not None:
            self._staging = end.number
            delay = 300_000 if self.kernel.oddly("snapshot.slow-decoding") else 0
            self.kernel.after(delay, self, partial(self._taken, end, snapshot))

    def _taken(self, end: End, snapshot: Snapshot) -> None:
        if end.number not in self.links:
            return
        self._staging = 0
        staged = self._staged = DataTree()
        restore(staged, snapshot.body)
        assert staged.zxid == snapshot.zxid, "a snapshot of another zxid"
        self.peer.receive(end.number, (snapshot,), self.clock.now())
        self.carry_out()
        self._staged = None
        if self._incoming.is_empty:
            self.say(end, SnapshotFrom(snapshot.zxid, len(snapshot.body)))

    def cannot_send(self, end: End, error: Exception) -> None:
        """Cut a link over which something from the disk cannot be sent."""
        if self.kernel.timeline is not None:
            self.kernel.say(f"member {self.member} cannot send: {error}")
        self.network.close(end)
        self._forget(end)

    # --- disk and time ---

    def persisted(self, io: int) -> None:
        """See ``StoreUser``."""
        self.durable_io = io
        self._look_at_store()
        self.streams.persisted()
        while self._gated and self._gated[0].after <= io:
            self._send(self._gated.popleft())
        self.peer.persisted(io, self.clock.now())
        self.carry_out()
        self.reign.check_commit(io)
        self.service.durable(io)

    def writing(self, kinds: AbstractSet[int]) -> bool:
        """See ``StoreUser``."""
        if self.dies_writing in kinds:
            self.die("its disk was busy with what is rare")
            return False
        return True

    def disk_full(self) -> None:
        """See ``StoreUser``."""
        with suppress(LeadTransferError):
            self.transfer_lead(None)
            self.kernel.mark("disk.full-leader-made-way")

    def disk_failed(self, error: OSError) -> None:
        """See ``StoreUser``."""
        self.die(f"its disk failed: {error}")

    def snapshot_saved(self) -> None:
        """See ``StoreUser``."""
        self.service.saving = False
        self._look_at_store()

    def _look_at_store(self) -> None:
        extent = self.store.log.extent
        if extent is not self._extent:
            self._extent = extent
            self.peer.stored(stored_of(extent))

    def _set_timer(self) -> None:
        at = max(self.kernel.now + 1, self.clock.when(self.peer.next_deadline()))
        if self.kernel.oddly("process.late-timer", 0.02):
            at += 200_000
        if self._timer_at <= self.kernel.now or at < self._timer_at:
            self._timer_at = at
            self.kernel.after(at - self.kernel.now, self, partial(self._on_timer, at))

    def _on_timer(self, at: int) -> None:
        if at == self._timer_at:
            self._timer_at = 0
            self.peer.on_deadline(self.clock.now())
            self.carry_out()

    # --- requests ---

    def propose(self, payloads: Sequence[bytes]) -> None:
        """See ``Peer.propose``."""
        if not payloads:
            return
        if self._refused or not self.peer.propose(payloads, self.clock.now()):
            self._refused.append(list(payloads))
            if self.peer.transferring:
                self.kernel.mark("transfer.held-requests")
        self.carry_out()

    def transfer_lead(self, to: MemberId | None) -> None:
        """See ``Peer.transfer_lead``."""
        self.peer.transfer_lead(to, self.clock.now())
        self.carry_out()

    def _propose_refused(self) -> None:
        while self._refused and self.peer.takes_proposals:
            if not self.peer.propose(self._refused[0], self.clock.now()):
                break
            self._refused.pop(0)

    def barrier(self, cookies: list[int]) -> None:
        """See ``Peer.barrier``."""
        self.peer.barrier(cookies)
        self.carry_out()

    def say(self, end: End, body: Body) -> None:
        """Send one thing over one link, behind what is under way."""
        self.streams.send(end, encode_body(body) if self.profile.wire else body)

    def put(self, end: End, body: Body) -> None:
        """Send a part of what is under way."""
        if isinstance(body, Proposal):
            transactions = enumerate(body.payloads, body.first)
            self.oracles.appended(self, [(Zxid(z), p) for z, p in transactions])
        self.network.send(end, encode_body(body) if self.profile.wire else body)

    # --- effects ---

    def carry_out(self) -> None:
        """Carry out all effects; those that they cause come after them."""
        if self._busy:
            return
        self._busy = True
        while effects := self.peer.drain():
            for effect in effects:
                if self.fuse >= 0 or self.dies_before:
                    self._burn(effect)
                self._carry_out_one(effect)
                self._may_end_after(effect)
        self._busy = False
        self._set_timer()

    def _burn(self, effect: Effect) -> None:
        name = type(effect).__name__
        self.fuse -= 1
        if self.fuse == -1 or self.dies_before == name:
            self.kernel.mark(f"killed-before.{name}")
            self._end_oddly("between two effects")

    def _end_oddly(self, when: str) -> None:
        self.die(f"killed {when}")
        raise Crashed

    def _may_end_after(self, effect: Effect) -> None:
        """End where it hurts, now and then: after what is rare."""
        name = _RARE.get(type(effect))
        if name is not None and self.kernel.oddly(f"process.ends-after-{name}", 0.05):
            self._end_oddly(f"after {name}")

    def _carry_out_one(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - one match over all effects
        match effect:
            case Send():
                if effect.after <= self.durable_io:
                    self._send(effect)
                else:
                    self._gated.append(effect)
            case Append(io, transactions):
                self.oracles.appended(self, transactions)
                self.reign.log(io, transactions[-1][0])
                kind = EntryKind.TRANSACTION
                self._write(io, [(kind, zxid, body) for zxid, body in transactions])
            case Deliver(transactions):
                self.service.deliver(transactions)
                self._propose_refused()
            case Confirmed():
                self.service.confirmed(effect)
            case Cut(io, zxid):
                self.reign.log(io, zxid)
                self._write(io, [(EntryKind.CUT, zxid, b"")])
            case SaveMetadata(io, metadata):
                self._write(io, [(EntryKind.META, 0, encode_metadata(metadata))])
            case InstallSnapshot(io, zxid, body):
                self._install()
                self._incoming.forget()
                self.reign.log(io, zxid)
                self._write(io, [(EntryKind.BASE, zxid, body)])
            case SendSnapshot() | SendRecords():
                self._stream(effect)
            case KeepSnapshot():
                self.service.keep_snapshot()
            case RoleChanged():
                self._change_role(effect)
            case Distrust():
                self.oracles.distrusted(effect)
            case LeadKept():
                self.kernel.mark("transfer.given-up")
                self._propose_refused()
            case Close(link, why):
                self._close(link, why)
            case Halt(why):
                self.oracles.halted(self, why)

    def _send(self, effect: Send) -> None:
        message = effect.message
        self.oracles.leaving(self, effect)
        if isinstance(message, NewLeader | Truncate):
            self._note_plan(effect.links[0], message)
            if isinstance(message, NewLeader):
                self.reign.offer(effect.links[0], message.epoch)
        if isinstance(message, Notification) and message.vote is not None:
            message = self._exaggerated(message, message.vote)
        elif isinstance(message, Ping):
            self.reign.ping(effect.links)
        frame = encode_body(message) if self.profile.wire else message
        for number in effect.links:
            end = self.links.get(number)
            if end is not None:
                self.streams.send(end, frame, urgent=isinstance(message, Ping))

    def _exaggerated(self, message: Notification, vote: Vote) -> Notification:
        """Mislead the election now and then: discovery has to make up for it."""
        if not self.kernel.oddly("election.exaggerated-vote"):
            return message
        better = attrs.evolve(vote, current_epoch=Epoch(vote.current_epoch + 1))
        return attrs.evolve(message, vote=better)

    def _note_plan(self, link: int, message: NewLeader | Truncate) -> None:
        if isinstance(message, Truncate):
            self._plans[link] = "trunc"
        else:
            self.kernel.mark("sync." + self._plans.pop(link, "diff"))

    def _write(self, io: int, entries: list[Entry]) -> None:
        self.last_io = io
        self.store.submit(io, entries)

    def _install(self) -> None:
        assert self._staged is not None, "a snapshot that never arrived"
        self.tree.become(self._staged)
        self._staged = None
        self.position = self.oracles.restored(self, "was sent")
        self.service.installed()

    def _stream(self, effect: SendSnapshot | SendRecords) -> None:
        end = self.links.get(effect.link)
        if end is not None:
            if isinstance(effect, SendSnapshot):
                self._plans[effect.link] = "snap"
            elif self._plans.get(effect.link) != "snap":
                self.kernel.mark("sync.diff-from-disk")
            self.streams.begin(end, effect)

    def _change_role(self, change: RoleChanged) -> None:
        self.role = change
        self._refused.clear()
        if change.role is not Role.LEADING:
            for end in self.streams.links():
                self.network.close(end)
                self._forget(end)
        if self.kernel.timeline is not None:
            self.kernel.say(f"member {self.member} is {change}")
        self.oracles.role_changed(self, change)
        if change.epoch:
            self.oracles.read_back(self)
        if change.epoch and self.member not in self.voters:
            self.kernel.mark("observer.follows")
        self.service.role_changed(change)

    def _close(self, link: int, why: str) -> None:
        end = self.links.get(link)
        if end is not None:
            self.oracles.closing(self, end.other.user.member, why)
            if why in CLOSINGS:
                self.kernel.mark(f"closed.{CLOSINGS[why]}")
            if self.kernel.timeline is not None:
                self.kernel.say(f"member {self.member} closes link {link}: {why}")
            self.network.close(end)
            self._forget(end)


_RARE: dict[type[Effect], str] = {
    Cut: "cut",
    SaveMetadata: "save",
    InstallSnapshot: "install",
    SendRecords: "send-records",
    SendSnapshot: "send-snapshot",
    RoleChanged: "role-change",
    Close: "close",
}
