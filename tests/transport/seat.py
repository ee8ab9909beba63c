"""A stand-in for a replica: it runs a transport and records what happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial, wraps
from typing import ParamSpec

import attrs
import trio
from trio.testing import MockClock

from coordlib.ids import MemberId
from coordlib.transport.interface import Hello, Link, LinkClosed, Transport

ENSEMBLE_ID = b"ensemble" * 2

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)


P = ParamSpec("P")


def in_virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run ``test`` on a clock that jumps whenever there is nothing to do.

    Unlike pytest-trio's ``autojump_clock`` it is no argument of the test.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        clock = MockClock(autojump_threshold=0)
        trio.run(partial(test, *args, **kwargs), clock=clock)

    return run


@attrs.define(eq=False)
class Seat:
    """One member: its transport, the links it had and the frames it got.

    While ``reading`` is false, frames stay in the link.
    """

    transport: Transport
    member: MemberId
    name: str = "test"
    ensemble_id: bytes = ENSEMBLE_ID
    reading: bool = True
    greetings: int = attrs.field(default=0, init=False)
    links: list[Link] = attrs.field(factory=list, init=False)
    closed: list[Link] = attrs.field(factory=list, init=False)
    received: list[bytes] = attrs.field(factory=list, init=False)
    # The time at which each of ``received`` came.
    times: list[float] = attrs.field(factory=list, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    def hello(self) -> Hello:
        self.greetings += 1
        self.changed()
        return Hello(self.name, self.ensemble_id, self.member, b"incarnation " * 2)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with self.scope:
            await self.transport.run(self.hello, self.serve, task_status=task_status)

    async def serve(self, link: Link) -> None:
        self.links.append(link)
        self.changed()
        try:
            while True:
                await self.until(lambda: self.reading)
                frames = await link.recv()
                self.received += frames
                self.times += [trio.current_time()] * len(frames)
                self.changed()
        except LinkClosed:
            self.closed.append(link)
            self.changed()
            raise

    def changed(self) -> None:
        self._changed.unpark_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, which must come with a change of this seat."""
        while not condition():
            await self._changed.park()

    async def link(self) -> Link:
        """Return the newest link as soon as there is one that is open."""
        await self.until(lambda: len(self.links) > len(self.closed))
        return self.links[-1]

    async def linked(self, count: int) -> None:
        """Wait until there have been ``count`` links."""
        await self.until(lambda: len(self.links) >= count)

    async def frames(self, count: int) -> list[bytes]:
        """Return everything received, once it is at least ``count`` frames."""
        await self.until(lambda: len(self.received) >= count)
        return self.received

    def refused(self) -> dict[str, int]:
        return self.transport.statistics().refused


@asynccontextmanager
async def running(*seats: Seat) -> AsyncIterator[None]:
    """Run the seats' transports; the block begins when each has all its links."""
    async with trio.open_nursery() as nursery:
        for seat in seats:
            await nursery.start(seat.run)
        for seat in seats:
            await seat.linked(len(seats) - 1)
        yield
        nursery.cancel_scope.cancel()
