"""One fault: what it may know of the world, and its own random numbers.

Every strike has a stream of its own, so that leaving one out changes nothing
of what the others do: that is what makes a story short enough to read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import attrs

from coordlib.ids import MemberId

from .kernel import Kernel
from .process import Process
from .world import Seat, World

__all__ = ["Strike"]


@attrs.define(eq=False)
class Strike:
    """One thing that goes wrong, with what is needed to carry it out.

    Attributes:
      is_over: Tells whether everything is being repaired: nothing more starts.

    """

    world: World
    random: Random
    is_over: Callable[[], bool]

    @property
    def kernel(self) -> Kernel:
        """The clock and the books."""
        return self.world.kernel

    def later(self, delay: int, do: Callable[[], None]) -> None:
        """Do something unless everything is being repaired by then."""
        self.kernel.after(delay, None, partial(self._unless_over, do))

    def _unless_over(self, do: Callable[[], None]) -> None:
        if not self.is_over():
            do()

    def duration(self) -> int:
        """Return how long something lasts: mostly short, sometimes long."""
        longest = self.random.choice([20_000, 200_000, 1_000_000, 4_000_000])
        return self.random.randrange(1000, longest)

    def some_process(self) -> Process | None:
        """Return one that runs."""
        processes = list(self.world.processes.values())
        return self.random.choice(processes) if processes else None

    def some_seat(self) -> Seat:
        """Return any member's."""
        return self.random.choice(list(self.world.seats.values()))

    def shuffled(self) -> list[MemberId]:
        """Return all members in a random order."""
        members = list(self.world.seats)
        self.random.shuffle(members)
        return members
