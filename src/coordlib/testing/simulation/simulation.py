"""One seed from its beginning to its verdict.

First faults and safety: everything goes wrong that the seed's profile allows.
Then life: a quorum is healed, everything else stays as it is or gets worse, and
the quorum has to elect, agree and be equal within a bounded time; and sessions
whose keeper is no more have to expire.
"""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Set as AbstractSet

import attrs

from coordlib.ids import MemberId
from coordlib.tree import DataTree

from .faults import Faults
from .kernel import SECOND, Violation
from .notes import judge
from .world import Seat, World

__all__ = ["Outcome", "simulate"]

# How long life may take, in times that a silent member counts as dead.
_ELECTION_TIMEOUTS = 10

# How long a session may outlive its keeper, in timeouts: a new leader gives each
# its full time again, and its own process may have stood still. Few seeds have
# long timeouts played out, for what happens meanwhile is dull.
_EXPIRY_TIMEOUTS = 3
_EXPIRY_MAX = 1.5

# What may become of those outside of the healed quorum.
_FROZEN = ("dead", "stopped", "stalled", "deaf", "mute", "cut-off")


@attrs.frozen(kw_only=True)
class Outcome:
    """What one seed came to.

    Attributes:
      seed: Which.
      members: How many there were.
      violation: The oracle's name and what it saw; empty if all is well.
      timeline: What happened last, for people; the whole of it on request.
      trace: A hash over all events: the same seed has the same one.
      events: How many there were.
      microseconds: Of simulated time.
      agreed: Transactions that were committed.
      acknowledged: Answers that clients got.
      elections: Microseconds from a leader's end to the next epoch, where
        everything else was well.
      strikes: How many faults were drawn.
      faults: How often each class happened.
      marks: How often each named situation was reached.
      oddities: How often each site of rare behaviour did something.

    """

    seed: int
    members: int
    violation: str
    timeline: tuple[str, ...]
    trace: str
    events: int
    microseconds: int
    agreed: int
    acknowledged: int
    elections: tuple[int, ...]
    strikes: int
    faults: Counter[str]
    marks: Counter[str]
    oddities: Counter[str]

    @property
    def oracle(self) -> str:
        """The name of the oracle that objects; empty if none does."""
        return self.violation.partition(":")[0]


def simulate(
    seed: int,
    *,
    seconds: float = 10.0,
    members: int | None = None,
    timeline: deque[str] | None = None,
    only: AbstractSet[int] | None = None,
) -> Outcome:
    """Play one seed.

    Args:
      seed: What everything is derived from.
      seconds: Of simulated time with faults; life comes after them.
      members: How many voters; ``None`` lets the seed decide.
      timeline: Where to keep what happened, which makes it slower.
      only: The faults to play, by their numbers; ``None`` plays all.

    """
    world = World(seed, members, timeline)
    faults = Faults(world, only)
    run = _Run(world, faults)
    violation = ""
    try:
        run.play(round(seconds * SECOND))
    except Violation as error:
        violation = str(error)
    except Exception as error:  # noqa: BLE001 - whatever the program raises is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        violation = f"exception: {error!r} in {where.name}, line {where.lineno}"
    kernel = world.kernel
    return Outcome(
        seed=seed,
        members=world.profile.members,
        violation=violation,
        timeline=tuple(timeline or ()),
        trace=kernel.trace_hash(),
        events=kernel.events,
        microseconds=kernel.now,
        agreed=len(world.oracles.agreed),
        acknowledged=world.oracles.acknowledgements,
        elections=tuple(world.oracles.elections),
        strikes=faults.strikes,
        faults=kernel.faults,
        marks=kernel.marks,
        oddities=kernel.oddities,
    )


@attrs.define(eq=False)
class _Run:
    world: World
    faults: Faults
    _core: list[MemberId] = attrs.field(factory=list, init=False)
    _target: int = attrs.field(default=0, init=False)
    # Who has served something that was agreed since the core was healed.
    _fresh: set[MemberId] = attrs.field(factory=set, init=False)

    def play(self, duration: int) -> None:
        world, faults = self.world, self.faults
        for member in world.seats:
            world.start(member)
        faults.start()
        world.kernel.run(duration)
        faults.stopped = True
        world.kernel.is_odd = False
        world.restore_everybody()
        self._choose_core()
        self._heal_core()
        self._await_life()
        self._check_everything()

    def _choose_core(self) -> None:
        """Choose whom to heal: a quorum, and one that remembers."""
        world = self.world
        members = list(world.seats)
        random = world.kernel.stream("life")
        random.shuffle(members)
        core: list[MemberId] = []
        # Who was wiped may be of it, but is no part of the quorum.
        while members and 2 * self._remembering(core) <= len(world.voters):
            core.append(members.pop())
        self._core = core

    def _remembering(self, core: list[MemberId]) -> int:
        images = [self.world.seats[member].image for member in core]
        return sum(
            image.remembers and image.member in self.world.voters for image in images
        )

    def _heal_core(self) -> None:
        """Repair the core; what is outside of it may be worse than gone."""
        world = self.world
        world.clogs.clear()
        random = world.kernel.stream("outsiders")
        leader = world.leader()
        for member in world.seats:
            if member not in self._core:
                how = random.choice(_FROZEN)
                if leader is not None and leader.member == member:
                    # Nobody else would notice it.
                    how = random.choice([how, "stalled"])
                self._freeze(member, how)
        for source, target in list(world.network.cuts):
            if source in self._core and target in self._core:
                world.network.heal(source, target)
        for member in self._core:
            self._heal(world.seats[member])
        world.kernel.say(f"HEALED: members {sorted(self._core)}")

    def _heal(self, seat: Seat) -> None:
        seat.slowness, seat.stalled_until = 1.0, 0
        seat.disk.full, seat.disk.fail = False, None
        if seat.process is not None:
            seat.process.fuse, seat.process.dies_before = -1, ""
            seat.process.dies_writing = None
            seat.process.store.hurry()
            if seat.process.paused:
                seat.process.resume()
        self.world.start(seat.member)

    def _freeze(self, member: MemberId, how: str) -> None:
        """Leave a member outside of the core in some hopeless state for good."""
        world = self.world
        seat = world.seats[member]
        world.kernel.mark(f"life.{how}-outsider")
        world.kernel.say(f"OUTSIDE: member {member} is {how}")
        others = [other for other in world.seats if other != member]
        seat.stays_down = how in {"dead", "stopped"}
        if how == "dead":
            world.crash(member, "dead for good")
        elif how == "stopped" and seat.process is not None:
            seat.process.paused = True
        elif how == "stalled":
            seat.stalled_until = world.kernel.now + 1_000_000 * SECOND
        for other in others:
            if how in {"deaf", "cut-off"}:
                world.network.cut(other, member)
            if how in {"mute", "cut-off"}:
                world.network.cut(member, other)

    def _await_life(self) -> None:
        world = self.world
        timeout = world.profile.settings.silence_timeout * _ELECTION_TIMEOUTS
        deadline = world.kernel.now + round(timeout * SECOND)
        self._target = len(world.oracles.agreed) + 1
        if not world.kernel.run(deadline, self._has_fresh_commit):
            raise Violation("liveness", f"no fresh commit everywhere: {self._state()}")
        for process in world.processes.values():
            process.service.quiet = True
        if not world.kernel.run(deadline, self._is_level):
            raise Violation("liveness", f"the members differ: {self._state()}")
        timeout = world.profile.session_timeout
        if timeout <= _EXPIRY_MAX:
            timeout *= _EXPIRY_TIMEOUTS
            timeout += world.profile.settings.silence_timeout * _ELECTION_TIMEOUTS
            deadline = world.kernel.now + round(timeout * SECOND)
            if not world.kernel.run(deadline, self._has_expired):
                raise Violation("expiry", f"dead sessions live: {self._state()}")

    def _has_fresh_commit(self) -> bool:
        """Tell whether everybody has served something new, once since healed.

        Not all at the same moment: where an epoch ends after twenty transactions,
        there may be none at which nobody is between two epochs.
        """
        for member, process in self.world.processes.items():
            if process.service.serving and process.position >= self._target:
                self._fresh.add(member)
        return self._fresh.issuperset(self._core)

    def _is_level(self) -> bool:
        processes = self.world.processes
        agreed = len(self.world.oracles.agreed)
        return all(
            member in processes
            and processes[member].position == agreed
            and processes[member].durable_io == processes[member].last_io
            and not processes[member].service.outstanding
            for member in self._core
        )

    def _has_expired(self) -> bool:
        """Tell whether everybody is level and knows of no session without a keeper.

        Nor may somebody lead whose disk does nothing.
        """
        if not self._is_level() or self._is_led_by_a_stalled_disk():
            return False
        processes = self.world.processes
        alive = {process.incarnation for process in processes.values()}
        return all(
            record.owner in alive
            for member in self._core
            for record in processes[member].tree.sessions()
        )

    def _is_led_by_a_stalled_disk(self) -> bool:
        leader = self.world.leader()
        if leader is None or leader.durable_io == leader.last_io:
            return False
        return self.world.seats[leader.member].stalled_until > self.world.kernel.now

    def _state(self) -> str:
        processes = self.world.processes
        states = [
            f"{member}: {processes[member].peer.statistics()}"
            for member in sorted(self._core)
            if member in processes
        ]
        return f"{len(self.world.oracles.agreed)} agreed; " + "; ".join(states)

    def _check_everything(self) -> None:
        """Everybody in the core has exactly what was agreed, and on disk."""
        oracles = self.world.oracles
        model = DataTree()
        for zxid, payload in oracles.agreed:
            model.apply(zxid, payload)
        oracles.captured(model)
        oracles.check_ephemerals(model)
        for member in sorted(self._core):
            process = self.world.processes[member]
            oracles.captured(process.tree)
            oracles.check_ephemerals(process.tree)
            process.service.watcher.check_all()
            self.world.check_recovery(process)
        judge(oracles.history, oracles.agreed)
