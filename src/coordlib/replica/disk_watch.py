"""Tells the operator that the log waits for room on its disk, and when it has it."""

from __future__ import annotations

import logging
from math import inf

import attrs

__all__ = ["DiskWatch"]

logger = logging.getLogger("coordlib.replica")


@attrs.define
class DiskWatch:
    """Since when one member's disk has had no room, as far as anybody looked."""

    _name: str
    _since: float = attrs.field(default=inf, init=False)

    def look(self, no_room: str, now: float) -> None:
        """Take what the store says: why it waits, or nothing."""
        if no_room and self._since == inf:
            self._since = now
            logger.warning(
                "%s: no write can be made durable: %s; it goes on when there is room",
                self._name,
                no_room,
            )
        elif not no_room and self._since < inf:
            waited = self.waited(now)
            self._since = inf
            logger.info("%s: room on the disk again after %.1f s", self._name, waited)

    def waited(self, now: float) -> float:
        """Return for how many seconds there has been no room; 0 if there is."""
        return max(0.0, now - self._since)
