"""Disks that are slow, refuse, are full, are replaced by empty ones."""

from __future__ import annotations

import errno
from collections.abc import Callable

from .strike import Strike
from .world import Seat

__all__ = ["FAULTS"]

_CALLS = (
    "open",
    "read",
    "write",
    "sync",
    "sync",
    "sync_directory",
    "rename",
    "unlink",
    "truncate",
)


def slow_disk(strike: Strike) -> None:
    """A disk takes ten to a thousand times as long."""
    seat = strike.some_seat()
    strike.kernel.fault("slow_disk", f"member {seat.member}")
    seat.slowness = strike.random.choice([10.0, 100.0, 1000.0])

    def recover() -> None:
        seat.slowness = 1.0

    strike.later(strike.duration(), recover)


def _stall(strike: Strike, seat: Seat, name: str) -> None:
    strike.kernel.fault(name, f"member {seat.member}")
    seat.stalled_until = strike.kernel.now + strike.duration()


def stalled_disk(strike: Strike) -> None:
    """A disk does nothing for a while."""
    _stall(strike, strike.some_seat(), "stalled_disk")


def stalled_leader_disk(strike: Strike) -> None:
    """The disk that matters does nothing for a while."""
    leader = strike.world.leader()
    if leader is not None:
        _stall(strike, strike.world.seats[leader.member], "stalled_leader_disk")


def disk_error(strike: Strike) -> None:
    """The next call of some kind fails."""
    seat = strike.some_seat()
    call = strike.random.choice(_CALLS)
    strike.kernel.fault("disk_error", f"member {seat.member} {call}")
    seat.disk.fail = (call, errno.EIO)


def full_disk(strike: Strike) -> None:
    """There is no space for a while."""
    seat = strike.some_seat()
    strike.kernel.fault("full_disk", f"member {seat.member}")
    seat.disk.full = True

    def make_room() -> None:
        seat.disk.full = False

    strike.later(strike.duration(), make_room)


def wipe(strike: Strike) -> None:
    """A member gets a new disk, if the others can bear it."""
    seat, world = strike.some_seat(), strike.world
    remembering = sum(
        world.seats[member].image.refresh().metadata.seasoned
        for member in world.voters
        if member != seat.member
    )
    if 2 * remembering > len(world.voters):
        strike.kernel.fault("wipe", f"member {seat.member}")
        world.crash(seat.member, "wipe", power=True)
        world.wipe(seat.member)
        world.start_after(seat.member, strike.duration())


FAULTS: dict[str, Callable[[Strike], None]] = {
    "slow_disk": slow_disk,
    "stalled_disk": stalled_disk,
    "stalled_leader_disk": stalled_leader_disk,
    "disk_error": disk_error,
    "full_disk": full_disk,
    "wipe": wipe,
}
