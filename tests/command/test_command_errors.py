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
    ("log", "repair", "DATA", "--yes"),
]


def arguments(verb: tuple[str, ...], path: Path, capsys: Capsys) -> list[object]:
    """Prepare what a verb needs, and return its arguments."""
    base = path.parent
    run(capsys, "snapshot", "export", path, base / "file")
    run(capsys, "backup", path, base / "backup")
    if "repair" in verb:
        os.truncate(path / segment_name(3), 100)
    names = {"DATA": path, "file": base / "file", "backup": base / "backup"}
    words: list[object] = list(verb[:1])
    for word in verb[1:]:
        is_path = word in {"DATA", "file", "backup", "new"}
        words.append(names.get(word, base / word) if is_path else word)
    return words


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_full_or_failing_disk_is_one_line_and_leaves_nothing(
    path: Path,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
    verb: tuple[str, ...],
    code: int,
) -> None:
    words = arguments(verb, path, capsys)
    before = sorted(path.parent.rglob("*"))

    def fail(_fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(os, "fdatasync", fail)
    said = run(capsys, *words)
    monkeypatch.undo()

    assert said.code == 2
    assert said.err.startswith("coordlib: ")
    assert os.strerror(code) in said.err
    assert said.err.count("\n") == 1
    assert sorted(path.parent.rglob("*")) == before


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_an_interrupt_is_one_line_and_leaves_nothing(
    path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    words = arguments(verb, path, capsys)
    before = sorted(path.parent.rglob("*"))

    def interrupt(_fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    monkeypatch.setattr(os, "fdatasync", interrupt)
    said = run(capsys, *words)
    monkeypatch.undo()

    assert (said.code, said.err) == (130, "coordlib: interrupted\n")
    assert sorted(path.parent.rglob("*")) == before


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
