"""What goes wrong when. What it does is in the modules next to this one."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import partial

import attrs

from . import disk_faults, network_faults, process_faults
from .profile import FAULTS
from .strike import Strike
from .world import World

__all__ = ["Faults"]

_ALL = {**process_faults.FAULTS, **network_faults.FAULTS, **disk_faults.FAULTS}
assert set(_ALL) == set(FAULTS), "a profile draws from what there is"


@attrs.define(eq=False)
class Faults:
    """The mischief of one seed.

    Attributes:
      only: The numbers of the strikes to carry out; ``None``: all.
      strikes: How many there were, those left out included.
      stopped: Everything is being repaired.

    """

    world: World
    only: AbstractSet[int] | None
    strikes: int = attrs.field(default=0, init=False)
    stopped: bool = attrs.field(default=False, init=False)

    def start(self) -> None:
        """Let the first one come."""
        if self.world.profile.faults:
            self._next()

    def _next(self) -> None:
        """Draw the next one, whatever became of those before."""
        profile, kernel = self.world.profile, self.world.kernel
        number = self.strikes
        random = kernel.stream(f"strike/{number}")
        pause = round(random.expovariate(1 / profile.fault_pause))
        name = random.choices(list(profile.faults), list(profile.faults.values()))[0]
        strike = Strike(self.world, random, lambda: self.stopped)
        kernel.after(pause, None, partial(self._strike, strike, name, number))

    def _strike(self, strike: Strike, name: str, number: int) -> None:
        if self.stopped:
            return
        self.strikes += 1
        self._next()
        if self.only is None or number in self.only:
            self.world.oracles.vacant_since = None
            _ALL[name](strike)
