"""What disks hold, seen from outside: nothing durable is ever taken back."""

from __future__ import annotations

from random import Random

import pytest

from coordlib.consensus import Metadata
from coordlib.ids import Epoch, MemberId
from coordlib.replica.metadata import encode_metadata
from coordlib.storage.directory import segment_name
from coordlib.storage.interface import EntryKind
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.testing.simulation import Violation
from coordlib.testing.simulation.disk import Disk
from coordlib.testing.simulation.image import Image
from coordlib.testing.simulation.store import Store

MEMBER = MemberId(1)
NAME = "test"
FIRST = 1 << 32 | 1


@pytest.fixture
def disk() -> Disk:
    return Disk(Random(0), lambda: False)


@pytest.fixture
def image(disk: Disk) -> Image:
    return Image(MEMBER, disk, Identity(MEMBER, NAME), lambda _: None)


@pytest.fixture
def log(disk: Disk) -> Log:
    _, log = Store.open(disk, MEMBER, NAME, Bounds(1 << 20, 2), repairable=True)
    promise(log, 1, 1)
    log.append([(EntryKind.TRANSACTION, FIRST + i, b"abc") for i in range(3)])
    log.flush()
    return log


def promise(log: Log, accepted: int, current: int) -> None:
    metadata = Metadata(
        accepted_epoch=Epoch(accepted), current_epoch=Epoch(current), seasoned=True
    )
    log.append([(EntryKind.META, 0, encode_metadata(metadata))])
    log.flush()


def cut(disk: Disk, less: int) -> None:
    fd = disk.open(segment_name(1), 0, dir_fd=0)
    disk.truncate(fd, len(disk.names[segment_name(1)].seen) - less)
    disk.sync(fd)


@pytest.mark.usefixtures("log")
def test_a_record_that_was_durable_must_stay(disk: Disk, image: Image) -> None:
    assert image.refresh().last == FIRST + 2

    cut(disk, 1)

    with pytest.raises(Violation, match="durable-log"):
        image.refresh()


@pytest.mark.usefixtures("log")
def test_what_was_never_complete_may_go(disk: Disk, image: Image) -> None:
    image.refresh()
    disk.names[segment_name(1)].durable += b"\xc0\x1d torn"
    disk.names[segment_name(1)].seen += b"\xc0\x1d torn"

    cut(disk, 3)

    assert image.refresh().last == FIRST + 2


@pytest.mark.parametrize(("accepted", "current"), [(1, 1), (2, 1), (1, 2)])
def test_epochs_only_grow(log: Log, image: Image, accepted: int, current: int) -> None:
    promise(log, 2, 2)
    image.refresh()

    promise(log, accepted, current)

    with pytest.raises(Violation, match="epoch-monotonicity"):
        image.refresh()


@pytest.mark.usefixtures("log")
def test_what_rotted_remembers_nothing_but_is_known(disk: Disk, image: Image) -> None:
    number, end = image.end
    before = image.remembers

    image.damage = segment_name(number)
    disk.names[segment_name(number)].flip(end - 1, 0)

    assert (before, image.remembers) == (True, False)
    assert image.holds(FIRST, b"abc")


@pytest.mark.usefixtures("log")
def test_a_disk_that_was_replaced_is_remembered_by_us_alone(
    disk: Disk, image: Image
) -> None:
    image.refresh()

    image.forget_all()
    disk.wipe()

    assert image.holds(FIRST, b"abc")
    assert image.has_entered(1)
    assert image.refresh().last == 0
    assert not image.remembers
