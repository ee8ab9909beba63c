"""Whatever stands in its files, a directory opens or is refused with a named error."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given, settings, strategies as st

from coordlib.errors import ProtocolError, StorageError
from coordlib.replica.metadata import decode_metadata, encode_metadata
from coordlib.storage.directory import segment_name, snapshot_name
from coordlib.storage.interface import Entry, EntryKind
from coordlib.storage.log import Bounds
from coordlib.storage.record import (
    CHAIN_START,
    Identity,
    SegmentHead,
    encode_record,
    encode_seal,
)
from coordlib.storage.snapshot import encode_snapshot
from storage.fake_system import Image
from storage.memory_disk import disk_of, image_of, open_disk, recover_disk

IDENTITY = Identity(member=1, name="test")


@cache
def small() -> Image:
    """Return a directory with something of everything."""
    disk = disk_of(())
    _, log = open_disk(disk, IDENTITY, Bounds(1 << 20, 3))
    batches: list[list[Entry]] = [
        [(EntryKind.META, 0, b"metadata")],
        [(EntryKind.BASE, 5, b"received")],
        [(EntryKind.TRANSACTION, zxid, bytes(zxid)) for zxid in range(6, 9)],
        [(EntryKind.TRANSACTION, 9, b"x" * 700), (EntryKind.CUT, 8, b"")],
    ]
    for batch in batches:
        log.append(batch)
        log.flush()
    log.stage_snapshot(8, [b"saved", b"in two pieces"])
    log.publish_snapshot(8)
    log.append([(EntryKind.TRANSACTION, 10, b"last")])
    log.flush()
    return image_of(disk)


def opens_or_refuses(image: Image) -> None:
    """Recover; an error that is not of these types fails the test."""
    disk = disk_of(image)
    try:
        recover_disk(disk, IDENTITY)
    except StorageError as error:
        refused = error
    else:
        return
    assert image_of(disk) == image, "refused, so left alone"
    # A missing file is named, too.
    assert str(refused).startswith(("log.", "snapshot."))


def changed(content: bytes, how: str, at: int, length: int, junk: bytes) -> bytes:
    at %= len(content) + 1
    match how:
        case "cut out":
            return content[:at] + content[at + length :]
        case "put in":
            return content[:at] + junk + content[at:]
        case "put over":
            return content[:at] + junk + content[at + len(junk) :]
        case "repeat":
            return content[: at + length] + content[at:]
        case _:
            # What may be a length is huge now.
            return content[:at] + b"\xff" * 4 + content[at + 4 :]


ways = st.sampled_from(["cut out", "put in", "put over", "repeat", "huge"])


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_changed_files_open_or_are_refused(data: st.DataObject) -> None:
    files = dict(small())
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(files)))
        files[name] = changed(
            files[name],
            data.draw(ways),
            data.draw(st.integers(0, 2000)),
            data.draw(st.integers(1, 200)),
            data.draw(st.binary(min_size=1, max_size=40)),
        )
    opens_or_refuses(tuple(sorted(files.items())))


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([name for name, _ in small()]), st.binary(max_size=200))
def test_files_of_anything_are_no_better(name: str, junk: bytes) -> None:
    opens_or_refuses(tuple((dict(small()) | {name: junk}).items()))


numbers = st.one_of(st.integers(0, 20), st.integers(0, (1 << 64) - 1))
records = st.tuples(st.integers(0, 255), numbers, st.binary(max_size=20))


@settings(deadline=None, max_examples=150)
@given(
    numbers,
    numbers,
    st.one_of(st.none(), st.binary(max_size=9)),
    st.lists(st.tuples(st.lists(records, max_size=4), st.booleans()), max_size=4),
    st.booleans(),
)
def test_good_checksums_around_nonsense_are_no_way_in(
    number: int,
    base: int,
    meta: bytes | None,
    batches: list[tuple[list[tuple[int, int, bytes]], bool]],
    sealed_wrongly: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    """Whoever writes the files knows how to compute what they end with."""
    head = SegmentHead(number, base, CHAIN_START, meta)
    content, chain = head.encode(IDENTITY), CHAIN_START
    for batch, is_sealed in batches:
        start = len(content)
        for kind, zxid, body in batch:
            record, chain = encode_record(
                kind, zxid, body, chain=chain, segment=number, offset=len(content)
            )
            content += record
        if is_sealed:
            seal, chain = encode_seal(
                content[start + sealed_wrongly :],
                7,
                chain=chain,
                segment=number,
                start=start,
            )
            content += seal
    files = {segment_name(number): content}
    files[snapshot_name(base)] = b"".join(encode_snapshot(base, [b"state"], IDENTITY))

    opens_or_refuses(tuple(sorted(files.items())))


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_metadata_are_read_or_refused(data: st.DataObject) -> None:
    blob = encode_metadata(decode_metadata(None))
    junk = data.draw(st.binary(min_size=1, max_size=12))
    blob = changed(
        blob, data.draw(ways), data.draw(st.integers(0, 40)), len(junk), junk
    )
    with suppress(ProtocolError):
        decode_metadata(blob)


@pytest.mark.parametrize("name", [name for name, _ in small()])
def test_no_length_makes_a_reader_ask_for_memory(name: str) -> None:
    content = dict(small())[name]
    tracemalloc.start()
    try:
        for at in range(len(content) - 4):
            huge = content[:at] + b"\x7f\xff\xff\xff" + content[at + 4 :]
            opens_or_refuses(tuple((dict(small()) | {name: huge}).items()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 30 KB or so in fact; what was declared is 2 GB.
    assert peak < 2 << 20
