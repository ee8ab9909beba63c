"""Links between processes: in order, late, cut, broken at any moment.

A connection has two ends. What one sends arrives at the other in order or not
at all. Directions can be cut one by one; what is sent then is held back. It
knows neither frames nor members' roles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Protocol

import attrs

from coordlib.ids import MemberId
from coordlib.replica.wire import Body

from .kernel import Kernel, Owner

# Enough to be a burst when the cut ends.
_MANY = 20

__all__ = ["Connection", "End", "Network", "NetworkUser"]

Frame = bytes | Body
"""What is sent: encoded, or as it is where a seed leaves the codec out."""


class NetworkUser(Owner, Protocol):
    """A process that has links."""

    @property
    def member(self) -> MemberId:
        """Whose process it is."""
        ...

    def link_up(self, end: End) -> None:
        """A link is there."""
        ...

    def arrived(self, end: End, frame: Frame) -> None:
        """The other end sent this."""
        ...

    def link_down(self, end: End) -> None:
        """The link is gone, and not by our doing."""
        ...


@attrs.define(eq=False)
class End:
    """One process's side of a connection.

    Attributes:
      user: Whose it is.
      connection: To whom.
      is_open: It takes and gives frames.
      number: The name of the link at this process.

    """

    user: NetworkUser
    connection: Connection = attrs.field(repr=False)
    number: int = 0
    is_open: bool = False
    # What was sent by this end and has not arrived: ``None`` says it was closed.
    flight: deque[Frame | None] = attrs.field(factory=deque, repr=False)
    # When the last of it will arrive, and how much of it is due but held back.
    last_arrival: int = 0
    held: int = 0

    @property
    def other(self) -> End:
        """The far end."""
        first, second = self.connection.ends
        return second if first is self else first


@attrs.define(eq=False)
class Connection:
    """Two ends; ``ends`` is filled when both are made."""

    ends: list[End] = attrs.field(factory=list)


@attrs.define(eq=False)
class Network:
    """All connections, and which directions are cut.

    Attributes:
      delay: Microseconds from being sent to arriving, by sender and receiver.
      cuts: The directions in which nothing arrives: from, to.

    """

    kernel: Kernel
    delay: Callable[[MemberId, MemberId], int]
    _random: Random
    cuts: dict[tuple[MemberId, MemberId], None] = attrs.field(factory=dict, init=False)
    _connections: list[Connection] = attrs.field(factory=list, init=False)
    _running: dict[MemberId, NetworkUser] = attrs.field(factory=dict, init=False)

    def register(self, user: NetworkUser) -> None:
        """Let a process take the place of its member's earlier one.

        Whoever waits for an answer to what he sent to that one learns that
        nobody is there; who waits for nothing does not.
        """
        self._running[user.member] = user
        for connection in self._connections:
            for end in connection.ends:
                other = end.other.user
                if other.member == user.member and other.gone and end.flight:
                    self._reset(end.other)

    def running(self, member: MemberId) -> NetworkUser | None:
        """Return the member's process, if it has one that can answer."""
        user = self._running.get(member)
        return None if user is None or user.gone or user.paused else user

    def is_cut(self, source: MemberId, target: MemberId) -> bool:
        """Tell whether nothing arrives in this direction."""
        return (source, target) in self.cuts

    def connect(self, dialler: NetworkUser, accepter: NetworkUser) -> None:
        """Make a link: the accepter has it now, the dialler one delay later."""
        connection = Connection()
        dialling, accepting = (
            End(dialler, connection),
            End(accepter, connection),
        )
        connection.ends = [dialling, accepting]
        self._connections.append(connection)
        accepting.is_open = True
        delay = self.delay(accepter.member, dialler.member)
        if self.kernel.oddly("network.late-dialler"):
            delay += 300_000
        accepting.last_arrival = self.kernel.now + delay
        self.kernel.after(delay, dialler, partial(self._connected, dialling))
        accepter.link_up(accepting)

    def _connected(self, end: End) -> None:
        end.is_open = True
        end.user.link_up(end)
        if self.kernel.oddly("network.break-at-once", 0.1):
            self.break_link(end, half=False)

    def send(self, end: End, frame: Frame | None) -> None:
        """Send; ``None`` closes. It is too late for that on a closed end."""
        if not end.is_open:
            return
        other = end.other
        delay = self.delay(end.user.member, other.user.member)
        end.last_arrival = max(end.last_arrival + 1, self.kernel.now + delay)
        end.flight.append(frame)
        if other.user.gone:
            if self._running.get(other.user.member) is not other.user:
                self._reset(other)
            return
        self.kernel.after(
            end.last_arrival - self.kernel.now, other.user, partial(self._arrive, end)
        )

    def _arrive(self, end: End) -> None:
        """Let the far end take the next frame that ``end`` sent."""
        if not end.flight:
            return
        other = end.other
        if self.is_cut(end.user.member, other.user.member):
            end.held += 1
            if end.held == _MANY:
                self.kernel.mark("link.many-frames-held-back")
            return
        frame = end.flight.popleft()
        if not other.is_open:
            self._reset(other)
        elif frame is None:
            self.drop(other)
            other.user.link_down(other)
        else:
            other.user.arrived(other, frame)

    def _reset(self, closed: End) -> None:
        """Tell the far end, which sent something, that nobody is here."""
        if self.kernel.oddly("network.lost-reset"):
            return
        end = closed.other
        if end.is_open:
            delay = self.delay(closed.user.member, end.user.member)
            self.kernel.after(delay, end.user, partial(self._broken, end))

    def _broken(self, end: End) -> None:
        if end.is_open and not self.is_cut(end.other.user.member, end.user.member):
            self.kernel.mark("link.reset-by-nobody")
            self.drop(end)
            end.user.link_down(end)

    def close(self, end: End) -> None:
        """Close this end; the far end learns it behind what was sent."""
        self.send(end, None)
        self.drop(end)

    def drop(self, end: End) -> None:
        """Close this end without a word."""
        end.is_open = False
        if not end.other.is_open and end.connection in self._connections:
            self._connections.remove(end.connection)

    def crash(self, user: NetworkUser, *, silently: bool) -> None:
        """End a process; what it sent may still arrive, up to some frame."""
        for connection in list(self._connections):
            for end in connection.ends:
                if end.user is user and end.is_open:
                    self._lose_tail(end)
                    if not silently:
                        self.send(end, None)
                    self.drop(end)

    def break_link(self, end: End, *, half: bool) -> None:
        """Break a connection at any byte; ``half``: only this end learns it now."""
        for side in (end, end.other):
            self._lose_tail(side)
        sides = [end] if half else [end, end.other]
        for side in sides:
            if side.is_open:
                self.drop(side)
                side.user.link_down(side)

    def _lose_tail(self, end: End) -> None:
        """Lose the end of what is under way, since it leaves in pieces."""
        kept = self._random.randint(0, len(end.flight))
        if len(end.flight) > kept:
            self.kernel.mark("link.lost-frames")
        while len(end.flight) > kept:
            end.flight.pop()
        end.held = min(end.held, kept)

    def links(self) -> list[End]:
        """Return one open end of each connection that has one, oldest first."""
        return [
            next(end for end in connection.ends if end.is_open)
            for connection in self._connections
            if any(end.is_open for end in connection.ends)
        ]

    def cut(self, source: MemberId, target: MemberId) -> None:
        """Let nothing arrive in this direction from now on."""
        self.cuts[source, target] = None

    def heal(self, source: MemberId, target: MemberId) -> None:
        """Let everything arrive again, what was held back in a burst."""
        if self.cuts.pop((source, target), 0) == 0:
            return
        for connection in self._connections:
            for end in connection.ends:
                if (end.user.member, end.other.user.member) == (source, target):
                    self._release(end)

    def _release(self, end: End) -> None:
        held, end.held = end.held, 0
        for _ in range(held):
            self.kernel.after(1, end.other.user, partial(self._arrive, end))
        end.last_arrival = max(end.last_arrival, self.kernel.now + 1)

    def heal_all(self) -> None:
        """Undo every cut."""
        for source, target in list(self.cuts):
            self.heal(source, target)

    def held_back(self) -> int:
        """Return how many frames the cuts hold back."""
        return sum(end.held for c in self._connections for end in c.ends)
