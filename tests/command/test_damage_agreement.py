"""Whatever the damage: verify agrees with recovery, and repair keeps its word."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from command.directories import IDENTITY, create, flip, image, make, run, write, zxid
from coordlib.errors import StorageError
from coordlib.replica.metadata import decode_metadata
from coordlib.storage.directory import OS, Directory
from coordlib.storage.interface import Recovered
from coordlib.storage.recovery import recover

Capsys = pytest.CaptureFixture[str]
SEEDS = range(25)


def damage(path: Path, random: Random) -> None:
    """Flip, cut, remove, copy or zero something, once or twice."""
    for _ in range(random.choice([1, 1, 2])):
        files = sorted(file for file in path.iterdir() if file.name != "LOCK")
        file = random.choice(files)
        size = file.stat().st_size
        kind = random.choice(["flip", "flip", "cut", "remove", "copy", "zero"])
        if kind == "flip" and size:
            flip(file, random.randrange(size))
        elif kind == "cut":
            file.write_bytes(file.read_bytes()[: random.randrange(size + 1)])
        elif kind == "remove" and len(files) > 1:
            file.unlink()
        elif kind == "copy":
            file.write_bytes(random.choice(files).read_bytes())
        elif kind == "zero" and size:
            content, at = bytearray(file.read_bytes()), random.randrange(size)
            part = slice(at, min(size, at + 512))
            content[part] = bytes(part.stop - part.start)
            file.write_bytes(content)


def recovered(path: Path) -> Recovered | None:
    """Return what a start would find; ``None`` if it is refused."""
    directory = Directory.open(path, OS)
    try:
        return recover(directory, IDENTITY)[0]
    except StorageError:
        return None
    finally:
        directory.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make(tmp_path_factory.mktemp("original") / "data")
    return write(path, [create(13)], roll=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_verify_and_a_start_judge_alike(
    original: Path, tmp_path: Path, capsys: Capsys, seed: int
) -> None:
    path = tmp_path / "data"
    shutil.copytree(original, path)
    damage(path, Random(seed))

    code = run(capsys, "log", "verify", path).code

    found = recovered(path)
    assert (code == 0) == (found is not None and not found.damage)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_repaired_directory_starts_and_what_forgot_does_not_vote(
    original: Path, tmp_path: Path, capsys: Capsys, seed: int
) -> None:
    path = tmp_path / "data"
    shutil.copytree(original, path)
    damage(path, Random(seed))
    before = image(path)
    words = ("log", "repair", path, "--yes")

    careful = run(capsys, *words)
    if careful.code == 1:
        assert image(path) == before
    forced = run(capsys, *words, "--drop-acknowledged")

    if forced.code == 2:
        assert image(path) == before
        assert recovered(path) is None
        return
    found = recovered(path)
    assert forced.code == 0
    assert found is not None
    assert not found.damage
    assert run(capsys, "log", "verify", path).code == 0
    expected = {zxid(i): create(i)[2] for i in range(1, 14)}
    assert all(expected[z] == payload for z, payload in found.records)
    last = found.records[-1][0] if found.records else found.base
    seasoned = decode_metadata(found.meta).seasoned
    if careful.code == 1:
        assert not seasoned
    elif seasoned:
        # Nothing is gone but an end that was torn, or looks so: a shorter last
        # file, and a file that is no more, tell nobody what was in them.
        assert last <= zxid(13)
