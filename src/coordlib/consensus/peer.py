"""One member's part in Zab, from its first vote to its last commit.

Routes inputs to the current role and changes roles. No input from outside
raises: what breaks the rules ends in a ``Close`` of its link. The driver calls
an input, then drains the effects and carries them out in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from coordlib.errors import LeadTransferError
from coordlib.ids import NO_EPOCH, NO_MEMBER, Epoch, MemberId, Zxid

from .core import Core, Settings
from .effects import Effect, LinkId, Metadata
from .history import History
from .leader import Leader
from .learner import Learner
from .levels import Level
from .looking import Looking
from .messages import FollowerInfo, Message, Notification, Role
from .quorum import Majority
from .stored import Stored

__all__ = ["Peer", "PeerStatistics"]


@attrs.frozen
class PeerStatistics:
    """What a peer does at this moment.

    Attributes:
      role: Its part.
      epoch: The established epoch; 0 while there is none.
      leader: Who leads it; 0 while nobody does.
      last_zxid: The end of the log.
      delivered: The last committed zxid it knows.
      linked: The members it can talk to.
      seasoned: Whether its disk counts: it holds all that it ever acknowledged.
      distrusted: The members whose disks have lost what they acknowledged.

    """

    role: Role
    epoch: Epoch
    leader: MemberId
    last_zxid: Zxid
    delivered: Zxid
    linked: tuple[MemberId, ...]
    seasoned: bool
    distrusted: tuple[MemberId, ...]


class Peer:
    """The pure core of one member. ``now`` is monotonic time in seconds."""

    def __init__(
        self,
        me: MemberId,
        voters: frozenset[MemberId],
        *,
        metadata: Metadata,
        history: History,
        applied: Zxid,
        founding_id: bytes,
        settings: Settings,
    ) -> None:
        """Set the peer up with what its disk held.

        Args:
          me: This member; an observer unless it is one of ``voters``.
          voters: Who counts in quorums and may lead.
          metadata: From the disk; the default on an empty one.
          history: The log on the disk.
          applied: The zxid of the snapshot that the tree was loaded from; 0
            without one.
          founding_id: 16 random bytes: the ensemble's id if it is founded now
            under this member's lead.
          settings: Durations and bounds.

        """
        self._core = Core(
            me, Majority(voters), settings, metadata, history, founding_id, applied
        )
        self._member_of: dict[LinkId, MemberId] = {}
        self._role: Looking | Learner | Leader = Looking(self._core)

    # --- inputs ---

    def start(self, now: float) -> None:
        """Begin to look for a leader."""
        self._look(now, Looking(self._core))
        self._settle(now)

    def link_up(self, link: LinkId, member: MemberId, now: float) -> None:
        """Note a new link; an older one to the same member is gone."""
        old = self._core.link_of.get(member)
        if old is not None:
            self.link_down(old, now)
        self._core.link_of[member] = link
        self._member_of[link] = member
        self._core.greet(member)
        self._settle(now)

    def link_down(self, link: LinkId, now: float) -> None:
        """Note that a link is gone. Unknown and closed ones are fine."""
        member = self._member_of.pop(link, None)
        if member is None or self._core.link_of.get(member) != link:
            return
        del self._core.link_of[member]
        self._core.notified.pop(member, None)
        self._lost_link(member, now)
        self._settle(now)

    def receive(self, link: LinkId, messages: Sequence[Message], now: float) -> None:
        """Take messages that arrived over ``link``, in order."""
        member = self._member_of.get(link)
        if member is None:
            return
        for message in messages:
            # Any message may end with its link closed.
            if self._core.link_of.get(member) != link:
                break
            if isinstance(message, Notification):
                self._on_notification(member, message, now)
            elif isinstance(self._role, Looking):
                self._role.receive(member, message)
            else:
                self._role.receive(member, message, now)
            self._settle(now)

    def heard(self, link: LinkId, now: float) -> None:
        """Note a sign of life other than a message: a piece of a snapshot."""
        if isinstance(self._role, Learner):
            self._role.heard(self._member_of.get(link), now)

    def persisted(self, io: int, now: float) -> None:
        """Note that every write up to ``io`` is durable."""
        self._core.persisted(io)
        if isinstance(self._role, Leader):
            self._role.persisted(now)
        self._settle(now)

    def stored(self, stored: Stored) -> None:
        """Note what the own disk can give to learners from now on."""
        self._core.stored = stored
        # Where the logs of those part that parted earlier is of no use.
        self._core.history.forget_ended(stored.base)

    def on_deadline(self, now: float) -> None:
        """Do what is due. Calling early, late or twice is harmless."""
        self._role.on_deadline(now)
        self._settle(now)

    def propose(self, payloads: Sequence[bytes], now: float) -> bool:
        """Order ``payloads`` for the whole ensemble, if this member leads it.

        Returns:
          False if it does not, or not now: nothing was taken. Drop it at the
          next ``RoleChanged``; until then try again after each ``Deliver`` or
          ``LeadKept``.

        """
        if not isinstance(self._role, Leader) or not payloads:
            return False
        taken = self._role.propose(payloads, now)
        self._settle(now)
        return taken

    def barrier(self, cookies: list[int]) -> bool:
        """Ask for a ``Confirmed`` effect with these cookies.

        Returns:
          False if this member does not lead: there will be none. There will be
          none either if it stops leading before a quorum answers.

        """
        broadcast = self._role.broadcast if isinstance(self._role, Leader) else None
        if broadcast is None:
            return False
        broadcast.barrier(cookies)
        return True

    def transfer_lead(self, to: MemberId | None, now: float) -> MemberId:
        """Hand the lead over, as soon as the successor holds all there is.

        Until then proposals are refused. What follows is a ``RoleChanged``, or
        a ``LeadKept`` if the successor does not get there.

        Args:
          to: The successor; ``None`` for the one that holds most.
          now: See the class.

        Returns:
          The successor.

        Raises:
          LeadTransferError: This member does not lead, is handing the lead
            over already, or ``to`` is not fit to lead. Nothing changes.

        """
        if not isinstance(self._role, Leader):
            raise LeadTransferError("this member does not lead")
        successor = self._role.transfer_lead(to, now)
        self._settle(now)
        return successor

    # --- outputs ---

    def drain(self) -> list[Effect]:
        """Return the effects of the inputs since the last call, in order."""
        effects, self._core.effects = self._core.effects, []
        return effects

    def next_deadline(self) -> float:
        """Return when to call :meth:`on_deadline`."""
        return self._role.next_deadline()

    def statistics(self) -> PeerStatistics:
        """Return what the peer does at this moment."""
        core, role = self._core, self._role
        epoch, leader, part = NO_EPOCH, NO_MEMBER, Role.LOOKING
        if not isinstance(role, Looking):
            part = Role.LEADING if isinstance(role, Leader) else Role.FOLLOWING
            leader = role.leader
            epoch = role.epoch if role.established else NO_EPOCH
        return PeerStatistics(
            part,
            epoch,
            leader,
            core.history.last,
            core.delivered,
            tuple(sorted(core.link_of)),
            core.metadata.seasoned,
            tuple(sorted(core.distrusted)),
        )

    @property
    def takes_proposals(self) -> bool:
        """Whether :meth:`propose` may succeed now."""
        return isinstance(self._role, Leader) and self._role.takes_proposals

    @property
    def transferring(self) -> bool:
        """Whether this member leads, and is about to hand the lead over."""
        return isinstance(self._role, Leader) and self._role.transfer is not None

    @property
    def quorum_is_linked(self) -> bool:
        """Whether this member and those it can talk to are enough to decide."""
        core = self._core
        return core.quorum.contains(core.link_of.keys() | {core.me})

    @property
    def levels(self) -> tuple[Level, ...]:
        """What voters' disks must hold, as far as this member knows."""
        return self._core.levels.all()

    @property
    def metadata(self) -> Metadata:
        """What the disk holds besides the log, or soon will."""
        return self._core.metadata

    # --- role changes ---

    def _on_notification(
        self, member: MemberId, message: Notification, now: float
    ) -> None:
        known = self._core.notified.get(member)
        if known is not None and message.number <= known.number:
            return
        self._core.heard_of(member, message)
        has_led = known is not None and known.role is Role.LEADING
        role = self._role
        if isinstance(role, Leader):
            if message.leader != self._core.me:
                role.follows_another(member, now)
            if (
                message.role is Role.LEADING
                and message.vote is not None
                and not self._core.lacks(message.vote, member)
                and role.yields_to(message.vote)
            ):
                role.ended = "another would-be leader has the better history"
        elif isinstance(role, Learner):
            if member == role.leader and message.role is Role.FOLLOWING:
                role.ended = "the chosen leader follows another"
            elif (
                member == role.leader
                and message.role is Role.LOOKING
                # While it looks it may still choose itself, unless it led before.
                and (has_led or not role.discovering)
            ):
                role.ended = "the leader leads no longer"
                # Nor did it get anywhere: another who tries may be heard by more.
                role.unanswered = role.discovering and any(
                    other.role is Role.LEADING for other in self._core.notified.values()
                )
        elif message.leader != self._core.me:
            role.link_down(member)

    def _lost_link(self, member: MemberId, now: float) -> None:
        if isinstance(self._role, Leader):
            self._role.link_down(member, now)
        else:
            self._role.link_down(member)

    def _settle(self, now: float) -> None:
        """Change roles until the present one stands.

        Looking, choosing and giving the choice up is all that one input can
        cause, so few rounds suffice.
        """
        for _ in range(8):
            role = self._role
            if isinstance(role, Looking):
                choice = role.decide()
                if choice is None:
                    return
                self._follow_or_lead(role, choice, now)
            elif role.ended:
                unanswered = isinstance(role, Learner) and role.unanswered
                infos = dict[MemberId, FollowerInfo]()
                if isinstance(role, Leader):
                    role.remember()
                    infos = role.unanswered_infos()
                avoid = role.leader if unanswered else None
                self._look(now, Looking(self._core, avoid, role.successor, infos))
            else:
                return

    def _look(self, now: float, looking: Looking) -> None:
        self._role = looking
        looking.start(now)

    def _follow_or_lead(self, looking: Looking, choice: MemberId, now: float) -> None:
        if choice == self._core.me:
            leader = Leader(self._core)
            self._role = leader
            leader.start(looking.infos, now)
        else:
            self._role = Learner(self._core, choice)
            self._role.start(now)
