"""Proofs that a leader still led: rounds of pings, each shared by many calls.

A quorum that answers a ping sent *after* a call followed this leader at that
moment, so no newer leader had been established before the call (the read
index of Raft's thesis, section 6.4, by Zab's rules). Knows no timers.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import attrs

from coordlib.ids import MemberId, Zxid

from .effects import Confirmed
from .quorum import Majority

__all__ = ["Barriers"]


@attrs.define
class Barriers:
    """The calls that wait, and the pings that will answer them."""

    # The number of the last ping sent; a higher one is a later one.
    _sent: int = 0
    _pongs: dict[MemberId, int] = attrs.field(factory=dict)
    # Calls that the ping of this number answers, and those that came later.
    _in_flight: list[Confirmed] = attrs.field(factory=list)
    _in_flight_number: int = 0
    _waiting: list[Confirmed] = attrs.field(factory=list)

    def add(self, cookies: list[int], committed: Zxid) -> None:
        """Note a call; ``committed`` is what its answer will name."""
        self._waiting.append(Confirmed(cookies, committed))

    @property
    def wants_ping(self) -> bool:
        """Whether calls wait for a ping and none is under way for others."""
        return bool(self._waiting) and not self._in_flight

    def next_number(self) -> int:
        """Return the number for a ping that is sent now."""
        self._sent += 1
        if not self._in_flight:
            self._in_flight, self._waiting = self._waiting, []
            self._in_flight_number = self._sent
        return self._sent

    def pong(self, member: MemberId, number: int) -> None:
        """Note an answer."""
        if self._pongs.get(member, 0) < number <= self._sent:
            self._pongs[member] = number

    def forget(self, member: MemberId) -> None:
        """Drop the answers of a follower that starts anew."""
        self._pongs.pop(member, None)

    def confirmed(
        self, quorum: Majority, me: MemberId, followers: AbstractSet[MemberId]
    ) -> list[Confirmed]:
        """Return the calls that a quorum has answered by now."""
        numbers = {m: n for m, n in self._pongs.items() if m in followers}
        numbers[me] = self._sent
        if not self._in_flight or quorum.reached(numbers) < self._in_flight_number:
            return []
        answered, self._in_flight = self._in_flight, []
        return answered
