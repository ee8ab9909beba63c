"""What only the file store does: files, locks, faults and its thread."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from coordlib.errors import CorruptLogError, StorageError, StorageLockedError
from coordlib.storage import file as file_module
from coordlib.storage.directory import (
    OS,
    Directory,
    System,
    damaged_name,
    segment_name,
    snapshot_name,
    temporary_name,
)
from coordlib.storage.file import FileStore
from coordlib.storage.interface import EntryKind, Recovered, Write
from storage.fake_system import FakeSystem, write_image
from storage.store_client import Client, base, meta, running, transactions
from storage.stored import in_memory, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


def store_at(path: Path, system: System = OS) -> FileStore:
    return FileStore(path, member=1, name="test", segment_bytes_max=300, system=system)


def read(path: Path) -> Recovered:
    store = store_at(path)
    try:
        return in_memory(store.recover())
    finally:
        store.close()


def zxids(recovered: Recovered) -> list[int]:
    return [zxid for zxid, _ in recovered.records]


def names_in(path: Path, prefix: str) -> list[str]:
    return sorted(p.name for p in path.iterdir() if p.name.startswith(prefix))


def log_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("coordlib log")]


# The directory.


async def test_missing_directories_are_made_and_are_for_the_owner_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a" / "b"
    async with running(store_at(path)) as client:
        await client.write(*transactions(1))
        await client.save(1)

    for made in (path.parent, path):
        assert made.stat().st_mode & 0o777 == 0o700
    files = sorted(path.iterdir())
    assert len(files) == 4
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_file_is_no_directory(path: Path) -> None:
    path.write_bytes(b"")

    with pytest.raises(StorageError, match=r"state: .*Not a directory"):
        store_at(path).recover()


def test_a_symbolic_link_is_no_directory(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path)

    with pytest.raises(StorageError, match="state is a symbolic link"):
        store_at(path).recover()


@pytest.mark.parametrize("name", ["LOCK", segment_name(1)])
def test_links_are_not_followed(path: Path, tmp_path: Path, name: str) -> None:
    path.mkdir()
    (path / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StorageError, match="symbolic links"):
        store_at(path).recover()

    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["LOCK", segment_name(1)])
def test_a_pipe_is_refused_and_not_waited_for(path: Path, name: str) -> None:
    path.mkdir()
    os.mkfifo(path / name)

    with pytest.raises(StorageError, match="not a regular file"):
        store_at(path).recover()


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(path: Path, mode: int) -> None:
    path.mkdir()
    path.chmod(mode)

    with pytest.raises(StorageError, match="others than its owner may write"):
        store_at(path).recover()

    assert list(path.iterdir()) == []


def test_a_directory_of_another_user_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.mkdir()
    user = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    monkeypatch.setattr(os, "fstat", _owned_by(user + 2))

    with pytest.raises(StorageError, match="belongs to another user"):
        store_at(path).recover()


def _owned_by(user: int) -> Callable[[int], os.stat_result]:
    """Return an ``fstat`` that names another owner: only root could make it so."""
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        fields = list(real(fd))
        fields[4] = user
        return os.stat_result(fields)

    return fstat


def test_files_are_opened_in_the_locked_directory_wherever_its_path_leads(
    path: Path, tmp_path: Path
) -> None:
    directory = Directory.open(path, OS)
    try:
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "elsewhere")
        directory.stage(temporary_name("log", 1), [b"x"])
        directory.publish(temporary_name("log", 1), segment_name(1))
    finally:
        directory.close()

    assert (tmp_path / "moved" / segment_name(1)).read_bytes() == b"x"
    assert not (tmp_path / "elsewhere").exists()


def test_two_replicas_of_one_process_are_kept_apart(path: Path) -> None:
    first = store_at(path)
    first.recover()
    with pytest.raises(StorageLockedError):
        store_at(path).recover()
    first.close()

    assert read(path).records == []


def test_a_directory_that_cannot_be_written_is_named(path: Path) -> None:
    def refuse(operation: str, name: str) -> None:  # noqa: ARG001 - a hook
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    with pytest.raises(StorageError, match=r"state: .*Permission denied: 'LOCK'"):
        store_at(path, FakeSystem(before=refuse)).recover()


def test_unknown_files_are_left_alone_and_unfinished_ones_removed(
    path: Path,
) -> None:
    path.mkdir()
    unknown = ["log.1", "notes", "snapshot.zz", "tmp.notes", f"{segment_name(7)}.bak"]
    unfinished = [f"tmp.{segment_name(2)}", f"tmp.saved.{7:016x}"]
    for name in (*unknown, *unfinished):
        (path / name).write_bytes(b"x")

    assert read(path) == Recovered(None, 0, [], None)

    assert sorted(p.name for p in path.iterdir()) == sorted(
        [*unknown, "LOCK", segment_name(1)]
    )


def test_another_process_is_kept_out_until_it_ends(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from coordlib.storage.file import FileStore;"
        f"FileStore(Path({str(path)!r}), member=1, name='test').recover();"
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(StorageLockedError, match=str(path)):
            read(path)
        process.kill()

    assert read(path).records == []


def test_a_refused_directory_is_unlocked_again(path: Path) -> None:
    read(path)
    with pytest.raises(StorageError):
        FileStore(path, member=2, name="test").recover()

    assert read(path).records == []


def test_a_file_system_without_locks_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, operation: int) -> None:  # noqa: ARG001 - as flock
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)

    with pytest.raises(StorageError, match="No locks available") as caught:
        read(path)

    assert not isinstance(caught.value, StorageLockedError)


# Snapshots and purging.


async def test_purging_keeps_two_snapshots_and_the_log_since(path: Path) -> None:
    async with running(store_at(path)) as client:
        await client.write(meta(b"m"))
        for zxid in range(1, 61):
            await client.write(*transactions(zxid))
            if zxid % 10 == 0:
                await client.save(zxid)

    assert names_in(path, "snapshot") == [snapshot_name(50), snapshot_name(60)]
    recovered = read(path)
    assert recovered.meta == b"m"
    assert recovered.base == 50
    assert zxids(recovered) == list(range(51, 61))
    assert recovered.snapshot == stored(60, b"s60")


async def test_a_snapshot_that_is_gone_when_it_is_wanted_is_an_error(
    path: Path,
) -> None:
    async with running(store_at(path)) as client:
        await client.write(*transactions(1))
        await client.save(1)
    store = store_at(path)
    try:
        snapshot = store.recover().snapshot
        assert snapshot is not None
        # Each time anew.
        assert list(snapshot.pieces) == list(snapshot.pieces) == [b"s1"]
        assert snapshot.size == 2
        (path / snapshot_name(1)).unlink()

        with pytest.raises(StorageError, match=r"state: .*No such file"):
            list(snapshot.pieces)
    finally:
        store.close()


async def test_a_damaged_snapshot_gives_way_to_the_older_one(path: Path) -> None:
    async with running(store_at(path)) as client:
        for zxid in range(1, 9):
            await client.write(*transactions(zxid))
            await client.save(zxid)
    newest, older = path / snapshot_name(8), path / snapshot_name(7)

    newest.write_bytes(newest.read_bytes()[:-1])
    recovered = read(path)
    assert [damage.file for damage in recovered.damage] == [newest.name]
    assert attrs.evolve(recovered, damage=()) == Recovered(
        None, 7, [(8, b"t8")], stored(7, b"s7")
    )
    assert not newest.exists()
    assert (path / damaged_name(newest.name, 1)).exists()

    older.write_bytes(older.read_bytes()[:-1])
    with pytest.raises(CorruptLogError, match="damaged or incomplete chunk"):
        read(path)
    assert older.exists()


async def test_two_snapshots_at_once_are_both_kept(path: Path) -> None:
    async with running(store_at(path)) as client:
        await client.write(*transactions(1, 2))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.save, 1)
            nursery.start_soon(client.save, 2)

    assert len(names_in(path, "snapshot")) + len(names_in(path, "tmp")) in (1, 2)
    assert read(path).snapshot == stored(2, b"s2")


# Faults.


def fail_once(error: int, *, at: int) -> Callable[[str, str], None]:
    """Return a hook that lets the step number ``at`` fail, counted from 1."""
    steps = count(1)

    def before(operation: str, name: str) -> None:
        if next(steps) == at:
            raise OSError(error, f"injected into {operation} {name}")

    return before


def leaves_of(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves_of(inner)]
    return [error]


# The zxids after each step of perform_all_kinds.
STATES = [[], [1], [1, 2], [1, 2, 3], [1, 2], [1, 2, 7], [], [21]]


async def perform_all_kinds(client: Client, acknowledged: list[int]) -> None:
    """Do everything a replica does; note which of the states it can rely on."""
    for zxid in (1, 2, 3):
        await client.write(meta(b"m%d" % zxid), *transactions(zxid))
        acknowledged.append(zxid)
    await client.save(2)
    await client.write((EntryKind.CUT, 2, b""), *transactions(7))
    acknowledged.append(5)
    await client.save(7)
    await client.write(base(20), *transactions(21))
    acknowledged.append(7)


def is_state(recovered: Recovered, state: list[int]) -> bool:
    return zxids(recovered) == [zxid for zxid in state if zxid > recovered.base]


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
async def test_every_failed_step_is_final_and_loses_nothing_acknowledged(
    tmp_path: Path, error: int
) -> None:
    for at in count(1):
        system = FakeSystem(before=fail_once(error, at=at))
        acknowledged = [0]
        try:
            async with running(store_at(tmp_path / str(at), system)) as client:
                await perform_all_kinds(client, acknowledged)
        except* StorageError as group:
            causes = [leaf.__cause__ for leaf in leaves_of(group)]
            assert [c.errno for c in causes if isinstance(c, OSError)] == [error]
        else:
            assert at > 60, "every step was reached"
            return

        assert log_threads() == []
        for image in set(system.images()):
            write_image(image, tmp_path / "image")
            recovered = read(tmp_path / "image")
            possible = STATES[acknowledged[-1] :]
            assert any(is_state(recovered, state) for state in possible)


async def test_nothing_is_reported_after_a_failed_sync(path: Path) -> None:
    system = FakeSystem()
    store = store_at(path, system)
    store.recover()
    system.before = fail_once(errno.EIO, at=2)  # 1 is the write
    reported: list[int] = []
    for io in (1, 2, 3):
        store.submit(Write(io, transactions(io)))

    with pytest.raises(StorageError, match=r"state: .*injected into sync log"):
        await store.run(reported.append)
    store.submit(Write(4, transactions(4)))
    await trio.testing.wait_all_tasks_blocked()
    store.close()

    assert reported == []


async def test_short_writes_are_completed(path: Path) -> None:
    async with running(store_at(path, FakeSystem(write_bytes_max=7))) as client:
        await client.write(meta(b"m" * 100), *transactions(1, 2))
        await client.save(2)

    assert read(path) == Recovered(
        b"m" * 100, 0, [(1, b"t1"), (2, b"t2")], stored(2, b"s2")
    )


async def test_a_write_that_takes_nothing_is_a_failure(path: Path) -> None:
    system = FakeSystem()
    store = store_at(path, system)
    store.recover()
    system.write_bytes_max = 0
    store.submit(Write(1, transactions(1)))

    with pytest.raises(StorageError, match="nothing was written"):
        await store.run(lambda _: None)

    store.close()


async def test_a_snapshot_that_does_not_read_back_is_an_error(path: Path) -> None:
    def spoil(operation: str, name: str) -> None:
        if operation == "sync" and name.startswith("tmp.saved"):
            (path / name).write_bytes(b"something else")

    async with running(store_at(path, FakeSystem(after=spoil))) as client:
        await client.write(*transactions(1))
        with pytest.raises(StorageError, match="does not read back"):
            await client.save(1)

    assert read(path).snapshot is None


async def test_a_large_snapshot_never_owes_the_disk_much(path: Path) -> None:
    owed = [0]

    def count(operation: str, name: str) -> None:
        if name.startswith("tmp.saved") and operation in {"write", "sync"}:
            owed.append(owed[-1] + (1 << 16) if operation == "write" else 0)

    async with running(store_at(path, FakeSystem(after=count))) as client:
        await client.write(*transactions(1))
        await client.store.save_snapshot(1, [bytes(1 << 16)] * 150)

    # The head is a short block.
    assert max(owed) == (4 << 20) + (1 << 16)
    assert owed[-1] == 0
    assert len(owed) > 150


async def test_a_bug_in_the_thread_ends_the_run_too(path: Path) -> None:
    store = store_at(path)
    store.recover()
    store.submit(Write(1, [(EntryKind.TRANSACTION, 1 << 64, b"")]))

    with pytest.raises(struct.error):
        await store.run(lambda _: None)

    store.close()


async def test_a_bug_in_what_is_told_ends_the_run_too(path: Path) -> None:
    """It ended trio itself, and the whole program with it."""
    store = store_at(path)
    store.recover()
    store.submit(Write(1, [(EntryKind.TRANSACTION, 1, b"")]))

    def fail(_io: int) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await store.run(fail)

    store.close()


# The thread.


class Gate:
    """Holds up the log's syncs until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, operation: str, name: str) -> None:
        if operation == "sync" and name.startswith("log"):
            self.reached.set()
            assert self.opened.wait(5)


async def start_hanging(
    nursery: trio.Nursery, store: FileStore, system: FakeSystem, reported: list[int]
) -> tuple[Gate, trio.CancelScope]:
    """Run the store until its first write hangs in its sync."""
    store.recover()
    gate = Gate()
    system.before = gate
    scope = trio.CancelScope()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await store.run(reported.append, task_status=task_status)

    await nursery.start(run)
    store.submit(Write(1, transactions(1)))
    await trio.to_thread.run_sync(gate.reached.wait)
    return gate, scope


async def test_a_cancelled_run_finishes_the_batch_in_hand_and_drops_the_rest(
    path: Path,
) -> None:
    system = FakeSystem()
    store = store_at(path, system)
    async with trio.open_nursery() as nursery:
        gate, scope = await start_hanging(nursery, store, system, [])
        store.submit(Write(2, transactions(2)))
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert len(log_threads()) == 1
        gate.opened.set()
    assert log_threads() == []
    store.close()

    assert zxids(read(path)) == [1]


async def test_a_hanging_disk_does_not_keep_the_program_from_ending(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "_JOIN_TIMEOUT", 0.0)
    system = FakeSystem()
    store = store_at(path, system)
    reported: list[int] = []
    async with trio.open_nursery() as nursery:
        gate, scope = await start_hanging(nursery, store, system, reported)
        scope.cancel()
    (thread,) = log_threads()
    assert thread.daemon
    store.close()
    with pytest.raises(StorageLockedError):
        read(path)

    gate.opened.set()
    await trio.to_thread.run_sync(thread.join)
    store.close()
    assert zxids(read(path)) == [1]
    assert reported == []


async def test_a_snapshot_still_waiting_when_the_run_ends_is_an_error(
    path: Path,
) -> None:
    system = FakeSystem()
    store = store_at(path, system)
    async with trio.open_nursery() as nursery:
        gate, scope = await start_hanging(nursery, store, system, [])

        async def save() -> None:
            with pytest.raises(StorageError, match="the store has stopped"):
                await store.save_snapshot(1, [b"s1"])

        nursery.start_soon(save)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        gate.opened.set()
    store.close()

    assert read(path).snapshot is None
