"""The bare limit: what sockets, disks and processes allow without coordlib.

The same transport and the same log store, but no tree, no sessions and no
protocol. Process 1 takes payloads from tasks, packs what has piled up into one
frame and one log record, and wakes the tasks when two of three disks have it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from coordlib.ids import MemberId
from coordlib.replica.waiter import Bell, Waiter
from coordlib.storage.file import FileStore
from coordlib.storage.interface import EntryKind, Write
from coordlib.transport.interface import UNKNOWN_ENSEMBLE, Hello, Link
from coordlib.transport.tcp import TcpTransport

from .load import PAYLOAD, Figures, drive

__all__ = ["BARE_LEADER", "run_bare"]

BARE_LEADER = 1
_NUMBER_BYTES = 8


@asynccontextmanager
async def run_bare(
    number: int, addresses: dict[int, str], directory: Path
) -> AsyncIterator[Mapping[str, Callable[[int, float], Awaitable[Figures]]]]:
    """Run one of the processes and yield what it can be told to do."""
    member = MemberId(number)
    store = FileStore(directory, member=number, name="bare")
    store.recover()
    transport = TcpTransport(member, {MemberId(m): a for m, a in addresses.items()})
    hello = Hello("bare", UNKNOWN_ENSEMBLE, member, bytes(16))
    process = _Leader(store) if number == BARE_LEADER else _Follower(store)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run, process.persisted)
        await nursery.start(transport.run, lambda: hello, process.serve)
        if isinstance(process, _Leader):
            nursery.start_soon(process.send_batches)
            await process.linked.wait()
            yield {"status": _status, "writes": process.writes}
        else:
            yield {"status": _status}
        nursery.cancel_scope.cancel()
    store.close()


async def _status(_count: int, _seconds: float) -> Figures:
    await trio.lowlevel.checkpoint()
    return {"leader": BARE_LEADER, "epoch": 1}


@attrs.define(eq=False)
class _Follower:
    """Writes what the leader sends, and answers when it is durable."""

    _store: FileStore
    _leader: Link | None = None

    async def serve(self, link: Link) -> None:
        if link.member == BARE_LEADER:
            self._leader = link
        while True:
            for frame in await link.recv():
                io = int.from_bytes(frame[:_NUMBER_BYTES], "big")
                self._store.submit(Write(io, [(EntryKind.TRANSACTION, io, frame)]))

    def persisted(self, io: int) -> None:
        if self._leader is not None:
            self._leader.send(io.to_bytes(_NUMBER_BYTES, "big"))


@attrs.define(eq=False)
class _Leader:
    """Sends batches; a batch that two of three disks have wakes its tasks."""

    _store: FileStore
    linked: trio.Event = attrs.Factory(trio.Event)
    _links: dict[MemberId, Link] = attrs.Factory(dict)
    # The last batch that each disk has.
    _durable: dict[int, int] = attrs.Factory(lambda: dict.fromkeys((1, 2, 3), 0))
    _payloads: list[bytes] = attrs.Factory(list)
    _waiters: list[Waiter[None]] = attrs.Factory(list)
    _bell: Bell = attrs.Factory(Bell)
    _sent: int = 0
    _under_way: deque[tuple[int, list[Waiter[None]]]] = attrs.Factory(deque)

    async def writes(self, count: int, seconds: float) -> Figures:
        return await drive(lambda _: self._write(PAYLOAD), count, seconds)

    async def _write(self, payload: bytes) -> None:
        waiter = Waiter[None]()
        self._payloads.append(payload)
        self._waiters.append(waiter)
        self._bell.ring()
        await waiter.wait()

    async def send_batches(self) -> None:
        while True:
            await self._bell.wait()
            self._sent += 1
            frame = b"".join(
                (self._sent.to_bytes(_NUMBER_BYTES, "big"), *self._payloads)
            )
            for link in self._links.values():
                link.send(frame)
            self._store.submit(
                Write(self._sent, [(EntryKind.TRANSACTION, self._sent, frame)])
            )
            self._under_way.append((self._sent, self._waiters))
            self._payloads, self._waiters = [], []

    async def serve(self, link: Link) -> None:
        self._links[link.member] = link
        if len(self._links) == len(self._durable) - 1:
            self.linked.set()
        while True:
            for frame in await link.recv():
                self._note(link.member, int.from_bytes(frame, "big"))

    def persisted(self, io: int) -> None:
        self._note(BARE_LEADER, io)

    def _note(self, member: int, io: int) -> None:
        self._durable[member] = io
        agreed = sorted(self._durable.values())[1]
        while self._under_way and self._under_way[0][0] <= agreed:
            for waiter in self._under_way.popleft()[1]:
                waiter.resolve(None)
