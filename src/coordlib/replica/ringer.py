"""Wakes many tasks, but not all in one pass of the loop.

trio runs every task that was woken before it looks at the clock and the network
again. Ten thousand readers of one znode woken at one go would keep heartbeats
and everybody else waiting; so they are woken in slices. What they are woken for
is there before: only the waking takes its time.
"""

from __future__ import annotations

from collections import deque

import attrs
import trio

from .waiter import Bell

__all__ = ["Ringer"]

# Tasks woken before all others have a turn: some 1 ms and what they do first.
_SLICE = 128


@attrs.define(eq=False)
class Ringer:
    """Rings bells in the order of :meth:`add`, in slices while it runs."""

    _bells: deque[Bell] = attrs.field(factory=deque, init=False)
    _own: Bell = attrs.field(factory=Bell, init=False)
    _running: bool = attrs.field(default=False, init=False)

    def add(self, bell: Bell) -> None:
        """Have a bell rung by :meth:`ring`, or at once if nothing runs here."""
        if self._running:
            self._bells.append(bell)
        else:
            bell.ring()

    def ring(self) -> None:
        """Ring one slice now; the others follow while other tasks run."""
        for _ in range(min(_SLICE, len(self._bells))):
            self._bells.popleft().ring()
        if self._bells:
            self._own.ring()

    def ring_later(self) -> None:
        """Ring while other tasks run, for who may call this many times at once."""
        if self._bells:
            self._own.ring()

    async def run(self) -> None:
        """Ring what :meth:`ring` left, until cancelled; then all that is left."""
        self._running = True
        try:
            while True:
                await self._own.wait()
                while self._bells:
                    self.ring()
                    await trio.lowlevel.checkpoint()
        finally:
            self._running = False
            while self._bells:
                self._bells.popleft().ring()
