"""What must never happen, checked whenever something happens.

The oracles see the ensemble from outside: every disk's durable bytes, every
delivery, every message that leaves. They trust nothing that a member believes.
Each check costs a constant amount, apart from the sampled ones. What they say
is named as in the Zab paper and its TLA+ specification where it is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from coordlib.consensus import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Distrust,
    FollowerInfo,
    LeaderInfo,
    Notification,
    Proposal,
    Role,
    RoleChanged,
    Send,
    Transaction,
    Vote,
)
from coordlib.consensus.history import follows
from coordlib.consensus.levels import standing
from coordlib.errors import ErrorCode
from coordlib.ids import MemberId, SessionId, Zxid, counter_of, epoch_of, format_zxid
from coordlib.replica.wire import Confirm
from coordlib.testing.history import History
from coordlib.tree import Applied, Cause, DataTree, Refused, Result, SessionOpened

from .image import Image
from .kernel import Kernel, Violation

if TYPE_CHECKING:
    from .process import Process

__all__ = ["CLOSINGS", "Oracles"]

# Why a member may close a link: what it is called as a situation.
CLOSINGS = {
    "the leader is silent": "silent-leader",
    "the learner is silent": "silent-learner",
    "the own disk stalls": "own-disk-stalls",
    "no snapshot is kept that it could be sent": "no-good-snapshot",
}
# A request to follow may be answered when it was repeated already.
_OVERTAKEN = "offered epoch"

# One in so many zxids has its digest compared; a prime, against rhythms.
_SAMPLE = 13

# What a process may ask for by itself: opening and closing sessions.
_OWN_REQUESTS = 200
# Touches that wait for a quorum: some a second from each replica.
_BARRIERS = 1000


@attrs.define(eq=False)
class Oracles:
    """What is known of the ensemble, from outside.

    Attributes:
      images: What each disk would still hold after a power loss.
      agreed: Every transaction that any member delivered, in order.
      acknowledged_last: The latest zxid that a client has been answered.
      acknowledgements: How many answers clients were given.
      history: What clients asked for and were told.
      newest_epoch: The latest that was established.
      vacant_since: When a leader was killed and nothing else went wrong since.
      elections: How many microseconds it took each time to have a new one.

    """

    kernel: Kernel
    voters: frozenset[MemberId]
    images: Mapping[MemberId, Image]
    # The present process of a member, if it runs.
    process_of: Mapping[MemberId, Process]
    agreed: list[Transaction] = attrs.field(factory=list, init=False)
    acknowledged_last: int = attrs.field(default=0, init=False)
    acknowledgements: int = attrs.field(default=0, init=False)
    history: History = attrs.field(factory=History, init=False)
    newest_epoch: int = attrs.field(default=0, init=False)
    vacant_since: int | None = attrs.field(default=None, init=False)
    elections: list[int] = attrs.field(factory=list, init=False)
    # How many transactions are agreed up to this zxid.
    _place: dict[int, int] = attrs.field(factory=lambda: {0: 0}, init=False)
    # What leaders proposed; what they lead.
    _broadcast: dict[int, bytes] = attrs.field(factory=dict, init=False)
    _leaders: dict[int, MemberId] = attrs.field(factory=dict, init=False)
    _promises: dict[tuple[MemberId, int], MemberId] = attrs.field(
        factory=dict, init=False
    )
    # The state at some zxids: its digest.
    _digests: dict[int, int] = attrs.field(factory=dict, init=False)
    # The history that each epoch began with: its end.
    _initial: dict[int, int] = attrs.field(factory=dict, init=False)
    # Which zxid carried out a request, and with what result; which one ended a
    # session.
    _effects: dict[tuple[int, int], tuple[int, Result]] = attrs.field(
        factory=dict, init=False
    )
    _ended: dict[int, int] = attrs.field(factory=dict, init=False)
    _touches: dict[tuple[bytes, int], int] = attrs.field(factory=dict, init=False)

    # --- what leaves a member ---

    def leaving(self, process: Process, send: Send) -> None:
        """A message that claims something of the disk is true of the disk."""
        message = send.message
        kind = type(message)
        if kind is Ack:
            assert isinstance(message, Ack)
            image = self.images[process.member].refresh()
            payload = self._broadcast.get(message.zxid, b"")
            if image.last < message.zxid or image.records.get(message.zxid) != payload:
                self._fail("durable-ack", process, f"sends {message}", image)
        elif kind is Proposal:
            assert isinstance(message, Proposal)
            transactions = enumerate(message.payloads, message.first)
            self.appended(process, [(Zxid(z), p) for z, p in transactions])
        elif kind in _CLAIMS:
            self._check_claim(process, send)

    def _check_claim(self, process: Process, send: Send) -> None:
        message, image = send.message, self.images[process.member].refresh()
        metadata = image.metadata
        holds = True
        match message:
            case AckNewLeader(epoch):
                holds = metadata.current_epoch >= epoch
            case AckEpoch(epoch, promised):
                holds = metadata.accepted_epoch >= epoch
                link = process.links.get(send.links[0])
                if promised and link is not None:
                    self._check_promise(process, epoch, link.other.user.member)
            case LeaderInfo(epoch):
                holds = metadata.accepted_epoch >= epoch
            case FollowerInfo(accepted_epoch=epoch):
                holds = metadata.accepted_epoch >= epoch
                self._check_standing(process, message)
            case Notification(vote=vote) if vote is not None:
                durable = (metadata.current_epoch, image.last)
                holds = durable >= (vote.current_epoch, vote.last_zxid)
                self._check_standing(process, vote)
            case _:
                pass
        if not holds:
            self._fail("durable-claim", process, f"sends {message}", image)

    def _check_promise(self, process: Process, epoch: int, leader: MemberId) -> None:
        """Nobody promises an epoch to two leaders, however often he restarts."""
        known = self._promises.setdefault((process.member, epoch), leader)
        if known != leader:
            raise Violation(
                "one-promise",
                f"member {process.member} promised epoch {epoch} to {known} "
                f"and to {leader}",
            )

    def _check_standing(self, process: Process, claim: Vote | FollowerInfo) -> None:
        """Nobody remembers more of a disk than it holds, unless we took it away."""
        member = process.member
        if not claim.seasoned or self.images[member].has_lost:
            return
        claimed = standing(claim.current_epoch, claim.last_zxid)
        for other in self.process_of.values():
            level = dict(other.peer.levels).get(member, 0)
            if level > claimed:
                raise Violation(
                    "remembered",
                    f"member {member} claims {format_zxid(claimed)}, and member "
                    f"{other.member} remembers {format_zxid(level)}",
                )

    def distrusted(self, distrust: Distrust) -> None:
        """Somebody lacks something; or what he said was overtaken on its way."""
        if self.images[distrust.member].rolled_back:
            self.kernel.mark("rolled-back.noticed")

    def wiped(self, member: MemberId) -> None:
        """Forget what a member promised: its new disk knows nothing of it.

        That its promises do not count before it has been synchronised is for
        other oracles to see.
        """
        self._promises = {k: v for k, v in self._promises.items() if k[0] != member}

    def _fail(self, oracle: str, process: Process, text: str, image: Image) -> None:
        raise Violation(
            oracle,
            f"member {process.member} {text}, but its disk holds "
            f"{format_zxid(image.last)} and {image.metadata}",
        )

    # --- roles and proposals ---

    def role_changed(self, process: Process, change: RoleChanged) -> None:
        """No epoch has two leaders; whoever enters it has its initial history."""
        if change.role is Role.LEADING and change.epoch:
            self._check_epoch(process, change.epoch)
            first = self._leaders.setdefault(change.epoch, process.member)
            self.kernel.mark("epoch.established")
            if first != process.member:
                raise Violation(
                    "one-leader",
                    f"members {first} and {process.member} lead epoch {change.epoch}",
                )
            self._established(change.epoch)
        initial = self._initial.get(change.epoch, 0)
        if process.tree.zxid < initial:
            raise Violation(
                "primary-integrity",
                f"member {process.member} enters epoch {change.epoch} without all of "
                f"the earlier ones: it serves {format_zxid(process.tree.zxid)} of "
                f"{format_zxid(initial)}",
            )

    def _check_epoch(self, process: Process, epoch: int) -> None:
        """A quorum of disks knows of an epoch before it is led."""
        self._initial[epoch] = process.peer.statistics().last_zxid
        knowing = [m for m in self.voters if self.images[m].has_entered(epoch)]
        if 2 * len(knowing) <= len(self.voters):
            raise Violation(
                "durable-epoch",
                f"member {process.member} leads epoch {epoch}, which only members "
                f"{knowing} have on disk",
            )

    def _established(self, epoch: int) -> None:
        self.newest_epoch = max(self.newest_epoch, epoch)
        if self.vacant_since is not None:
            self.elections.append(self.kernel.now - self.vacant_since)
            self.vacant_since = None
        for other in self.process_of.values():
            role = other.role
            if role.role is Role.LEADING and 0 < role.epoch < epoch:
                self.kernel.mark("two-leaders-alive")

    def halted(self, process: Process, why: str) -> None:
        """No core gives up in a simulation."""
        raise Violation("halt", f"member {process.member}: {why}")

    def closing(self, process: Process, other: MemberId, why: str) -> None:
        """Nobody is accused of breaking the rules: all members are true to them."""
        if why not in CLOSINGS and not why.startswith(_OVERTAKEN):
            raise Violation(
                "accusation", f"member {process.member} says of {other}: {why}"
            )

    def appended(self, process: Process, transactions: list[Transaction]) -> None:
        """Only its leader fills an epoch, and everybody else repeats him.

        Whichever comes first: a leader may end between sending and logging.
        """
        leading = process.role.role is Role.LEADING
        for zxid, payload in transactions:
            if leading and self._leaders.get(epoch_of(zxid)) == process.member:
                known = self._broadcast.setdefault(zxid, payload)
            else:
                known = self._broadcast.get(zxid, b"")
            if known != payload:
                raise Violation(
                    "integrity",
                    f"member {process.member} logs another {format_zxid(zxid)} than "
                    f"was proposed",
                )

    def read_back(self, process: Process) -> None:
        """What the log gives to learners is what was agreed, all of it."""
        log, last = process.store.log, process.peer.statistics().delivered
        disk_is_busy = process.durable_io < process.last_io or process.store.disk.fail
        agreed = [t for t in self.agreed if log.extent.base <= t[0] <= last]
        if disk_is_busy or not agreed:
            return
        reading = log.read_records(agreed[0][0], last)
        found: list[tuple[int, bytes]] = []
        try:
            while (records := reading.next()) is not None:
                found += records
        finally:
            reading.close()
        if found != agreed[1:]:
            raise Violation(
                "read-back",
                f"the log of member {process.member} gives {len(found)} transactions, "
                f"not the {len(agreed) - 1} that were agreed",
            )

    # --- deliveries ---

    def delivering(self, process: Process, zxid: int, payload: bytes) -> None:
        """Everybody delivers the same, in the same order, from a quorum of disks."""
        agreed, at = self.agreed, process.position
        if at == len(agreed):
            self._agree(process, zxid, payload)
        elif agreed[at] != (zxid, payload):
            raise Violation(
                "total-order",
                f"member {process.member} delivers {format_zxid(zxid)}, others "
                f"{format_zxid(agreed[at][0])}",
            )
        process.position = at + 1

    def _agree(self, process: Process, zxid: int, payload: bytes) -> None:
        """This is the first delivery of all."""
        last = self.agreed[-1][0] if self.agreed else 0
        if not follows(zxid, last):
            raise Violation(
                "contiguity",
                f"member {process.member} delivers {format_zxid(zxid)} after "
                f"{format_zxid(last)}",
            )
        if self._broadcast.get(zxid) != payload:
            raise Violation("integrity", f"{format_zxid(zxid)} was never proposed")
        copies = [
            member
            for member, image in self.images.items()
            if member in self.voters and image.holds(zxid, payload)
        ]
        if 2 * len(copies) <= len(self.voters):
            raise Violation(
                "durable-quorum",
                f"member {process.member} delivers {format_zxid(zxid)}, which only "
                f"members {copies} have on disk",
            )
        if process.role.epoch != epoch_of(zxid):
            self.kernel.mark("agreed.by-a-later-leader")
        counter_max = process.profile.settings.counter_max
        if counter_of(zxid) == counter_max:
            self.kernel.mark("epoch.used-up")
        elif counter_of(zxid) > counter_max:
            raise Violation("counter", f"{format_zxid(zxid)} is beyond {counter_max}")
        self.agreed.append((Zxid(zxid), payload))
        self._place[zxid] = len(self.agreed)
        self.kernel.record(zxid, len(payload))

    def applied(self, process: Process, applied: Applied) -> None:
        """The outcomes make sense, and are the same everywhere."""
        zxid = applied.zxid
        if zxid % _SAMPLE == 0:
            self.captured(process.tree)
        if process.position < len(self.agreed):
            return
        if isinstance(applied.result, SessionOpened) and applied.duplicate:
            self.kernel.mark("session.opened-twice")
        self._mark_cleaning(applied)
        if applied.closed:
            self._check_end(applied)
            self.check_ephemerals(process.tree)
        if applied.session:
            self._check_once(applied)

    def _mark_cleaning(self, applied: Applied) -> None:
        for event in applied.events:
            if event.cause is Cause.CONTAINER:
                self.kernel.mark("znode.deleted-as-container")
            elif event.cause is Cause.TTL:
                self.kernel.mark("znode.deleted-as-ttl")
        if not applied.session and isinstance(applied.result, Refused):
            if applied.result.code is ErrorCode.NOT_EMPTY:
                self.kernel.mark("znode.used-after-all")
            elif applied.result.code is ErrorCode.BAD_VERSION:
                self.kernel.mark("znode.set-after-all")

    def _check_once(self, applied: Applied) -> None:
        key = applied.session, applied.cxid
        expired = (
            isinstance(applied.result, Refused)
            and applied.result.code is ErrorCode.SESSION_EXPIRED
        )
        if applied.session in self._ended and applied.closed != applied.session:
            self.kernel.mark("request.after-its-session")
            if not expired:
                raise Violation("ended-session", f"{key} has an effect after its end")
        elif applied.duplicate:
            self.kernel.mark("request.dropped-as-done")
        elif not expired:
            effect = applied.zxid, applied.result
            first, _ = self._effects.setdefault(key, effect)
            if first != applied.zxid:
                raise Violation(
                    "exactly-once",
                    f"{key} was carried out at {format_zxid(first)} and again at "
                    f"{format_zxid(applied.zxid)}",
                )

    def _check_end(self, applied: Applied) -> None:
        """Who keeps a session knows of its end before the ensemble carries it out."""
        self._ended[applied.closed] = applied.zxid
        if applied.cause is not Cause.EXPIRED:
            self.kernel.mark("session.closed")
            return
        self.kernel.mark("session.expired")
        for process in self.process_of.values():
            kept = process.service.kept.get(applied.closed)
            if kept is None or process.gone or process.paused:
                continue
            if process.clock.now() < kept.deadline():
                raise Violation(
                    "early-expiry",
                    f"session {applied.closed} expired while member {process.member} "
                    f"could still rely on it",
                )

    # --- states ---

    def captured(self, tree: DataTree) -> None:
        """Equal zxids, equal states."""
        digest = tree.digest()
        known = self._digests.setdefault(tree.zxid, digest)
        if known != digest:
            raise Violation("digest", f"two states at {format_zxid(tree.zxid)}")

    def restored(self, process: Process, how: str) -> int:
        """Check a state that came out of a snapshot; return its place."""
        zxid = process.tree.zxid
        place = self._place.get(zxid)
        if place is None:
            raise Violation(
                "snapshot",
                f"member {process.member} {how} a snapshot at {format_zxid(zxid)}, "
                f"which was never agreed",
            )
        self.captured(process.tree)
        return place

    def check_ephemerals(self, tree: DataTree) -> None:
        """Every ephemeral belongs to a session that lives."""
        for path, znode in tree.znodes().items():
            owner = znode.ephemeral_owner
            if owner > 0:
                record = tree.session(SessionId(owner))
                if record is None or path not in record.ephemerals:
                    raise Violation("ephemerals", f"{path} outlives session {owner}")

    def check_memory(self, process: Process) -> None:
        """What a process keeps is bounded by who talks to it, not by time."""
        service = process.service
        others = len(process.everybody) - 1
        linked = process.peer.statistics().linked
        asked = sum(worker.asked_most for worker in service.workers)
        kept = {
            "links": (len(process.links), 2 * others),
            "linked members": (len(linked), others),
            "requests": (len(service.outstanding), asked + _OWN_REQUESTS),
            "sessions": (len(service.kept), len(service.workers)),
            "barriers": (service.barriers, _BARRIERS),
        }
        for what, (count, most) in kept.items():
            if count > most:
                raise Violation(
                    "bounded-memory",
                    f"member {process.member} keeps {count} {what}, {most} at most",
                )

    # --- clients ---

    def acknowledged(self, process: Process, applied: Applied) -> None:
        """What a client is answered is agreed, and what came of it there."""
        last = self.agreed[-1][0] if self.agreed else 0
        effect = self._effects.get((applied.session, applied.cxid))
        if applied.zxid > last or effect is None or effect[1] != applied.result:
            raise Violation(
                "acknowledged",
                f"member {process.member} answers {applied}, agreed is {effect}",
            )
        self.acknowledgements += 1
        self.acknowledged_last = max(self.acknowledged_last, applied.zxid)

    def touched(self, process: Process, number: int) -> None:
        """Note what a linearizable read that begins now must see."""
        self._touches[process.incarnation, number] = self.acknowledged_last

    def confirmed(self, process: Process, answer: Confirm) -> None:
        """A confirmation covers everything acknowledged before it was asked for."""
        least = self._touches.pop((process.incarnation, answer.number), 0)
        if answer.zxid < least:
            raise Violation(
                "linearizable",
                f"member {process.member} is told {format_zxid(answer.zxid)}, but "
                f"{format_zxid(least)} was acknowledged before it asked",
            )


_CLAIMS = frozenset((AckNewLeader, AckEpoch, LeaderInfo, FollowerInfo, Notification))
