"""Which sessions the ensemble has not heard of for too long. Pure.

Used by the leader alone. Whoever keeps sessions reports in their name: one
touch of a replica covers all that it keeps. A new leader starts with a new
object, so it gives every session its full timeout again (ZooKeeper does the
same), and it never expires early when its own process was stopped for a while.
"""

from __future__ import annotations

from heapq import heappop, heappush

import attrs

from coordlib.ids import SessionId
from coordlib.tree import SessionRecord

__all__ = ["Expiry"]

# So many keepers may be remembered without need, before it is worth a look at
# all sessions.
_SPARE_KEEPERS = 64


@attrs.define
class Expiry:
    """When each keeper of sessions was heard of, in one leader's reign.

    A look costs a step for each session that is due to be looked at: a session
    whose keeper lives is due once in its timeout.

    Attributes:
      began: When the reign began.
      pause_max: A longer time between two looks means that this process was
        stopped. It cannot know then who called in the meantime.

    """

    began: float
    pause_max: float
    _heard: dict[bytes, float] = attrs.field(factory=dict, init=False)
    _looked: float = attrs.field(init=False)
    # When to look at a session, and which: a heap. Invariant: each session up
    # to the newest known one is in it once, no later than it can be overdue;
    # touches only delay that, and so are not looked at here before it is due.
    _due: list[tuple[float, SessionId]] = attrs.field(factory=list, init=False)
    _newest: int = attrs.field(default=0, init=False)
    # Those that were returned and are not known to have ended: in an epoch what is
    # proposed is not lost.
    _ending: set[SessionId] = attrs.field(factory=set, init=False)
    # Forget keepers without sessions when there are more than this.
    _keepers_max: int = attrs.field(default=_SPARE_KEEPERS, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin to look."""
        self._looked = self.began

    def touch(self, owner: bytes, now: float) -> None:
        """Note that ``owner`` lives, and with it its sessions."""
        self._heard[owner] = now

    def opened(self, session: SessionId, owner: bytes, now: float) -> None:
        """Count from now; it may be resumed, and so never end as it was about to."""
        self._ending.discard(session)
        self.touch(owner, now)

    def closed(self, session: SessionId) -> None:
        """Note that an expiry, or something else, has ended a session."""
        self._ending.discard(session)

    def expired(
        self, sessions: dict[SessionId, SessionRecord], now: float
    ) -> list[SessionId]:
        """Return the sessions whose time is over, ascending, each once.

        Args:
          sessions: All that there are, ascending.
          now: No earlier than at the last look.

        """
        paused = now - self._looked > self.pause_max
        self._looked = now
        if paused:
            self.began = now
        self._welcome(sessions, now)
        overdue: list[SessionId] = []
        later: list[tuple[float, SessionId]] = []
        while self._due and self._due[0][0] <= now:
            session = sessions.get(heappop(self._due)[1])
            if session is None:
                continue
            heard = max(self.began, self._heard.get(session.owner, self.began))
            left = session.timeout_ms / 1000 - (now - heard)
            if left <= 0 and session.id not in self._ending:
                overdue.append(session.id)
            later.append((now + left, session.id))
        for due in later:
            heappush(self._due, due)
        self._ending.update(overdue)
        if len(self._heard) > self._keepers_max:
            self._forget(sessions)
        return sorted(overdue)

    def _welcome(self, sessions: dict[SessionId, SessionRecord], now: float) -> None:
        """Begin to look at those that are new: their ids are above all others."""
        newest = self._newest
        for session in reversed(sessions):
            if session <= newest:
                break
            self._newest = max(self._newest, session)
            heappush(self._due, (now, session))

    def _forget(self, sessions: dict[SessionId, SessionRecord]) -> None:
        """Forget keepers without sessions, or restarts would pile up."""
        owners = {session.owner for session in sessions.values()}
        self._heard = {o: at for o, at in self._heard.items() if o in owners}
        self._keepers_max = 2 * len(self._heard) + _SPARE_KEEPERS
