"""What others can repair is set aside; no crash on the way makes it count."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest

from coordlib.errors import CorruptLogError, ForeignStorageError, StorageError
from coordlib.storage.directory import Directory, segment_name
from coordlib.storage.file import FileStore
from coordlib.storage.interface import Damage, Entry, EntryKind, Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover
from coordlib.testing.simulation.disk import Disk
from storage.fake_system import Image
from storage.memory_disk import disk_of, image_of
from storage.recorder import Content, Recorder

IDENTITY = Identity(member=1, name="test")
BOUNDS = Bounds(segment_bytes_max=300, snapshots_kept=2)


def directory_of(disk: Disk | Recorder) -> Directory:
    return Directory(Path("memory"), 0, 0, disk)


def repaired(disk: Disk | Recorder) -> Recovered:
    return recover(directory_of(disk), IDENTITY, repairable=True)[0]


def opened(disk: Disk, identity: Identity = IDENTITY) -> tuple[Recovered, Log]:
    directory = directory_of(disk)
    recovered, position = recover(directory, identity, repairable=True)
    log = Log(directory, identity, BOUNDS, position)
    log.open()
    return recovered, log


def written(turns: int = 12, *, saved: bool = True) -> Image:
    """Return some segments, with cuts, metadata, and snapshots in the middle."""
    disk, random, zxid = disk_of(()), Random(3), 0
    _, log = opened(disk)
    for turn in range(turns):
        batch: list[Entry] = [(EntryKind.META, 0, b"m%d" % turn)]
        for _ in range(random.choice([1, 2, 3])):
            zxid += 1
            batch.append((EntryKind.TRANSACTION, zxid, random.randbytes(40)))
        log.append(batch)
        log.flush()
        if saved and turn % 5 == 2:
            log.stage_snapshot(zxid, [b"s%d" % zxid])
            log.publish_snapshot(zxid)
    return image_of(disk)


def flipped(image: Image, name: str, offset: int) -> Image:
    files = dict(image)
    content = bytearray(files[name])
    content[offset] ^= 0x10
    return tuple(sorted((files | {name: bytes(content)}).items()))


def set_aside_of(disk: Disk) -> dict[str, bytes]:
    """Return what was set aside, by the names that it had."""
    names = [(n, c) for n, c in image_of(disk) if n.startswith("damaged.")]
    return {name.split(".", 2)[2]: content for name, content in names}


def is_all(recovered: Recovered, whole: Recovered) -> bool:
    """Tell whether it is the same, though perhaps from another snapshot on."""
    records = [record for record in whole.records if record[0] > recovered.base]
    complete = not recovered.base or recovered.snapshot is not None
    return complete and (recovered.meta, recovered.records) == (whole.meta, records)


@pytest.mark.parametrize("saved", [True, False])
def test_every_damaged_byte_leaves_all_or_a_disk_that_says_that_it_is_damaged(
    *, saved: bool
) -> None:
    image = written(6, saved=saved)
    whole = repaired(disk_of(image))
    for name, content in image:
        for offset in range(0, len(content), 3):
            damaged = flipped(image, name, offset)
            disk = disk_of(damaged)
            try:
                recovered = repaired(disk)
            except StorageError:
                # It seems to be of another version.
                assert 8 <= offset < 10
                assert image_of(disk) == damaged
                continue
            if recovered.damaged:
                assert recovered == Recovered(
                    None, 0, [], None, recovered.damage, damaged=True
                )
                assert recovered.damage[0].file == name
                assert set_aside_of(disk) == dict(damaged)
            else:
                assert recovered.meta == whole.meta
                assert recovered.records == whole.records
                for damage in recovered.damage:
                    assert set_aside_of(disk)[damage.file] == dict(damaged)[name]


@pytest.mark.parametrize("saved", [True, False])
def test_no_crash_while_it_is_set_aside_leaves_less_that_counts(*, saved: bool) -> None:
    image = written(saved=saved)
    whole = repaired(disk_of(image))
    segments = [name for name, _ in image if name.startswith("log.")]
    assert len(segments) >= 3
    crashes = 0
    for name in segments:
        damaged = flipped(image, name, 50)
        system = Recorder()
        for file, data in damaged:
            system.names[file] = Content(data, data)
        system.durable_names = dict(system.names)
        images: list[Image] = []

        def note(system: Recorder = system, images: list[Image] = images) -> None:
            images.extend(system.images())

        system.after = note
        position = recover(directory_of(system), IDENTITY, repairable=True)[1]
        # Until the first metadata of the new log is durable.
        Log(directory_of(system), IDENTITY, BOUNDS, position).open()
        for left in dict.fromkeys(images):
            disk = disk_of(left)
            recovered = repaired(disk)
            crashes += 1
            assert recovered.damaged or is_all(recovered, whole)
            assert repaired(disk).damaged == recovered.damaged
    assert crashes > 50


def test_a_new_log_counts_as_damaged_until_its_first_metadata() -> None:
    disk = disk_of(flipped(written(), segment_name(4), 70))
    first, log = opened(disk)
    log.close()
    again, log = opened(disk)
    log.append([(EntryKind.META, 0, b"says so itself")])
    log.flush()
    log.close()
    third, _ = opened(disk)

    assert first.damaged
    assert len(first.damage) == 1
    assert again == Recovered(None, 0, [], None, damaged=True)
    assert not third.damaged
    assert third.meta == b"says so itself"


def test_what_was_set_aside_before_is_never_overwritten() -> None:
    disk = disk_of(flipped(written(), segment_name(4), 70))
    opened(disk)[1].close()
    before = image_of(disk)
    for generation in (2, 3):
        _, log = opened(disk)
        log.append([(EntryKind.META, 0, b"m"), (EntryKind.TRANSACTION, 1, b"t")])
        log.flush()
        log.close()
        for name, content in image_of(disk):
            if name.startswith("log."):
                disk.names[name].flip(70, 1)
                assert len(content) > 70

        assert opened(disk)[0].damaged
        after = dict(image_of(disk))
        assert f"damaged.{generation:08x}.{segment_name(1)}" in after
        kept = [n for n, _ in before if n.startswith("damaged.")]
        assert all(after[name] == dict(before)[name] for name in kept)
        before = image_of(disk)


def test_without_others_nothing_is_touched() -> None:
    damaged = flipped(written(), segment_name(4), 70)
    disk = disk_of(damaged)

    with pytest.raises(CorruptLogError):
        recover(directory_of(disk), IDENTITY)

    assert image_of(disk) == damaged


def test_alone_a_directory_whose_log_was_set_aside_is_refused() -> None:
    disk = disk_of(flipped(written(), segment_name(4), 70))
    opened(disk)[1].close()
    before = image_of(disk)

    with pytest.raises(CorruptLogError, match="nothing has taken its place"):
        recover(directory_of(disk), IDENTITY)

    assert image_of(disk) == before


def test_foreign_files_are_refused_and_not_set_aside() -> None:
    image = written()
    disk = disk_of(image)

    with pytest.raises(ForeignStorageError):
        opened(disk, Identity(member=2, name="test"))

    assert image_of(disk) == image


def test_a_missing_segment_is_damage() -> None:
    image = tuple((n, c) for n, c in written() if n != segment_name(4))
    disk = disk_of(image)

    recovered = repaired(disk)

    missing = Damage(segment_name(4), 0, "the segment is missing")
    assert recovered.damage == (missing,)
    assert set_aside_of(disk) == dict(image)


@pytest.mark.parametrize("kind", ["log.", "snapshot."])
def test_a_file_that_the_disk_cannot_read_is_damaged(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = written()
    name = next(n for n, _ in reversed(image) if n.startswith(kind))
    disk, read, read_at = disk_of(image), Disk.read, Disk.read_at
    broken = disk.names[name]

    def fail(disk: Disk, fd: int) -> None:
        if disk._open[fd] is broken:
            raise OSError(errno.EIO, "a bad sector")

    def read_or_fail(disk: Disk, fd: int) -> bytes:
        fail(disk, fd)
        return read(disk, fd)

    def read_at_or_fail(disk: Disk, fd: int, offset: int, size: int) -> bytes:
        fail(disk, fd)
        return read_at(disk, fd, offset, size)

    monkeypatch.setattr(Disk, "read", read_or_fail)
    monkeypatch.setattr(Disk, "read_at", read_at_or_fail)
    recovered = repaired(disk)

    assert [damage.file for damage in recovered.damage] == [name]
    assert "cannot be read" in recovered.damage[0].reason
    assert recovered.damaged == (kind == "log.")
    assert name in set_aside_of(disk)


def test_what_the_system_refuses_otherwise_is_no_damage() -> None:
    image = written()
    disk = disk_of(image)
    disk.fail = ("read", errno.EACCES)

    with pytest.raises(OSError, match="simulated failure"):
        repaired(disk)

    assert image_of(disk) == image


def test_a_store_says_what_it_set_aside(tmp_path: Path) -> None:
    for name, content in flipped(written(), segment_name(4), 70):
        (tmp_path / name).write_bytes(content)
    tmp_path.chmod(0o700)

    with pytest.raises(CorruptLogError):
        FileStore(tmp_path, member=1, name="test").recover()
    store = FileStore(tmp_path, member=1, name="test", repairable=True)
    recovered = store.recover()
    store.close()

    assert recovered.damaged
    assert str(recovered.damage[0]).startswith(f"{segment_name(4)}, byte ")
    assert (tmp_path / f"damaged.00000001.{segment_name(4)}").exists()
