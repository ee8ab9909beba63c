"""Processes that end, stand still, or are asked for too much."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from coordlib.consensus import Role
from coordlib.errors import LeadTransferError
from coordlib.storage.interface import EntryKind

from .kernel import SECOND, Crashed, chance
from .process import Process
from .strike import Strike

__all__ = ["FAULTS"]


# Those that a count of any effects hardly ever meets.
_EFFECTS = (
    "Cut",
    "InstallSnapshot",
    "SendRecords",
    "SendSnapshot",
    "SaveMetadata",
    "RoleChanged",
    "Confirmed",
    "Close",
)


_WRITES = (EntryKind.CUT, EntryKind.BASE, EntryKind.META)


def _end(strike: Strike, process: Process | None, name: str, *, power: bool) -> None:
    if process is not None:
        strike.kernel.fault(name, f"member {process.member}")
        _mark_end(strike, process)
        strike.world.crash(process.member, name, power=power)
        strike.world.start_after(process.member, strike.duration())


def _mark_end(strike: Strike, process: Process) -> None:
    role, mark = process.role, strike.kernel.mark
    statistics = process.peer.statistics()
    if role.role is Role.LOOKING:
        mark("ended.looking")
    elif role.role is Role.FOLLOWING:
        mark("ended.following" if role.epoch else "ended.follower-not-yet-level")
    elif not role.epoch:
        chosen = process.peer.metadata.accepted_epoch > process.oracles.newest_epoch
        mark("ended.leader-with-a-new-epoch" if chosen else "ended.leader-alone")
    elif statistics.last_zxid > process.tree.zxid:
        mark("ended.leader-with-uncommitted")
    else:
        mark("ended.leader")


def kill(strike: Strike) -> None:
    """A process ends; what it wrote stays."""
    _end(strike, strike.some_process(), "kill", power=False)


def kill_leader(strike: Strike) -> None:
    """The same, of the one that matters."""
    world = strike.world
    leader = world.leader()
    power = chance(strike.random, 0.3)
    healthy = leader is not None and not power and world.is_healthy()
    _end(strike, leader, "kill_leader", power=power)
    if healthy:
        world.oracles.vacant_since = world.kernel.now


def kill_would_be_leader(strike: Strike) -> None:
    """The same, of one that is not established yet."""
    candidates = [
        process
        for process in strike.world.processes.values()
        if process.role.role is Role.LEADING and not process.role.epoch
    ]
    if candidates:
        process = strike.random.choice(candidates)
        _end(strike, process, "kill_would_be_leader", power=False)


def kill_between_effects(strike: Strike) -> None:
    """A process ends in the middle of carrying something out."""
    process = strike.some_process()
    if process is not None and process.fuse < 0 and not process.dies_before:
        strike.kernel.fault("kill_between_effects", f"member {process.member}")
        if chance(strike.random, 0.5):
            process.fuse = strike.random.randrange(20)
        else:
            process.dies_before = strike.random.choice(_EFFECTS)


def kill_while_writing(strike: Strike) -> None:
    """A process or its machine ends while its disk works on something rare."""
    process = strike.some_process()
    if process is not None:
        strike.kernel.fault("kill_while_writing", f"member {process.member}")
        process.dies_writing = strike.random.choice(_WRITES)
        process.loses_power = chance(strike.random, 0.5)


def power_loss(strike: Strike) -> None:
    """A machine loses its power; nobody is told."""
    _end(strike, strike.some_process(), "power_loss", power=True)


def power_loss_of_all(strike: Strike) -> None:
    """The whole place is dark for a while."""
    world = strike.world
    strike.kernel.fault("power_loss_of_all", "")
    for member in list(world.processes):
        world.crash(member, "power loss of all", power=True)
    for member in world.seats:
        world.start_after(member, strike.duration())


def restart_storm(strike: Strike) -> None:
    """A process ends again and again, as under a hasty supervisor."""
    seat = strike.some_seat()
    strike.kernel.fault("restart_storm", f"member {seat.member}")
    moment = 0
    for _ in range(strike.random.randrange(3, 15)):
        moment += strike.random.randrange(1000, 60_000)

        def restart() -> None:
            strike.world.crash(seat.member, "restart storm")
            strike.world.start(seat.member)

        strike.later(moment, restart)


def _pause(strike: Strike, process: Process, name: str, duration: int) -> None:
    if not process.paused:
        strike.kernel.fault(name, f"member {process.member}")
        process.paused = True
        strike.later(duration, process.resume)


def pause(strike: Strike) -> None:
    """A process stands still, as under SIGSTOP or a long collection."""
    process = strike.some_process()
    if process is not None:
        duration = strike.duration()
        if process is strike.world.leader() or chance(strike.random, 0.3):
            pause_leader(strike, "pause")
        else:
            _pause(strike, process, "pause", duration)


def pause_leader(strike: Strike, name: str = "pause_leader") -> None:
    """The leader stands still for long enough to be replaced, or nearly."""
    leader = strike.world.leader()
    if leader is not None:
        silence = strike.world.profile.settings.silence_timeout
        duration = round(strike.random.uniform(0.5, 3.0) * silence * SECOND)
        _pause(strike, leader, name, duration)


def transfer_lead(strike: Strike) -> None:
    """Somebody, not always anybody fit, is to take the lead."""
    leader = strike.world.leader()
    if leader is None or leader.paused:
        return
    strike.kernel.fault("transfer_lead", f"member {leader.member}")
    to = strike.random.choice([None, None, *strike.world.seats])
    epoch = leader.role.epoch
    with suppress(LeadTransferError, Crashed):
        leader.transfer_lead(to)
        strike.kernel.mark("transfer.begun")

    def look() -> None:
        successor = strike.world.leader()
        if successor is not None and successor.role.epoch > epoch:
            if successor.member == to:
                strike.kernel.mark("transfer.done")
            if not successor.paused and chance(strike.random, 0.3):
                _end(strike, successor, "transfer_lead", power=False)

    strike.later(strike.random.choice([5_000, 20_000, 100_000]), look)


def flood(strike: Strike) -> None:
    """Clients ask for very much at once."""
    process = strike.some_process()
    if process is not None and not process.paused:
        strike.kernel.fault("flood", f"member {process.member}")
        for worker in process.service.workers:
            worker.flood(strike.random.randrange(10, 200))


FAULTS: dict[str, Callable[[Strike], None]] = {
    "kill": kill,
    "kill_leader": kill_leader,
    "kill_would_be_leader": kill_would_be_leader,
    "kill_between_effects": kill_between_effects,
    "kill_while_writing": kill_while_writing,
    "power_loss": power_loss,
    "power_loss_of_all": power_loss_of_all,
    "restart_storm": restart_storm,
    "pause": pause,
    "pause_leader": pause_leader,
    "transfer_lead": transfer_lead,
    "flood": flood,
}
