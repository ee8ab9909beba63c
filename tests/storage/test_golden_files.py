"""Files that an earlier coordlib wrote are read by this one, for ever.

``golden`` is a data directory as version 1 of the formats writes it. It is not
to be made anew: a change that breaks these tests needs a new version number,
and a reader for the old one.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from coordlib import encoding
from coordlib.consensus import Metadata
from coordlib.errors import ProtocolError
from coordlib.ids import Epoch, MemberId, Zxid
from coordlib.replica.metadata import decode_metadata, encode_metadata
from coordlib.storage.directory import Directory
from coordlib.storage.interface import Entry, EntryKind, Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover
from coordlib.testing.simulation.disk import Disk, File
from storage.stored import in_memory, stored

GOLDEN = Path(__file__).parent / "golden"
IDENTITY = Identity(member=3, name="golden")
EPOCH = 7 << 32
# Accepted and current epoch, seasoned, the ensemble's id.
METADATA = bytes.fromhex("84 07 07 f5 50") + b"0123456789abcdef"


def golden() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(GOLDEN.iterdir())}


def open_disk(disk: Disk) -> tuple[Recovered, Log]:
    directory = Directory(Path("golden"), 0, 0, disk)
    recovered, position = recover(directory, IDENTITY)
    log = Log(directory, IDENTITY, Bounds(1 << 20, 2), position)
    log.open()
    return in_memory(recovered), log


def empty_disk() -> Disk:
    return Disk(Random(0), lambda: False)


def write(disk: Disk) -> None:
    """Write one entry of every kind, a payload beyond a sector, and a snapshot."""
    _, log = open_disk(disk)
    batches: list[list[Entry]] = [
        [(EntryKind.META, 0, METADATA)],
        [(EntryKind.BASE, EPOCH | 1, b"received")],
        [
            (EntryKind.TRANSACTION, EPOCH | 2, b"two"),
            (EntryKind.TRANSACTION, EPOCH | 3, bytes(range(256)) * 3),
        ],
    ]
    for batch in batches:
        log.append(batch)
        log.flush()
    log.stage_snapshot(EPOCH | 3, [b"saved"])
    log.publish_snapshot(EPOCH | 3)
    log.append(
        [
            (EntryKind.TRANSACTION, EPOCH | 4, b""),
            (EntryKind.TRANSACTION, EPOCH | 5, b"cut"),
        ]
    )
    log.flush()
    log.append([(EntryKind.CUT, EPOCH | 4, b"")])
    log.flush()


def test_golden_files_are_read() -> None:
    disk = empty_disk()
    for name, content in golden().items():
        disk.names[name] = File(bytearray(content), bytearray(content))
    disk.durable_names = dict(disk.names)

    recovered, _ = open_disk(disk)

    assert recovered.meta == METADATA
    assert recovered.base == EPOCH | 1
    assert recovered.records == [
        (EPOCH | 2, b"two"),
        (EPOCH | 3, bytes(range(256)) * 3),
        (EPOCH | 4, b""),
    ]
    assert recovered.snapshot == stored(EPOCH | 3, b"saved")
    assert {n: bytes(file.durable) for n, file in disk.names.items()} == golden()


def test_golden_files_are_what_is_written_today() -> None:
    disk = empty_disk()

    write(disk)

    assert {n: bytes(file.durable) for n, file in disk.names.items()} == golden()


def test_golden_metadata_are_read() -> None:
    assert decode_metadata(METADATA) == Metadata(
        accepted_epoch=Epoch(7),
        current_epoch=Epoch(7),
        seasoned=True,
        ensemble_id=b"0123456789abcdef",
    )


def test_metadata_of_all_lengths_are_read() -> None:
    whole = Metadata(
        Epoch(7),
        Epoch(6),
        seasoned=True,
        ensemble_id=b"i" * 16,
        damaged=True,
        start=Zxid(9),
        levels=((MemberId(1), Zxid(5)), (MemberId(2), Zxid(8))),
    )
    fields = [7, 6, True, b"i" * 16, True, 9, [[1, 5], [2, 8]]]

    assert encode_metadata(whole) == encoding.encode(fields)
    assert decode_metadata(encoding.encode(fields)) == whole
    assert decode_metadata(encoding.encode(fields[:5])).damaged
    assert decode_metadata(encoding.encode(fields[:6])).start == 9
    for wrong in (
        [7, 6, True],
        [*fields, 1],
        [*fields[:5], -1],
        [*fields[:5], b""],
        [*fields[:6], [[1, 2, 3]]],
        [*fields[:6], 1],
    ):
        with pytest.raises(ProtocolError):
            decode_metadata(encoding.encode(wrong))
