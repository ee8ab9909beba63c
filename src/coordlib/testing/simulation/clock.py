"""One member's clock: monotonic, but neither equal nor as fast as the others'."""

from __future__ import annotations

from math import ceil
from random import Random

import attrs

from .kernel import SECOND, Kernel

__all__ = ["Clock"]


@attrs.define(eq=False)
class Clock:
    """Seconds as one member counts them.

    Attributes:
      rate: How many of them pass in one second.
      offset: What it showed at the beginning.
      wall_offset: How wrong the wall clock is, in seconds.
      random: For whatever the member's program draws by itself.

    """

    kernel: Kernel
    random: Random
    rate: float
    offset: float
    wall_offset: float

    def now(self) -> float:
        """Return what it shows."""
        return self.offset + self.kernel.now * self.rate / SECOND

    def when(self, time: float) -> int:
        """Return the first microsecond at which it shows ``time`` or more."""
        return ceil((time - self.offset) * SECOND / self.rate)

    def delay(self, seconds: float) -> int:
        """Return how many microseconds its ``seconds`` take."""
        return ceil(seconds * SECOND / self.rate)

    def wall_ms(self) -> int:
        """Return milliseconds since 1970, as far as this member knows."""
        return int((2_000_000_000 + self.wall_offset + self.now()) * 1000)
