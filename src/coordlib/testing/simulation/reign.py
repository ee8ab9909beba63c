"""What a leader has to give up, and how soon; judged by what crosses its links.

The core keeps books of its own about who is silent. These are others, kept in
heartbeats of the same process: a pause, a slow clock or a late timer delays
both alike. The bounds are wide; that it happens at all is the point. What it
has to commit is exact: whatever a quorum's answers cover by now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from coordlib.consensus import Ack, AckNewLeader, FollowerInfo, Notification, Role
from coordlib.ids import MemberId, epoch_of, format_zxid
from coordlib.replica.wire import Body

from .kernel import Violation

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Reign"]

# In heartbeats. A member counts as silent after ten.
_SILENT_MAX = 25
# At once would be right; a heartbeat may come in between.
_ALONE_MAX = 5


@attrs.define(eq=False)
class Reign:
    """One process, as long as it leads; what it knows of followers at any time."""

    process: Process
    # Links over which somebody asked to follow and did not follow another since.
    _following: dict[int, None] = attrs.field(factory=dict, init=False)
    # Links that were pinged since the last heartbeat, and for how many heartbeats
    # on end nothing was heard over them: those are the core's followers.
    _pinged: dict[int, None] = attrs.field(factory=dict, init=False)
    _silent: dict[int, int] = attrs.field(factory=dict, init=False)
    # How many heartbeats there was no quorum of them, the disk did not move.
    _alone: int = attrs.field(default=0, init=False)
    _stalled: int = attrs.field(default=0, init=False)
    _durable_io: int = attrs.field(default=0, init=False)
    # The end of the log, and the writes that are to make it durable.
    _logged: int = attrs.field(default=0, init=False)
    _writes: deque[tuple[int, int]] = attrs.field(factory=deque, init=False)
    _own_acked: int = attrs.field(default=0, init=False)
    # By link: the epoch and the end of what NEWLEADER ended, and up to where
    # the learner has acknowledged, once it has acknowledged that.
    _offered: dict[int, tuple[int, int]] = attrs.field(factory=dict, init=False)
    _acked: dict[int, int] = attrs.field(factory=dict, init=False)

    def hear(self, link: int, body: Body) -> None:
        """Note what arrived over a link."""
        self._silent.pop(link, None)
        match body:
            case FollowerInfo():
                self._following[link] = None
                self._forget_acks(link)
            case Notification(leader=leader) if leader != self.process.member:
                self._following.pop(link, None)
                self._forget_acks(link)
            case AckNewLeader(epoch) if link in self._offered:
                offered, level = self._offered[link]
                if offered == epoch:
                    self._acked[link] = level
            case Ack(epoch, zxid) if link in self._acked:
                if self._offered[link][0] == epoch:
                    self._acked[link] = max(self._acked[link], zxid)
            case _:
                pass

    def _forget_acks(self, link: int) -> None:
        self._offered.pop(link, None)
        self._acked.pop(link, None)

    def log(self, io: int, last: int) -> None:
        """Note where the log ends once this write is durable."""
        self._logged = last
        self._writes.append((io, last))

    def offer(self, link: int, epoch: int) -> None:
        """Note that a learner is level with the log once it says so."""
        self._acked.pop(link, None)
        self._offered[link] = epoch, self._logged

    def check_commit(self, durable_io: int) -> None:
        """What a quorum has acknowledged to its leader is delivered by now."""
        while self._writes and self._writes[0][0] <= durable_io:
            self._own_acked = self._writes.popleft()[1]
        process, acked = self.process, dict[MemberId, int]()
        epoch = process.role.epoch
        if process.role.role is not Role.LEADING or not epoch:
            return
        acked[process.member] = self._own_acked
        for link, zxid in self._acked.items():
            end = process.links.get(link)
            if end is not None and self._offered[link][0] == epoch:
                acked[end.other.user.member] = zxid
        highest_first = sorted((acked.get(m, 0) for m in process.voters), reverse=True)
        reached = highest_first[len(process.voters) // 2]
        if process.tree.zxid < reached and epoch_of(reached) == epoch:
            self._fail(
                "late-commit",
                f"leads and delivered {format_zxid(process.tree.zxid)}, but a quorum "
                f"has acknowledged {format_zxid(reached)}",
            )

    def ping(self, links: Iterable[int]) -> None:
        """Note whom the core takes for its followers."""
        self._pinged |= dict.fromkeys(links)

    def beat(self) -> None:
        """Look, once a heartbeat."""
        process = self.process
        links, pinged = process.links, self._pinged
        self._pinged = {}
        self._following = {n: None for n in self._following if n in links}
        self._silent = {n: self._silent.get(n, 0) + 1 for n in pinged if n in links}
        if process.role.role is not Role.LEADING:
            self._alone = self._stalled = 0
            return
        self._check_learners()
        self._check_quorum()
        self._check_disk()

    def _check_learners(self) -> None:
        for link, beats in self._silent.items():
            if beats > _SILENT_MAX:
                other = self.process.links[link].other.user.member
                self._fail("silent-learner", f"keeps member {other}, which is silent")

    def _check_quorum(self) -> None:
        process = self.process
        linked = {process.links[link].other.user.member for link in self._following}
        following = (linked | {process.member}) & process.voters
        has_quorum = 2 * len(following) > len(process.voters)
        self._alone = 0 if has_quorum or not process.role.epoch else self._alone + 1
        if self._alone > _ALONE_MAX:
            self._fail("leader-alone", f"leads members {sorted(following)} only")

    def _check_disk(self) -> None:
        process = self.process
        moved = process.durable_io != self._durable_io
        self._durable_io = process.durable_io
        waits = process.last_io > process.durable_io
        self._stalled = self._stalled + 1 if waits and not moved else 0
        if self._stalled > _SILENT_MAX:
            self._fail("leader-stalled", "leads with a disk that does nothing")

    def _fail(self, oracle: str, text: str) -> None:
        raise Violation(oracle, f"member {self.process.member} {text}")
