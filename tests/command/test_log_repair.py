"""``coordlib log repair`` loses nothing that it was not told to lose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from command.directories import flip, image, make, opened, run, write, zxid
from coordlib import Ensemble
from coordlib.command.survey import survey
from coordlib.replica.metadata import decode_metadata
from coordlib.storage.directory import Directory, segment_name

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


def aside(path: Path) -> Path:
    return path.with_name("data.before-repair-1")


def rot(path: Path, number: int) -> None:
    """Damage the middle of a segment."""
    file = path / segment_name(number)
    flip(file, file.stat().st_size // 2)


def test_a_good_directory_is_left_alone(path: Path, capsys: Capsys) -> None:
    said = run(capsys, "log", "repair", path, "--yes")

    assert said.code == 0
    assert "nothing to repair" in said.out
    assert not aside(path).exists()


def test_nothing_is_changed_unless_it_is_said(path: Path, capsys: Capsys) -> None:
    rot(path, 3)
    before = image(path)

    for flags in ((), ("--yes",), ("--drop-acknowledged",)):
        said = run(capsys, "log", "repair", path, *flags)

        assert said.code == 1
        assert "nothing was changed; --yes --drop-acknowledged does it" in said.err
        assert "may have been acknowledged" in said.out
        assert image(path) == before
        assert not aside(path).exists()


def test_a_torn_end_is_cut_after_a_copy(path: Path, capsys: Capsys) -> None:
    file = path / segment_name(3)
    os.truncate(file, file.stat().st_size - 90)
    before = image(path)

    said = run(capsys, "log", "repair", path, "--yes")

    assert said.code == 0
    assert "lost: nothing that was acknowledged" in said.out
    assert not survey(path).findings
    assert image(aside(path)) == {k: v for k, v in before.items() if k != "LOCK"}


@pytest.mark.parametrize("damage", ["flip", "head", "remove"])
@pytest.mark.parametrize("number", [1, 2])
def test_old_segments_that_a_snapshot_makes_dispensable_go(
    path: Path, capsys: Capsys, number: int, damage: str
) -> None:
    if damage == "flip":
        rot(path, number)
    elif damage == "head":
        flip(path / segment_name(number), 30)
    else:
        (path / segment_name(number)).unlink()
    if (number, damage) == (1, "remove"):
        return  # That is how a purged log looks.

    said = run(capsys, "log", "repair", path, "--yes")

    assert said.code == 0
    assert "lost: nothing that was acknowledged" in said.out
    found = survey(path)
    assert not found.findings
    assert (found.state, found.course.last) == (zxid(8), zxid(12))
    assert decode_metadata(found.segments[-1].meta).seasoned


def test_a_damaged_snapshot_goes_if_the_log_reaches_back(
    path: Path, capsys: Capsys
) -> None:
    (snapshot,) = path.glob("snapshot.*")
    flip(snapshot, 100)

    said = run(capsys, "log", "repair", path, "--yes")

    assert said.code == 0
    assert not snapshot.exists()
    assert (aside(path) / snapshot.name).exists()
    assert not survey(path).findings


def test_nothing_to_begin_with_cannot_be_repaired(path: Path, capsys: Capsys) -> None:
    (path / segment_name(1)).unlink()
    (snapshot,) = path.glob("snapshot.*")
    flip(snapshot, 100)
    before = image(path)

    said = run(capsys, "log", "repair", path, "--yes", "--drop-acknowledged")

    assert said.code == 2
    assert "no good state to begin with" in said.err
    assert image(path) == before


def drop(path: Path, capsys: Capsys, *flags: str) -> None:
    arguments = ("log", "repair", path, "--yes", "--drop-acknowledged", *flags)
    assert run(capsys, *arguments).code == 0
    assert not survey(path).findings
    with opened(path) as log:
        assert log is not None


def test_who_dropped_what_was_acknowledged_does_not_vote(
    path: Path, capsys: Capsys
) -> None:
    rot(path, 3)

    drop(path, capsys)

    found = survey(path)
    metadata = decode_metadata(found.segments[-1].meta)
    assert zxid(8) <= found.course.last < zxid(12)
    assert (metadata.seasoned, metadata.damaged) == (False, True)


def test_the_only_member_goes_on_beyond_all_that_it_lost(
    path: Path, capsys: Capsys
) -> None:
    rot(path, 3)

    drop(path, capsys, "--standalone")

    metadata = decode_metadata(survey(path).segments[-1].meta)
    assert (metadata.seasoned, metadata.damaged) == (True, False)
    assert metadata.accepted_epoch > 60_000


@pytest.mark.parametrize("damage", ["flip", "head", "remove"])
@pytest.mark.parametrize("number", [2, 3])
def test_all_from_the_first_damage_on_is_dropped(
    path: Path, capsys: Capsys, number: int, damage: str
) -> None:
    (snapshot,) = path.glob("snapshot.*")
    snapshot.unlink()
    write(path, [], roll=True)
    if damage == "flip":
        rot(path, number)
    elif damage == "head":
        flip(path / segment_name(number), 30)
    else:
        (path / segment_name(number)).unlink()

    drop(path, capsys)

    found = survey(path)
    assert zxid(4 * number - 4) <= found.course.last < zxid(4 * number)
    assert not decode_metadata(found.segments[-1].meta).seasoned


def test_a_repair_that_breaks_off_anywhere_leaves_no_amnesia(
    path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each step: refused as damaged, or good and without a vote."""
    (snapshot,) = path.glob("snapshot.*")
    snapshot.unlink()
    write(path, [], roll=True)
    rot(path, 2)
    before = image(path)
    steps = ["publish", "remove", "sync"]
    done, limit = 0, 0
    arguments = ("log", "repair", path, "--yes", "--drop-acknowledged")

    def break_off() -> None:
        nonlocal done
        done += 1
        if done > limit:
            raise OSError(5, "broken off")

    for step in steps:
        original = getattr(Directory, step)

        def broken(*args: object, original: object = original) -> None:
            break_off()
            assert callable(original)
            original(*args)

        monkeypatch.setattr(Directory, step, broken)
    while True:
        done = 0
        code = run(capsys, *arguments).code
        if code == 0:
            break
        assert code == 2
        found = survey(path)
        if not found.damage:
            assert not decode_metadata(found.segments[-1].meta).seasoned, limit
        for file in path.iterdir():
            file.unlink()
        for name, content in before.items():
            (path / name).write_bytes(content)
        limit += 1
    assert limit >= 4


async def test_nothing_is_repaired_under_a_running_replica(
    tmp_path: Path, capsys: Capsys
) -> None:
    async with Ensemble(data_dir=tmp_path / "data") as ensemble:
        await ensemble.wait_ready()

        said = run(capsys, "log", "repair", tmp_path / "data", "--yes")

        assert said.code == 2
        assert "another replica uses" in said.err


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_what_is_no_data_directory_stays_as_it_is(
    tmp_path: Path, capsys: Capsys, name: str
) -> None:
    (tmp_path / "empty").mkdir()

    assert run(capsys, "log", "repair", tmp_path / name, "--yes").code == 2
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]
