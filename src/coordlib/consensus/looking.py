"""Phase 0: find a member whom a quorum would follow.

Every member tells every other one what it does and, as long as it knows of no
established epoch, its vote. So all see the same facts and choose alike, without
rounds: when every linked voter has voted, the best vote wins at once; a silent
one is waited for, but not long. This only *prefers* the best history; phase 1
verifies it.

An observer does not vote; it follows whoever leads. A member that looks disturbs
nobody: who has a leader keeps it (the deaf member of etcd's 2020 outage could
depose one).
"""

from __future__ import annotations

import attrs

from coordlib.ids import NO_EPOCH, NO_MEMBER, Epoch, MemberId, Zxid

from .core import Core
from .messages import FollowerInfo, Message, Role, Vote

__all__ = ["Decision", "Looking"]

Decision = MemberId | None
"""Whom to follow (oneself: to lead), or ``None`` to go on looking."""


@attrs.define
class Looking:
    """The role without a leader.

    Attributes:
      avoid: A member that did not answer when we followed it. Somebody else is
        preferred, also when silent voters are waited for no longer: it may greet
        again over each new link, with the best history of all, and do nothing
        else, as one whose disk stalls. Only one that leads already is then tried
        once more.
      preferred: Whom the last leader named as its successor. Better than its
        equals, and not waited for.

    """

    core: Core
    avoid: MemberId | None = None
    preferred: MemberId | None = None
    # Who asked to follow us already; handed on if we lead.
    infos: dict[MemberId, FollowerInfo] = attrs.field(factory=dict)
    # Silent voters are still waited for.
    _waiting: bool = True
    _deadline: float = 0.0

    def start(self, now: float) -> None:
        """Enter the role."""
        self.core.announce(Role.LOOKING, NO_MEMBER, NO_EPOCH)
        self._deadline = now + self.core.settings.election_wait

    def receive(self, member: MemberId, message: Message) -> None:
        """Keep a request to follow us; ignore what an ended role is still sent."""
        if isinstance(message, FollowerInfo):
            self.infos[member] = message

    def link_down(self, member: MemberId) -> None:
        """Forget the member."""
        self.infos.pop(member, None)

    def next_deadline(self) -> float:
        """Return when silent voters are waited for no longer, or reminded."""
        return self._deadline

    def on_deadline(self, now: float) -> None:
        """Wait no longer, now or later, for voters that are linked but silent."""
        if now >= self._deadline:
            if not self._waiting:
                self.core.remind(self.core.link_of)
                self.avoid = None
            self._waiting = False
            self._deadline = now + self.core.settings.silence_timeout

    def decide(self) -> Decision:
        """Choose, if the facts allow it."""
        core = self.core
        leaders = [
            (notification.epoch, member)
            for member, notification in core.notified.items()
            if notification.role is Role.LEADING
            and notification.epoch
            and (member != self.avoid or not self._waiting)
        ]
        if leaders:
            return max(leaders)[1]
        return self._best_vote() if core.votes else None

    def _best_vote(self) -> Decision:
        """Choose among those who look or try to lead, once a quorum has voted."""
        core = self.core
        voted, candidates = set[MemberId](), list[Vote]()
        for member, notification in core.notified.items():
            if notification.vote is None or member not in core.quorum.voters:
                continue
            voted.add(member)
            # One that has lost something counts here, as others that may not decide
            # do: discovery sees to it. But nobody is to follow it.
            if (
                notification.role is not Role.FOLLOWING
                and member != self.avoid
                and not core.lacks(notification.vote, member)
            ):
                candidates.append(notification.vote)
        if core.durable_io >= core.last_io:
            voted.add(core.me)
            candidates.append(core.vote())
        everybody_voted = voted >= core.quorum.voters & core.link_of.keys()
        if not candidates or not core.quorum.contains(voted):
            return None
        best = max(candidates, key=self._rank).member
        # A successor that is no worse than a quorum wins whoever is silent still.
        if everybody_voted or not self._waiting or best == self.preferred:
            return best
        return None

    def _rank(self, vote: Vote) -> tuple[bool, Epoch, Zxid, bool, MemberId]:
        """Return what candidates are compared by: the history before all else."""
        preferred = vote.member == self.preferred
        history = vote.seasoned, vote.current_epoch, vote.last_zxid
        return (*history, preferred, vote.member)
