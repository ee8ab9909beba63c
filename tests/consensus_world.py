"""Several pure peers with simulated links and disks, for transcripts and seeds.

Everything that happens is one call: deliver a message, finish a write, break a
link, crash, let time pass. After each, the oracles look at all members from
outside; they trust the disks and the deliveries, not what the peers believe.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs

from coordlib.consensus import (
    Append,
    Close,
    Confirmed,
    Cut,
    Deliver,
    Effect,
    Halt,
    History,
    InstallSnapshot,
    Message,
    Metadata,
    Peer,
    Role,
    RoleChanged,
    SaveMetadata,
    Send,
    SendRecords,
    SendSnapshot,
    Settings,
    Snapshot,
    Stored,
    Transaction,
    pack_proposals,
)
from coordlib.ids import (
    NO_EPOCH,
    NO_MEMBER,
    NO_ZXID,
    Epoch,
    MemberId,
    Zxid,
    format_zxid,
)

__all__ = [
    "Contents",
    "Disk",
    "DiskStopped",
    "Durable",
    "Member",
    "World",
    "decode_tree",
    "encode_tree",
]

Durable = Append | Cut | SaveMetadata | InstallSnapshot


class DiskStopped(Exception):  # noqa: N818 - it names what happened, not an error of ours
    """Raised by a disk whose power or whose patience failed: its member is dead."""


def encode_tree(tree: list[Transaction]) -> bytes:
    return json.dumps([[zxid, payload.hex()] for zxid, payload in tree]).encode()


def decode_tree(body: bytes) -> list[Transaction]:
    return [(Zxid(zxid), bytes.fromhex(payload)) for zxid, payload in json.loads(body)]


class Contents(Protocol):
    """One member's disk. Between two starts it may only be read and written."""

    metadata: Metadata
    base: Zxid
    log: list[Transaction]
    snapshot: list[Transaction]

    def open(self) -> None:
        """Read the disk, before its member starts."""

    def write(self, effect: Durable) -> None:
        """Make one write durable."""

    def save(self, tree: list[Transaction]) -> None:
        """Keep a snapshot of the member's own tree."""

    def holds(self, transaction: Transaction) -> bool:
        """Tell whether the transaction would survive a power loss right now."""

    def stored(self) -> Stored:
        """Return what the disk can give to learners."""

    def read_snapshot(self, zxid: Zxid) -> list[Transaction]:
        """Return the kept snapshot of ``zxid``."""

    def read_records(self, after: Zxid, upto: Zxid) -> list[Transaction]:
        """Return what the log holds there, once it is durable."""

    def close(self) -> None:
        """End like the process: what is not durable is lost."""


@attrs.define
class Disk:
    """What survives a crash, in memory: implements :class:`Contents`."""

    metadata: Metadata = attrs.field(factory=Metadata)
    base: Zxid = NO_ZXID
    log: list[Transaction] = attrs.field(factory=list)
    snapshot: list[Transaction] = attrs.field(factory=list)

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def save(self, tree: list[Transaction]) -> None:
        self.snapshot = list(tree)
        self.base = tree[-1][0]
        self.log = [t for t in self.log if t[0] > self.base]

    def write(self, effect: Durable) -> None:
        match effect:
            case Append(transactions=transactions):
                self.log.extend(transactions)
            case Cut(zxid=zxid):
                self.log = [t for t in self.log if t[0] <= zxid]
            case SaveMetadata(metadata=metadata):
                self.metadata = metadata
            case InstallSnapshot(zxid=zxid, body=body):
                self.base, self.log = zxid, []
                self.snapshot = decode_tree(body)

    def holds(self, transaction: Transaction) -> bool:
        return transaction in self.log or transaction in self.snapshot

    def stored(self) -> Stored:
        kept = None
        if self.snapshot:
            kept = self.snapshot[-1][0], len(encode_tree(self.snapshot))
        bases = [self.base, *(zxid for zxid, _ in self.log)]
        parts = [(b, len(t[1]) + 20) for b, t in zip(bases, self.log, strict=False)]
        return Stored(self.base, tuple(parts), kept)

    def read_snapshot(self, zxid: Zxid) -> list[Transaction]:
        assert self.snapshot[-1][0] == zxid
        return self.snapshot

    def read_records(self, after: Zxid, upto: Zxid) -> list[Transaction]:
        assert after >= self.base
        return [t for t in self.log if after < t[0] <= upto]

    def everything(self) -> list[Transaction]:
        """Return what the snapshot and the log after it amount to."""
        last = self.snapshot[-1][0] if self.snapshot else NO_ZXID
        return [*self.snapshot, *(t for t in self.log if t[0] > last)]


@attrs.define
class Member:
    """One member's process: its peer, and what it has not finished."""

    id: MemberId
    disk: Contents
    peer: Peer
    tree: list[Transaction]
    pending: deque[Durable] = attrs.field(factory=deque)
    held: list[Send] = attrs.field(factory=list)
    durable_io: int = 0
    links: dict[int, MemberId] = attrs.field(factory=dict)
    role: RoleChanged = attrs.field(
        factory=lambda: RoleChanged(Role.LOOKING, NO_EPOCH, NO_MEMBER)
    )
    halted: str = ""
    confirmed: list[Confirmed] = attrs.field(factory=list)


class World:
    """The ensemble, seen from outside."""

    def __init__(
        self,
        voters: int,
        *,
        observers: int = 0,
        settings: Settings | None = None,
        trace: Callable[[str], None] | None = None,
        make_disk: Callable[[MemberId], Contents] = lambda _member: Disk(),
    ) -> None:
        self.now = 0.0
        self.voters = frozenset(MemberId(i) for i in range(1, voters + 1))
        # Voters and observers.
        self.everybody = [MemberId(i) for i in range(1, voters + observers + 1)]
        self.settings = settings or Settings()
        self.trace = trace or (lambda _line: None)
        # Called with each effect before it is carried out; a send that has to
        # wait for the disk comes again when it leaves.
        self.observe: Callable[[Member, Effect], None] = lambda _state, _effect: None
        # What settle() leaves alone: wires by sender and receiver from the first
        # message of the named kind on ("" is any), and the disks of members.
        self.held_up: dict[tuple[MemberId, MemberId], str] = {}
        self.stalled: set[MemberId] = set()
        self._make_disk = make_disk
        self.disks = {m: make_disk(m) for m in self.everybody}
        self.members: dict[MemberId, Member] = {}
        # Frames under way on one link, by link and sender.
        self.wires: dict[tuple[int, MemberId], deque[Message]] = {}
        self._next_link = 1
        # Every delivery of every member is a prefix of this.
        self.committed: list[Transaction] = []
        self.leaders: dict[Epoch, MemberId] = {}

    # --- things that happen ---

    def start(self, member: MemberId) -> None:
        disk = self.disks[member]
        disk.open()
        tree = list(disk.snapshot)
        peer = Peer(
            member,
            self.voters,
            metadata=disk.metadata,
            history=History.recovered(disk.base, disk.log),
            applied=tree[-1][0] if tree else Zxid(0),
            founding_id=member.to_bytes(16, "big"),
            settings=self.settings,
        )
        self.members[member] = Member(member, disk, peer, tree)
        peer.stored(disk.stored())
        peer.start(self.now)
        self._perform(member)

    def crash(self, member: MemberId) -> None:
        for link in list(self.members[member].links):
            self.disconnect(link)
        self.disks[member].close()
        del self.members[member]

    def wipe(self, member: MemberId) -> None:
        self.disks[member] = self._make_disk(member)

    def connect(self, a: MemberId, b: MemberId) -> int:
        replaced = self.link_between(a, b)
        link = self._next_link
        self._next_link += 1
        for one, other in ((a, b), (b, a)):
            self.wires[link, one] = deque()
            self.members[one].links[link] = other
        for one, other in ((a, b), (b, a)):
            self.members[one].peer.link_up(link, other, self.now)
            self._perform(one)
        if replaced is not None:
            self.disconnect(replaced)
        return link

    def disconnect(self, link: int) -> None:
        ends = [m for m in sorted(self.members) if link in self.members[m].links]
        for end in ends:
            self.wires.pop((link, end), None)
            self.members[end].links.pop(link, None)
        for end in ends:
            self.members[end].peer.link_down(link, self.now)
            self._perform(end)

    def link_between(self, a: MemberId, b: MemberId) -> int | None:
        if a not in self.members:
            return None
        links = self.members[a].links
        return next((link for link, other in links.items() if other == b), None)

    def deliver(self, link: int, sender: MemberId) -> None:
        message = self.wires[link, sender].popleft()
        receiver = self.members[sender].links[link]
        self.trace(f"{self.now:.3f} {sender}->{receiver} {message}")
        self.receive(receiver, link, message)

    def receive(self, receiver: MemberId, link: int, message: Message) -> None:
        """Let a message arrive, whether or not it was ever sent."""
        self.members[receiver].peer.receive(link, [message], self.now)
        self._perform(receiver)

    def persist(self, member: MemberId, count: int = 1) -> None:
        state = self.members[member]
        for _ in range(min(count, len(state.pending))):
            effect = state.pending.popleft()
            try:
                state.disk.write(effect)
            except DiskStopped as stopped:
                # What the replica does when its store fails: it ends.
                self.observe(state, Halt(str(stopped)))
                self.crash(member)
                return
            state.durable_io = effect.io
        state.peer.stored(state.disk.stored())
        state.peer.persisted(state.durable_io, self.now)
        held, state.held = state.held, []
        for send in held:
            if send.after > state.durable_io:
                state.held.append(send)
            else:
                self._perform_one(state, send)
        self._perform(member)

    def snapshot(self, member: MemberId) -> None:
        """Let a member that has no write under way save its tree."""
        state = self.members[member]
        assert not state.pending, "the replica waits for its disk first"
        state.disk.save(state.tree)
        state.peer.stored(state.disk.stored())

    def propose(self, member: MemberId, *payloads: bytes) -> bool:
        taken = self.members[member].peer.propose(payloads, self.now)
        self._perform(member)
        return taken

    def transfer_lead(self, member: MemberId, to: MemberId | None) -> None:
        try:
            self.members[member].peer.transfer_lead(to, self.now)
        finally:
            self._perform(member)

    def barrier(self, member: MemberId, cookie: int) -> bool:
        taken = self.members[member].peer.barrier([cookie])
        self._perform(member)
        return taken

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for member in sorted(self.members):
            if self.members[member].peer.next_deadline() <= self.now:
                self.members[member].peer.on_deadline(self.now)
                self._perform(member)

    # --- the end of a story ---

    def heal(self) -> None:
        """Start everybody and link everybody."""
        for member in self.everybody:
            if member not in self.members:
                self.start(member)
        for a in self.everybody:
            for b in self.everybody:
                if a < b and self.link_between(a, b) is None:
                    self.connect(a, b)

    def settle(self, rounds: int = 400, step: float = 0.001) -> None:
        """Let everything that is under way happen, in a fixed order."""
        for _ in range(rounds):
            for link, sender in sorted(self.wires):
                while self._flows(link, sender):
                    self.deliver(link, sender)
            for member in sorted(self.members.keys() - self.stalled):
                if self.members[member].pending:
                    self.persist(member, 1 << 30)
            self.pass_time(step)

    def _flows(self, link: int, sender: MemberId) -> bool:
        wire = self.wires.get((link, sender))
        if not wire:
            return False
        kind = self.held_up.get((sender, self.members[sender].links[link]))
        return kind is None or kind not in {"", type(wire[0]).__name__}

    def leader(self) -> MemberId | None:
        """Return the established leader of the latest epoch."""
        leading = [
            (state.role.epoch, member)
            for member, state in self.members.items()
            if state.role.role is Role.LEADING and state.role.epoch
        ]
        return max(leading)[1] if leading else None

    # --- carrying out effects, and looking at them ---

    def _perform(self, member: MemberId) -> None:
        state = self.members[member]
        for effect in state.peer.drain():
            self._perform_one(state, effect)

    def _perform_one(self, state: Member, effect: Effect) -> None:  # noqa: C901, PLR0912 - one match over all effects
        self.observe(state, effect)
        match effect:
            case Send():
                if effect.after > state.durable_io:
                    state.held.append(effect)
                else:
                    self._send(state, effect)
            case Append() | Cut() | SaveMetadata():
                state.pending.append(effect)
            case InstallSnapshot():
                state.pending.append(effect)
                state.tree = decode_tree(effect.body)
                self._check_prefix(state)
            case SendSnapshot(link=link, zxid=zxid):
                snapshot = Snapshot(zxid, encode_tree(state.disk.read_snapshot(zxid)))
                self._send(state, Send((link,), snapshot))
            case SendRecords():
                self._send_records(state, effect)
            case Deliver(transactions=transactions):
                state.tree.extend(transactions)
                self._check_prefix(state)
            case RoleChanged():
                state.role = effect
                self.trace(f"{self.now:.3f} {state.id} is {effect}")
                if effect.role is Role.LEADING and effect.epoch:
                    first = self.leaders.setdefault(effect.epoch, state.id)
                    assert first == state.id, f"two leaders of epoch {effect.epoch}"
            case Confirmed():
                state.confirmed.append(effect)
            case Close(link=link, why=why):
                self.trace(f"{self.now:.3f} {state.id} closes {link}: {why}")
                self.disconnect(link)
            case Halt(why=why):
                state.halted = why

    def _send_records(self, state: Member, effect: SendRecords) -> None:
        # What is delivered and not on the own disk yet would be waited for.
        records = state.disk.read_records(effect.after, effect.upto)
        durable = records[-1][0] if records else effect.after
        records += [t for t in state.tree if durable < t[0] <= effect.upto]
        for proposal in pack_proposals(
            effect.epoch, effect.after, records, self.settings
        ):
            self._send(state, Send((effect.link,), proposal))

    def _send(self, state: Member, send: Send) -> None:
        for link in send.links:
            wire = self.wires.get((link, state.id))
            if wire is not None:
                wire.append(send.message)

    def _check_prefix(self, state: Member) -> None:
        """Prefix consistency, total order and durability of what is delivered."""
        known = len(self.committed)
        assert state.tree[:known] == self.committed[: len(state.tree)], (
            f"member {state.id} delivered {_show(state.tree)}, "
            f"but {_show(self.committed)} was committed"
        )
        for transaction in state.tree[known:]:
            copies = sum(self.disks[m].holds(transaction) for m in self.voters)
            assert 2 * copies > len(self.voters), (
                f"{format_zxid(transaction[0])} delivered with {copies} durable copies"
            )
            self.committed.append(transaction)


def _show(transactions: list[Transaction]) -> str:
    return " ".join(format_zxid(zxid) for zxid, _ in transactions)
