"""Whatever goes wrong is one clear line and an exit code; nothing half is left."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

import coordlib.command.arguments
from command.directories import make, run
from coordlib.storage.directory import OS, segment_name

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


VERBS = [
    ("snapshot", "export", "DATA", "new"),
    ("snapshot", "import", "file", "new"),
    ("backup", "DATA", "new"),
    ("restore", "backup", "new"),
]


def arguments(verb: tuple[str, ...], path: Path, capsys: Capsys) -> list[object]:
    """Prepare what a verb needs, and return its arguments."""
    base = path.parent
    run(capsys, "snapshot", "export", path, base / "file")
    run(capsys, "backup", path, base / "backup")
    names = {"DATA": path, "file": base / "file", "backup": base / "backup"}
    words: list[object] = list(verb[:1])
    for word in verb[1:]:
        is_path = word in {"DATA", "file", "backup", "new"}
        words.append(names.get(word, base / word) if is_path else word)
    return words


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_whatever_sync_fails_it_is_one_line_and_nothing_half_is_left(
    path: Path,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
    verb: tuple[str, ...],
) -> None:
    words = arguments(verb, path, capsys)
    base = path.parent
    syncs, limit = 0, 0
    sync = os.fsync

    def fail(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        if syncs <= limit:
            sync(fd)
        elif limit % 2:
            raise KeyboardInterrupt
        else:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(os, "fdatasync", fail)
    before = {name: set(names) for name, _, names in os.walk(base)}
    while (said := run(capsys, *words)).code != 0:
        assert said.code == (130 if limit % 2 else 2), said.err
        assert said.err.startswith("coordlib: ")
        assert said.err.count("\n") == 1
        after = {name: set(names) for name, _, names in os.walk(base)}
        assert not [name for name in after if name.endswith(".part")]
        assert not [n for names in after.values() for n in names if ".part" in n]
        if after != before:
            # The name is not durable, but what has it is whole.
            assert syncs == limit + 1
            break
        # All of the first ones; then some, or it takes seconds.
        syncs, limit = 0, limit + (1 if limit < 4 else 5)
    assert limit >= 3


def test_a_file_that_the_disk_cannot_give_back_is_damaged(
    path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_os: object, _fd: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(type(OS), "read", fail)

    said = run(capsys, "log", "verify", path)

    assert said.code == 1
    assert f"{segment_name(1)}, byte 0: it cannot be read" in said.err


def test_a_killed_process_is_one_line(
    path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_path: Path) -> int:
        raise BrokenExecutor("killed")

    monkeypatch.setattr(coordlib.command.arguments, "verify", die)

    assert run(capsys, "log", "verify", path).code == 2


def test_links_and_pipes_in_a_directory_are_not_followed(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    file = path / segment_name(2)
    (tmp_path / "secret").write_bytes(b"secret")
    for is_link in (True, False):
        file.unlink()
        if is_link:
            file.symlink_to(tmp_path / "secret")
        else:
            os.mkfifo(file)

        said = run(capsys, "log", "verify", path)

        assert said.code == 2
        assert "coordlib: " in said.err


def test_a_directory_is_also_named_by_a_relative_path(
    path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path)
    os.truncate(path / segment_name(3), 100)

    assert run(capsys, "log", "verify", ".").code == 0
    assert run(capsys, "log", "repair", ".", "--yes").code == 0
    assert (path.parent / "data.before-repair-1").is_dir()


def on_a_terminal(*words: object) -> str:
    """Return what the command says on a terminal's standard error."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "coordlib.command", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while block := os.read(ours, 1 << 16):
                said += block
        except OSError:
            pass  # Linux's way to say that nobody writes any more.
        os.close(ours)
    assert process.returncode == 0
    return said.decode()


def test_progress_is_for_terminals_and_leaves_the_line_clean(
    path: Path, capsys: Capsys
) -> None:
    assert run(capsys, "log", "verify", path).err == ""
    assert on_a_terminal("log", "verify", path).endswith("\r\x1b[K")
