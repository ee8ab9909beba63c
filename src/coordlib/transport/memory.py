"""A network inside one process, in trio's time, with faults on demand.

It behaves like TCP, not like datagrams: a link keeps its frames in order and
loses none from the middle. A cut direction *holds* what is sent through it;
healing lets it arrive, late. A close travels like a frame, so behind a cut it
is held too. Nothing here reads a clock but trio's or sleeps but in trio, so
under ``trio.testing.MockClock`` hours of partition take no time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable

import attrs
import trio

from coordlib.errors import ConfigError
from coordlib.ids import MemberId

from .handshake import HandshakeError, check_greeting, make_greeting
from .interface import (
    DIAL_PAUSE_MAX,
    DIAL_PAUSE_MIN,
    HIGH_WATER_BYTES,
    Hello,
    LinkClosed,
    Serve,
    Transport,
    TransportStatistics,
)

__all__ = ["MemoryNetwork"]

# The end of a link, as it travels among its frames, which are never empty.
_CLOSE = b""


@attrs.define(eq=False)
class MemoryNetwork:
    """Connects the transports of one process.

    Attributes:
      latency: Seconds from ``send`` to arrival, in trio's time, at least 0.

    """

    latency: float = attrs.field(default=0.001, kw_only=True)
    _running: dict[MemberId, _MemoryTransport] = attrs.field(factory=dict, init=False)
    _cuts: set[tuple[int, int]] = attrs.field(factory=set, init=False)
    _group_of: dict[int, int] = attrs.field(factory=dict, init=False)

    def transport(self, member: MemberId, members: Iterable[MemberId]) -> Transport:
        """Return a transport for one start of ``member``.

        Args:
          member: Whose it is.
          members: Everybody in the ensemble, ``member`` included.

        Raises:
          ConfigError: ``member`` is not among ``members``.

        """
        return _MemoryTransport(self, member, tuple(sorted(members)))

    def partition(self, *groups: Iterable[int]) -> None:
        """Cut, both ways, all pairs of members that share no group.

        Members in no group are in one more group together. A partition
        replaces the one before; what :meth:`cut` did stays.

        Raises:
          ValueError: A member is in two groups.

        """
        group_of: dict[int, int] = {}
        for number, group in enumerate(groups, start=1):
            for member in group:
                if group_of.setdefault(member, number) != number:
                    raise ValueError(f"member {member} is in two groups")
        self._group_of = group_of
        self._stir()

    def cut(self, source: int, target: int) -> None:
        """Hold whatever ``source`` sends to ``target``; not the other way."""
        self._cuts.add((source, target))

    def heal(self) -> None:
        """End all partitions and cuts; what was held arrives now, in order."""
        self._cuts.clear()
        self._group_of = {}
        self._stir()

    def crash(self, member: int) -> None:
        """Break all links of ``member``, as the kernel does for a killed process.

        Its transport is dead from now on: it dials and accepts no more, and
        its ``run`` only waits to be cancelled. Another may start at once.
        """
        transport = self._running.get(MemberId(member))
        if transport is not None:
            self.unregister(transport)

    def is_cut(self, source: int, target: int) -> bool:
        """Tell whether frames from ``source`` to ``target`` are being held."""
        if (source, target) in self._cuts:
            return True
        return self._group_of.get(source, 0) != self._group_of.get(target, 0)

    def register(self, transport: _MemoryTransport) -> None:
        """Let others dial the transport."""
        self._running[transport.member] = transport

    def unregister(self, transport: _MemoryTransport) -> None:
        """Break the transport's links; nobody reaches it any more. Idempotent."""
        if self.running(transport.member) is transport:
            del self._running[transport.member]
        transport.close_links()

    def running(self, member: MemberId) -> _MemoryTransport | None:
        """Return whom a call to ``member`` would reach if nothing is cut."""
        return self._running.get(member)

    def _stir(self) -> None:
        for transport in self._running.values():
            transport.stir()


@attrs.define(eq=False)
class _MemoryTransport:
    """One member's :class:`~coordlib.transport.interface.Transport`."""

    _network: MemoryNetwork
    member: MemberId
    _members: tuple[MemberId, ...]
    # The open end of the one link to each other member.
    _links: dict[MemberId, _MemoryLink] = attrs.field(factory=dict, init=False)
    _refused: Counter[str] = attrs.field(factory=Counter, init=False)
    _hello: Callable[[], Hello] = attrs.field(init=False)
    _serve: Serve = attrs.field(init=False)
    _nursery: trio.Nursery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.member not in self._members:
            raise ConfigError(f"member {self.member} is not in {list(self._members)}")

    async def run(
        self,
        hello: Callable[[], Hello],
        serve: Serve,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and dial until cancelled; see the interface."""
        if self._network.running(self.member) is not None:
            raise ConfigError(f"member {self.member} is already running here")
        self._hello = hello
        self._serve = serve
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._network.register(self)
            try:
                for member in self._members:
                    if member < self.member:
                        nursery.start_soon(self._keep_dialling, member)
                task_status.started()
                await trio.sleep_forever()
            finally:
                # Within the nursery, for others start tasks in it until now.
                self._network.unregister(self)

    def statistics(self) -> TransportStatistics:
        """Return the counters."""
        return TransportStatistics(refused=dict(self._refused), broken_frames=0)

    async def _keep_dialling(self, member: MemberId) -> None:
        pause = DIAL_PAUSE_MIN
        while self._network.running(self.member) is self:
            # There and back: the dialler learns that the other accepted.
            await trio.sleep(2 * self._network.latency)
            link = self._dial(member)
            if link is not None:
                await self._run_link(link)
                pause = DIAL_PAUSE_MIN
            await trio.sleep(pause)
            pause = min(2 * pause, DIAL_PAUSE_MAX)

    def _dial(self, member: MemberId) -> _MemoryLink | None:
        network = self._network
        other = network.running(member)
        if (
            other is None
            or network.running(self.member) is not self
            or network.is_cut(self.member, member)
            or network.is_cut(member, self.member)
        ):
            return None
        try:
            other.greet(self)
        except HandshakeError as error:
            self._refused[error.refusal.reason] += 1
            return None
        there = _Wire(network, self.member, member)
        back = _Wire(network, member, self.member)
        other.accept(_MemoryLink(self.member, inward=there, outward=back))
        return self._adopt(_MemoryLink(member, inward=back, outward=there))

    def greet(self, dialler: _MemoryTransport) -> None:
        """Shake hands with a member that dialled us.

        Raises:
          HandshakeError: We refuse it. It would refuse us for the same reasons.

        """
        theirs = make_greeting(dialler._hello(), self.member)
        ours = make_greeting(self._hello(), dialler.member)
        expected = [member for member in self._members if member > self.member]
        try:
            check_greeting(theirs, ours, expected)
        except HandshakeError as error:
            self._refused[error.refusal.reason] += 1
            raise

    def accept(self, link: _MemoryLink) -> None:
        """Serve a link that another member dialled, in place of an older one."""
        self._nursery.start_soon(self._run_link, self._adopt(link))

    def stir(self) -> None:
        """Let held frames find out whether they still are."""
        for link in self._links.values():
            link.stir()

    def close_links(self) -> None:
        """Close our end of everything."""
        for link in tuple(self._links.values()):
            link.close()

    def _adopt(self, link: _MemoryLink) -> _MemoryLink:
        older = self._links.get(link.member)
        if older is not None:
            older.close()
        self._links[link.member] = link
        self._nursery.start_soon(link.pump)
        return link

    async def _run_link(self, link: _MemoryLink) -> None:
        try:
            await self._serve(link)
        except* LinkClosed:
            pass
        finally:
            link.close()
            if self._links.get(link.member) is link:
                del self._links[link.member]


@attrs.define(eq=False)
class _Wire:
    """One direction of a link."""

    network: MemoryNetwork
    source: MemberId
    target: MemberId
    # What was sent and has not arrived, with the time when it does.
    flight: deque[tuple[float, bytes]] = attrs.field(factory=deque, init=False)
    inbox: list[bytes] = attrs.field(factory=list, init=False)
    # The size of all frames sent and not received; a close does not change it.
    bytes_held: int = attrs.field(default=0, init=False)
    # The receiving end is closed, by its owner or by a close that arrived.
    ended: bool = attrs.field(default=False, init=False)
    stirred: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )
    arrived: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )
    drained: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    def post(self, frame: bytes) -> None:
        arrival = trio.current_time() + self.network.latency
        self.flight.append((arrival, frame))
        self.bytes_held += len(frame)
        if len(self.flight) == 1:
            self.stirred.unpark()

    def post_close(self) -> None:
        if self.network.is_cut(self.source, self.target):
            # Nobody is left who would send again what is being held.
            self.flight.clear()
        self.post(_CLOSE)

    async def carry(self) -> None:
        """Move what has arrived into the inbox, until the end."""
        while not self.ended:
            if not self.flight or self.network.is_cut(self.source, self.target):
                await self.stirred.park()
            elif self.flight[0][0] > trio.current_time():
                await trio.sleep_until(self.flight[0][0])
            else:
                self._arrive(trio.current_time())

    def _arrive(self, now: float) -> None:
        while self.flight and self.flight[0][0] <= now:
            _, frame = self.flight.popleft()
            if frame is _CLOSE:
                self.ended = True
            else:
                self.inbox.append(frame)
        self.arrived.unpark_all()

    def take(self) -> list[bytes]:
        frames = self.inbox
        self.inbox = []
        self.bytes_held -= sum(map(len, frames))
        if self.bytes_held < HIGH_WATER_BYTES:
            self.drained.unpark_all()
        return frames

    def end(self) -> None:
        """Close the receiving end; what was not received is lost."""
        self.ended = True
        self.inbox.clear()
        self.arrived.unpark_all()
        self.stirred.unpark_all()


@attrs.define(eq=False)
class _MemoryLink:
    """One end of a link."""

    _member: MemberId
    _inward: _Wire = attrs.field(kw_only=True)
    _outward: _Wire = attrs.field(kw_only=True)

    @property
    def member(self) -> MemberId:
        return self._member

    def send(self, frame: bytes) -> bool:
        assert frame, "a frame holds at least one byte"
        if self._inward.ended:
            return True
        self._outward.post(frame)
        return self._outward.bytes_held < HIGH_WATER_BYTES

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._inward.ended and self._outward.bytes_held >= HIGH_WATER_BYTES:
            await self._outward.drained.park()

    async def recv(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        while not self._inward.inbox:
            if self._inward.ended:
                raise LinkClosed(f"link to member {self._member} is closed")
            await self._inward.arrived.park()
        return self._inward.take()

    def close(self) -> None:
        if not self._inward.ended:
            self._outward.post_close()
        self._inward.end()
        self._outward.drained.unpark_all()

    async def pump(self) -> None:
        """Receive until closed; runs beside the link's owner."""
        await self._inward.carry()
        self._outward.drained.unpark_all()

    def stir(self) -> None:
        self._inward.stirred.unpark_all()
