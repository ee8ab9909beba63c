"""A network inside one process, in trio's time, with faults on demand.

It behaves like TCP, not like datagrams: a link keeps its frames in order and
loses none from the middle. A cut direction *holds* what is sent through it;
healing lets it arrive, late. A close travels like a frame, so behind a cut it
is held too. Nothing here reads a clock but trio's or sleeps but in trio, so
under ``trio.testing.MockClock`` hours of partition take no time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import attrs
import trio

from coordlib.errors import ConfigError
from coordlib.ids import MemberId

from .handshake import HandshakeError, check_greeting, make_greeting
from .interface import (
    DIAL_PAUSE_MAX,
    DIAL_PAUSE_MIN,
    Hello,
    LinkClosed,
    Serve,
    Transport,
    TransportStatistics,
)
from .memory_link import MemoryLink, Wire

__all__ = ["MemoryNetwork"]


@attrs.define(eq=False)
class MemoryNetwork:
    """Connects the transports of one process.

    Attributes:
      latency: Seconds from ``send`` to arrival, in trio's time, at least 0.
        A change holds for links made later.

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
    _links: dict[MemberId, MemoryLink] = attrs.field(factory=dict, init=False)
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
        while True:
            # There and back: the dialler learns that the other accepted.
            await trio.sleep(2 * self._network.latency)
            link = self._dial(member)
            if link is not None:
                await self._run_link(link)
                pause = DIAL_PAUSE_MIN
            await trio.sleep(pause)
            pause = min(2 * pause, DIAL_PAUSE_MAX)

    def _dial(self, member: MemberId) -> MemoryLink | None:
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
        there = Wire(network.latency, partial(network.is_cut, self.member, member))
        back = Wire(network.latency, partial(network.is_cut, member, self.member))
        other.accept(MemoryLink(self.member, inward=there, outward=back))
        return self._adopt(MemoryLink(member, inward=back, outward=there))

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

    def accept(self, link: MemoryLink) -> None:
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

    def _adopt(self, link: MemoryLink) -> MemoryLink:
        older = self._links.get(link.member)
        if older is not None:
            older.close()
        self._links[link.member] = link
        self._nursery.start_soon(link.pump)
        return link

    async def _run_link(self, link: MemoryLink) -> None:
        try:
            await self._serve(link)
        except* LinkClosed:
            pass
        finally:
            link.close()
            if self._links.get(link.member) is link:
                del self._links[link.member]
