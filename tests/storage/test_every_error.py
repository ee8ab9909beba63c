"""Each single call of real work fails, in every way: never worse than an error.

A failure ends in a ``StorageError`` or, where it is want of room, in nothing at
all. What was acknowledged is there after a restart and after a power loss.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import TypeVar

import attrs
import pytest
import trio

from coordlib.errors import StorageError
from coordlib.storage import patience
from coordlib.storage.interface import EntryKind
from coordlib.testing.simulation.disk import Disk
from storage.memory_disk import recover_disk
from storage.player import SCRIPT, Player
from storage.script import IDENTITY, is_state, states_of

T = TypeVar("T")

# One call in so many; `make ioerrors` does all.
EACH = 1 if os.environ.get("IO_ERRORS") == "all" else 16

# What may be waited for, in the calls that may be made again.
WANTS = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
PATIENT = {"open", "write", "rename", "unlink"}


@attrs.define(eq=False)
class Faulty:
    """A disk in memory of which one call fails, once; implements ``System``.

    Attributes:
      disk: What it is.
      at: The number of the call that fails; 0: none.
      fault: What it does instead: an error's number, or 0: nothing is written,
        or 1: only a byte is.
      calls: Kind and file of each call, so far.

    """

    disk: Disk
    at: int = 0
    fault: int = 0
    calls: list[tuple[str, str]] = attrs.Factory(list)
    _names: dict[int, str] = attrs.Factory(dict)

    def _call(self, kind: str, name: str, call: Callable[[], T]) -> T:
        self.calls.append((kind, name))
        if len(self.calls) == self.at and self.fault > 1:
            if kind in {"sync", "sync_directory"}:
                # As the kernel does, it forgets what it could not write.
                self.disk.fail = (kind, self.fault)
            else:
                raise OSError(self.fault, os.strerror(self.fault))
        return call()

    def open(self, name: str, flags: int, *, dir_fd: int) -> int:
        if name == "LOCK":
            # That one has to be real.
            return os.open(name, flags, 0o600, dir_fd=dir_fd)

        def call() -> int:
            return self.disk.open(name, flags, dir_fd=dir_fd)

        fd = self._call("open", name, call)
        self._names[fd] = name
        return fd

    def close(self, fd: int) -> None:
        self._call("close", self._names[fd], lambda: self.disk.close(fd))

    def list_names(self, fd: int) -> list[str]:
        return self._call("list_names", "", lambda: self.disk.list_names(fd))

    def size(self, name: str, *, dir_fd: int) -> int:
        return self._call("size", name, lambda: self.disk.size(name, dir_fd=dir_fd))

    def read(self, fd: int) -> bytes:
        return self._call("read", self._names[fd], lambda: self.disk.read(fd))

    def read_at(self, fd: int, offset: int, size: int) -> bytes:
        return self._call(
            "read_at", self._names[fd], lambda: self.disk.read_at(fd, offset, size)
        )

    def forget(self, fd: int) -> None:
        self._call("forget", self._names[fd], lambda: self.disk.forget(fd))

    def write(self, fd: int, data: memoryview) -> int:
        if len(self.calls) + 1 == self.at and self.fault <= 1:
            data = data[: self.fault]
        return self._call(
            "write", self._names[fd], lambda: self.disk.write(fd, data) if data else 0
        )

    def truncate(self, fd: int, size: int) -> None:
        self._call("truncate", self._names[fd], lambda: self.disk.truncate(fd, size))

    def sync(self, fd: int) -> None:
        self._call("sync", self._names[fd], lambda: self.disk.sync(fd))

    def sync_directory(self, fd: int) -> None:
        self._call("sync_directory", "", lambda: self.disk.sync_directory(fd))

    def rename(self, old: str, new: str, *, dir_fd: int) -> None:
        self._call("rename", old, lambda: self.disk.rename(old, new, dir_fd=dir_fd))

    def unlink(self, name: str, *, dir_fd: int) -> None:
        self._call("unlink", name, lambda: self.disk.unlink(name, dir_fd=dir_fd))


def new_disk() -> Disk:
    return Disk(Random(0), lambda: False)


def play(path: Path, system: Faulty) -> tuple[Player, bool]:
    """Return what was acknowledged, and whether it came to the end."""
    player = Player(path, system)

    async def bounded() -> None:
        with trio.fail_after(10):
            await player.play()

    try:
        trio.run(bounded)
    except StorageError:
        return player, False
    except BaseExceptionGroup as group:
        rest = group.split(StorageError)[1]
        if rest is not None:
            raise rest from None
        return player, False
    return player, True


def check(player: Player, disk: Disk) -> None:
    """Look what a restart finds, and a restart after a power loss."""
    states = states_of(SCRIPT)[player.acknowledged : player.submitted + 1]
    copies = [deepcopy(disk) for _ in range(3)]
    for copy in copies[1:]:
        copy.lose_power()
    copies[0].end_of_program()
    for copy in copies:
        recovered = recover_disk(copy, IDENTITY)
        assert any(is_state(recovered, state) for state in states), recovered


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PAUSE_MIN", 0.0)


def all_calls(path: Path) -> list[tuple[str, str]]:
    system = Faulty(new_disk())
    assert play(path, system)[1]
    return system.calls


def is_of_an_own_snapshot(call: tuple[str, str]) -> bool:
    return call[1].startswith("tmp.saved")


def may_be_survived(call: tuple[str, str]) -> bool:
    """Tell whether it is the last close of a log, or reads a snapshot at the start.

    A snapshot that cannot be read is damaged, and there is an older one.
    """
    kind, name = call
    return (kind == "close" and name.startswith("log.")) or (
        kind in {"open", "read_at", "close"} and name.startswith("snapshot.")
    )


def test_the_script_does_everything(tmp_path: Path) -> None:
    calls = all_calls(tmp_path)
    assert len(calls) > 250
    kinds = {kind for kind, _ in calls}
    assert kinds >= {"open", "write", "sync", "sync_directory", "rename", "unlink"}
    assert kinds >= {"read", "read_at", "size", "list_names", "forget", "close"}
    assert EntryKind.BASE in {
        k for step in SCRIPT if isinstance(step, list) for k, _, _ in step
    }


@pytest.mark.parametrize(
    "fault",
    [
        errno.EIO,
        errno.EROFS,
        errno.EINTR,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
    ],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize("part", range(4))
def test_every_call_may_fail_once(tmp_path: Path, fault: int, part: int) -> None:
    calls = all_calls(tmp_path / "all")
    # Another one of each sixteen for each fault.
    for at in range(1 + part * EACH + fault % EACH, len(calls) + 1, 4 * EACH):
        disk = new_disk()
        system = Faulty(disk, at, fault)
        player, finished = play(tmp_path / str(at), system)
        assert system.calls[at - 1] == calls[at - 1]
        call = calls[at - 1]
        if fault not in WANTS and not is_of_an_own_snapshot(call):
            assert not finished or may_be_survived(call), call
        if fault in WANTS and is_of_an_own_snapshot(call):
            assert finished, call
        check(player, disk)


@pytest.mark.parametrize("part", range(4))
def test_every_write_may_take_a_byte_only(tmp_path: Path, part: int) -> None:
    for at, call in list(enumerate(all_calls(tmp_path / "all"), 1))[part::4]:
        if call[0] == "write" and (EACH == 1 or at % 3 == 0):
            disk = new_disk()
            player, finished = play(tmp_path / str(at), Faulty(disk, at, 1))
            assert finished
            check(player, disk)


def test_a_write_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    calls = all_calls(tmp_path / "all")
    writes = [at for at, (kind, _) in enumerate(calls, 1) if kind == "write"]
    for at in writes[:: max(1, EACH // 4)]:
        disk = new_disk()
        player, finished = play(tmp_path / str(at), Faulty(disk, at, 0))
        assert not finished
        check(player, disk)
