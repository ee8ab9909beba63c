"""When the leader looks for znodes that nobody needs, and how many may go. Pure.

Containers and znodes with a time to live. Which of them may go, the tree knows;
whether they go is decided when their deletion is applied. Used by the leader
alone: a new one starts with a new object, and looks for the first time after an
interval, so that a request which waited for a leader comes first.

Source: ``ContainerManager``.
"""

from __future__ import annotations

import attrs

__all__ = ["Cleaner"]


@attrs.define
class Cleaner:
    """The pace of one leader's reign.

    Attributes:
      began: When the reign began.
      interval: Seconds until the next look, once no more is to be done.
      per_minute_max: Deletions in a minute.

    """

    began: float
    interval: float = attrs.field(kw_only=True)
    per_minute_max: int = attrs.field(kw_only=True)
    _next: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with a pause."""
        self._next = self.began + self.interval

    def allowance(self, now: float) -> int:
        """Return how many znodes may be deleted now; 0: do not look."""
        return self._batch if now >= self._next else 0

    def cleaned(self, count: int, now: float) -> None:
        """Note how many were, and so when to look again."""
        pause = count * 60 / self.per_minute_max
        # As many as were allowed: there may be more.
        if count < self._batch:
            pause = max(pause, self.interval)
        self._next = now + pause

    @property
    def _batch(self) -> int:
        """A second's worth: what is proposed at one go."""
        return max(1, self.per_minute_max // 60)
