"""A backup is complete, comes back as it was, and never votes with amnesia."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from command.directories import ENSEMBLE_ID, flip, image, make, run
from coordlib import Config, Ensemble
from coordlib.command.survey import survey
from coordlib.replica.metadata import decode_metadata
from coordlib.storage.directory import segment_name

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


def test_a_backup_holds_all_and_comes_back(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    before = image(path)
    assert run(capsys, "backup", path, tmp_path / "backup").code == 0
    assert image(path) == before

    said = run(capsys, "restore", tmp_path / "backup", tmp_path / "new")

    assert said.code == 0
    assert "does not vote" in said.err
    old, new = survey(path), survey(tmp_path / "new")
    assert not new.findings
    assert new.course == old.course
    assert new.state == old.state
    assert sum(s.records for s in new.segments) == 1 + sum(
        s.records for s in old.segments
    )


def test_what_was_backed_up_does_not_vote(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    run(capsys, "backup", path, tmp_path / "backup")
    run(capsys, "restore", tmp_path / "backup", tmp_path / "new")

    for directory in (tmp_path / "backup", tmp_path / "new"):
        metadata = decode_metadata(survey(directory).segments[-1].meta)
        assert (metadata.seasoned, metadata.damaged) == (False, True)
        assert metadata.ensemble_id == ENSEMBLE_ID


async def test_the_only_member_goes_on_with_a_backup_beyond_all_tokens(
    tmp_path: Path, capsys: Capsys
) -> None:
    path, backup, new = (tmp_path / name for name in ("data", "backup", "new"))
    config = Config(snapshot_interval=20)
    member = Ensemble(data_dir=path, config=config)
    async with member as ensemble, ensemble.session() as session:
        for i in range(50):
            await session.create(f"/z{i}")
        # It runs, and goes on writing.
        assert run(capsys, "backup", path, backup).code == 0
        await session.create("/later")
        later = ensemble.statistics().zxid

    assert run(capsys, "restore", backup, new, "--standalone").code == 0

    async with Ensemble(data_dir=new) as ensemble:
        with trio.fail_after(5):
            await ensemble.wait_ready()
        assert ensemble.tree.exists("/z49") is not None
        assert ensemble.tree.exists("/later") is None
        async with ensemble.session() as session:
            await session.create("/new")
        assert ensemble.statistics().zxid > later


@pytest.mark.parametrize("damage", ["flip", "shorten", "remove", "manifest"])
def test_a_damaged_backup_is_not_restored(
    path: Path, tmp_path: Path, capsys: Capsys, damage: str
) -> None:
    backup = tmp_path / "backup"
    run(capsys, "backup", path, backup)
    last = backup / segment_name(3)
    if damage == "flip":
        flip(last, 100)
    elif damage == "shorten":
        os.truncate(last, last.stat().st_size - 90)
    elif damage == "remove":
        last.unlink()
    else:
        os.truncate(backup / "MANIFEST", 60)

    said = run(capsys, "restore", backup, tmp_path / "new")

    assert said.code in {1, 2}
    assert said.err.startswith("coordlib: ")
    assert sorted(tmp_path.iterdir()) == [backup, path]


def test_a_damaged_directory_is_not_backed_up(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    flip(path / segment_name(2), 100)

    said = run(capsys, "backup", path, tmp_path / "backup")

    assert said.code == 1
    assert segment_name(2) in said.err
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_overwritten(path: Path, tmp_path: Path, capsys: Capsys) -> None:
    run(capsys, "backup", path, tmp_path / "backup")
    before = image(path)

    assert run(capsys, "backup", path, tmp_path / "backup").code == 2
    assert run(capsys, "restore", tmp_path / "backup", path).code == 2
    assert image(path) == before


def test_what_is_no_backup_is_refused(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    said = run(capsys, "restore", path, tmp_path / "new")

    assert said.code == 2
    assert "is no backup" in said.err
