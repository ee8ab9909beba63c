"""Time, chance and the order of events: all that a simulation depends on.

One heap of events, one integer clock in microseconds, one seed. Each concern
draws from a stream of random numbers of its own, so a change in one does not
move the others. Nothing here knows what the events mean.
"""

from __future__ import annotations

import heapq
import struct
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from random import Random
from typing import Protocol

import attrs

__all__ = ["SECOND", "Crashed", "Kernel", "Owner", "Violation", "chance"]

SECOND = 1_000_000
"""One second of simulated time."""

_EVENT = struct.Struct("<qqq")


def chance(random: Random, probability: float) -> bool:
    """Return True that often."""
    return random.random() < probability


# The stream of sites that are not active.
_NEVER = Random(0)


class Violation(Exception):  # noqa: N818 - what a simulation is looking for
    """An oracle was contradicted.

    Attributes:
      oracle: Its name.

    """

    def __init__(self, oracle: str, text: str) -> None:
        super().__init__(f"{oracle}: {text}")
        self.oracle = oracle


class Crashed(Exception):  # noqa: N818 - control flow, not a fault of the program
    """The process that was running is no more; unwinds to the kernel."""


class Owner(Protocol):
    """Whose event it is."""

    # Its events do not happen any more.
    gone: bool
    # Its events wait until it runs again, in order.
    paused: bool
    deferred: deque[Callable[[], None]]


@attrs.define(eq=False)
class Kernel:
    """The clock and the heap.

    Attributes:
      seed: What everything random is derived from.
      now: Microseconds since the beginning.
      events: How many have happened.
      marks: How often each named situation was reached.
      faults: How often each class of fault happened.
      oddities: How often each site of :meth:`oddly` did something.
      is_odd: Whether they may.
      timeline: What happened, for people; ``None`` when nobody looks.

    """

    seed: int
    timeline: deque[str] | None = None
    now: int = attrs.field(default=0, init=False)
    events: int = attrs.field(default=0, init=False)
    marks: Counter[str] = attrs.field(factory=Counter, init=False)
    faults: Counter[str] = attrs.field(factory=Counter, init=False)
    oddities: Counter[str] = attrs.field(factory=Counter, init=False)
    is_odd: bool = attrs.field(default=True, init=False)
    _sites: dict[str, Random] = attrs.field(factory=dict, init=False)
    _heap: list[tuple[int, float, int, Owner | None, Callable[[], None]]] = attrs.field(
        factory=list, init=False
    )
    _sequence: int = attrs.field(default=0, init=False)
    _order: Random = attrs.field(init=False)
    _hash: bytearray = attrs.field(factory=bytearray, init=False)
    _digest: bytes = attrs.field(default=b"", init=False)

    def __attrs_post_init__(self) -> None:
        """Open the stream that orders what happens at the same time."""
        self._order = self.stream("order")

    def stream(self, name: str) -> Random:
        """Return the random numbers of one concern."""
        # A string seed goes through SHA-512: independent of the hash seed.
        return Random(f"{self.seed}/{name}")

    def after(self, delay: int, owner: Owner | None, do: Callable[[], None]) -> None:
        """Let ``do`` happen in ``delay`` microseconds, unless its owner is gone."""
        self._sequence += 1
        entry = (self.now + delay, self._order.random(), self._sequence, owner, do)
        heapq.heappush(self._heap, entry)

    def run(self, until: int, stop: Callable[[], bool] | None = None) -> bool:
        """Let everything up to ``until`` happen.

        Args:
          until: Microseconds.
          stop: Asked after every event.

        Returns:
          Whether ``stop`` said so.

        """
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, sequence, owner, do = heapq.heappop(heap)
            if owner is not None:
                if owner.gone:
                    continue
                if owner.paused:
                    owner.deferred.append(do)
                    continue
            self.events += 1
            self.record(sequence, 0)
            with suppress(Crashed):
                do()
            if stop is not None and stop():
                return True
        self.now = max(self.now, until)
        return False

    def record(self, what: int, which: int) -> None:
        """Make the trace hash depend on these numbers."""
        self._hash += _EVENT.pack(self.now, what, which)
        if len(self._hash) > 1 << 16:
            self.trace_hash()

    def trace_hash(self) -> str:
        """Return what is equal when all events and records were."""
        self._digest = sha256(self._digest + self._hash).digest()
        self._hash.clear()
        return self._digest.hex()

    def say(self, text: str) -> None:
        """Add a line to the timeline. Call only where ``timeline`` is kept."""
        if self.timeline is not None:
            self.timeline.append(f"{self.now / SECOND:10.6f} {text}")

    def fault(self, name: str, text: str) -> None:
        """Count a fault."""
        self.faults[name] += 1
        self.say(f"FAULT {name}: {text}")

    def mark(self, name: str) -> None:
        """Count a named situation."""
        self.marks[name] += 1

    def oddly(self, site: str, probability: float = 0.25) -> bool:
        """Tell whether to do something rare but allowed here, and count it.

        A quarter of all sites are active in a seed (FoundationDB's BUGGIFY).
        """
        if not self.is_odd:
            return False
        stream = self._sites.get(site)
        if stream is None:
            found = self.stream(f"odd/{site}")
            stream = self._sites[site] = found if chance(found, 0.25) else _NEVER
        if stream is _NEVER or not chance(stream, probability):
            return False
        self.oddities[site] += 1
        return True
