"""What all roles of one peer share: the durable stream, the links, the outbox.

No decisions here: :mod:`looking`, :mod:`learner` and :mod:`leader` decide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import attrs

from coordlib.ids import COUNTER_MAX, Epoch, MemberId, Zxid

from .effects import (
    Append,
    Close,
    Cut,
    Deliver,
    Distrust,
    Effect,
    Halt,
    InstallSnapshot,
    LinkId,
    Metadata,
    RoleChanged,
    SaveMetadata,
    Send,
)
from .history import History, Transaction
from .levels import Levels, standing
from .messages import FollowerInfo, Message, Notification, Role, Vote
from .quorum import Majority
from .stored import Stored

__all__ = ["Core", "Settings"]


@attrs.frozen(kw_only=True)
class Settings:
    """How a peer behaves in time (seconds), and what it keeps in memory.

    See :class:`coordlib.config.Config` for the meaning of each.
    """

    heartbeat_interval: float = 0.1
    silence_timeout: float = 1.0
    election_wait: float = 0.1
    history_records_max: int = 50_000
    history_bytes_max: int = 64 << 20
    # One proposal's transactions; several proposals leave for a longer batch.
    batch_records_max: int = 1024
    batch_bytes_max: int = 1 << 20
    # Proposed and not committed; more is refused until less is.
    uncommitted_records_max: int = 32_768
    uncommitted_bytes_max: int = 32 << 20
    # Lower in tests of what happens when an epoch's numbers run out.
    counter_max: int = COUNTER_MAX


@attrs.define
class Core:
    """One peer's state that outlives its roles."""

    me: MemberId
    quorum: Majority
    settings: Settings
    metadata: Metadata
    history: History
    # What the ensemble will be called if this member founds it.
    founding_id: bytes
    # Invariant: delivered <= history.last, and only grows.
    delivered: Zxid
    effects: list[Effect] = attrs.field(factory=list)
    last_io: int = 0
    durable_io: int = 0
    # When each write not yet durable was asked for, oldest first.
    _pending: deque[tuple[int, float]] = attrs.field(factory=deque)
    # What the disk could give to learners, when it was last told.
    stored: Stored = attrs.field(factory=Stored)
    link_of: dict[MemberId, LinkId] = attrs.field(factory=dict)
    # What each linked member said last. Gone with its link.
    notified: dict[MemberId, Notification] = attrs.field(factory=dict)
    levels: Levels = attrs.field(
        default=attrs.Factory(
            lambda core: Levels(dict(core.metadata.levels)), takes_self=True
        )
    )
    # Who claimed to count, and to hold less than it must, when it last said so.
    distrusted: set[MemberId] = attrs.field(factory=set)
    _number: int = 0
    _last: Notification | None = None

    # --- the durable stream: the only place where the log changes ---

    def append(self, transactions: list[Transaction], now: float) -> int:
        """Add ``transactions`` to the log and return the write's number."""
        for zxid, payload in transactions:
            self.history.append(zxid, payload)
        self.effects.append(Append(self._next_io(now), transactions))
        return self.last_io

    def cut(self, zxid: Zxid, now: float) -> None:
        """Take back what follows ``zxid``; it was never committed."""
        assert zxid >= self.delivered, f"cut to {zxid:#x} below {self.delivered:#x}"
        self.history.cut(zxid)
        self.effects.append(Cut(self._next_io(now), zxid))

    def install(self, zxid: Zxid, body: bytes, now: float) -> None:
        """Replace log and tree by a received snapshot."""
        assert zxid >= self.delivered, f"snapshot {zxid:#x} < {self.delivered:#x}"
        self.history.rebase(zxid)
        self.delivered = zxid
        self.effects.append(InstallSnapshot(self._next_io(now), zxid, body))

    def save(self, metadata: Metadata, now: float) -> int:
        """Remember ``metadata`` and return the write's number."""
        assert metadata.accepted_epoch >= self.metadata.accepted_epoch
        assert metadata.accepted_epoch >= metadata.current_epoch
        assert metadata.current_epoch >= self.metadata.current_epoch
        metadata = attrs.evolve(metadata, levels=self.levels.all())
        self.metadata = metadata
        self.effects.append(SaveMetadata(self._next_io(now), metadata))
        return self.last_io

    def _next_io(self, now: float) -> int:
        self.last_io += 1
        self._pending.append((self.last_io, now))
        return self.last_io

    def persisted(self, io: int) -> None:
        """Note that every write up to ``io`` is durable."""
        self.durable_io = max(self.durable_io, io)
        while self._pending and self._pending[0][0] <= io:
            self._pending.popleft()

    def disk_stalls(self, now: float) -> bool:
        """Tell whether a write has not become durable for too long."""
        return bool(self._pending) and (
            now - self._pending[0][1] > self.settings.silence_timeout
        )

    # --- delivery ---

    def deliver(self, upto: Zxid) -> None:
        """Hand everything up to ``upto`` to the tree, once."""
        if upto <= self.delivered:
            return
        self.effects.append(Deliver(self.history.between(self.delivered, upto)))
        self.delivered = upto
        self.history.trim(
            upto,
            records_max=self.settings.history_records_max,
            bytes_max=self.settings.history_bytes_max,
        )

    # --- talking ---

    def send(self, member: MemberId, message: Message, after: int = 0) -> None:
        """Send to one member, if it is linked."""
        link = self.link_of.get(member)
        if link is not None:
            self.effects.append(Send((link,), message, after))

    def broadcast(
        self, members: Iterable[MemberId], message: Message, after: int = 0
    ) -> None:
        """Send one message to several members, those that are linked."""
        links = tuple(self.link_of[m] for m in members if m in self.link_of)
        if links:
            self.effects.append(Send(links, message, after))

    def close(self, member: MemberId, why: str) -> None:
        """Cut the link to ``member`` and forget what came over it."""
        link = self.link_of.pop(member, None)
        self.notified.pop(member, None)
        if link is not None:
            self.effects.append(Close(link, why))

    def forget_lead_of(self, leader: MemberId) -> None:
        """Forget who said to lead, or to follow, ``leader``: its lead is over.

        All of them look for a leader now, and will vote anew.
        """
        self.notified = {m: n for m, n in self.notified.items() if n.leader != leader}

    def halt(self, why: str) -> None:
        """Stop the replica."""
        self.effects.append(Halt(why))

    # --- saying what one does ---

    @property
    def votes(self) -> bool:
        """Whether this member is a voter; else it is an observer."""
        return self.me in self.quorum.voters

    def vote(self) -> Vote:
        """Return this member's vote: what its log, not its tree, holds."""
        return Vote(
            self.metadata.seasoned,
            self.metadata.current_epoch,
            self.history.last,
            self.me,
        )

    @property
    def is_empty(self) -> bool:
        """Whether the disk holds nothing, and nobody's ever did as far as we know.

        What every member imports before the first start is the ensemble's nothing:
        the ensemble is founded upon it when all voters have it and no more, and
        one that is imported later counts for as little as a wiped disk.
        """
        metadata = self.metadata
        anything = metadata.damaged or self.levels
        return self.history.last == metadata.start and not anything

    def lacks(self, claim: Vote | FollowerInfo, member: MemberId) -> bool:
        """Tell whether a member holds less than it must, as we remember."""
        claimed = standing(claim.current_epoch, claim.last_zxid)
        return claimed < self.levels.of(member)

    def heard_of(self, member: MemberId, notification: Notification) -> None:
        """Keep what a member says that it does, and judge it."""
        self.notified[member] = notification
        if notification.vote is not None:
            self.judge(notification.vote, member)
        elif notification.epoch:
            # Whom an established leader has synchronised lacks nothing any more.
            self.distrusted.discard(member)

    def judge(self, claim: Vote | FollowerInfo, member: MemberId) -> None:
        """Say it, once, if a member should not count and does not know."""
        if not claim.seasoned or not self.lacks(claim, member):
            self.distrusted.discard(member)
        elif member not in self.distrusted:
            self.distrusted.add(member)
            claimed = standing(claim.current_epoch, claim.last_zxid)
            self.effects.append(Distrust(member, claimed, self.levels.of(member)))

    def announce(self, role: Role, leader: MemberId, epoch: Epoch) -> None:
        """Tell everybody, and the driver, what this member does now."""
        self.effects.append(RoleChanged(role, epoch, leader))
        vote = None
        if not epoch and self.votes:
            vote = self.vote()
            if self.durable_io < self.last_io:
                # Others must hear at once that we changed sides; the vote claims
                # durability, so it waits for the disk.
                self._notify(role, leader, epoch, None)
        self._notify(role, leader, epoch, vote)

    def _notify(
        self, role: Role, leader: MemberId, epoch: Epoch, vote: Vote | None
    ) -> None:
        self._number += 1
        self._last = Notification(self._number, role, leader, epoch, vote)
        self.broadcast(self.link_of, self._last, self._after(self._last))

    def greet(self, member: MemberId) -> None:
        """Tell a newly linked member what this member does."""
        if self._last is None:
            return
        if self._last.vote is not None:
            # The log may have grown or been cut since it was last said.
            self._last = attrs.evolve(self._last, vote=self.vote())
        self.send(member, self._last, self._after(self._last))

    def remind(self, members: Iterable[MemberId]) -> None:
        """Tell members again what this member does, which tells them nothing new.

        A link over which nothing is sent may be long dead: only who sends
        something learns that the other end is gone.
        """
        for member in members:
            self.greet(member)

    def _after(self, notification: Notification) -> int:
        return self.last_io if notification.vote is not None else 0

    @property
    def number(self) -> int:
        """The number of the last notification."""
        return self._number
