"""Disks that are slow, refuse, are full, rot, are replaced by empty ones."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from functools import partial

from coordlib.ids import MemberId
from coordlib.storage.directory import segment_name

from .kernel import SECOND, chance
from .strike import Strike
from .world import Seat, rot

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


def _stall(strike: Strike, seat: Seat, name: str, duration: int) -> None:
    strike.kernel.fault(name, f"member {seat.member}")
    seat.stalled_until = strike.kernel.now + duration


def stalled_disk(strike: Strike) -> None:
    """A disk does nothing for a while."""
    _stall(strike, strike.some_seat(), "stalled_disk", strike.duration())


def stalled_leader_disk(strike: Strike) -> None:
    """The disk that matters does nothing: it may still lead, or should no more."""
    leader = strike.world.leader()
    if leader is not None:
        seat = strike.world.seats[leader.member]
        silence = strike.world.profile.settings.silence_timeout
        duration = round(strike.random.uniform(0.5, 5.0) * silence * SECOND)
        _stall(strike, seat, "stalled_leader_disk", duration)


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
    if world.is_dispensable(seat):
        strike.kernel.fault("wipe", f"member {seat.member}")
        world.crash(seat.member, "wipe", power=True)
        world.wipe(seat.member)
        delay = strike.duration()
        world.start_after(seat.member, delay)
        if chance(strike.random, 0.3):
            strike.later(delay + 1, partial(_doom, strike, seat))


def _doom(strike: Strike, seat: Seat) -> None:
    """Let what a new disk needs not be sent, or not be installed."""
    leader = strike.world.leader()
    if seat.process is not None and chance(strike.random, 0.5):
        seat.process.dies_before = "InstallSnapshot"
    elif leader is not None:
        leader.dies_before = strike.random.choice(["SendSnapshot", "SendRecords"])


def bit_rot(strike: Strike) -> None:
    """A bit of the log or of the newest snapshot flips while the member is down.

    It is found at the next start, if the others can bear that the member counts
    for nothing until they have repaired it. A seal is mended instead. What a
    power loss left behind the last good record is spared, since it is nothing.
    """
    seat, world = strike.some_seat(), strike.world
    if (
        seat.image.damage
        or not seat.disk.durable_names
        or not world.is_dispensable(seat)
    ):
        return
    world.crash(seat.member, "bit rot", power=chance(strike.random, 0.5))
    last, end = seat.image.end
    disk = seat.disk
    both = disk.names.items() & disk.durable_names.items()
    logs = sorted((n, f) for n, f in both if n.startswith("log."))
    snapshots = sorted((n, f) for n, f in both if n.startswith("snapshot."))
    rots_snapshot = snapshots and chance(strike.random, 0.5)
    name, file = snapshots[-1] if rots_snapshot else strike.random.choice(logs)
    size = end if name == segment_name(last) else len(file.durable)
    strike.kernel.fault("bit_rot", f"member {seat.member} {name}")
    seat.image.damage = name
    rot(file, size, strike.random)
    world.start_after(seat.member, strike.duration())


def roll_back(strike: Strike) -> None:
    """A disk is what it was some time ago, and nothing on it tells.

    For a while before, some do not hear what the others agree upon; and these are
    gone for a while after it, so that the rest would be a quorum that lacks it.
    """
    world, random = strike.world, strike.random
    seat = world.seats[random.choice(sorted(world.voters))]
    if seat.old is None or chance(random, 0.2):
        if seat.image.remembers:
            seat.old = seat.disk.copy()
        return
    others = sorted(world.voters - {seat.member})
    random.shuffle(others)
    deaf = others[: len(world.voters) // 2]
    pairs = [(m, other) for m in deaf for other in world.seats if other not in deaf]
    cuts = [d for a, b in pairs for d in ((a, b), (b, a))]
    cuts = [d for d in cuts if not world.network.is_cut(*d)]
    if world.may_roll_back(seat, seat.old):
        for direction in cuts:
            world.network.cut(*direction)
        moment = random.randrange(SECOND)
        strike.later(moment, partial(_roll_back, strike, seat, deaf, cuts))


def _roll_back(
    strike: Strike,
    seat: Seat,
    deaf: Sequence[MemberId],
    cuts: Sequence[tuple[MemberId, MemberId]],
) -> None:
    world = strike.world
    for direction in cuts:
        world.network.heal(*direction)
    if seat.old is None or not world.may_roll_back(seat, seat.old):
        return
    strike.kernel.fault("roll_back", f"member {seat.member}, deaf were {deaf}")
    world.crash(seat.member, "roll back", power=True)
    world.roll_back(seat, seat.old)
    seat.old = None
    world.start_after(seat.member, strike.random.randrange(SECOND // 10))
    for member in sorted(world.voters - {seat.member, *deaf}):
        world.crash(member, "its peer is rolled back")
        world.start_after(member, SECOND + strike.duration())


def rot_everywhere(strike: Strike) -> None:
    """No voter can read its log: nobody leads, and nothing is lost, till it is back.

    What was written and not synced at that moment gets there, as after ``kill -9``.
    Once is enough: nothing else is tried meanwhile.
    """
    world = strike.world
    disks = [world.seats[member].disk for member in world.voters]
    readable = all(any(n.startswith("log.") for n in disk.names) for disk in disks)
    if (
        len(disks) == 1
        or not readable
        or strike.kernel.faults["rot_everywhere"]
        or any(map(_is_damaged, world.seats.values()))
    ):
        return
    strike.kernel.fault("rot_everywhere", "")
    world.damage_everybody(strike.random)
    for member in world.seats:
        world.start_after(member, strike.random.randrange(SECOND // 5))
    strike.later(strike.random.randrange(2 * SECOND), world.restore_everybody)


def _is_damaged(seat: Seat) -> bool:
    image = seat.image
    return bool(image.damage or image.has_lost or image.metadata.damaged)


FAULTS: dict[str, Callable[[Strike], None]] = {
    "slow_disk": slow_disk,
    "stalled_disk": stalled_disk,
    "stalled_leader_disk": stalled_leader_disk,
    "disk_error": disk_error,
    "full_disk": full_disk,
    "wipe": wipe,
    "bit_rot": bit_rot,
    "roll_back": roll_back,
    "rot_everywhere": rot_everywhere,
}
