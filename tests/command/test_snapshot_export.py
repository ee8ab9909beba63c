"""A state leaves in a file and founds another ensemble, exactly and only that."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from command.directories import (
    IDENTITY,
    create,
    flip,
    image,
    make,
    run,
    write,
    zxid,
)
from coordlib import Ensemble, StorageError
from coordlib.command.survey import survey
from coordlib.ids import epoch_of
from coordlib.replica.metadata import decode_metadata
from coordlib.storage.directory import segment_name
from coordlib.storage.portable import read_portable
from coordlib.testing import MemoryEnsemble
from coordlib.tree import DataTree, restore
from replica.sessions import open_session

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


def state_in(file: Path) -> DataTree:
    tree = DataTree()
    with read_portable(file) as (_, pieces):
        restore(tree, b"".join(pieces))
    return tree


def state_after(counter: int) -> DataTree:
    tree = DataTree()
    for number in range(1, counter + 1):
        tree.apply(zxid(number), create(number)[2])
    return tree


@pytest.mark.parametrize(
    ("arguments", "counter"),
    [((), 8), (("--with-log",), 12), (("--zxid", "1:10"), 10), (("--zxid", "1:8"), 8)],
)
def test_the_state_that_is_asked_for_is_exported(
    path: Path,
    tmp_path: Path,
    capsys: Capsys,
    arguments: tuple[str, ...],
    counter: int,
) -> None:
    before = image(path)

    said = run(capsys, "snapshot", "export", path, tmp_path / "file", *arguments)

    assert (said.code, said.err) == (0, "")
    assert f"the state at 1:{counter}" in said.out
    assert state_in(tmp_path / "file").digest() == state_after(counter).digest()
    assert image(path) == before
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_a_state_that_is_not_there_is_refused(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    said = run(capsys, "snapshot", "export", path, tmp_path / "file", "--zxid", "1:99")

    assert said.code == 2
    assert "holds no state at 1:99" in said.err
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_snapshot_the_log_has_to_be_asked_for(
    tmp_path: Path, capsys: Capsys
) -> None:
    path = write(tmp_path / "data", [create(1)])

    said = run(capsys, "snapshot", "export", path, tmp_path / "file")

    assert said.code == 2
    assert "--with-log" in said.err


def test_a_good_snapshot_leaves_a_damaged_log(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    flip(path / segment_name(1), 200)

    said = run(capsys, "snapshot", "export", path, tmp_path / "file")
    refused = run(capsys, "snapshot", "export", path, tmp_path / "f", "--with-log")

    assert said.code == 0
    assert "the log is damaged" in said.err
    assert state_in(tmp_path / "file").zxid == zxid(8)
    assert refused.code == 1
    assert segment_name(1) in refused.err


def test_a_file_that_exists_is_not_overwritten(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")

    said = run(capsys, "snapshot", "export", path, tmp_path / "file")

    assert said.code == 2
    assert "exists" in said.err
    assert not (tmp_path / "elsewhere").exists()


async def test_an_imported_state_goes_on_without_the_old_sessions(
    tmp_path: Path, capsys: Capsys
) -> None:
    path, file, new = tmp_path / "old", tmp_path / "file", tmp_path / "new"
    async with Ensemble(data_dir=path) as ensemble:
        session = await open_session(ensemble)
        await session.create("/kept", b"data")
        await session.create("/kept/ephemeral", ephemeral=True)
        await session.sync()
        last = ensemble.statistics().zxid
        await ensemble.backup(file)
        ensemble.abort()
    said = run(capsys, "snapshot", "import", file, new)
    assert "1 sessions of the old one were closed" in said.out

    async with Ensemble(data_dir=new) as ensemble:
        await ensemble.wait_ready()
        assert ensemble.tree.get("/kept")[0] == b"data"
        assert ensemble.tree.get_children("/kept") == []
        assert ensemble.statistics().sessions == 0
        # So that no fencing token is given twice.
        assert ensemble.statistics().epoch > epoch_of(last) + 60_000
        async with ensemble.session() as again:
            assert (await again.set("/kept", b"new")).mzxid > last
        digest = ensemble.digest()
    async with Ensemble(data_dir=new) as ensemble:
        await ensemble.wait_ready()
        assert ensemble.digest() != digest or ensemble.statistics().sessions == 0


def test_all_members_import_the_same_state_of_the_same_ensemble(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    file = tmp_path / "file"
    run(capsys, "snapshot", "export", path, file)
    found = {}
    for member, token in ((1, "a"), (2, "a"), (3, "b")):
        new = tmp_path / f"new{member}"
        arguments = ("--member", member, "--name", "n", "--token", token)
        assert run(capsys, "snapshot", "import", file, new, *arguments).code == 0
        found[member] = survey(new)
    metadata = {m: decode_metadata(f.segments[-1].meta) for m, f in found.items()}

    assert [f.identity.member for f in found.values()] == [1, 2, 3]
    assert metadata[1] == metadata[2]
    assert metadata[1].ensemble_id != metadata[3].ensemble_id
    assert not metadata[1].seasoned
    assert metadata[1].start == found[1].course.last == zxid(8)
    assert found[1].state == zxid(8)
    assert stat.S_IMODE((tmp_path / "new1").stat().st_mode) == 0o700


@pytest.mark.parametrize("target", ["full", "file", "link"])
def test_an_import_overwrites_nothing(
    path: Path, tmp_path: Path, capsys: Capsys, target: str
) -> None:
    run(capsys, "snapshot", "export", path, tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))

    said = run(capsys, "snapshot", "import", tmp_path / "file", tmp_path / target)

    assert said.code == 2
    assert "exists" in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_every_flipped_bit_and_shorter_file_is_refused(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    file = tmp_path / "file"
    run(capsys, "snapshot", "export", path, file)
    content = file.read_bytes()
    for offset in range(0, len(content), 29):
        for damaged in (
            content[:offset],
            content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :],
        ):
            file.write_bytes(damaged)
            said = run(capsys, "snapshot", "import", file, tmp_path / "new")
            assert said.code in {1, 2}, offset
            assert not (tmp_path / "new").exists()


def test_a_members_own_snapshot_is_no_exported_state(
    path: Path, tmp_path: Path, capsys: Capsys
) -> None:
    (snapshot,) = path.glob("snapshot.*")

    said = run(capsys, "snapshot", "import", snapshot, tmp_path / "new")

    assert said.code == 2
    assert f"belongs to member {IDENTITY.member}" in said.err


def test_there_are_members_1_to_254(path: Path, tmp_path: Path, capsys: Capsys) -> None:
    run(capsys, "snapshot", "export", path, tmp_path / "file")
    for member in (0, 255):
        arguments = (tmp_path / "file", tmp_path / "new", "--member", member)
        assert run(capsys, "snapshot", "import", *arguments).code == 2


async def test_a_backup_under_writes_is_exact_at_its_zxid(
    tmp_path: Path,
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    digests: dict[int, int] = {}
    async with MemoryEnsemble(3) as members, members[1].session() as session:
        for i in range(600):
            await session.create(f"/z{i}")
        async with trio.open_nursery() as nursery:

            async def write_on() -> None:
                for i in range(600):
                    await session.set(f"/z{i}", b"changed")
                    digests[members[2].statistics().zxid] = members[2].digest()

            nursery.start_soon(write_on)
            for number in range(3):
                await trio.sleep(0.05)
                digests[members[2].statistics().zxid] = members[2].digest()
                made = await members[2].backup(tmp_path / f"{number}")

                state = state_in(tmp_path / f"{number}")
                assert state.zxid == made.zxid
                assert state.digest() == digests[made.zxid]
                assert made.size == (tmp_path / f"{number}").stat().st_size
        with read_portable(tmp_path / "2") as (last, _):
            assert members[2].statistics().zxid > last


async def test_a_cancelled_backup_leaves_nothing(tmp_path: Path) -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        for i in range(1000):
            await session.create(f"/z{i}", b"x" * 5000)
        for delay in (0.0, 0.001, 0.01, 0.02):
            with trio.move_on_after(delay) as scope:
                await ensemble.backup(tmp_path / "file")
            if scope.cancelled_caught:
                assert os.listdir(tmp_path) == []
            else:
                os.remove(tmp_path / "file")
        await ensemble.backup(tmp_path / "file")
        assert state_in(tmp_path / "file").digest() == ensemble.digest()


async def test_a_backup_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    async with Ensemble() as ensemble, ensemble.session() as session:
        with pytest.raises(StorageError, match="exists"):
            await ensemble.backup(tmp_path / "file")
        with pytest.raises(StorageError, match="No such file"):
            await ensemble.backup(tmp_path / "missing" / "file")
        await session.create("/a")

    assert (tmp_path / "file").read_bytes() == b"precious"
