"""Torn ends are cut off, rot is refused, and nothing is ever silently wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from coordlib.errors import (
    CorruptLogError,
    ForeignStorageError,
    StorageError,
)
from coordlib.storage.directory import Directory, segment_name, snapshot_name
from coordlib.storage.interface import Entry, EntryKind, Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover
from storage.fake_system import FakeSystem, Image, read_image, write_image
from storage.stored import in_memory, stored

IDENTITY = Identity(member=1, name="test")
LAST_SEGMENT = segment_name(3)


def transactions(*zxids: int) -> list[Entry]:
    return [(EntryKind.TRANSACTION, zxid, b"t%d" % zxid) for zxid in zxids]


@contextmanager
def opened(
    path: Path, identity: Identity = IDENTITY
) -> Iterator[tuple[Recovered, Log]]:
    system = FakeSystem()
    if path.exists():
        system.adopt(path)
    directory = Directory.open(path, system)
    try:
        recovered, position = recover(directory, identity)
        log = Log(directory, identity, Bounds(1 << 20, 3), position)
        try:
            log.open()
            yield recovered, log
        finally:
            log.close()
    finally:
        directory.close()


def read(path: Path) -> Recovered:
    with opened(path) as (recovered, _):
        return in_memory(recovered)


def write(path: Path, *entries: Entry) -> None:
    with opened(path) as (_, log):
        log.append(list(entries))
        log.flush()


def save(path: Path, zxid: int) -> None:
    with opened(path) as (_, log):
        log.stage_snapshot(zxid, [b"s%d" % zxid])
        log.publish_snapshot(zxid)


def flipped(image: Image, name: str, offset: int, mask: int) -> Image:
    files = dict(image)
    content = bytearray(files[name])
    content[offset] ^= mask
    return tuple((files | {name: bytes(content)}).items())


def replaced(image: Image, name: str, content: bytes) -> Image:
    return tuple((dict(image) | {name: content}).items())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three segments with two snapshots; the whole history is there."""
    state = tmp_path / "state"
    write(state, (EntryKind.META, 0, b"m1"), *transactions(1, 2))
    save(state, 2)
    write(state, *transactions(3), (EntryKind.META, 0, b"m2"))
    save(state, 3)
    write(state, *transactions(4, 5, 6))
    return state


def start_of_last_record(path: Path) -> int:
    """Return its offset in the last segment, whose records are equally long."""
    content = (path / LAST_SEGMENT).read_bytes()
    return content.rindex(b"\xc0\x1d\x01")


def start_of_last_seal(path: Path) -> int:
    """Return its offset in the last segment, which ends with it."""
    return (path / LAST_SEGMENT).read_bytes().rindex(b"\xc0\x1d\x05")


def test_every_torn_end_of_the_last_batch_is_cut_off(path: Path) -> None:
    image, whole, begin = read_image(path), read(path), start_of_last_record(path)
    content, seal = dict(image)[LAST_SEGMENT], start_of_last_seal(path)
    for end in range(begin, len(content)):
        write_image(replaced(image, LAST_SEGMENT, content[:end]), path)
        wanted = whole.records if end >= seal else whole.records[:-1]

        assert read(path).records == wanted
        mended = (path / LAST_SEGMENT).read_bytes()
        if end >= seal:
            assert mended == content
        assert read(path).records == wanted
        assert (path / LAST_SEGMENT).read_bytes() == mended, "sealed anew"
        write(path, *transactions(9))
        assert read(path).records == [*wanted, (9, b"t9")]


@pytest.mark.parametrize("tail", [b"\x00" * 100, b"\xc0", b"\xc0\x1d" * 50, b"x" * 27])
def test_garbage_at_the_end_is_cut_off(path: Path, tail: bytes) -> None:
    whole = read(path)
    with (path / LAST_SEGMENT).open("ab") as file:
        file.write(tail)

    assert read(path) == whole


def expected_after_flip(
    name: str, offset: int, whole: Recovered, last_seal: int
) -> Recovered | None:
    """Return what may be recovered; ``None`` if it must be refused."""
    if name == snapshot_name(2):
        return whole  # The newer one is in use.
    if name == snapshot_name(3):
        return Recovered(whole.meta, 0, whole.records, stored(2, b"s2"))
    if name == LAST_SEGMENT and offset >= last_seal:
        return whole  # The records are good, so it is written anew.
    return None


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_refused_or_mended(path: Path, mask: int) -> None:
    image, whole, last_seal = read_image(path), read(path), start_of_last_seal(path)
    for name, content in image:
        for offset in range(len(content)):
            damaged = flipped(image, name, offset, mask)
            write_image(damaged, path)
            wanted = expected_after_flip(name, offset, whole, last_seal)
            version = name.startswith("snapshot") and 8 <= offset < 10
            try:
                recovered = read(path)
            except StorageError:
                assert wanted is None or version, (name, offset)
                assert read_image(path) == damaged, "refused, so left alone"
            else:
                damaged_files = [damage.file for damage in recovered.damage]
                assert damaged_files == [name] * (wanted != whole)
                assert attrs.evolve(recovered, damage=()) == wanted, (name, offset)


def test_damage_says_where_it_is(path: Path) -> None:
    begin = start_of_last_record(path)
    size = start_of_last_seal(path) - begin
    write_image(flipped(read_image(path), LAST_SEGMENT, begin - 1, 1), path)

    with pytest.raises(CorruptLogError, match="with a good seal") as caught:
        read(path)

    assert caught.value.file == LAST_SEGMENT
    assert caught.value.offset == begin - size


def test_a_torn_payload_that_holds_a_log_is_still_torn(path: Path) -> None:
    whole = read(path)
    copy = (path / LAST_SEGMENT).read_bytes()
    write(path, (EntryKind.TRANSACTION, 7, copy * 2))
    torn = (path / LAST_SEGMENT).read_bytes()[: start_of_last_seal(path) - 1]
    write_image(replaced(read_image(path), LAST_SEGMENT, torn), path)

    assert read(path) == whole


def test_a_good_record_in_a_wrong_place_does_not_count(path: Path) -> None:
    begin = start_of_last_record(path)
    content = (path / LAST_SEGMENT).read_bytes()
    size = start_of_last_seal(path) - begin
    # The one before it, written once more in its place.
    content = content[:begin] + content[begin - size : begin] + content[begin:]
    write_image(replaced(read_image(path), LAST_SEGMENT, content), path)

    assert read(path).records[-1] == (5, b"t5")


def test_a_record_of_another_history_is_refused(path: Path, tmp_path: Path) -> None:
    image, other = read_image(path), tmp_path / "other"
    write_image(image, other)
    write(path, *transactions(7))
    ours = (path / LAST_SEGMENT).read_bytes()
    write(other, (EntryKind.TRANSACTION, 7, b"T7"))
    write(other, *transactions(8))
    theirs = (other / LAST_SEGMENT).read_bytes()
    mixed = ours + theirs[len(ours) :]
    write_image(replaced(image, LAST_SEGMENT, mixed), path)

    with pytest.raises(CorruptLogError, match="does not follow the one before"):
        read(path)


def test_damage_in_an_earlier_segment_is_refused_even_at_its_end(path: Path) -> None:
    name = segment_name(2)
    content = (path / name).read_bytes()
    write_image(replaced(read_image(path), name, content[:-1]), path)

    with pytest.raises(CorruptLogError, match="not in the last file") as caught:
        read(path)

    assert caught.value.file == name


def test_an_earlier_segment_that_lost_whole_records_is_refused(path: Path) -> None:
    name = segment_name(2)
    content = (path / name).read_bytes()
    image = read_image(path)
    for begin, found in (
        (content.index(b"\xc0\x1d"), "does not follow the one before"),
        (content.rindex(b"\xc0\x1d"), "the last seal is missing"),
    ):
        write_image(replaced(image, name, content[:begin]), path)

        with pytest.raises(CorruptLogError, match=found):
            read(path)


def test_a_missing_segment_in_the_middle_is_refused(path: Path) -> None:
    (path / segment_name(2)).unlink()

    with pytest.raises(CorruptLogError, match="missing") as caught:
        read(path)

    assert caught.value.file == segment_name(2)


def test_a_missing_first_segment_does_no_harm_if_a_snapshot_follows(path: Path) -> None:
    (path / segment_name(1)).unlink()

    assert read(path) == Recovered(
        b"m2", 2, [(n, b"t%d" % n) for n in (3, 4, 5, 6)], stored(3, b"s3")
    )


def test_a_missing_first_segment_is_refused_without_a_snapshot(path: Path) -> None:
    (path / segment_name(1)).unlink()
    (path / snapshot_name(2)).unlink()
    write_image(flipped(read_image(path), snapshot_name(3), 50, 1), path)

    with pytest.raises(CorruptLogError, match="damaged or incomplete chunk"):
        read(path)
    (path / snapshot_name(3)).unlink()
    with pytest.raises(CorruptLogError, match="no snapshot"):
        read(path)


def test_a_missing_log_is_refused_while_there_are_snapshots(path: Path) -> None:
    for number in (1, 2, 3):
        (path / segment_name(number)).unlink()

    with pytest.raises(CorruptLogError, match="no log at all"):
        read(path)


def test_without_snapshots_a_whole_log_is_enough(path: Path) -> None:
    whole = read(path)
    for zxid in (2, 3):
        (path / snapshot_name(zxid)).unlink()

    assert read(path) == Recovered(whole.meta, 0, whole.records, None)


@pytest.mark.parametrize("size", [0, 1, 59, 60])
def test_a_segment_with_a_torn_head_is_refused(path: Path, size: int) -> None:
    """Unlike a record's, its write is complete before it has its name."""
    content = (path / LAST_SEGMENT).read_bytes()[:size]
    write_image(replaced(read_image(path), LAST_SEGMENT, content), path)

    with pytest.raises(CorruptLogError):
        read(path)


def test_a_copy_of_another_segment_is_refused(path: Path) -> None:
    content = (path / segment_name(2)).read_bytes()
    write_image(replaced(read_image(path), LAST_SEGMENT, content), path)

    with pytest.raises(CorruptLogError, match="copy of segment 2"):
        read(path)


def test_a_snapshot_under_another_name_is_not_used(path: Path) -> None:
    (path / snapshot_name(3)).rename(path / snapshot_name(4))

    assert read(path).snapshot == stored(2, b"s2")


@pytest.mark.parametrize(
    ("identity", "found"),
    [
        (Identity(member=2, name="test"), "member 1 .* expected member 2"),
        (Identity(member=1, name="other"), "expected member 1 of 'other'"),
    ],
)
def test_files_of_another_member_or_ensemble_are_refused(
    path: Path, identity: Identity, found: str
) -> None:
    before = read_image(path)

    with pytest.raises(ForeignStorageError, match=found), opened(path, identity):
        pass

    assert read_image(path) == before


def test_a_snapshot_of_another_member_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with opened(other, Identity(member=9, name="test")) as (_, log):
        log.append([(EntryKind.BASE, 3, b"s3")])
        log.flush()
    content = (other / snapshot_name(3)).read_bytes()
    write_image(replaced(read_image(path), snapshot_name(3), content), path)

    with pytest.raises(ForeignStorageError, match="belongs to member 9"):
        read(path)


def test_another_version_of_the_format_is_named(path: Path) -> None:
    write_image(flipped(read_image(path), segment_name(1), 9, 1 ^ 7), path)

    with pytest.raises(StorageError, match="has format version 7; this is version 1"):
        read(path)


def test_a_good_record_of_an_unknown_kind_is_refused(path: Path) -> None:
    write(path, (EntryKind.TRANSACTION, 7, b"t7"))
    with opened(path) as (_, log):
        log._encode(9, 8, b"from the future")
        log.flush()

    with pytest.raises(CorruptLogError, match="unknown kind of record: 9"):
        read(path)


def test_a_good_record_out_of_order_is_refused(path: Path) -> None:
    with opened(path) as (_, log):
        log._encode(EntryKind.TRANSACTION, 6, b"again")
        log.flush()

    with pytest.raises(CorruptLogError, match="0:6 does not come after 0:6"):
        read(path)
