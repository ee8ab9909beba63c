"""Phase 3 on the leading side: propose, count disks, commit; and prove the lead.

Exists once the epoch is established. Only proposals of this epoch commit by
counting; all earlier ones were committed at once by the quorum of
ACK(NEWLEADER), since counted singly they could be lost again (Zab, phase 3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import attrs

from coordlib.ids import Epoch, MemberId, Zxid, counter_of, epoch_of, make_zxid

from .barrier import Barriers
from .core import Core
from .followers import Follower
from .levels import Level
from .messages import Commit, Ping
from .synchronization import pack_proposals

__all__ = ["Broadcast"]


@attrs.define
class Broadcast:
    """One established epoch.

    Attributes:
      committed: The last zxid on a quorum of disks. Only grows.

    """

    core: Core
    epoch: Epoch
    committed: Zxid
    # The leader's own table: who comes and goes is its business.
    _followers: dict[MemberId, Follower]
    _barriers: Barriers
    # Our own writes of proposals, (io, last zxid), until durable.
    _own: deque[tuple[int, Zxid]] = attrs.field(factory=deque, init=False)
    _own_acked: Zxid = attrs.field(init=False)
    # What is proposed and not committed: (last zxid, records, bytes) of each
    # proposal, and the sums.
    _uncommitted: deque[tuple[Zxid, int, int]] = attrs.field(factory=deque, init=False)
    _uncommitted_records: int = attrs.field(default=0, init=False)
    _uncommitted_bytes: int = attrs.field(default=0, init=False)
    # The epoch's numbers are used up: commit what is proposed, then step down.
    _closing: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """The history that the epoch began with is on our disk."""
        self._own_acked = self.committed

    def propose(self, payloads: Sequence[bytes], now: float) -> bool:
        """Give each payload the next zxid, log it and offer it to every learner.

        Returns:
          False if the epoch has no numbers left, or too much is not committed
          yet: nothing was taken.

        """
        if not self.has_room:
            return False
        core = self.core
        last = core.history.last
        counter = counter_of(last) if epoch_of(last) == self.epoch else 0
        if self._closing or counter + len(payloads) > core.settings.counter_max:
            # An election begins a new epoch once all of this one is committed;
            # sessions live on (ZOOKEEPER-1277 was an outage).
            self._closing = True
            return False
        first = make_zxid(self.epoch, counter + 1)
        transactions = [(Zxid(first + i), p) for i, p in enumerate(payloads)]
        # Followers first: their disks then work while ours does.
        for proposal in pack_proposals(self.epoch, last, transactions, core.settings):
            core.broadcast(self._learners(), proposal)
        self._own.append((core.append(transactions, now), core.history.last))
        size = sum(map(len, payloads))
        self._uncommitted.append((core.history.last, len(payloads), size))
        self._uncommitted_records += len(payloads)
        self._uncommitted_bytes += size
        return True

    @property
    def has_room(self) -> bool:
        """Whether more may be proposed before what is proposed is committed."""
        settings = self.core.settings
        return (
            self._uncommitted_records < settings.uncommitted_records_max
            and self._uncommitted_bytes < settings.uncommitted_bytes_max
        )

    @property
    def finished(self) -> bool:
        """Whether the epoch's numbers are used up and all is committed."""
        return self._closing and self.committed == self.core.history.last

    def persisted(self) -> None:
        """Count our own disk, for what it holds."""
        while self._own and self._own[0][0] <= self.core.durable_io:
            self._own_acked = self._own.popleft()[1]
        self.commit()

    def commit(self) -> None:
        """Commit what a quorum has on disk."""
        core = self.core
        acked = {m: f.acked for m, f in self._followers.items() if f.synchronized}
        acked[core.me] = self._own_acked
        committed = core.quorum.committed(acked)
        if committed > self.committed and epoch_of(committed) == self.epoch:
            self.committed = committed
            core.broadcast(self._learners(), Commit(self.epoch, committed))
            core.deliver(committed)
            while self._uncommitted and self._uncommitted[0][0] <= committed:
                _, records, size = self._uncommitted.popleft()
                self._uncommitted_records -= records
                self._uncommitted_bytes -= size

    def levels(self) -> Iterator[Level]:
        """Yield what each voter's disk must hold from now on; see :mod:`.levels`."""
        begin = make_zxid(self.epoch, 0)
        yield self.core.me, max(begin, min(self._own_acked, self.committed))
        for member, follower in self._followers.items():
            if follower.synchronized and member in self.core.quorum.voters:
                yield member, max(begin, min(follower.acked, self.committed))

    def _learners(self) -> list[MemberId]:
        return [m for m, f in self._followers.items() if f.forwarding]

    def barrier(self, cookies: list[int]) -> None:
        """Confirm later that this member led when this call was made."""
        self._barriers.add(cookies, self.committed)
        self.confirm()

    def confirm(self) -> None:
        """Answer the barriers that a quorum has confirmed; start the next round."""
        core = self.core
        counted = {m for m, f in self._followers.items() if f.synchronized}
        core.effects.extend(self._barriers.confirmed(core.quorum, core.me, counted))
        if self._barriers.wants_ping:
            core.broadcast(self._followers, Ping(self._barriers.next_number()))
            # A leader that is a quorum by itself has its answer now.
            core.effects.extend(self._barriers.confirmed(core.quorum, core.me, counted))
