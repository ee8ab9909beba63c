"""Phases 1 to 3 on the following side.

A learner promises the leader's epoch, lets its log be brought level, and from
then on logs what the leader proposes and delivers what the leader commits. The
order *history, epoch, acknowledgement* is the order of the durable stream, so
no crash can put a new epoch before its history (ZOOKEEPER-4643, -4646).
"""

from __future__ import annotations

from enum import IntEnum

import attrs

from coordlib.ids import (
    EPOCH_MAX,
    NO_EPOCH,
    Epoch,
    MemberId,
    Zxid,
    epoch_of,
    format_zxid,
)

from .core import Core
from .history import follows
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    FollowerInfo,
    HandOver,
    LeaderInfo,
    Message,
    NewLeader,
    Ping,
    Pong,
    Proposal,
    Role,
    Snapshot,
    Truncate,
    UpToDate,
)
from .synchronization import TAILS_MAX

__all__ = ["Learner"]


class Phase(IntEnum):
    """How far the learner has come with its leader; it only advances."""

    DISCOVERY = 1
    SYNCHRONIZATION = 2
    # NEWLEADER is on its way to the disk, or there already.
    SYNCHRONIZED = 3
    BROADCAST = 4


@attrs.define
class Learner:
    """The role of following ``leader``.

    Attributes:
      leader: Whom it follows.
      ended: Why the role is over; empty as long as it is not.
      unanswered: It is over because the chosen leader never answered.
      successor: To whom the leader handed the lead over, if it did.
      epoch: The leader's; 0 until it has told it.

    """

    core: Core
    leader: MemberId
    ended: str = ""
    unanswered: bool = False
    successor: MemberId | None = None
    epoch: Epoch = NO_EPOCH
    _phase: Phase = Phase.DISCOVERY
    _deadline: float = 0.0
    # When those are told again what we do who hear nothing else of us.
    _reminds_at: float = 0.0

    @property
    def established(self) -> bool:
        """Whether a quorum follows this leader, as it told us."""
        return self._phase is Phase.BROADCAST

    @property
    def discovering(self) -> bool:
        """Whether the leader has not answered yet: it may not lead at all."""
        return self._phase is Phase.DISCOVERY

    def start(self, now: float) -> None:
        """Enter the role: ask to follow."""
        core = self.core
        core.announce(Role.FOLLOWING, self.leader, NO_EPOCH)
        info = FollowerInfo(
            core.number,
            core.metadata.accepted_epoch,
            core.metadata.seasoned,
            core.is_empty,
            core.metadata.current_epoch,
            core.history.last,
            core.levels.all(),
        )
        core.send(self.leader, info, after=core.last_io)
        # Not less: it may be far away, and wait for silent voters before it leads.
        self._deadline = self._reminds_at = now + core.settings.silence_timeout

    def link_down(self, member: MemberId) -> None:
        """End when the leader's link breaks: its process is dead, or we are cut off."""
        if member == self.leader:
            self.ended = "the link to the leader broke"

    def next_deadline(self) -> float:
        """Return when the leader counts as dead, or the others are reminded."""
        return min(self._deadline, self._reminds_at)

    def on_deadline(self, now: float) -> None:
        """End when the leader has been silent for too long.

        Its link ends too, also where it never answered: what a frozen process
        or a dead host said last would make it the best choice for ever.
        """
        core = self.core
        if now >= self._deadline:
            self.ended = "the leader is silent"
            self.unanswered = self.discovering
            core.close(self.leader, self.ended)
        elif now >= self._reminds_at:
            self._reminds_at = now + core.settings.silence_timeout
            core.remind([member for member in core.link_of if member != self.leader])

    def heard(self, member: MemberId | None, now: float) -> None:
        """Note a sign of the leader's life."""
        if member == self.leader:
            self._deadline = now + self.core.settings.silence_timeout

    def receive(  # noqa: C901 - one match over all messages
        self, member: MemberId, message: Message, now: float
    ) -> None:
        """Take one message; what is not the leader's belongs to an ended role."""
        if member != self.leader:
            return
        self.heard(member, now)
        match message:
            case Proposal():
                self._on_proposal(message, now)
            case Commit():
                self._on_commit(message)
            case Ping():
                self._on_ping(message, now)
            case LeaderInfo():
                self._on_leader_info(message, now)
            case Truncate():
                self._on_truncate(message, now)
            case Snapshot():
                self._on_snapshot(message, now)
            case NewLeader():
                self._on_new_leader(message, now)
            case UpToDate():
                self._on_up_to_date(message)
            case HandOver():
                self._on_hand_over(message)
            case _:
                pass

    def _refuse(self, why: str) -> None:
        """The leader breaks the rules, or we misunderstand it: start over."""
        self.ended = why
        self.core.close(self.leader, why)

    def _on_ping(self, message: Ping, now: float) -> None:
        self.core.levels.learn(message.levels)
        if not self.established and self.core.disk_stalls(now):
            # An answer would have the would-be leader wait for us for ever, and
            # keep those from another leader who could do without us.
            self._refuse("the own disk stalls")
        else:
            self.core.send(self.leader, Pong(message.number))

    def _on_leader_info(self, message: LeaderInfo, now: float) -> None:
        core = self.core
        accepted = core.metadata.accepted_epoch
        if self._phase is not Phase.DISCOVERY or not (
            accepted <= message.epoch <= EPOCH_MAX
        ):
            self._refuse(f"offered epoch {message.epoch} after {accepted}")
            return
        promised = message.epoch > accepted
        core.levels.learn(message.levels)
        vote = core.vote()
        core.judge(vote, core.me)
        # Before anything that it lacks is there again: half of it, and it would
        # seem to have lost nothing.
        seasoned = vote.seasoned and not core.lacks(vote, core.me)
        metadata = attrs.evolve(
            core.metadata, accepted_epoch=message.epoch, seasoned=seasoned
        )
        if metadata != core.metadata:
            core.save(metadata, now)
        self.epoch = message.epoch
        self._phase = Phase.SYNCHRONIZATION
        tails = tuple(core.history.tails()[-TAILS_MAX:])
        answer = AckEpoch(message.epoch, promised, core.metadata.current_epoch, tails)
        core.send(self.leader, answer, after=core.last_io)

    def _on_truncate(self, message: Truncate, now: float) -> None:
        core = self.core
        if self._phase is not Phase.SYNCHRONIZATION:
            self._refuse("truncation outside synchronisation")
        elif message.zxid < core.delivered or not core.history.holds(message.zxid):
            # What was delivered was committed: a leader without it is no leader.
            self._refuse(
                f"truncation to {format_zxid(message.zxid)}, which is not ours to cut"
            )
        else:
            core.cut(message.zxid, now)

    def _on_snapshot(self, message: Snapshot, now: float) -> None:
        if self._phase is not Phase.SYNCHRONIZATION:
            self._refuse("snapshot outside synchronisation")
        elif message.zxid < self.core.delivered:
            self._refuse(
                f"snapshot {format_zxid(message.zxid)} is older than what we serve"
            )
        else:
            self.core.install(message.zxid, message.body, now)

    def _on_proposal(self, message: Proposal, now: float) -> None:
        core = self.core
        if message.epoch != self.epoch or self._phase is Phase.DISCOVERY:
            self._refuse(f"proposal of epoch {message.epoch}, not {self.epoch}")
            return
        if message.previous != core.history.last or not follows(
            message.first, message.previous
        ):
            self._refuse(
                f"proposal {format_zxid(message.first)} after "
                f"{format_zxid(message.previous)} leaves a gap: the log ends with "
                f"{format_zxid(core.history.last)}"
            )
            return
        if epoch_of(message.first + len(message.payloads) - 1) > self.epoch:
            self._refuse(
                f"proposal {format_zxid(message.first)} is beyond epoch {self.epoch}"
            )
            return
        if core.disk_stalls(now):
            # What piles up in memory is bounded by what comes in that time; the
            # leader brings us level when the disk is back.
            self._refuse("the own disk stalls")
            return
        transactions = [
            (Zxid(message.first + i), p) for i, p in enumerate(message.payloads)
        ]
        io = core.append(transactions, now)
        if self._phase >= Phase.SYNCHRONIZED:
            core.send(self.leader, Ack(self.epoch, core.history.last), after=io)

    def _on_new_leader(self, message: NewLeader, now: float) -> None:
        core = self.core
        known = core.metadata.ensemble_id
        if self._phase is not Phase.SYNCHRONIZATION or message.epoch != self.epoch:
            self._refuse(f"unexpected end of synchronisation, epoch {message.epoch}")
        elif known and known != message.ensemble_id:
            self._refuse("the leader belongs to another ensemble")
        else:
            self._phase = Phase.SYNCHRONIZED
            core.distrusted.discard(core.me)
            metadata = attrs.evolve(
                core.metadata,
                current_epoch=self.epoch,
                seasoned=True,
                ensemble_id=message.ensemble_id,
                damaged=False,
            )
            io = core.save(metadata, now)
            core.send(self.leader, AckNewLeader(self.epoch), after=io)

    def _on_up_to_date(self, message: UpToDate) -> None:
        core = self.core
        if (
            self._phase is not Phase.SYNCHRONIZED
            or message.epoch != self.epoch
            or message.committed > core.history.last
        ):
            self._refuse(f"unexpected start of epoch {message.epoch}")
            return
        self._phase = Phase.BROADCAST
        core.deliver(message.committed)
        core.announce(Role.FOLLOWING, self.leader, self.epoch)

    def _on_commit(self, message: Commit) -> None:
        # May come before UPTODATE (ZOOKEEPER-4394): the epoch is established
        # all the same, since only an established leader commits.
        if (
            self._phase < Phase.SYNCHRONIZED
            or message.epoch != self.epoch
            or message.zxid > self.core.history.last
        ):
            self._refuse(f"commit of {format_zxid(message.zxid)} without its proposal")
        else:
            self.core.deliver(message.zxid)

    def _on_hand_over(self, message: HandOver) -> None:
        if message.epoch == self.epoch:
            self.core.forget_lead_of(self.leader)
            self.successor = message.successor
            self.ended = f"member {message.successor} takes the lead"
