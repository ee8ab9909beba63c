"""``coordlib log dump`` shows every record, and no secret unless it is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command.directories import create, flip, make, run, write
from coordlib import Create, Ensemble, Set
from coordlib.storage.directory import segment_name
from coordlib.storage.interface import EntryKind

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


def test_each_record_is_a_line_with_its_place(path: Path, capsys: Capsys) -> None:
    said = run(capsys, "log", "dump", path)

    lines = said.out.splitlines()
    assert (said.code, said.err, len(lines)) == (0, "", 13)
    assert lines[0].startswith("segment=1 offset=60 kind=meta accepted_epoch=1")
    assert lines[5].startswith("segment=2 offset=")
    assert "kind=transaction zxid=1:5 time=2023-11-14T22:13:20.000+00:00" in lines[5]
    assert "operation=create bytes=50 path=/z5" in lines[5]


@pytest.mark.parametrize("form", ["epoch:counter", "number"])
def test_a_range_of_zxids_is_shown(path: Path, capsys: Capsys, form: str) -> None:
    first, last = ("1:4", "1:6") if form == "epoch:counter" else ("0x100000004",) * 2

    said = run(capsys, "log", "dump", path, "--from", first, "--to", last)

    shown = [line.split()[3] for line in said.out.splitlines()]
    expected = ["zxid=1:4", "zxid=1:5", "zxid=1:6"]
    assert shown == (expected if form == "epoch:counter" else expected[:1])


def test_hostile_bytes_are_escaped(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "data"
    hostile = "/\x1b[2J\nzxid=9:9 \u202e\\"
    write(path, [create(1, hostile, b"\x1b[31m")])
    write(path, [(EntryKind.TRANSACTION, create(2)[1], b"\x1b[31m garbage")])

    said = run(capsys, "log", "dump", path, "--data")

    assert "\x1b" not in said.out
    assert "\u202e" not in said.out
    assert len(said.out.splitlines()) == 2
    assert r"path=/\x1b[2J\nzxid=9:9\x20\u202e\\" in said.out
    assert "malformed=" in said.out.splitlines()[1]


async def test_secrets_and_data_are_shown_on_demand_only(
    tmp_path: Path, capsys: Capsys
) -> None:
    async with Ensemble(data_dir=tmp_path) as ensemble, ensemble.session() as session:
        await session.add_auth("digest", b"user:password")
        await session.create("/a", b"topsecret")
        nonce = session.ticket.password.hex()

    plain = run(capsys, "log", "dump", tmp_path).out
    told = run(capsys, "log", "dump", tmp_path, "--data", "--json").out

    assert "user" not in plain
    assert b"topsecret".hex() not in plain
    assert nonce not in plain
    assert "operation=open_session" in plain
    assert "operation=add_identities" in plain
    records = [json.loads(line) for line in told.splitlines()]
    assert any(r.get("data") == b"topsecret".hex() for r in records)
    assert any(r.get("nonce") == nonce for r in records)


async def test_the_parts_of_a_multi_are_shown(tmp_path: Path, capsys: Capsys) -> None:
    async with Ensemble(data_dir=tmp_path) as ensemble, ensemble.session() as session:
        await session.multi([Create("/a", b"1"), Set("/a", b"22", 0)])

    said = run(capsys, "log", "dump", tmp_path)

    assert "operations=[{operation=create bytes=1 path=/a} " in said.out
    assert "{operation=set bytes=2 path=/a version=0}]" in said.out


def test_what_comes_before_damage_is_shown(path: Path, capsys: Capsys) -> None:
    file = path / segment_name(2)
    flip(file, file.stat().st_size // 2)

    said = run(capsys, "log", "dump", path)

    assert said.code == 1
    assert "zxid=1:5" in said.out
    assert said.err.startswith(f"coordlib: {file.name}, byte ")


def test_a_torn_end_is_mentioned(path: Path, capsys: Capsys) -> None:
    file = path / segment_name(3)
    os.truncate(file, file.stat().st_size - 90)

    said = run(capsys, "log", "dump", path)

    assert said.code == 0
    assert f"note: {file.name}, byte " in said.err


def test_whoever_reads_may_stop(path: Path) -> None:
    command = [sys.executable, "-m", "coordlib.command", "log", "dump", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("text", ["1", "x:1", "1:2:3", "0xg"])
def test_what_is_no_zxid_is_refused(text: str, capsys: Capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(capsys, "log", "dump", "anywhere", "--from", text)
