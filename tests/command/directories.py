"""Data directories for the command's tests, made by the store itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from coordlib.command import main
from coordlib.consensus import Metadata
from coordlib.ids import Epoch, make_zxid
from coordlib.replica.metadata import encode_metadata
from coordlib.storage.directory import OS, Directory
from coordlib.storage.interface import Entry, EntryKind
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover
from coordlib.tree import Create, DataTree, capture, encode_request, stamp

IDENTITY = Identity(member=2, name="world")
ENSEMBLE_ID = b"0123456789abcdef"


def zxid(counter: int) -> int:
    return make_zxid(1, counter)


def meta(epoch: int = 1, *, seasoned: bool = True) -> Entry:
    metadata = Metadata(Epoch(epoch), Epoch(epoch), seasoned, ENSEMBLE_ID)
    return (EntryKind.META, 0, encode_metadata(metadata))


def create(counter: int, path: str = "", data: bytes = b"x" * 50) -> Entry:
    request = encode_request(0, counter, 0, Create(path or f"/z{counter}", data))
    return (EntryKind.TRANSACTION, zxid(counter), stamp(request, 1_700_000_000_000))


@contextmanager
def opened(path: Path) -> Iterator[Log]:
    """Open a directory as its store would, to write to it."""
    directory = Directory.open(path, OS)
    try:
        _, position = recover(directory, IDENTITY)
        log = Log(directory, IDENTITY, Bounds(1 << 20, 2), position)
        log.open()
        try:
            yield log
        finally:
            log.close()
    finally:
        directory.close()


def write(path: Path, *batches: list[Entry], roll: bool = False) -> Path:
    with opened(path) as log:
        for batch in batches:
            log.append(batch)
            log.flush()
        if roll:
            log.roll()
    return path


def save(path: Path, counter: int) -> None:
    """Keep the state that ``create`` has made up to a counter."""
    tree = DataTree()
    for number in range(1, counter + 1):
        tree.apply(zxid(number), create(number)[2])
    captured = capture(tree)
    while captured.step(1000):
        pass
    with opened(path) as log:
        log.stage_snapshot(zxid(counter), captured.pieces())
        log.publish_snapshot(zxid(counter))


def make(path: Path) -> Path:
    """Make three segments: 1 to 4, 5 to 8, 9 to 12; and a snapshot at 8."""
    write(path, [meta()], [create(1), create(2)], [create(3)], [create(4)], roll=True)
    write(path, [create(5), create(6)], [create(7)], [create(8)])
    save(path, 8)
    return write(path, [create(9), create(10)], [create(11)], [create(12)])


def flip(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)


def image(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@attrs.frozen
class Said:
    """What a run of the command came to."""

    code: int
    out: str
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Said:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return Said(code, captured.out, captured.err)
