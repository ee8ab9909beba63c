"""Recovers from a crash image in memory: a hundred thousand times in a minute."""

from __future__ import annotations

from pathlib import Path
from random import Random

from coordlib.storage.directory import Directory
from coordlib.storage.interface import Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover
from coordlib.testing.simulation.disk import Disk, File
from storage.fake_system import Image
from storage.stored import in_memory


def disk_of(image: Image) -> Disk:
    disk = Disk(Random(0), lambda: False)
    for name, content in image:
        disk.names[name] = File(bytearray(content), bytearray(content))
    disk.durable_names = dict(disk.names)
    return disk


def image_of(disk: Disk) -> Image:
    """Return what is durable."""
    files = disk.durable_names.items()
    return tuple(sorted((name, bytes(file.durable)) for name, file in files))


def open_disk(disk: Disk, identity: Identity, bounds: Bounds) -> tuple[Recovered, Log]:
    directory = Directory(Path("memory"), 0, 0, disk)
    recovered, position = recover(directory, identity)
    log = Log(directory, identity, bounds, position)
    log.open()
    return in_memory(recovered), log


def recover_disk(disk: Disk, identity: Identity) -> Recovered:
    return in_memory(recover(Directory(Path("memory"), 0, 0, disk), identity)[0])
