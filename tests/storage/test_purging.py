"""What stays on a disk is bounded, and never less than recovery could need."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from coordlib.errors import CorruptLogError, StorageError
from coordlib.storage.directory import Directory, snapshot_name
from coordlib.storage.interface import Entry, EntryKind, Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover
from coordlib.testing.simulation.disk import Disk
from storage.fake_system import FakeSystem
from storage.memory_disk import open_disk

IDENTITY = Identity(member=1, name="test")

# A few records fill a segment.
SEGMENT = 2_000


def new_disk() -> Disk:
    return Disk(Random(0), lambda: False)


def payloads(*zxids: int, size: int = 100) -> list[Entry]:
    return [(EntryKind.TRANSACTION, zxid, bytes(size)) for zxid in zxids]


def write(log: Log, *zxids: int) -> None:
    for zxid in zxids:
        log.append(payloads(zxid))
        log.flush()


def save(log: Log, zxid: int, size: int = 50) -> None:
    log.stage_snapshot(zxid, [bytes(size)])
    log.publish_snapshot(zxid)


def open_log(disk: Disk, *, kept: int = 2, kept_bytes_max: int = 1 << 30) -> Log:
    return open_disk(disk, IDENTITY, Bounds(SEGMENT, kept, kept_bytes_max))[1]


def recovered_from(disk: Disk) -> Recovered:
    return recover(Directory(Path("memory"), 0, 0, disk), IDENTITY)[0]


def snapshots_on(disk: Disk) -> list[int]:
    return sorted(int(n[9:], 16) for n in disk.names if n.startswith("snapshot."))


def bytes_beside_newest(disk: Disk) -> int:
    """Return the size of all files without which the newest snapshot can do."""
    beside = 0
    needed = disk.copy()
    for zxid in snapshots_on(disk)[:-1]:
        beside += len(needed.names.pop(snapshot_name(zxid)).seen)
    newest = snapshots_on(disk)[-1]
    for name in sorted(n for n in disk.names if n.startswith("log.")):
        file = needed.names.pop(name)
        try:
            if recovered_from(needed.copy()).base > newest:
                break
        except CorruptLogError:
            break
        beside += len(file.seen)
    return beside


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_so_many_snapshots_stay_and_the_log_since_the_oldest(kept: int) -> None:
    disk = new_disk()
    log = open_log(disk, kept=kept)
    for zxid in range(1, 101):
        write(log, zxid)
        if zxid % 10 == 0:
            save(log, zxid)
    wanted = list(range(100 - 10 * (kept - 1), 101, 10))
    assert snapshots_on(disk) == wanted
    recovered = recovered_from(disk)
    assert recovered.base == wanted[0]
    assert [zxid for zxid, _ in recovered.records] == list(range(wanted[0] + 1, 101))


@pytest.mark.parametrize("bound", [1, 1_000, 5_000, 20_000])
def test_what_is_not_needed_for_the_newest_snapshot_is_bounded(bound: int) -> None:
    disk = new_disk()
    log = open_log(disk, kept=4, kept_bytes_max=bound)
    most = 0
    for zxid in range(1, 201):
        write(log, zxid)
        if zxid % 20 == 7:
            save(log, zxid - 3, size=500)
            most = max(most, bytes_beside_newest(disk))
            recovered = recovered_from(disk.copy())
            assert recovered.snapshot is not None
            assert recovered.snapshot.zxid == zxid - 3
            assert recovered.records[-1][0] == zxid
    assert most <= bound
    # And it is made use of.
    assert most > min(bound, 18_000) - 6_000


def test_the_whole_log_before_the_first_snapshot_counts_too() -> None:
    disk = new_disk()
    log = open_log(disk, kept_bytes_max=3_000)
    write(log, *range(1, 11))
    save(log, 10)
    assert recovered_from(disk.copy()).base == 0
    write(log, *range(11, 101))
    save(log, 100)
    assert recovered_from(disk.copy()).base == 100


def test_after_a_restart_the_same_stays() -> None:
    disk = new_disk()
    for zxid in range(1, 101):
        log = open_log(disk, kept=3, kept_bytes_max=6_000)
        write(log, zxid)
        if zxid % 10 == 0:
            save(log, zxid, size=1_000)
            assert bytes_beside_newest(disk) <= 6_000
        log.close()
        disk.end_of_program()
    assert snapshots_on(disk)[-1] == 100
    assert len(snapshots_on(disk)) == 3


def test_the_log_since_the_newest_snapshot_stays_whatever_its_size() -> None:
    disk = new_disk()
    log = open_log(disk, kept=1, kept_bytes_max=1)
    write(log, *range(1, 101))
    save(log, 3)
    write(log, *range(101, 151))
    recovered = recovered_from(disk)
    assert [zxid for zxid, _ in recovered.records][-147:] == list(range(4, 151))


def test_nothing_is_removed_for_a_snapshot_that_does_not_read_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = new_disk()
    log = open_log(disk, kept=1, kept_bytes_max=1)
    write(log, *range(1, 51))
    save(log, 50)
    write(log, *range(51, 101))
    before = disk.names.keys()

    real = Disk.read_at

    def rotten(self: Disk, fd: int, offset: int, size: int) -> bytes:
        return bytes(len(real(self, fd, offset, size)))

    monkeypatch.setattr(Disk, "read_at", rotten)
    with pytest.raises(StorageError, match="does not read back"):
        save(log, 100)
    monkeypatch.undo()
    assert disk.names.keys() >= before
    recovered = recovered_from(disk)
    assert recovered.records[-1][0] == 100


def test_a_thousand_segments_and_snapshots_leave_no_file_behind(
    tmp_path: Path,
) -> None:
    """Nor a descriptor, which would be what runs out first."""
    directory = Directory.open(tmp_path, FakeSystem())
    _, position = recover(directory, IDENTITY)
    log = Log(directory, IDENTITY, Bounds(1, 2), position)
    log.open()
    used = set[tuple[int, int]]()
    for zxid in range(1, 1001):
        write(log, zxid)
        save(log, zxid)
        if zxid % 100 == 0:
            used.add((len(os.listdir("/dev/fd")), len(os.listdir(tmp_path))))
    ((_, files),) = used
    # Two snapshots, the log since the older one, an empty segment, the lock.
    assert files == 5
    assert int(max(tmp_path.glob("log.*")).name[4:], 16) > 1000
    log.close()
    directory.close()
