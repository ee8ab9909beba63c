"""Phases 1 to 3 on the leading side.

Discovery picks an epoch newer than any that a quorum promised and checks that
no promise came from a better history. Synchronisation brings each learner's
log level. When a quorum has the leader's history and epoch on disk, the epoch
is established and broadcast begins: propose, count disks, commit.

Whatever a learner acknowledges counts only for the link and the epoch over
which it came: its :class:`Follower` record is made by its request to follow
and dies with its link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import attrs

from coordlib.ids import (
    EPOCH_MAX,
    NO_EPOCH,
    NO_ZXID,
    Epoch,
    MemberId,
    Zxid,
    counter_of,
    epoch_of,
    make_zxid,
)

from .barrier import Barriers
from .core import Core
from .effects import SendSnapshot
from .history import Transaction
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    FollowerInfo,
    LeaderInfo,
    Message,
    NewLeader,
    Ping,
    Pong,
    Proposal,
    Role,
    Truncate,
    UpToDate,
    Vote,
)
from .synchronization import Snap, plan_synchronization

__all__ = ["Follower", "Leader"]


@attrs.define
class Follower:
    """What the leader knows of one learner, over one link."""

    info: FollowerInfo
    heard: float
    # Its answer to LEADERINFO.
    ack_epoch: AckEpoch | None = None
    # Since NEWLEADER was sent, it is sent every proposal.
    forwarding: bool = False
    # It has acknowledged NEWLEADER: its log held ours when that was sent.
    synchronized: bool = False
    # Invariant: only grows, never beyond what was proposed.
    acked: Zxid = NO_ZXID


@attrs.define
class Leader:
    """The role of leading.

    Attributes:
      ended: Why the role is over; empty as long as it is not.
      epoch: The epoch it leads; 0 until a quorum has asked to follow.
      established: Whether a quorum has our history and our epoch on disk.

    """

    core: Core
    ended: str = ""
    epoch: Epoch = NO_EPOCH
    established: bool = False
    _followers: dict[MemberId, Follower] = attrs.field(factory=dict)
    _barriers: Barriers = attrs.field(factory=Barriers)
    # The write after which our own promise, then our own new epoch, is durable.
    _promise_io: int = 0
    _epoch_io: int = 0
    # Our own writes of proposals: (io, last zxid), until durable.
    _own: deque[tuple[int, Zxid]] = attrs.field(factory=deque)
    _own_acked: Zxid = NO_ZXID
    # Our current epoch and last zxid when the role began: what histories are
    # compared by, and the end of the history with which the epoch will begin.
    _history: tuple[Epoch, Zxid] = (NO_EPOCH, NO_ZXID)
    # The epoch is the ensemble's first: NEWLEADER may season empty disks.
    _founding: bool = False
    _committed: Zxid = NO_ZXID
    # The epoch's numbers are used up: commit what is proposed, then step down.
    _closing: bool = False
    _next_ping: float = 0.0
    _progress: float = 0.0
    # When a quorum was last complete; the search for followers starts now.
    _quorum_heard: float = 0.0

    # --- life ---

    @property
    def leader(self) -> MemberId:
        """Who leads: we do."""
        return self.core.me

    def start(self, infos: dict[MemberId, FollowerInfo], now: float) -> None:
        """Enter the role with those who have already asked to follow."""
        core = self.core
        self._history = (core.metadata.current_epoch, core.history.last)
        self._quorum_heard = self._progress = self._next_ping = now
        self.core.announce(Role.LEADING, self.core.me, NO_EPOCH)
        for member, info in infos.items():
            self._on_follower_info(member, info, now)
        self._advance(now)

    def link_down(self, member: MemberId, now: float) -> None:
        """Forget the follower; without a quorum of them, lead no longer."""
        if self._followers.pop(member, None) is not None:
            self._check_quorum(now)

    def follows_another(self, member: MemberId, now: float) -> None:
        """Forget a follower that says it is somebody else's."""
        self.link_down(member, now)

    def persisted(self, now: float) -> None:
        """Count our own disk."""
        while self._own and self._own[0][0] <= self.core.durable_io:
            self._own_acked = self._own.popleft()[1]
        if self.established:
            self._commit()
        else:
            self._advance(now)

    def receive(self, member: MemberId, message: Message, now: float) -> None:
        """Take one message from a voter."""
        if isinstance(message, FollowerInfo):
            self._on_follower_info(member, message, now)
            return
        follower = self._followers.get(member)
        if follower is None:
            return
        follower.heard = now
        match message:
            case Ack():
                self._on_ack(member, follower, message)
            case Pong():
                if follower.synchronized:
                    self._barriers.pong(member, message.number)
                    self._confirm()
            case AckEpoch():
                self._on_ack_epoch(member, follower, message, now)
            case AckNewLeader():
                self._on_ack_new_leader(member, follower, message, now)
            case _:
                pass

    def next_deadline(self) -> float:
        """Return when to ping, or when to give up."""
        return self._next_ping

    def on_deadline(self, now: float) -> None:
        """Ping, drop the silent, and step down without a quorum or a disk."""
        if now < self._next_ping:
            return
        silence = self.core.settings.silence_timeout
        self._next_ping = now + self.core.settings.heartbeat_interval
        for member, follower in list(self._followers.items()):
            if now - follower.heard > silence:
                self._drop(member, "the learner is silent")
        self._ping()
        self._check_quorum(now)
        waiting = self.core.disk_waits_since
        if waiting is not None and now - waiting > silence:
            self.ended = "the own disk stalls"

    def _ping(self) -> None:
        self.core.broadcast(self._followers, Ping(self._barriers.next_number()))

    def _drop(self, member: MemberId, why: str) -> None:
        del self._followers[member]
        self.core.close(member, why)

    def _check_quorum(self, now: float) -> None:
        """End without a quorum: at once if we led one, else after a while."""
        if self.core.quorum.contains(self._followers.keys() | {self.core.me}):
            self._quorum_heard = now
        elif self.established:
            self.ended = "a quorum is no longer linked"
        elif now - self._quorum_heard > self.core.settings.silence_timeout:
            self.ended = "no quorum followed"
        if (
            self.epoch
            and not self.established
            and now - self._progress > 2 * self.core.settings.silence_timeout
        ):
            self.ended = "the epoch was not established in time"

    def yields_to(self, vote: Vote) -> bool:
        """Tell whether another would-be leader goes first: few follow us yet."""
        return not self.epoch and vote > self.core.vote()

    # --- phase 1: discovery ---

    def _on_follower_info(
        self, member: MemberId, info: FollowerInfo, now: float
    ) -> None:
        notification = self.core.notified.get(member)
        if notification is not None and info.number < notification.number:
            return
        self._followers[member] = Follower(info, now)
        self._barriers.forget(member)
        if not self.epoch:
            self._advance(now)
        elif info.accepted_epoch > self.epoch:
            # It promised an epoch that never came to be; only a later one than
            # that can take it in. Rare, and an election is quick.
            self.ended = f"member {member} has promised epoch {info.accepted_epoch}"
        else:
            self.core.send(member, LeaderInfo(self.epoch), after=self._promise_io)

    def _advance(self, now: float) -> None:
        """Take the next step on the way to an established epoch, if we can."""
        core = self.core
        if self.established:
            return
        if not self.epoch:
            infos = {m: f.info for m, f in self._followers.items()}
            if self._may_decide(infos):
                self._choose_epoch(infos, now)
        elif not self._epoch_io:
            promised = {
                m: f.info
                for m, f in self._followers.items()
                if f.ack_epoch is not None and f.ack_epoch.promised
            }
            if core.durable_io >= self._promise_io and self._may_decide(promised):
                self._begin_synchronization(now)
        elif core.durable_io >= self._epoch_io:
            acked = {m for m, f in self._followers.items() if f.synchronized}
            if core.quorum.contains(acked | {core.me}):
                self._establish()

    def _all_are_empty(self, infos: dict[MemberId, FollowerInfo]) -> bool:
        """Tell whether every voter is here and none holds anything."""
        everybody = infos.keys() | {self.core.me} >= self.core.quorum.voters
        return (
            everybody
            and self.core.history.last == 0
            and all(info.empty for info in infos.values())
        )

    def _may_decide(self, infos: dict[MemberId, FollowerInfo]) -> bool:
        """Tell whether these and we are a quorum whose disks can be trusted.

        A wiped disk has forgotten what it acknowledged, and a new one looks
        the same; so neither counts before it is synchronised (ZOOKEEPER-261).
        The exception is the founding: all voters are here, and all are empty.
        """
        seasoned = {m for m, info in infos.items() if info.seasoned}
        if self.core.metadata.seasoned:
            seasoned.add(self.core.me)
        return self.core.quorum.contains(seasoned) or self._all_are_empty(infos)

    def _choose_epoch(self, infos: dict[MemberId, FollowerInfo], now: float) -> None:
        core = self.core
        accepted = [info.accepted_epoch for info in infos.values()]
        newest = max([core.metadata.accepted_epoch, *accepted])
        if newest >= EPOCH_MAX:
            core.halt("the epochs are used up")
            return
        self.epoch = Epoch(newest + 1)
        self._progress = now
        metadata = attrs.evolve(core.metadata, accepted_epoch=self.epoch)
        self._promise_io = core.save(metadata, now)
        core.broadcast(infos, LeaderInfo(self.epoch), after=self._promise_io)

    def _on_ack_epoch(
        self, member: MemberId, follower: Follower, message: AckEpoch, now: float
    ) -> None:
        if message.epoch != self.epoch or follower.ack_epoch is not None:
            return
        last = message.tails[-1] if message.tails else NO_ZXID
        theirs = (message.current_epoch, last)
        if not self.established and theirs > self._history:
            self.ended = f"member {member} has the better history"
            return
        follower.ack_epoch = message
        self._progress = now
        if self._epoch_io:
            self._synchronize_if_allowed(member, follower)
        else:
            self._advance(now)

    # --- phase 2: synchronisation ---

    def _begin_synchronization(self, now: float) -> None:
        """Our log is now the initial history of the epoch."""
        core = self.core
        self._progress = now
        metadata = attrs.evolve(
            core.metadata,
            current_epoch=self.epoch,
            seasoned=True,
            ensemble_id=core.metadata.ensemble_id or core.founding_id,
        )
        self._founding = self._all_are_empty(
            {m: f.info for m, f in self._followers.items()}
        )
        self._epoch_io = core.save(metadata, now)
        for member, follower in self._followers.items():
            if follower.ack_epoch is not None:
                self._synchronize_if_allowed(member, follower)
        self._advance(now)

    def _synchronize_if_allowed(self, member: MemberId, follower: Follower) -> None:
        """Synchronise, but make nobody count who forgot what it acknowledged.

        NEWLEADER seasons a disk. While the epoch is not established, a disk
        that is not seasoned would then vote for it, so it has to wait.
        """
        if follower.info.seasoned or self.established or self._founding:
            self._synchronize(member, follower)

    def _synchronize(self, member: MemberId, follower: Follower) -> None:
        """Choose DIFF, TRUNC or SNAP, send it, and register for what comes.

        One step: nothing can be proposed or committed in between
        (ZOOKEEPER-962, -3104, -5088).
        """
        core = self.core
        assert follower.ack_epoch is not None
        tails = follower.ack_epoch.tails
        plan = plan_synchronization(core.history, tails)
        if isinstance(plan, Snap):
            level = core.delivered
            core.effects.append(SendSnapshot(core.link_of[member], level))
        else:
            level = plan.common
            if tails and tails[-1] > level:
                core.send(member, Truncate(level))
        for proposal in self._proposals(
            level, core.history.between(level, core.history.last)
        ):
            core.send(member, proposal)
        core.send(member, NewLeader(self.epoch, core.metadata.ensemble_id))
        follower.forwarding = True
        follower.acked = NO_ZXID

    def _proposals(
        self, previous: Zxid, transactions: Sequence[Transaction]
    ) -> list[Proposal]:
        """Pack transactions into proposals of one run of zxids each."""
        settings = self.core.settings
        proposals: list[Proposal] = []
        size = 0
        for (before, _), (zxid, payload) in pairwise([(previous, b""), *transactions]):
            size += len(payload)
            if (
                not proposals
                or epoch_of(zxid) != epoch_of(before)
                or size > settings.batch_bytes_max
                or len(proposals[-1].payloads) >= settings.batch_records_max
            ):
                proposals.append(Proposal(self.epoch, before, zxid, []))
                size = len(payload)
            proposals[-1].payloads.append(payload)
        return proposals

    def _on_ack_new_leader(
        self, member: MemberId, follower: Follower, message: AckNewLeader, now: float
    ) -> None:
        if message.epoch != self.epoch or not follower.forwarding:
            return
        follower.synchronized = True
        self._progress = now
        if self.established:
            self.core.send(member, UpToDate(self.epoch, self._committed))
        else:
            self._advance(now)

    def _establish(self) -> None:
        """A quorum holds our history: all of it is committed now."""
        core = self.core
        self.established = True
        self._committed = self._own_acked = self._history[1]
        core.deliver(self._committed)
        ready = [m for m, f in self._followers.items() if f.synchronized]
        core.broadcast(ready, UpToDate(self.epoch, self._committed))
        core.announce(Role.LEADING, core.me, self.epoch)
        for member, follower in self._followers.items():
            if follower.ack_epoch is not None and not follower.forwarding:
                self._synchronize(member, follower)

    # --- phase 3: broadcast ---

    def propose(self, payloads: Sequence[bytes], now: float) -> bool:
        """Give each payload the next zxid, log it and offer it to every learner.

        Returns:
          False if this member cannot propose (now): nothing was taken.

        """
        core = self.core
        if not self.established or self._closing or not payloads:
            return False
        last = core.history.last
        counter = counter_of(last) if epoch_of(last) == self.epoch else 0
        if counter + len(payloads) > core.settings.counter_max:
            # Commit what is under way, then let an election begin a new epoch;
            # sessions live on (ZOOKEEPER-1277 was an outage).
            self._closing = True
            self._end_if_closed()
            return False
        first = make_zxid(self.epoch, counter + 1)
        transactions = [(Zxid(first + i), p) for i, p in enumerate(payloads)]
        learners = [m for m, f in self._followers.items() if f.forwarding]
        # Followers first: their disks then work while ours does.
        for proposal in self._proposals(last, transactions):
            core.broadcast(learners, proposal)
        self._own.append((core.append(transactions, now), core.history.last))
        return True

    def _on_ack(self, member: MemberId, follower: Follower, message: Ack) -> None:
        if message.epoch != self.epoch or not follower.synchronized:
            return
        if message.zxid > self.core.history.last:
            self._drop(member, f"acknowledged {message.zxid:#x}, which is not proposed")
            return
        if message.zxid > follower.acked:
            follower.acked = message.zxid
            self._commit()

    def _commit(self) -> None:
        """Commit what a quorum has on disk; only this epoch's count (Zab, phase 3).

        Earlier proposals were committed all at once by the quorum of
        ACK(NEWLEADER); counting them singly could lose them again.
        """
        core = self.core
        acked = {m: f.acked for m, f in self._followers.items() if f.synchronized}
        acked[core.me] = self._own_acked
        committed = core.quorum.committed(acked)
        if committed <= self._committed or epoch_of(committed) != self.epoch:
            return
        self._committed = committed
        learners = [m for m, f in self._followers.items() if f.forwarding]
        core.broadcast(learners, Commit(self.epoch, committed))
        core.deliver(committed)
        self._end_if_closed()

    def _end_if_closed(self) -> None:
        if self._closing and self._committed == self.core.history.last:
            self.ended = "the epoch's numbers are used up"

    # --- linearizable reads and heartbeats of sessions ---

    def barrier(self, cookies: list[int]) -> None:
        """Confirm later that this member led when this call was made."""
        self._barriers.add(cookies, self._committed)
        self._confirm()

    def _confirm(self) -> None:
        """Answer what a quorum has confirmed, and start the next round."""
        core = self.core
        if not self.established:
            return
        synchronized = {m for m, f in self._followers.items() if f.synchronized}
        core.effects.extend(
            self._barriers.confirmed(core.quorum, core.me, synchronized)
        )
        if self._barriers.wants_ping:
            self._ping()
            if core.quorum.contains({core.me}):
                self._confirm()
