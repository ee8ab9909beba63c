"""The leading side: phases 1 and 2, and the life of the role.

Discovery picks an epoch newer than any that a quorum promised and checks that
no promise came from a better history. Synchronisation brings each learner's
log level. When a quorum has the leader's history and epoch on disk, the epoch
is established, and :mod:`broadcast` takes over the daily business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from coordlib.errors import LeadTransferError
from coordlib.ids import (
    EPOCH_MAX,
    NO_EPOCH,
    NO_ZXID,
    Epoch,
    MemberId,
    Zxid,
    format_zxid,
)

from .barrier import Barriers
from .broadcast import Broadcast
from .core import Core
from .effects import KeepSnapshot, LeadKept, SendRecords, SendSnapshot, Undecided
from .followers import (
    Follower,
    all_are_empty,
    is_trusted,
    may_decide,
    trusted_disks,
)
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    FollowerInfo,
    HandOver,
    LeaderInfo,
    Message,
    NewLeader,
    Ping,
    Pong,
    Role,
    Truncate,
    UpToDate,
    Vote,
)
from .synchronization import Snap, pack_proposals, plan_synchronization
from .transfer import Transfer, choose_successor

__all__ = ["Leader"]


@attrs.define
class Leader:
    """The role of leading.

    Attributes:
      ended: Why the role is over; empty as long as it is not.
      epoch: The epoch it leads; 0 until a quorum has asked to follow.
      broadcast: The established epoch, once a quorum has our history and our
        epoch on disk.
      successor: To whom the lead was handed over, once it was.
      transfer: The lead is being handed over: nothing is proposed meanwhile.

    """

    core: Core
    ended: str = ""
    epoch: Epoch = NO_EPOCH
    broadcast: Broadcast | None = None
    successor: MemberId | None = None
    transfer: Transfer | None = None
    _followers: dict[MemberId, Follower] = attrs.field(factory=dict)
    _barriers: Barriers = attrs.field(factory=Barriers)
    # The write after which our own promise, then our own new epoch, is durable.
    _promise_io: int = 0
    _epoch_io: int = 0
    # Our current epoch and last zxid when the role began: what histories are
    # compared by, and the end of the history with which the epoch will begin.
    _history: tuple[Epoch, Zxid] = (NO_EPOCH, NO_ZXID)
    # The epoch is the ensemble's first: NEWLEADER may season empty disks.
    _founding: bool = False
    # It was said that too few disks count.
    _undecided: bool = False
    _next_ping: float = 0.0
    _progress: float = 0.0
    # When a quorum was last complete; the search for followers starts now.
    _quorum_heard: float = 0.0

    # --- life ---

    @property
    def leader(self) -> MemberId:
        """Who leads: we do."""
        return self.core.me

    @property
    def established(self) -> bool:
        """Whether a quorum follows."""
        return self.broadcast is not None

    def start(self, infos: dict[MemberId, FollowerInfo], now: float) -> None:
        """Enter the role with those who have already asked to follow."""
        core = self.core
        self._history = (core.metadata.current_epoch, core.history.last)
        self._quorum_heard = self._progress = self._next_ping = now
        self.core.announce(Role.LEADING, self.core.me, NO_EPOCH)
        for member, info in infos.items():
            self._on_follower_info(member, info, now)
        self._advance(now)

    def unanswered_infos(self) -> dict[MemberId, FollowerInfo]:
        """Return the requests to follow that the next role here has to answer.

        Who made them goes on waiting and does not ask twice.
        """
        infos = {member: follower.info for member, follower in self._followers.items()}
        return {m: i for m, i in infos.items() if not self._answers(i)}

    def _answers(self, info: FollowerInfo) -> bool:
        """Tell whether the epoch, if there is one yet, was offered."""
        return bool(self.epoch) and info.accepted_epoch <= self.epoch

    def remember(self) -> None:
        """Keep in mind what the voters' disks hold; see :mod:`.levels`.

        With every heartbeat and before a follower or the role is gone: that it
        is not done with every acknowledgement saves time, and loses little.
        """
        if self.broadcast is not None:
            self.core.levels.learn(self.broadcast.levels())

    def link_down(self, member: MemberId, now: float) -> None:
        """Forget the follower; without a quorum of them, lead no longer."""
        self.remember()
        if self._followers.pop(member, None) is not None:
            self._check_quorum(now)
            self._continue_transfer(now)

    def follows_another(self, member: MemberId, now: float) -> None:
        """Forget a follower that says it is somebody else's."""
        self.link_down(member, now)

    def persisted(self, now: float) -> None:
        """Count our own disk."""
        if self.broadcast is None:
            self._advance(now)
        else:
            self.broadcast.persisted()
            self._end_if_finished()
            self._continue_transfer(now)

    def propose(self, payloads: Sequence[bytes], now: float) -> bool:
        """See :meth:`Broadcast.propose`; only between its beginning and its end."""
        if self.broadcast is None or self.transfer is not None:
            return False
        taken = self.broadcast.propose(payloads, now)
        self._end_if_finished()
        return taken

    @property
    def takes_proposals(self) -> bool:
        """Whether :meth:`propose` may succeed now."""
        broadcast = self.broadcast
        return broadcast is not None and self.transfer is None and broadcast.has_room

    def _end_if_finished(self) -> None:
        if self.broadcast is not None and self.broadcast.finished:
            self.ended = "the epoch's numbers are used up"

    def receive(self, member: MemberId, message: Message, now: float) -> None:
        """Take one message from a voter."""
        if isinstance(message, FollowerInfo):
            self._on_follower_info(member, message, now)
            self._continue_transfer(now)
            return
        follower = self._followers.get(member)
        if follower is None:
            return
        follower.heard = now
        match message:
            case Ack():
                self._on_ack(member, follower, message)
            case Pong():
                self._on_pong(member, follower, message, now)
            case AckEpoch():
                self._on_ack_epoch(member, follower, message, now)
            case AckNewLeader():
                self._on_ack_new_leader(member, follower, message, now)
            case _:
                pass
        self._continue_transfer(now)

    def next_deadline(self) -> float:
        """Return when to ping, or when to give up."""
        if self.transfer is not None:
            return min(self._next_ping, self.transfer.deadline)
        return self._next_ping

    def on_deadline(self, now: float) -> None:
        """Ping, drop the silent, and step down without a quorum or a disk."""
        self._continue_transfer(now)
        if now < self._next_ping or self.ended:
            return
        core = self.core
        self.remember()
        silence = core.settings.silence_timeout
        self._next_ping = now + core.settings.heartbeat_interval
        for member, follower in list(self._followers.items()):
            if now - follower.heard > silence:
                self._drop(member, "the learner is silent")
        ping = Ping(self._barriers.next_number(), core.levels.all())
        core.broadcast(self._followers, ping)
        core.remind([m for m in core.link_of if m not in self._followers])
        self._check_quorum(now)
        self._tell_if_undecided(now)
        if core.disk_stalls(now):
            self.ended = "the own disk stalls"
        self._continue_transfer(now)

    def _drop(self, member: MemberId, why: str) -> None:
        del self._followers[member]
        self.core.close(member, why)

    def _check_quorum(self, now: float) -> None:
        """End without a quorum: at once if we led one, else after a while."""
        if self.core.quorum.contains(self._followers.keys() | {self.core.me}):
            self._quorum_heard = now
        elif self.established:
            self.ended = "a quorum is no longer linked"
        elif now - self._quorum_heard > 1.5 * self.core.settings.silence_timeout:
            # Longer than others wait for us: in one beat with us they would give us
            # up and follow us anew, for ever, even if we are deaf.
            self.ended = "no quorum followed"
        if (
            self.epoch
            and not self.established
            and now - self._progress > 2 * self.core.settings.silence_timeout
        ):
            self.ended = "the epoch was not established in time"

    def _tell_if_undecided(self, now: float) -> None:
        """Say, once, why nothing goes on although enough members are here."""
        waits = not (self.epoch or self._undecided or self.ended)
        if waits and now - self._progress > self.core.settings.silence_timeout:
            self._undecided = True
            infos = {m: f.info for m, f in self._followers.items()}
            here = self.core.quorum.voters & (infos.keys() | {self.core.me})
            doubtful = here - trusted_disks(self.core, infos)
            if doubtful:
                self.core.effects.append(Undecided(tuple(sorted(doubtful))))

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
        if info.accepted_epoch >= EPOCH_MAX:
            # It is broken: so many elections cannot be.
            self.link_down(member, now)
            self.core.close(member, "no epoch is later than the one it promised")
            return
        self.remember()
        self.core.levels.learn(info.levels)
        self.core.judge(info, member)
        self._followers[member] = Follower(info, now)
        self._barriers.forget(member)
        if not self.epoch:
            self._advance(now)
        elif not self._answers(info):
            # It promised an epoch that never came to be; only a later one than
            # that can take it in. Rare, and an election is quick.
            self.ended = f"member {member} has promised epoch {info.accepted_epoch}"
        else:
            self._offer((member,))

    def _advance(self, now: float) -> None:
        """Take the next step on the way to an established epoch, if we can."""
        core = self.core
        if self.established:
            return
        if not self.epoch:
            infos = {m: f.info for m, f in self._followers.items()}
            if may_decide(core, infos):
                self._choose_epoch(infos, now)
        elif not self._epoch_io:
            promised = {
                m: f.info
                for m, f in self._followers.items()
                if f.ack_epoch is not None and f.ack_epoch.promised
            }
            if core.durable_io >= self._promise_io and may_decide(core, promised):
                self._begin_synchronization(now)
        elif core.durable_io >= self._epoch_io:
            acked = {m for m, f in self._followers.items() if f.synchronized}
            if core.quorum.contains(acked | {core.me}):
                self._establish()

    def _choose_epoch(self, infos: Mapping[MemberId, FollowerInfo], now: float) -> None:
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
        self._offer(infos)

    def _offer(self, members: Iterable[MemberId]) -> None:
        message = LeaderInfo(self.epoch, self.core.levels.all())
        self.core.broadcast(members, message, after=self._promise_io)

    def _on_ack_epoch(
        self, member: MemberId, follower: Follower, message: AckEpoch, now: float
    ) -> None:
        if message.epoch != self.epoch or follower.ack_epoch is not None:
            return
        last = message.tails[-1] if message.tails else NO_ZXID
        theirs = (message.current_epoch, last)
        votes = member in self.core.quorum.voters
        # Only who counts may object: the others' promises are not among those that
        # the new epoch's history has to agree with, and one that was synchronised
        # by halves might come with its history again and again.
        counts = votes and is_trusted(self.core, member, follower.info)
        if counts and not self.established and theirs > self._history:
            self.ended = f"member {member} has the better history"
            return
        follower.ack_epoch = message
        self._note_progress(member, now)
        if self._epoch_io:
            self._synchronize_if_allowed(member, follower)
        else:
            self._advance(now)

    def _note_progress(self, member: MemberId, now: float) -> None:
        # Observers come and go; no epoch is established by them.
        if member in self.core.quorum.voters:
            self._progress = now

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
            damaged=False,
        )
        infos = {m: f.info for m, f in self._followers.items()}
        self._founding = all_are_empty(core, infos)
        self._epoch_io = core.save(metadata, now)
        for member, follower in list(self._followers.items()):
            if follower.ack_epoch is not None:
                self._synchronize_if_allowed(member, follower)
        self._advance(now)

    def _synchronize_if_allowed(self, member: MemberId, follower: Follower) -> None:
        """Synchronise, but make nobody count who forgot what it acknowledged.

        NEWLEADER seasons a disk. While the epoch is not established, a disk
        that is not seasoned would then vote for it, so it has to wait; and an
        observer has nothing to say.
        """
        votes = member in self.core.quorum.voters
        may = is_trusted(self.core, member, follower.info) or self._founding
        if self.established or (votes and may):
            self._synchronize(member, follower)

    def _synchronize(self, member: MemberId, follower: Follower) -> None:
        """Choose DIFF, TRUNC or SNAP, send it, and register for what comes.

        One step: nothing can be proposed or committed in between
        (ZOOKEEPER-962, -3104, -5088).
        """
        core = self.core
        assert follower.ack_epoch is not None
        tails = follower.ack_epoch.tails
        plan = plan_synchronization(core.history, tails, core.stored)
        if plan is None:
            core.effects.append(KeepSnapshot())
            self._drop(member, "no snapshot is kept that it could be sent")
            return
        link = core.link_of[member]
        if isinstance(plan, Snap):
            level = plan.zxid
            core.effects.append(SendSnapshot(link, level))
            follower.streams = True
        else:
            level = plan.common
            if tails and tails[-1] > level:
                core.send(member, Truncate(level))
        if level < core.history.base:
            # No more of it than has to be held in memory behind what is read.
            upto = core.delivered
            core.effects.append(SendRecords(link, self.epoch, level, upto))
            follower.streams = True
            level = upto
        missing = core.history.between(level, core.history.last)
        for proposal in pack_proposals(self.epoch, level, missing, core.settings):
            core.send(member, proposal)
        core.send(member, NewLeader(self.epoch, core.metadata.ensemble_id))
        follower.forwarding = True
        follower.sent = core.history.last

    def _on_ack_new_leader(
        self, member: MemberId, follower: Follower, message: AckNewLeader, now: float
    ) -> None:
        if message.epoch != self.epoch or not follower.forwarding:
            return
        follower.synchronized = True
        self.core.distrusted.discard(member)
        # What it was brought level with may hold proposals of this epoch; they
        # get no acknowledgement of their own.
        follower.acked = max(follower.acked, follower.sent)
        self._progress = now
        if self.broadcast is None:
            self._advance(now)
        else:
            self.core.send(member, UpToDate(self.epoch, self.broadcast.committed))
            self.broadcast.commit()
            self._end_if_finished()

    def _establish(self) -> None:
        """A quorum holds our history: all of it is committed now."""
        core = self.core
        committed = self._history[1]
        self.broadcast = Broadcast(
            core, self.epoch, committed, self._followers, self._barriers
        )
        core.deliver(committed)
        ready = [m for m, f in self._followers.items() if f.synchronized]
        core.broadcast(ready, UpToDate(self.epoch, committed))
        core.announce(Role.LEADING, core.me, self.epoch)
        for member, follower in list(self._followers.items()):
            if follower.ack_epoch is not None and not follower.forwarding:
                self._synchronize(member, follower)

    # --- phase 3: broadcast ---

    def _on_ack(self, member: MemberId, follower: Follower, message: Ack) -> None:
        if message.epoch != self.epoch or not follower.synchronized:
            return
        if message.zxid > self.core.history.last:
            zxid = format_zxid(message.zxid)
            self._drop(member, f"acknowledged {zxid}, which is not proposed")
        elif self.broadcast is not None and message.zxid > follower.acked:
            follower.acked = message.zxid
            self.broadcast.commit()
            self._end_if_finished()

    def _on_pong(
        self, member: MemberId, follower: Follower, message: Pong, now: float
    ) -> None:
        if follower.streams and not follower.synchronized:
            # A snapshot takes as long as it takes; another leader would have to
            # send it, too.
            self._note_progress(member, now)
        if follower.synchronized and self.broadcast is not None:
            self._barriers.pong(member, message.number)
            self.broadcast.confirm()

    # --- the end: handing over ---

    def transfer_lead(self, to: MemberId | None, now: float) -> MemberId:
        """See :meth:`Peer.transfer_lead`."""
        if self.broadcast is None:
            raise LeadTransferError("this member does not lead")
        if self.transfer is not None:
            successor = self.transfer.successor
            raise LeadTransferError(f"member {successor} is about to take the lead")
        successor = choose_successor(self.core, self._followers, to)
        deadline = now + self.core.settings.silence_timeout
        self.transfer = Transfer(successor, deadline)
        self._continue_transfer(now)
        return successor

    def _continue_transfer(self, now: float) -> None:
        """Hand over, or give it up, if it is time for that."""
        transfer, broadcast = self.transfer, self.broadcast
        if transfer is None or broadcast is None or self.ended:
            return
        follower = self._followers.get(transfer.successor)
        if follower is None or not follower.synchronized:
            self._keep_lead(f"the link to member {transfer.successor} broke")
        elif follower.acked == broadcast.committed == self.core.history.last:
            self.core.broadcast(
                self._followers, HandOver(self.epoch, transfer.successor)
            )
            self.core.forget_lead_of(self.core.me)
            self.successor = transfer.successor
            self.ended = f"member {transfer.successor} takes the lead"
        elif now >= transfer.deadline:
            self._keep_lead(f"member {transfer.successor} did not get level in time")

    def _keep_lead(self, why: str) -> None:
        self.transfer = None
        self.core.effects.append(LeadKept(why))
