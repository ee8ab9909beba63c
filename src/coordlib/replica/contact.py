"""This replica's contact with the quorum: heartbeats of sessions, and sync.

One exchange serves both. A touch tells the leader that this replica's sessions
live; the answer comes after a quorum has confirmed that it led meanwhile, and
names a zxid up to which everything acknowledged before the touch is covered.
So an answer proves that no other leader had begun to count timeouts before the
touch was *sent*, and it is the read index of every sync that waited for it.

Bookkeeping only; the replica sends and receives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from coordlib.ids import Zxid

from .waiter import Waiter

__all__ = ["Contact"]

# More touches than this without an answer: the oldest are forgotten. At ten a
# second that is a minute, longer than any answer is worth waiting for.
_UNANSWERED_MAX = 600


@attrs.define
class Contact:
    """Touches under way, and who waits for their answers.

    Attributes:
      confirmed: When the last answered touch was sent, in trio's time; the
        ensemble heard of our sessions no earlier than that.

    """

    confirmed: float
    _number: int = attrs.field(default=0, init=False)
    _sent: dict[int, float] = attrs.field(factory=dict, init=False)
    # Syncs that no touch was sent for yet, then those with their touch's number,
    # then those that only wait for the tree.
    _new: dict[Waiter[None], None] = attrs.field(factory=dict, init=False)
    _asked: deque[tuple[int, Waiter[None]]] = attrs.field(factory=deque, init=False)
    _behind: list[tuple[Zxid, Waiter[None]]] = attrs.field(factory=list, init=False)

    def add_sync(self, waiter: Waiter[None]) -> None:
        """Let ``waiter`` wait for everything acknowledged before now."""
        self._new[waiter] = None

    def forget_sync(self, waiter: Waiter[None]) -> None:
        """Ask for nothing on behalf of a waiter that has gone."""
        self._new.pop(waiter, None)

    @property
    def has_syncs(self) -> bool:
        """Whether a touch should be sent now for syncs' sake."""
        return bool(self._new)

    def touch(self, now: float) -> int:
        """Return the number for a touch that is sent now."""
        self._number += 1
        self._sent[self._number] = now
        if len(self._sent) > _UNANSWERED_MAX:
            del self._sent[next(iter(self._sent))]
        self._asked.extend((self._number, waiter) for waiter in self._new)
        self._new.clear()
        return self._number

    def start_over(self) -> None:
        """Ask again for every sync: the leader that was asked is gone."""
        self._new.update({w: None for _, w in self._asked if not w.abandoned})
        self._asked.clear()
        self._sent.clear()

    def confirm(self, number: int, zxid: Zxid, applied: int) -> bool:
        """Take an answer.

        Returns:
          Whether it moved :attr:`confirmed`.

        """
        while self._asked and self._asked[0][0] <= number:
            self._behind.append((zxid, self._asked.popleft()[1]))
        self.release(applied)
        sent = self._sent.get(number, self.confirmed)
        self._sent = {n: at for n, at in self._sent.items() if n > number}
        moved = sent > self.confirmed
        self.confirmed = max(self.confirmed, sent)
        return moved

    def release(self, applied: int) -> None:
        """Wake the syncs whose zxid the tree has reached."""
        if self._behind:
            ready = [waiter for zxid, waiter in self._behind if zxid <= applied]
            self._behind = [entry for entry in self._behind if entry[0] > applied]
            for waiter in ready:
                waiter.resolve(None)

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Let every sync fail: the replica ends."""
        waiters = [*self._new, *(w for _, w in self._asked)]
        waiters += [w for _, w in self._behind]
        self._new.clear()
        self._asked.clear()
        self._behind.clear()
        for waiter in waiters:
            waiter.fail(error())
