"""``coordlib log verify`` says what is damaged and where, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import coordlib.command.survey
from command.directories import create, flip, image, make, opened, run, write
from coordlib import Ensemble
from coordlib.storage.directory import segment_name, snapshot_name, temporary_name

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


def test_a_good_directory_is_good(path: Path, capsys: Capsys) -> None:
    before = image(path)

    said = run(capsys, "log", "verify", path)

    assert (said.code, said.err) == (0, "")
    assert "13 records" in said.out
    assert "from 0:0 to 1:12" in said.out
    assert "member 2" in said.out
    assert image(path) == before


def test_it_is_done_by_several_processes_alike(
    path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run(capsys, "log", "verify", path)
    monkeypatch.setattr(coordlib.command.survey, "_POOL_BYTES", 1)

    assert run(capsys, "log", "verify", path) == alone


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_flipped_bit_is_damage_by_file_and_offset(
    path: Path, capsys: Capsys, number: int
) -> None:
    file = path / segment_name(number)
    flip(file, file.stat().st_size // 2)

    said = run(capsys, "log", "verify", path)

    assert said.code == 1
    assert said.err.startswith(f"damage: {file.name}, byte ")


def test_every_flipped_bit_of_the_log_is_seen_or_harmless(
    path: Path, capsys: Capsys
) -> None:
    file = path / segment_name(2)
    for offset in range(0, file.stat().st_size, 37):
        flip(file, offset)
        assert run(capsys, "log", "verify", path).code == 1, offset
        flip(file, offset)


def test_a_torn_end_is_mentioned_and_is_no_damage(path: Path, capsys: Capsys) -> None:
    file = path / segment_name(3)
    os.truncate(file, file.stat().st_size - 90)

    said = run(capsys, "log", "verify", path)

    assert (said.code, said.err) == (0, "")
    assert f"note: {file.name}, byte " in said.out
    assert "never acknowledged" in said.out
    with opened(path) as log:
        assert log is not None
    assert "note" not in run(capsys, "log", "verify", path).out


def test_a_missing_segment_is_damage(path: Path, capsys: Capsys) -> None:
    (path / segment_name(2)).unlink()

    said = run(capsys, "log", "verify", path)

    assert said.code == 1
    assert f"{segment_name(2)}, byte 0: the segment is missing" in said.err


def test_segments_of_two_histories_are_damage(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    other = write(tmp_path / "other", [create(1)], roll=True)
    write(other, [create(2)], roll=True)
    os.replace(other / segment_name(2), path / segment_name(2))

    said = run(capsys, "log", "verify", path)

    assert said.code == 1
    assert f"{segment_name(2)}, byte 0: the segment does not follow" in said.err


def test_a_damaged_snapshot_is_damage(path: Path, capsys: Capsys) -> None:
    (snapshot,) = path.glob("snapshot.*")
    flip(snapshot, 100)

    said = run(capsys, "log", "verify", path)

    assert said.code == 1
    assert said.err.startswith(f"damage: {snapshot.name}, byte ")


def test_a_purged_log_without_its_snapshot_is_damage(
    path: Path, capsys: Capsys
) -> None:
    (path / segment_name(1)).unlink()
    assert run(capsys, "log", "verify", path).code == 0
    (snapshot,) = path.glob("snapshot.*")
    snapshot.unlink()

    said = run(capsys, "log", "verify", path)

    assert said.code == 1
    assert "no good snapshot, and the log begins after 1:4" in said.err


def test_what_a_start_removes_is_mentioned(path: Path, capsys: Capsys) -> None:
    (snapshot,) = path.glob("snapshot.*")
    (path / temporary_name("log", 9)).write_bytes(b"half")
    content = snapshot.read_bytes()
    # A good one, of another zxid than its name.
    (path / snapshot_name(99)).write_bytes(content)

    said = run(capsys, "log", "verify", path)

    assert said.code == 1
    assert "of another zxid than its name" in said.err
    assert f"note: {temporary_name('log', 9)}, byte 0: never completed" in said.out


async def test_a_running_replica_is_verified_and_not_disturbed(
    tmp_path: Path, capsys: Capsys
) -> None:
    path = tmp_path / "data"
    async with Ensemble(data_dir=path) as ensemble, ensemble.session() as session:
        await session.create("/a", b"1")

        said = run(capsys, "log", "verify", path)

        assert (said.code, said.err) == (0, "")
        assert "member 1" in said.out
        await session.create("/b", b"2")


@pytest.mark.parametrize("name", ["missing", "empty", "file", "link"])
def test_what_is_no_data_directory_is_one_line(
    path: Path, tmp_path: Path, capsys: Capsys, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(path)

    said = run(capsys, "log", "verify", tmp_path / name)

    assert said.code == 2
    assert said.err.startswith("coordlib: ")
    assert str(tmp_path / name) in said.err
    assert said.err.count("\n") == 1


def test_another_version_cannot_be_read(path: Path, capsys: Capsys) -> None:
    file = path / segment_name(1)
    content = bytearray(file.read_bytes())
    content[9] = 9
    file.write_bytes(content)

    said = run(capsys, "log", "verify", path)

    assert said.code == 2
    assert "has format version 9" in said.err
