"""A disk without room: the log waits, a snapshot gives way, nothing is lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio

from coordlib.errors import StorageError
from coordlib.storage import patience
from coordlib.storage.file import FileStore
from coordlib.storage.interface import EntryKind, Recovered
from storage.fake_system import FakeSystem, Image, read_image, write_image
from storage.store_client import Client, base, meta, running, transactions

WANTS = [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE]

ALWAYS = 1 << 30


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PAUSE_MIN", 0.0005)
    monkeypatch.setattr(patience, "_PAUSE_MAX", 0.001)


def store_at(
    path: Path, system: FakeSystem, *, segment_bytes_max: int = 300
) -> FileStore:
    return FileStore(
        path,
        member=1,
        name="test",
        segment_bytes_max=segment_bytes_max,
        system=system,
    )


def read(path: Path) -> Recovered:
    store = FileStore(path, member=1, name="test")
    try:
        return store.recover()
    finally:
        store.close()


def zxids(recovered: Recovered) -> list[int]:
    return [zxid for zxid, _ in recovered.records]


class Shortage:
    """Refuses calls on some files for want of room, so many times."""

    def __init__(self, kinds: set[str], error: int, times: int, name: str = "") -> None:
        self.left = times
        self.refused = 0
        self._kinds = kinds
        self._error = error
        self._name = name
        self._waiting = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None

    async def wait_refused(self) -> None:
        """Wait until a call was tried again at least once."""
        self._token = trio.lowlevel.current_trio_token()
        with trio.fail_after(5):
            await self._waiting.wait()

    def __call__(self, kind: str, name: str) -> None:
        if self.left and kind in self._kinds and name.startswith(self._name):
            self.left -= 1
            self.refused += 1
            if self.refused > 1 and self._token is not None:
                self._token.run_sync_soon(self._waiting.set)
            raise OSError(self._error, "no room")


@pytest.mark.parametrize("error", WANTS)
async def test_the_log_waits_for_room_and_then_goes_on(
    tmp_path: Path, error: int
) -> None:
    system = FakeSystem()
    store = store_at(tmp_path, system)
    async with running(store) as client:
        await client.write(*transactions(1))
        system.before = shortage = Shortage({"write", "open", "rename"}, error, ALWAYS)
        client.submit(*transactions(2))
        await shortage.wait_refused()
        assert store.no_room
        assert client.reported == [1]

        shortage.left = 0
        await client.write(*transactions(3))
        assert not store.no_room

    assert zxids(read(tmp_path)) == [1, 2, 3]


async def test_what_was_half_written_is_continued(tmp_path: Path) -> None:
    system = FakeSystem(write_bytes_max=10)
    store = store_at(tmp_path, system)
    async with running(store) as client:
        await client.write(*transactions(1))
        written = 0

        def before(kind: str, _: str) -> None:
            nonlocal written
            written += kind == "write"
            if kind == "write" and 3 <= written < 6:
                raise OSError(errno.ENOSPC, "no room")

        system.before = before
        await client.write(*transactions(2))

    assert written > 6
    assert zxids(read(tmp_path)) == [1, 2]


async def do_everything(client: Client) -> None:
    for zxid in range(1, 9):
        await client.write(meta(b"m%d" % zxid), *transactions(zxid))
    await client.save(4)
    await client.save(8)
    await client.write((EntryKind.CUT, 8, b""), *transactions(9))
    await client.write(base(20), *transactions(21))
    await client.save(21)


@pytest.mark.parametrize("error", WANTS)
async def test_a_disk_that_is_full_again_and_again_changes_nothing(
    tmp_path: Path, error: int
) -> None:
    kinds = {"write", "open", "rename", "unlink"}
    without = tmp_path / "without"
    async with running(store_at(without, FakeSystem())) as client:
        await do_everything(client)

    refused = False

    def every_other_time(kind: str, name: str) -> None:
        nonlocal refused
        refused = not refused and kind in kinds and not name.startswith("tmp.saved")
        if refused:
            raise OSError(error, "no room")

    system = FakeSystem()
    store = store_at(tmp_path / "with", system)
    async with running(store) as client:
        system.before = every_other_time
        await do_everything(client)
        system.before = lambda _kind, _name: None

    assert read_image(tmp_path / "with") == read_image(without)


@pytest.mark.parametrize("at", range(4))
async def test_killed_while_it_waits_it_has_lost_nothing(
    tmp_path: Path, at: int
) -> None:
    system = FakeSystem(write_bytes_max=16)
    store = store_at(tmp_path / "state", system)
    images: set[Image] = set()
    shortage = Shortage({"write"}, errno.ENOSPC, ALWAYS)
    async with running(store) as client:
        await client.write(*transactions(1))
        written = 0

        def before(kind: str, _: str) -> None:
            nonlocal written
            if kind == "write":
                written += 1
                if written > at:
                    images.update(system.images())
                    shortage(kind, "")

        system.before = before
        client.submit(*transactions(2))
        await shortage.wait_refused()
    assert client.reported == [1]

    assert images
    for image in images:
        write_image(image, tmp_path / "image")
        assert zxids(read(tmp_path / "image")) in ([1], [1, 2])


async def test_a_store_that_waits_can_be_stopped_and_opened_again(
    tmp_path: Path,
) -> None:
    system = FakeSystem()
    store = store_at(tmp_path, system)
    async with running(store) as client:
        await client.write(*transactions(1))
        system.before = shortage = Shortage({"write"}, errno.ENOSPC, ALWAYS)
        client.submit(*transactions(2))
        await shortage.wait_refused()

    assert client.reported == [1]
    assert zxids(read(tmp_path)) == [1]


@pytest.mark.parametrize("kind", ["sync", "sync_directory"])
@pytest.mark.parametrize("error", WANTS)
async def test_a_failed_sync_is_final_whatever_the_reason(
    tmp_path: Path, kind: str, error: int
) -> None:
    system = FakeSystem()
    store = store_at(tmp_path, system, segment_bytes_max=1)
    with pytest.RaisesGroup(StorageError):
        async with running(store) as client:
            system.before = Shortage({kind}, error, 1)
            client.submit(*transactions(1))
            await trio.sleep_forever()
    assert client.reported == []


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.EFBIG])
async def test_other_failures_of_a_write_are_final(tmp_path: Path, error: int) -> None:
    system = FakeSystem()
    store = store_at(tmp_path, system)
    shortage = Shortage({"write"}, error, ALWAYS)
    with pytest.RaisesGroup(StorageError):
        async with running(store) as client:
            system.before = shortage
            client.submit(*transactions(1))
            await trio.sleep_forever()
    assert shortage.refused == 1
    assert client.reported == []


@pytest.mark.parametrize("error", WANTS)
@pytest.mark.parametrize("kind", ["open", "write", "sync"])
async def test_a_snapshot_without_room_leaves_nothing_and_the_log_goes_on(
    tmp_path: Path, kind: str, error: int
) -> None:
    system = FakeSystem()
    store = store_at(tmp_path, system)
    async with running(store) as client:
        await client.write(*transactions(1))
        system.before = shortage = Shortage({kind}, error, ALWAYS, "tmp.saved")
        assert not await store.save_snapshot(1, [b"s", b"1"])
        assert not any(n.startswith("tmp.") for n, _ in read_image(tmp_path))
        await client.write(*transactions(2))

        shortage.left = 0
        assert await store.save_snapshot(2, [b"s2"])

    snapshot = read(tmp_path).snapshot
    assert snapshot is not None
    assert snapshot.zxid == 2


async def test_a_snapshot_that_the_disk_refuses_otherwise_is_an_error(
    tmp_path: Path,
) -> None:
    system = FakeSystem()
    store = store_at(tmp_path, system)
    async with running(store) as client:
        await client.write(*transactions(1))
        system.before = Shortage({"write"}, errno.EIO, 1, "tmp.saved")
        with pytest.raises(StorageError):
            await store.save_snapshot(1, [b"s1"])
    assert not any(n.startswith("tmp.") for n, _ in read_image(tmp_path))


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
async def test_what_cannot_be_opened_for_want_of_descriptors_is_not_damaged(
    tmp_path: Path, error: int
) -> None:
    system = FakeSystem()
    store = store_at(tmp_path, system)
    async with running(store) as client:
        await client.write(*transactions(1, 2))
        await client.save(1)
        extent = store.extent
        system.before = Shortage({"open"}, error, 2)
        reading, snapshot = store.read_records(0, 2), store.read_snapshot(1)
        with pytest.raises(StorageError):
            await reading.next()
        with pytest.raises(StorageError):
            await snapshot.identify()
        reading.close()
        snapshot.close()

        reading = store.read_records(0, 2)
        assert [zxid for zxid, _ in await reading.next() or ()] == [1, 2]
        reading.close()
        await client.write(*transactions(3))
        assert store.extent == extent


def test_without_room_at_the_start_it_does_not_wait(tmp_path: Path) -> None:
    system = FakeSystem(before=Shortage({"write"}, errno.ENOSPC, ALWAYS))
    store = store_at(tmp_path, system)
    with pytest.raises(StorageError):
        store.recover()
