"""A snapshot's file: chunk by chunk, and no damage to it goes unnoticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from zlib import crc32

import pytest

from coordlib.errors import CorruptLogError, ForeignStorageError, StorageError
from coordlib.storage.record import Identity
from coordlib.storage.snapshot import (
    CHUNK_BYTES_MAX,
    encode_snapshot,
    read_snapshot,
)

IDENTITY = Identity(member=1, name="test")
ZXID = 7 << 32 | 5
HEAD_SIZE, CHUNK_HEAD_SIZE, END_SIZE = 40, 8, 40
PIECES = [b"one..", b"two..", b"three"]


def file_of(pieces: Iterable[bytes], zxid: int = ZXID) -> bytes:
    return b"".join(encode_snapshot(zxid, pieces, IDENTITY))


def read(data: bytes, identity: Identity = IDENTITY) -> list[bytes]:
    return list(
        read_snapshot("it", ZXID, lambda at, size: data[at : at + size], identity)
    )


def damaged_at(data: bytes) -> int:
    with pytest.raises(CorruptLogError) as caught:
        read(data)
    assert caught.value.file == "it"
    return caught.value.offset


def chunk_at(number: int) -> int:
    """Return where a chunk of five bytes begins, the end included."""
    return HEAD_SIZE + number * (CHUNK_HEAD_SIZE + 5)


@pytest.mark.parametrize("pieces", [[], [b"x"], PIECES])
def test_what_was_written_is_read_piece_by_piece(pieces: list[bytes]) -> None:
    assert read(file_of(pieces)) == pieces


def test_an_empty_piece_leaves_no_trace() -> None:
    assert file_of([b"", b"x", b""]) == file_of([b"x"])


def test_a_large_piece_becomes_several_chunks() -> None:
    content = bytes(range(251)) * 1000

    chunks = read(file_of([content]))

    assert b"".join(chunks) == content
    assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES_MAX] * 3 + [54392]


def test_the_writer_needs_one_piece_at_a_time() -> None:
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for piece in PIECES:
            taken += 1
            yield piece

    blocks = encode_snapshot(ZXID, pieces(), IDENTITY)

    counts = [taken for _ in blocks]
    assert counts == [0, 1, 2, 3, 3]


def test_every_flipped_bit_is_found_in_its_chunk() -> None:
    data = file_of(PIECES)
    begins = [0, *(chunk_at(number) for number in range(4))]
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert damaged_at(bytes(damaged)) == max(b for b in begins if b <= bit // 8)


def test_every_shorter_file_is_found_where_it_ends() -> None:
    data = file_of(PIECES)
    begins = [0, *(chunk_at(number) for number in range(4))]
    for size in range(len(data)):
        # Of the head, nothing may be missing; a chunk may begin at the end.
        wanted = max(b for b in begins if b <= size) if size >= HEAD_SIZE else 0
        assert damaged_at(data[:size]) == wanted


def test_a_longer_file_is_found() -> None:
    assert damaged_at(file_of(PIECES) + b"\0") == chunk_at(3)


def test_chunks_that_changed_places_are_found() -> None:
    data = file_of(PIECES)
    one, two, three = chunk_at(0), chunk_at(1), chunk_at(2)

    swapped = data[:one] + data[two:three] + data[one:two] + data[three:]

    assert damaged_at(swapped) == one


def test_chunks_left_out_or_repeated_are_found() -> None:
    data = file_of(PIECES)
    assert damaged_at(data[: chunk_at(1)] + data[chunk_at(2) :]) == chunk_at(1)
    assert damaged_at(data[: chunk_at(1)] + data[chunk_at(0) :]) == chunk_at(1)


def test_a_chunk_of_another_snapshot_is_found() -> None:
    data, other = file_of(PIECES), file_of([b"ONE..", b"TWO..", b"THREE"], ZXID + 1)

    mixed = data[: chunk_at(1)] + other[chunk_at(1) : chunk_at(2)] + data[chunk_at(2) :]

    assert damaged_at(mixed) == chunk_at(1)


def test_chunks_of_another_file_of_the_same_state_are_found_at_the_end() -> None:
    data, other = file_of(PIECES), file_of([b"ONE..", b"TWO..", b"THREE"])

    mixed = data[: chunk_at(1)] + other[chunk_at(1) : chunk_at(2)] + data[chunk_at(2) :]

    assert damaged_at(mixed) == chunk_at(3)


def test_a_huge_length_costs_nothing() -> None:
    data = bytearray(file_of(PIECES))
    data[chunk_at(1) : chunk_at(1) + 4] = b"\xff" * 4
    sizes: list[int] = []

    def read_at(offset: int, size: int) -> bytes:
        sizes.append(size)
        return bytes(data[offset : offset + size])

    with pytest.raises(CorruptLogError):
        list(read_snapshot("it", ZXID, read_at, IDENTITY))
    assert max(sizes) == HEAD_SIZE


def test_another_members_file_is_foreign() -> None:
    with pytest.raises(ForeignStorageError, match="belongs to member 1"):
        read(file_of(PIECES), Identity(member=2, name="test"))


def test_another_zxid_than_the_names_is_damage() -> None:
    assert damaged_at(file_of(PIECES, ZXID + 1)) == 0


def test_another_version_is_refused_and_not_taken_for_damage() -> None:
    data = file_of(PIECES)
    head = data[:8] + b"\x00\x02" + data[10:36]

    with pytest.raises(StorageError, match="format version 2") as caught:
        read(head + crc32(head).to_bytes(4, "big") + data[HEAD_SIZE:])

    assert not isinstance(caught.value, CorruptLogError)
