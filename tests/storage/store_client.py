"""A small replica for the stores' tests: it writes, and waits until that is durable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from coordlib.storage.interface import Entry, EntryKind, LogStore, Write


def transactions(*zxids: int) -> list[Entry]:
    return [(EntryKind.TRANSACTION, zxid, b"t%d" % zxid) for zxid in zxids]


def records(*zxids: int) -> list[tuple[int, bytes]]:
    return [(zxid, b"t%d" % zxid) for zxid in zxids]


def meta(blob: bytes) -> Entry:
    return (EntryKind.META, 0, blob)


def base(zxid: int) -> Entry:
    return (EntryKind.BASE, zxid, b"s%d" % zxid)


@attrs.define
class Client:
    """Writes, and waits until it is durable."""

    store: LogStore
    reported: list[int] = attrs.Factory(list)
    io: int = 0
    _report: trio.Event = attrs.Factory(trio.Event)

    def on_durable(self, io: int) -> None:
        self.reported.append(io)
        self._report.set()

    def submit(self, *entries: Entry) -> None:
        self.io += 1
        self.store.submit(Write(self.io, list(entries)))

    async def write(self, *entries: Entry) -> None:
        self.submit(*entries)
        while self.reported[-1:] != [self.io]:
            self._report = trio.Event()
            await self._report.wait()

    async def save(self, zxid: int) -> None:
        await self.store.save_snapshot(zxid, [b"s%d" % zxid])


@asynccontextmanager
async def running(store: LogStore) -> AsyncIterator[Client]:
    """Recover the store, run it, crash it."""
    client = Client(store)
    try:
        store.recover()
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run, client.on_durable)
            with trio.fail_after(5):
                yield client
            nursery.cancel_scope.cancel()
    finally:
        store.close()
