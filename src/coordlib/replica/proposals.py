"""What a leader's replica proposes, and what waits for the core to take it.

The core refuses while too much is under way or the lead is being handed over.
What it refuses waits here, in order, and is proposed when the core takes it
again; or it is dropped when the role ends, since everybody then sends again
what has no outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from coordlib.config import Limits

__all__ = ["Proposals"]


@attrs.define
class Proposals:
    """The queue in front of one core.

    Attributes:
      offer: Gives requests to the core; tells whether it took them.

    """

    offer: Callable[[list[bytes]], bool]
    _limits: Limits
    _held: deque[list[bytes]] = attrs.field(factory=deque, init=False)
    _count: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._held)

    @property
    def is_full(self) -> bool:
        """Whether nobody who keeps to his share would have sent so much."""
        return (
            self._count >= self._limits.requests_max
            or self._bytes >= self._limits.requests_bytes_max
        )

    def add(self, requests: list[bytes]) -> None:
        """Have these ordered, now or when the core takes them."""
        if requests and (self._held or not self.offer(requests)):
            self._held.append(requests)
            self._count += len(requests)
            self._bytes += sum(map(len, requests))

    def offer_held(self) -> None:
        """Try again with what waits."""
        while self._held and self.offer(self._held[0]):
            proposed = self._held.popleft()
            self._count -= len(proposed)
            self._bytes -= sum(map(len, proposed))

    def drop_all(self) -> None:
        """Forget what waits: the role has ended."""
        self._held.clear()
        self._count = self._bytes = 0
