"""What only the memory store does: crashes and stalls, in virtual time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from coordlib.errors import StorageError, StorageLockedError
from coordlib.storage.interface import Entry, EntryKind, LogStore, Write
from coordlib.storage.memory import MemoryDisk, MemoryStore
from storage.stored import stored


def transaction(zxid: int) -> Entry:
    return (EntryKind.TRANSACTION, zxid, b"t%d" % zxid)


def store_on(disk: MemoryDisk, *, latency: float = 0.0) -> MemoryStore:
    store = MemoryStore(disk, latency=latency)
    store.recover()
    return store


def zxids_on(disk: MemoryDisk) -> list[int]:
    return [zxid for zxid, _ in disk.read().records]


def test_it_implements_the_contract() -> None:
    store: LogStore = MemoryStore(MemoryDisk())

    assert store.recover().records == []


async def test_a_crash_loses_what_is_queued_and_keeps_what_was_reported(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = MemoryDisk()
    store = store_on(disk, latency=1.0)
    durable: list[tuple[int, float]] = []

    def on_durable(io: int) -> None:
        durable.append((io, autojump_clock.current_time()))

    with trio.move_on_after(1.5):
        store.submit(Write(1, [transaction(1)]))
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run, on_durable)
            await trio.sleep(1.1)
            store.submit(Write(2, [transaction(2)]))
    store.close()

    assert durable == [(1, 1.0)]
    assert zxids_on(disk) == [1]


async def test_writes_queued_together_take_the_time_of_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = store_on(MemoryDisk(), latency=1.0)
    durable: list[tuple[int, float]] = []

    def on_durable(io: int) -> None:
        durable.append((io, autojump_clock.current_time()))

    for io in (1, 2, 3):
        store.submit(Write(io, [transaction(io)]))

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run, on_durable)
        await trio.sleep(1.5)
        nursery.cancel_scope.cancel()

    assert durable == [(3, 1.0)]


async def test_a_stalled_disk_neither_finishes_nor_reports() -> None:
    disk = MemoryDisk()
    store = store_on(disk)
    durable: list[int] = []

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run, durable.append)
        disk.stall()
        store.submit(Write(1, [transaction(1)]))
        await trio.testing.wait_all_tasks_blocked()
        assert durable == []
        assert zxids_on(disk) == []

        disk.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert durable == [1]
        assert zxids_on(disk) == [1]
        nursery.cancel_scope.cancel()


async def test_a_failed_write_ends_the_run_and_reports_nothing() -> None:
    disk = MemoryDisk()
    store = store_on(disk)
    durable: list[int] = []
    store.submit(Write(1, [transaction(1)]))
    disk.fail(OSError("broken"))

    with pytest.raises(StorageError, match="broken"):
        await store.run(durable.append)

    assert durable == []
    assert zxids_on(disk) == []


async def test_a_closed_store_cannot_write_under_its_successor() -> None:
    disk = MemoryDisk()
    store = store_on(disk)
    with pytest.raises(StorageLockedError):
        store_on(disk)
    store.submit(Write(1, [transaction(1)]))
    store.close()
    store_on(disk)

    store.close()
    with pytest.raises(StorageError, match="closed"):
        await store.run(lambda _: None)

    with pytest.raises(StorageLockedError):
        store_on(disk)
    assert zxids_on(disk) == []


async def test_a_disk_with_snapshots_does_not_grow_without_bound() -> None:
    disk = MemoryDisk()
    store = store_on(disk)

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run, lambda _: None)
        for io in range(1, 101):
            store.submit(Write(io, [transaction(io)]))
            if io % 10 == 0:
                await trio.testing.wait_all_tasks_blocked()
                await store.save_snapshot(io, [b"s%d" % io])
        nursery.cancel_scope.cancel()

    assert zxids_on(disk) == list(range(91, 101))
    assert disk.read().base == 90
    assert disk.read().snapshot == stored(100, b"s100")
