"""What is in the log can be read back while it goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import trio
import trio.lowlevel

from coordlib.errors import CorruptLogError, StorageError
from coordlib.storage.directory import OS, segment_name
from coordlib.storage.file import FileStore
from coordlib.storage.history import History
from coordlib.storage.interface import Entry, EntryKind, LogStore
from coordlib.storage.log import Bounds, Log
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.storage.record import Identity
from coordlib.testing.simulation.disk import Disk
from storage.fake_system import FakeSystem
from storage.memory_disk import open_disk
from storage.store_client import base, records, running, transactions

OpenStore = Callable[[], LogStore]


@pytest.fixture(params=["memory", "file"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    disk = MemoryDisk()
    if request.param == "memory":
        return lambda: MemoryStore(disk)
    return lambda: FileStore(tmp_path / "state", member=1, name="test")


async def read(store: LogStore, after: int, upto: int) -> list[tuple[int, bytes]]:
    reading = store.read_records(after, upto)
    found: list[tuple[int, bytes]] = []
    try:
        while (batch := await reading.next()) is not None:
            found += batch
    finally:
        reading.close()
    return found


async def test_what_is_durable_is_read_back(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(*range(1, 2000)))

        assert await read(client.store, 0, 1999) == records(*range(1, 2000))
        assert await read(client.store, 7, 9) == records(8, 9)
        assert await read(client.store, 7, 7) == []


async def test_what_was_cut_is_no_part_of_the_history(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 2, 3), (EntryKind.CUT, 1, b""))
        await client.write((EntryKind.TRANSACTION, 2, b"new"), *transactions(5))

        assert await read(client.store, 0, 5) == [
            *records(1),
            (2, b"new"),
            *records(5),
        ]


async def test_a_base_is_where_the_history_begins(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 2), base(20), *transactions(21, 22))

        assert client.store.extent.base == 20
        assert await read(client.store, 20, 22) == records(21, 22)
        with pytest.raises(StorageError):
            await read(client.store, 2, 22)


async def test_the_extent_tells_what_is_kept(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        assert client.store.extent.base == 0
        await client.write(*transactions(*range(1, 10)))
        await client.save(4)
        assert (client.store.extent.base, client.store.extent.snapshot) == (0, (4, 2))

        await client.write(*transactions(*range(10, 20)))
        await client.save(15)
        assert client.store.extent.snapshot == (15, 3)
        assert client.store.extent.base <= 4
        assert sum(size for _, size in client.store.extent.parts) > 0


async def test_a_closed_reading_reads_nothing_more(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(*range(1, 2000)))
        reading = client.store.read_records(0, 1999)
        assert await reading.next()
        reading.close()
        reading.close()


async def test_who_does_not_wait_for_a_slow_disk_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def read(_system: FakeSystem, fd: int) -> bytes:
        began.set()
        assert go_on.wait(5)
        return OS.read(fd)

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    store = FileStore(tmp_path / "state", member=1, name="test", system=FakeSystem())
    async with running(store) as client:
        await client.write(*transactions(1, 2, 3))
        monkeypatch.setattr(FakeSystem, "read", read)
        before = count()
        reading = store.read_records(0, 3)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading.next)
            await trio.to_thread.run_sync(began.wait)
            nursery.cancel_scope.cancel()
        reading.close()
        assert count() > before

        go_on.set()
        with trio.fail_after(5):
            while count() > before:
                await trio.lowlevel.checkpoint()


# The log itself, on a simulated disk.

IDENTITY = Identity(1, "test")


def read_log(log: Log, after: int, upto: int) -> list[tuple[int, bytes]]:
    reading = log.read_records(after, upto)
    found: list[tuple[int, bytes]] = []
    try:
        while (batch := reading.next()) is not None:
            found += batch
    finally:
        reading.close()
    return found


def new_log(segment_bytes_max: int = 200, snapshots_kept: int = 2) -> tuple[Disk, Log]:
    disk = Disk(Random(0), lambda: False)
    _, log = open_disk(disk, IDENTITY, Bounds(segment_bytes_max, snapshots_kept))
    return disk, log


def write(log: Log, *entries: Entry) -> None:
    log.append(list(entries))
    log.flush()


def test_a_purge_does_not_disturb_who_reads() -> None:
    disk, log = new_log()
    for zxid in range(1, 1000):
        write(log, *transactions(zxid))
    reading = log.read_records(0, 999)
    found = list(reading.next() or ())
    for zxid in (900, 950):
        log.stage_snapshot(zxid, [b"s"])
        log.publish_snapshot(zxid)
    assert segment_name(1) not in disk.names

    while (batch := reading.next()) is not None:
        found += batch

    assert found == records(*range(1, 1000))
    with pytest.raises(StorageError, match="does not reach back"):
        read_log(log, 0, 999)


def test_who_begins_after_the_purge_is_told() -> None:
    _, log = new_log()
    for zxid in range(1, 100):
        write(log, *transactions(zxid))
    reading = log.read_records(0, 99)
    for zxid in (80, 90):
        log.stage_snapshot(zxid, [b"s"])
        log.publish_snapshot(zxid)

    with pytest.raises(StorageError, match="purged meanwhile"):
        reading.next()
    reading.close()


def test_a_reading_leaves_no_file_open() -> None:
    disk, log = new_log()
    for zxid in range(1, 100):
        write(log, *transactions(zxid))
    before = len(disk._open)

    read_log(log, 3, 99)
    reading = log.read_records(0, 99)
    reading.next()
    assert len(disk._open) > before
    reading.close()

    assert len(disk._open) == before


def test_damage_ends_the_reading_and_is_not_read_again() -> None:
    disk, log = new_log()
    for zxid in range(1, 100):
        write(log, *transactions(zxid))
    disk.names[segment_name(2)].flip(150, 3)

    with pytest.raises(CorruptLogError, match=segment_name(2)):
        read_log(log, 0, 99)
    log.distrust_segment(2)

    good = log.extent.base
    assert 0 < good < 99
    assert read_log(log, good, 99) == records(*range(good + 1, 100))


def test_damage_in_the_last_segment_lets_the_next_begin() -> None:
    _, log = new_log(1 << 20)
    write(log, *transactions(1, 2))

    log.distrust_segment(1)

    assert log.extent.base == 2
    write(log, *transactions(3))
    assert read_log(log, 2, 3) == records(3)


def test_a_damaged_snapshot_is_told_of_no_more_until_it_is_replaced() -> None:
    _, log = new_log()
    write(log, *transactions(1, 2))
    log.stage_snapshot(2, [b"bad"])
    log.publish_snapshot(2)
    log.distrust_snapshot(2)
    assert log.extent.snapshot is None

    log.stage_snapshot(2, [b"better"])
    log.publish_snapshot(2)

    assert log.extent.snapshot == (2, 6)


class Story:
    """A log, and what recovery would make of it."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        bytes_max = self.rng.choice([150, 600, 1 << 20])
        self.disk, self.log = new_log(bytes_max, self.rng.choice([1, 2]))
        self.model = History()
        self.epoch = 1
        self.snapshot = 0

    def write(self, kind: int, zxid: int, body: bytes) -> None:
        write(self.log, (kind, zxid, body))
        self.model.apply(kind, zxid, body)

    def append(self) -> None:
        self.epoch += self.rng.random() < 0.1
        zxid = max(self.model.last + 1, self.epoch << 32 | 1)
        self.write(EntryKind.TRANSACTION, zxid, b"%d" % self.rng.randrange(1000))

    def cut(self) -> None:
        zxids = [z for z, _ in self.model.records[-4:] if z >= self.snapshot]
        if zxids:
            self.write(EntryKind.CUT, self.rng.choice(zxids), b"")

    def base(self) -> None:
        self.snapshot = self.model.last + (5 << 32)
        self.epoch = (self.snapshot >> 32) + 1
        self.write(EntryKind.BASE, self.snapshot, b"b")

    def save(self) -> None:
        if self.model.records:
            zxid = self.rng.choice(self.model.records)[0]
            self.snapshot = max(self.snapshot, zxid)
            self.log.stage_snapshot(self.snapshot, [b"s"])
            self.log.publish_snapshot(self.snapshot)

    def reopen(self) -> None:
        self.log.close()
        _, self.log = open_disk(self.disk, IDENTITY, Bounds(300, 1))

    def roll(self) -> None:
        self.log.roll()

    def check(self) -> None:
        held = [self.model.base, *(z for z, _ in self.model.records)]
        kept = [z for z in held if z >= self.log.extent.base]
        assert kept[-1] == self.model.last
        for after, upto in [*pairwise(kept), (kept[0], kept[-1])]:
            assert read_log(self.log, after, upto) == self.model.between(after, upto)


@pytest.mark.parametrize("seed", range(60))
def test_any_log_is_read_as_recovery_reads_it(seed: int) -> None:
    story = Story(seed)
    weights = {"append": 10, "cut": 1, "base": 0.2, "save": 0.4, "reopen": 1, "roll": 1}
    for _ in range(12):
        for action in story.rng.choices(list(weights), list(weights.values()), k=10):
            getattr(story, action)()
        story.check()
