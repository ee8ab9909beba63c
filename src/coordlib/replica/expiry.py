"""Which sessions the ensemble has not heard of for too long. Pure.

Used by the leader alone. Whoever keeps sessions reports in their name: one
touch of a replica covers all that it keeps. A new leader starts with a new
object, so it gives every session its full timeout again (ZooKeeper does the
same), and it never expires early when its own process was stopped for a while.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from coordlib.ids import SessionId
from coordlib.tree import SessionRecord

__all__ = ["Expiry"]


@attrs.define
class Expiry:
    """When each keeper of sessions was heard of, in one leader's reign.

    Attributes:
      began: When the reign began.
      pause_max: A longer time between two looks means that this process was
        stopped. It cannot know then who called in the meantime.

    """

    began: float
    pause_max: float
    _heard: dict[bytes, float] = attrs.field(factory=dict, init=False)
    _looked: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin to look."""
        self._looked = self.began

    def touch(self, owner: bytes, now: float) -> None:
        """Note that ``owner`` lives, and with it its sessions."""
        self._heard[owner] = now

    def expired(self, sessions: Iterable[SessionRecord], now: float) -> list[SessionId]:
        """Return the sessions whose time is over, in the given order."""
        paused = now - self._looked > self.pause_max
        self._looked = now
        if paused:
            self.began = now
        overdue: list[SessionId] = []
        owners: set[bytes] = set()
        for session in sessions:
            owners.add(session.owner)
            heard = max(self.began, self._heard.get(session.owner, self.began))
            if now - heard >= session.timeout_ms / 1000:
                overdue.append(session.id)
        # Keepers without sessions are forgotten, or restarts would pile up.
        self._heard = {o: at for o, at in self._heard.items() if o in owners}
        return overdue
