"""How far a member's long work is, for ``statistics()`` and for the log.

Only told here; what the work is, and how it is cut into pieces so that nothing
else waits for it, is its own business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

__all__ = ["LongWork", "Progress"]

logger = logging.getLogger("coordlib.replica")

# Seconds between two lines about one piece of work.
_LOG_INTERVAL = 5.0


@attrs.frozen
class Progress:
    """How far some long work of a member is.

    Attributes:
      work: What it does: ``"recovering the log"``, ``"loading a snapshot"``,
        ``"saving a snapshot"`` and the like, perhaps with the other member.
      done: How much is done.
      total: Of how much; 0 if that is not known.
      unit: Of both: ``"bytes"``, ``"znodes"`` and the like.

    """

    work: str
    done: int
    total: int
    unit: str

    def __str__(self) -> str:
        if not self.total:
            return self.work
        percent = 100 * self.done // self.total
        return f"{self.work}: {self.done} of {self.total} {self.unit}, {percent} %"


class LongWork:
    """What one member has under way."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = 0
        self._under_way: dict[int, Progress] = {}

    def progress(self) -> tuple[Progress, ...]:
        """Return how far all of it is, what was begun first in front."""
        return tuple(self._under_way.values())

    @contextmanager
    def doing(
        self, work: str, *, total: int = 0, unit: str = ""
    ) -> Iterator[Callable[[int], None]]:
        """Begin some work; it ends with the block.

        Yields:
          What to call with how much is done, as often as one likes.

        """
        self._last += 1
        number = self._last
        began = logged = trio.current_time()
        self._under_way[number] = Progress(work, 0, total, unit)
        logger.info("%s: %s begins", self._name, work)

        def tell(done: int) -> None:
            nonlocal logged
            self._under_way[number] = Progress(work, done, total, unit)
            now = trio.current_time()
            if now - logged >= _LOG_INTERVAL:
                logged = now
                logger.info("%s: %s", self._name, self._under_way[number])

        outcome = "was given up"
        try:
            yield tell
            outcome = "is done"
        finally:
            del self._under_way[number]
            seconds = trio.current_time() - began
            logger.info("%s: %s %s, %.1f s", self._name, work, outcome, seconds)
