"""What goes wrong, and when it is repaired. One class of fault per method.

Each ends by itself after a while, so that a seed goes through many situations;
several may hold at the same time.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from random import Random

import attrs

from coordlib.consensus import Role
from coordlib.ids import MemberId

from .kernel import SECOND, Kernel, chance
from .process import Process
from .world import Seat, World

__all__ = ["Faults"]

_CALLS = ("open", "write", "sync", "sync_directory", "rename", "unlink", "truncate")


@attrs.define(eq=False)
class Faults:
    """The mischief of one seed."""

    world: World
    stopped: bool = attrs.field(default=False, init=False)
    _random: Random = attrs.field(init=False)
    _kernel: Kernel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Have a stream of our own."""
        self._kernel = self.world.kernel
        self._random = self._kernel.stream("faults")

    def start(self) -> None:
        """Let the first one come."""
        if self.world.profile.faults:
            self._next()

    def _next(self) -> None:
        pause = self._random.expovariate(1 / self.world.profile.fault_pause)
        self._later(round(pause), self._strike)

    def _strike(self) -> None:
        faults = self.world.profile.faults
        name = self._random.choices(list(faults), list(faults.values()))[0]
        _FAULTS[name](self)
        self._next()

    def _later(self, delay: int, do: Callable[[], None]) -> None:
        """Do something unless the faults have been stopped by then."""
        self._kernel.after(delay, None, partial(self._unless_stopped, do))

    def _unless_stopped(self, do: Callable[[], None]) -> None:
        if not self.stopped:
            do()

    def _while(self) -> int:
        """Return how long something lasts: mostly short, sometimes long."""
        longest = self._random.choice([20_000, 200_000, 1_000_000, 4_000_000])
        return self._random.randrange(1000, longest)

    def _some_process(self) -> Process | None:
        processes = list(self.world.processes.values())
        return self._random.choice(processes) if processes else None

    def _some_seat(self) -> Seat:
        return self._random.choice(list(self.world.seats.values()))

    # --- processes ---

    def _end(self, process: Process | None, name: str, *, power: bool) -> None:
        if process is not None:
            self._kernel.fault(name, f"member {process.member}")
            self._mark_end(process)
            self.world.crash(process.member, name, power=power)
            self.world.start_after(process.member, self._while())

    def _mark_end(self, process: Process) -> None:
        role, mark = process.role, self._kernel.mark
        if role.role is not Role.LEADING:
            mark("follower.ended" if role.epoch else "ended-without-epoch")
        elif not role.epoch:
            mark("leader.ended-before-established")
        elif process.peer.statistics().last_zxid > process.tree.zxid:
            mark("leader.ended-with-uncommitted")
        else:
            mark("leader.ended")

    def kill(self) -> None:
        """A process ends; what it wrote stays."""
        self._end(self._some_process(), "kill", power=False)

    def kill_leader(self) -> None:
        """The same, of the one that matters."""
        power = chance(self._random, 0.3)
        self._end(self.world.leader(), "kill_leader", power=power)

    def kill_between_effects(self) -> None:
        """A process ends in the middle of carrying something out."""
        process = self._some_process()
        if process is not None and process.fuse < 0:
            self._kernel.fault("kill_between_effects", f"member {process.member}")
            process.fuse = self._random.randrange(20)

    def power_loss(self) -> None:
        """A machine loses its power; nobody is told."""
        self._end(self._some_process(), "power_loss", power=True)

    def power_loss_of_all(self) -> None:
        """The whole place is dark for a while."""
        self._kernel.fault("power_loss_of_all", "")
        self._kernel.mark("power-loss-of-all")
        for member in list(self.world.processes):
            self.world.crash(member, "power loss of all", power=True)
        for member in self.world.seats:
            self.world.start_after(member, self._while())

    def pause(self) -> None:
        """A process stands still, as under SIGSTOP or a long collection."""
        process = self._some_process()
        if process is not None and not process.paused:
            self._kernel.fault("pause", f"member {process.member}")
            process.paused = True
            self._later(self._while(), process.resume)

    # --- network ---

    def _cut_for_a_while(
        self,
        name: str,
        directions: list[tuple[MemberId, MemberId]],
        until: int | None = None,
    ) -> None:
        text = " ".join(f"{source}->{target}" for source, target in directions)
        self._kernel.fault(name, text)
        network = self.world.network
        fresh = [d for d in directions if not network.is_cut(*d)]
        for direction in fresh:
            network.cut(*direction)

        def heal() -> None:
            for direction in fresh:
                network.heal(*direction)

        self._later(until or self._while(), heal)

    def _cut_between(self, name: str, pairs: list[tuple[MemberId, MemberId]]) -> None:
        self._cut_for_a_while(name, pairs + [(b, a) for a, b in pairs])

    def _shuffled(self) -> list[MemberId]:
        members = list(self.world.seats)
        self._random.shuffle(members)
        return members

    def isolate(self) -> None:
        """One member hears nobody, and nobody hears it."""
        one, *rest = self._shuffled()
        self._cut_between("isolate", [(one, other) for other in rest])

    def isolate_leader(self) -> None:
        """The leader goes on alone for long enough to be replaced."""
        leader = self.world.leader()
        if leader is not None:
            one = leader.member
            others = [other for other in self.world.seats if other != one]
            silence = self.world.profile.settings.silence_timeout
            until = round(self._random.uniform(0.5, 3.0) * silence * SECOND)
            pairs = [(one, other) for other in others]
            if chance(self._random, 0.7):
                pairs += [(other, one) for other in others]
            self._cut_for_a_while("isolate_leader", pairs, until)

    def split(self) -> None:
        """Two groups."""
        members = self._shuffled()
        at = self._random.randint(0, len(members))
        pairs = [(a, b) for a in members[:at] for b in members[at:]]
        self._cut_between("split", pairs)

    def one_way(self) -> None:
        """Some directions only: the deaf and the mute."""
        one, *rest = self._shuffled()
        count = self._random.randint(0, len(rest))
        pairs = [(one, other) for other in rest[:count]]
        if chance(self._random, 0.5):
            pairs = [(b, a) for a, b in pairs]
        self._cut_for_a_while("one_way", pairs)

    def bridge(self) -> None:
        """Two groups that only one member can talk to."""
        _, *members = self._shuffled()
        at = len(members) // 2
        pairs = [(a, b) for a in members[:at] for b in members[at:]]
        self._cut_between("bridge", pairs)

    def ring(self) -> None:
        """Everybody sees his neighbours only."""
        members = self._shuffled()
        count = len(members)
        pairs = [
            (members[i], members[j])
            for i in range(count)
            for j in range(i + 2, count)
            if (i, j) != (0, count - 1)
        ]
        self._cut_between("ring", pairs)

    def flap(self) -> None:
        """A connection comes and goes."""
        if len(self.world.seats) > 1:
            one, other, *_ = self._shuffled()
            self._flap(one, other, self._random.randrange(2, 12))

    def _flap(self, one: MemberId, other: MemberId, times: int) -> None:
        if times:
            self._cut_between("flap", [(one, other)])
            again = partial(self._flap, one, other, times - 1)
            self._later(self._random.randrange(10_000, 300_000), again)

    def reset(self) -> None:
        """A link breaks for both."""
        self._break("reset", half=False)

    def half_open(self) -> None:
        """A link breaks for one, and the other does not know."""
        self._break("half_open", half=True)

    def _break(self, name: str, *, half: bool) -> None:
        ends = self.world.network.links()
        if ends:
            end = self._random.choice(ends)
            if half and chance(self._random, 0.5) and end.other.is_open:
                end = end.other
            members = f"{end.user.member} and {end.other.user.member}"
            self._kernel.fault(name, members)
            self.world.network.break_link(end, half=half)

    def second_link(self) -> None:
        """A member dials again although it has a link."""
        process = self._some_process()
        if process is not None and not process.paused:
            lower = [m for m in self.world.seats if m < process.member]
            other = self.world.network.running(
                self._random.choice(lower or [process.member])
            )
            if other is not None and other is not process:
                self._kernel.fault("second_link", f"{process.member} to {other.member}")
                self.world.network.connect(process, other)

    def clog(self) -> None:
        """A direction becomes slow."""
        if len(self.world.seats) > 1:
            one, other, *_ = self._shuffled()
            self._kernel.fault("clog", f"{one}->{other}")
            self.world.clogs[one, other] = self._random.randrange(10_000, 800_000)
            self._later(self._while(), partial(self._unclog, one, other))

    def _unclog(self, one: MemberId, other: MemberId) -> None:
        self.world.clogs.pop((one, other), None)

    # --- disks ---

    def slow_disk(self) -> None:
        """A disk takes ten to a thousand times as long."""
        seat = self._some_seat()
        self._kernel.fault("slow_disk", f"member {seat.member}")
        seat.slowness = self._random.choice([10.0, 100.0, 1000.0])
        self._later(self._while(), partial(setattr, seat, "slowness", 1.0))

    def stalled_disk(self) -> None:
        """A disk does nothing for a while."""
        seat = self._some_seat()
        self._kernel.fault("stalled_disk", f"member {seat.member}")
        seat.stalled_until = self._kernel.now + self._while()

    def disk_error(self) -> None:
        """The next call of some kind fails."""
        seat = self._some_seat()
        call = self._random.choice(_CALLS)
        self._kernel.fault("disk_error", f"member {seat.member} {call}")
        seat.disk.fail = (call, errno.EIO)

    def full_disk(self) -> None:
        """There is no space for a while."""
        seat = self._some_seat()
        self._kernel.fault("full_disk", f"member {seat.member}")
        seat.disk.full = True
        self._later(self._while(), partial(setattr, seat.disk, "full", False))  # noqa: FBT003 - setattr

    def wipe(self) -> None:
        """A member gets a new disk, if the others can bear it."""
        seat = self._some_seat()
        seasoned = [
            other.image.refresh().metadata.seasoned
            for other in self.world.seats.values()
            if other is not seat
        ]
        if 2 * sum(seasoned) > len(self.world.seats):
            self._kernel.fault("wipe", f"member {seat.member}")
            self.world.crash(seat.member, "wipe", power=True)
            self.world.wipe(seat.member)
            self.world.start_after(seat.member, self._while())

    def flood(self) -> None:
        """Clients ask for very much at once."""
        process = self._some_process()
        if process is not None and not process.paused:
            self._kernel.fault("flood", f"member {process.member}")
            for worker in process.service.workers:
                worker.flood(self._random.randrange(10, 200))


_FAULTS: dict[str, Callable[[Faults], None]] = {
    "kill": Faults.kill,
    "kill_leader": Faults.kill_leader,
    "kill_between_effects": Faults.kill_between_effects,
    "power_loss": Faults.power_loss,
    "power_loss_of_all": Faults.power_loss_of_all,
    "pause": Faults.pause,
    "isolate": Faults.isolate,
    "isolate_leader": Faults.isolate_leader,
    "split": Faults.split,
    "one_way": Faults.one_way,
    "bridge": Faults.bridge,
    "ring": Faults.ring,
    "flap": Faults.flap,
    "reset": Faults.reset,
    "half_open": Faults.half_open,
    "second_link": Faults.second_link,
    "clog": Faults.clog,
    "slow_disk": Faults.slow_disk,
    "stalled_disk": Faults.stalled_disk,
    "disk_error": Faults.disk_error,
    "full_disk": Faults.full_disk,
    "wipe": Faults.wipe,
    "flood": Faults.flood,
}
