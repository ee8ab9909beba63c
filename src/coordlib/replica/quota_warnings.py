"""Warnings of soft quotas that are exceeded. Nothing is refused for them."""

from __future__ import annotations

import logging

import attrs

from coordlib.tree import DataTree

__all__ = ["QuotaWarnings"]

logger = logging.getLogger("coordlib.replica")

# Seconds between two warnings of one quota: it may stay exceeded for ever.
_INTERVAL = 60.0


@attrs.define
class QuotaWarnings:
    """When each quota was warned of. Holds those that are exceeded only."""

    _warned: dict[str, float] = attrs.field(factory=dict, init=False)

    def look(self, tree: DataTree, now: float) -> None:
        """Warn of what is exceeded and was not warned of for a minute."""
        exceeded = tree.quotas_exceeded()
        for path in exceeded:
            if now - self._warned.get(path, now - _INTERVAL) >= _INTERVAL:
                quota = tree.quotas()[path]
                logger.warning(
                    "the quota on %s is exceeded: %d znodes, %d bytes; %s",
                    path,
                    quota.count,
                    quota.size,
                    quota.limits,
                )
                self._warned[path] = now
        # One that was exceeded before and is not now is warned of anew, but no
        # sooner than after the same time.
        self._warned = {
            path: at
            for path, at in self._warned.items()
            if path in exceeded or now - at < _INTERVAL
        }
