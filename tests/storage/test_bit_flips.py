"""Every flipped bit and every shorter file: refused, or nothing is lost.

``make test`` takes a sample, another one in each run; ``make bitflips`` all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from random import Random, SystemRandom

import attrs
import pytest

from coordlib.errors import CorruptLogError, StorageError
from coordlib.storage.history import History
from coordlib.storage.interface import Entry, EntryKind, Recovered
from coordlib.storage.log import Bounds
from coordlib.storage.record import Identity
from storage.fake_system import Image
from storage.memory_disk import disk_of, image_of, open_disk, recover_disk

IDENTITY = Identity(member=1, name="test")
# One of so many is tried; all by ``make bitflips``.
STEP = 1 if os.environ.get("BITFLIPS") == "all" else 10
PARTS = 16
SNAPSHOT = b"state" * 60 + bytes(100)


@cache
def written() -> tuple[Image, Recovered, tuple[History, ...]]:
    """Return a small data directory, what it holds, and held after each entry.

    Three segments of 11,000 bytes, with batches of one record and of many, within
    a sector and beyond, sparse and dense, cuts and metadata; two snapshots.
    """
    random = Random(7)
    disk = disk_of(())
    _, log = open_disk(disk, IDENTITY, Bounds(1 << 20, 3))
    history, states = History(), [History()]
    zxid = 0
    for turn in range(33):
        batch: list[Entry] = []
        for _ in range(random.choice([1, 1, 2, 5])):
            zxid += 1
            size = random.choice([0, 10, 100, 600])
            payload = random.choice([bytes(size), random.randbytes(size)])
            batch.append((EntryKind.TRANSACTION, zxid, payload))
        if turn % 5 == 0:
            batch.append((EntryKind.META, 0, b"metadata %d" % turn))
        if turn == 27:
            batch.append((EntryKind.CUT, zxid - 3, b""))
        log.append(batch)
        log.flush()
        for entry in batch:
            history.apply(*entry)
            states.append(History(history.meta, 0, history.records.copy()))
        if turn in (11, 22):
            log.stage_snapshot(zxid, [SNAPSHOT])
            log.publish_snapshot(zxid)
    image = image_of(disk)
    return image, recover_disk(disk_of(image), IDENTITY), tuple(states)


def sample(count: int, part: int) -> Iterator[int]:
    first = SystemRandom().randrange(STEP)
    return iter(range(part + PARTS * first, count, PARTS * STEP))


def recover_damaged(name: str, image: Image) -> Recovered | None:
    """Return what there is; ``None`` if it is refused as it should be."""
    disk = disk_of(image)
    try:
        return recover_disk(disk, IDENTITY)
    except StorageError as error:
        refused = error
    assert image_of(disk) == image, "refused, so left alone"
    if isinstance(refused, CorruptLogError):
        assert 0 <= refused.offset <= len(dict(image)[refused.file])
    else:
        assert str(refused).startswith(name)
    return None


def loses_nothing(name: str, recovered: Recovered, whole: Recovered) -> bool:
    """Tell whether all is there, if perhaps an older snapshot."""
    if not name.startswith("snapshot.") or recovered.snapshot is None:
        return recovered == whole
    assert [damage.file for damage in recovered.damage] in ([], [name])
    older = attrs.evolve(whole, snapshot=recovered.snapshot, damage=recovered.damage)
    return recovered == older and list(recovered.snapshot.pieces) == [SNAPSHOT]


def test_the_sample_is_of_what_it_says() -> None:
    image, whole, states = written()
    kinds = [name.split(".")[0] for name, _ in image]

    assert kinds == ["log"] * 3 + ["snapshot"] * 2
    assert sum(9 * len(content) for _, content in image) > 100_000
    assert (whole.meta, whole.records) == (states[-1].meta, states[-1].records)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_flipped_bit_is_refused_or_costs_nothing(part: int) -> None:
    image, whole, _ = written()
    places = [
        (name, offset) for name, content in image for offset in range(len(content))
    ]
    for number in sample(8 * len(places), part):
        name, offset = places[number // 8]
        content = bytearray(dict(image)[name])
        content[offset] ^= 1 << number % 8
        damaged = tuple((dict(image) | {name: bytes(content)}).items())

        recovered = recover_damaged(name, damaged)

        if recovered is not None:
            place = (name, offset, number % 8)
            assert loses_nothing(name, recovered, whole), place


@pytest.mark.parametrize("part", range(PARTS))
def test_every_shorter_file_is_refused_or_an_earlier_state(part: int) -> None:
    image, whole, states = written()
    sizes = [(name, size) for name, content in image for size in range(len(content))]
    last = max(name for name, _ in image if name.startswith("log."))
    for number in sample(len(sizes), part):
        name, size = sizes[number]
        shorter = dict(image) | {name: dict(image)[name][:size]}

        recovered = recover_damaged(name, tuple(shorter.items()))

        if recovered is None:
            continue
        if name == last:
            state = History(recovered.meta, 0, recovered.records)
            assert state in states, size
            assert recovered.snapshot == whole.snapshot
        else:
            assert name.startswith("snapshot."), (name, size)
            assert loses_nothing(name, recovered, whole), (name, size)
