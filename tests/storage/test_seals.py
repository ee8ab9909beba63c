"""The last batch: what was never acknowledged is cut, what rotted is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordlib.errors import CorruptLogError
from coordlib.storage.directory import Directory, segment_name
from coordlib.storage.interface import EntryKind, Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import SEAL, Identity
from coordlib.storage.recovery import recover
from coordlib.storage.seal import encode_seal_body
from storage.fake_system import FakeSystem

IDENTITY = Identity(member=1, name="test")
SECTOR = 512


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@contextmanager
def opened(path: Path) -> Iterator[tuple[Recovered, Log]]:
    system = FakeSystem()
    if path.exists():
        system.adopt(path)
    directory = Directory.open(path, system)
    try:
        recovered, position = recover(directory, IDENTITY)
        log = Log(directory, IDENTITY, Bounds(1 << 20, 3), position)
        log.open()
        yield recovered, log
        log.close()
    finally:
        directory.close()


def write(path: Path, *payloads: bytes) -> tuple[int, int]:
    """Append a batch; return where it begins and ends."""
    with opened(path) as (recovered, log):
        last = recovered.records[-1][0] if recovered.records else 0
        begin = content_of(path)
        for zxid, payload in enumerate(payloads, last + 1):
            log.append([(EntryKind.TRANSACTION, zxid, payload)])
        log.flush()
    return len(begin), len(content_of(path))


def content_of(path: Path) -> bytes:
    return (path / segment_name(1)).read_bytes()


def replace(path: Path, content: bytes) -> None:
    (path / segment_name(1)).write_bytes(content)


def erase(path: Path, begin: int, end: int) -> None:
    """Put zeros where the disk never wrote."""
    content = content_of(path)
    replace(path, content[:begin] + bytes(end - begin) + content[end:])


def flip(path: Path, offset: int, mask: int = 1) -> None:
    content = bytearray(content_of(path))
    content[offset] ^= mask
    replace(path, bytes(content))


def zxids(path: Path) -> list[int]:
    with opened(path) as (recovered, _):
        return [zxid for zxid, _ in recovered.records]


def test_a_batch_whose_first_sectors_got_lost_was_never_acknowledged(
    path: Path,
) -> None:
    write(path, b"a", b"b")
    begin, end = write(path, b"c" * 700, b"d" * 700, b"e" * 700)
    content = content_of(path)
    first = begin - begin % SECTOR + SECTOR
    for at in range(first, end - SECTOR, SECTOR):
        replace(path, content)
        erase(path, begin, first)
        erase(path, at, at + SECTOR)

        assert zxids(path) == [1, 2]
        assert len(content_of(path)) == begin


def test_good_records_before_a_lost_sector_are_kept_and_sealed(path: Path) -> None:
    write(path, b"a")
    begin, _ = write(path, b"c" * 700, b"d" * 700, b"e" * 2000)
    lost = 4 * SECTOR
    erase(path, lost, lost + SECTOR)

    assert zxids(path) == [1, 2, 3]
    flip(path, begin + 40)
    with pytest.raises(CorruptLogError, match="with a good seal"):
        zxids(path)


def test_a_lost_sector_is_rot_when_another_batch_follows(path: Path) -> None:
    begin, end = write(path, b"c" * 700, b"d" * 700)
    write(path, b"e")
    erase(path, SECTOR, 2 * SECTOR)

    with pytest.raises(CorruptLogError, match=f"another batch at byte {end}") as caught:
        zxids(path)
    assert (caught.value.file, caught.value.offset) == (segment_name(1), begin)


def test_even_a_torn_batch_proves_that_the_one_before_it_was_synced(
    path: Path,
) -> None:
    write(path, b"c" * 700, b"d" * 700)
    replace(path, content_of(path) + b"\0")
    erase(path, SECTOR, 2 * SECTOR)

    with pytest.raises(CorruptLogError, match="another batch"):
        zxids(path)


def test_a_lost_sector_and_a_flipped_bit_are_rot(path: Path) -> None:
    write(path, b"c" * 700, b"d" * 700)
    erase(path, SECTOR, 2 * SECTOR)
    flip(path, 2 * SECTOR)

    with pytest.raises(CorruptLogError, match="with a good seal"):
        zxids(path)


@pytest.mark.parametrize("mask", [1, 128])
def test_a_flipped_bit_that_leaves_only_zeros_is_rot(path: Path, mask: int) -> None:
    payload = bytearray(2000)
    payload[1000] = mask
    begin, _ = write(path, bytes(payload))
    flip(path, begin + 27 + 1000, mask)

    with pytest.raises(CorruptLogError, match="with a good seal"):
        zxids(path)


def test_a_flipped_bit_in_a_seal_is_rot_if_a_good_batch_follows(path: Path) -> None:
    _, end = write(path, b"c")
    begin, _ = write(path, b"d")
    flip(path, end - 1)

    with pytest.raises(CorruptLogError, match=f"a good batch at byte {begin}"):
        zxids(path)


def test_a_flipped_bit_in_a_seal_is_mended_if_what_follows_is_torn(path: Path) -> None:
    _, end = write(path, b"c")
    whole = content_of(path)
    write(path, b"d", b"e")
    replace(path, content_of(path)[:-1])
    flip(path, end - 1)

    assert zxids(path) == [1]
    assert content_of(path) == whole


def test_a_seal_of_other_records_is_refused(path: Path) -> None:
    with opened(path) as (_, log):
        log.append([(EntryKind.TRANSACTION, 1, b"a")])
        log._encode(SEAL, 1, encode_seal_body(b"abc", 0))
        log.flush()

    with pytest.raises(CorruptLogError, match="the seal is of other records"):
        zxids(path)


def test_a_payload_of_what_looks_like_seals_does_not_hold_up_recovery(
    path: Path,
) -> None:
    write(path, b"a")
    seal = content_of(path)[-39:]
    begin, _ = write(path, seal * 20_000)
    replace(path, content_of(path)[:-1])
    flip(path, begin + 40)

    assert zxids(path) == [1]
