"""The ensemble of one seed: its seats, and what can be done to them.

A seat is what outlives a member's processes: the disk, the clock, the place in
the ensemble. Which faults happen when is :mod:`.faults`' business.
"""

from __future__ import annotations

import errno
from collections import deque
from contextlib import suppress
from functools import partial
from random import Random

import attrs

from coordlib.consensus.levels import standing
from coordlib.errors import StorageError
from coordlib.ids import MemberId, Zxid
from coordlib.replica.metadata import decode_metadata
from coordlib.storage.interface import Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.tree import DataTree, restore

from .clock import Clock
from .disk import Disk, File, PowerCut
from .image import Image
from .kernel import SECOND, Crashed, Kernel, Violation, chance
from .network import Network
from .oracles import Oracles
from .process import Process
from .profile import Profile, draw_profile
from .store import Store
from .workers import Ticket

__all__ = ["Seat", "World", "rot"]

_NAME = "simulated"
# Of every file of ours.
_VERSION_AT = 8


@attrs.define(eq=False)
class Seat:
    """One member, running or not.

    Attributes:
      tickets: See :class:`Process`.
      slowness: What its disk's delays are multiplied with.
      stalled_until: When its disk does something again.
      stays_down: Nobody starts it again.
      backup: What an operator puts back some time, instead of what there is.
      old: The disk as it was once, for whoever puts it back by mistake.

    """

    member: MemberId
    disk: Disk
    clock: Clock
    image: Image
    process: Process | None = None
    slowness: float = 1.0
    stalled_until: int = 0
    stays_down: bool = False
    starts: int = 0
    tickets: dict[int, Ticket] = attrs.Factory(dict)
    backup: Disk | None = None
    old: Disk | None = None


def rot(file: File, size: int, random: Random) -> None:
    """Flip one of the first bits of a file, but for those that name its version.

    One of another version is refused, damaged or not, for somebody to look at.
    """
    offset = random.choice([*range(_VERSION_AT), *range(_VERSION_AT + 2, size)])
    file.flip(offset, random.randrange(8))


class World:
    """Everything there is in one seed."""

    def __init__(
        self, seed: int, members: int | None, timeline: deque[str] | None
    ) -> None:
        self.kernel = Kernel(seed, timeline)
        stream = self.kernel.stream
        self.profile: Profile = draw_profile(stream("profile"), members)
        self.voters = frozenset(map(MemberId, range(1, self.profile.members + 1)))
        everybody = range(1, self.profile.members + self.profile.observers + 1)
        self.seats = {m: self._seat(m) for m in map(MemberId, everybody)}
        self.processes: dict[MemberId, Process] = {}
        self.delays = stream("network")
        # Links that are slow for a while: by how much.
        self.clogs: dict[tuple[MemberId, MemberId], int] = {}
        self.network = Network(self.kernel, self._link_delay, stream("breaks"))
        images = {m: seat.image for m, seat in self.seats.items()}
        self.oracles = Oracles(self.kernel, self.voters, images, self.processes)

    def _seat(self, member: MemberId) -> Seat:
        stream = self.kernel.stream
        random = stream(f"clock/{member}")
        skew = self.profile.skew
        clock = Clock(
            self.kernel,
            stream(f"member/{member}"),
            rate=1 + random.uniform(-skew, skew),
            offset=random.uniform(0, 1000),
            wall_offset=random.uniform(-3e8, 3e8),
        )
        takes_less = partial(self.kernel.oddly, "disk.short-write")
        disk = Disk(stream(f"disk/{member}"), takes_less)
        image = Image(member, disk, Identity(member, _NAME), self.kernel.mark)
        return Seat(member, disk, clock, image)

    # --- speeds ---

    def _link_delay(self, source: MemberId, target: MemberId) -> int:
        oddly = self.kernel.oddly
        shortest = self.profile.link_delay
        delay = shortest + round(self.delays.expovariate(4 / shortest))
        if chance(self.delays, 0.005):
            delay *= 10
        if oddly("network.late-frame", 0.01):
            delay += 100_000
        return delay + self.clogs.get((source, target), 0)

    def _disk_delay(self, seat: Seat, random: Random) -> int:
        shortest = self.profile.disk_delay
        delay = shortest + round(random.expovariate(2 / shortest))
        if self.kernel.oddly("disk.slow-batch", 0.02):
            delay *= 50
        stall = max(0, seat.stalled_until - self.kernel.now)
        return stall + round(delay * seat.slowness)

    # --- processes ---

    def start(self, member: MemberId) -> None:
        """Start a member that does not run, unless its disk refuses."""
        seat = self.seats[member]
        if seat.process is not None or seat.stays_down:
            return
        if self.kernel.oddly("disk.fails-at-start"):
            seat.disk.fail = ("sync", errno.EIO)
        self._expect_damage(seat)
        seat.starts += 1
        repaired = seat.disk.rewritten
        bounds = Bounds(
            self.profile.segment_bytes_max,
            self.profile.snapshots_kept,
            self.profile.kept_bytes_max,
        )
        try:
            repairable = bool(self.voters - {member})
            recovered, log = Store.open(
                seat.disk, member, _NAME, bounds, repairable=repairable
            )
        except OSError as error:
            self.kernel.say(f"member {member} does not start: {error}")
            self.kernel.mark("start.refused-by-the-disk")
            seat.disk.end_of_program()
            self.start_after(member, SECOND // 2)
            return
        except PowerCut:
            self._ended_at_start(seat)
            return
        except StorageError as error:
            # What a crash leaves, recovery understands; the others repair the rest.
            raise Violation("recovery", f"member {member}: {error}") from error
        seat.disk.calls_left = None
        self._judge_damage(seat, recovered)
        if seat.disk.rewritten > repaired:
            self.kernel.mark("recovery.torn-tail-cut")
        image = seat.image.refresh()
        last = recovered.records[-1][0] if recovered.records else recovered.base
        if last != image.last:
            raise Violation(
                "recovery",
                f"member {member} recovers {last:#x} of {image.last:#x} on its disk",
            )
        self.kernel.say(f"member {member} starts, its log ends at {last:#x}")
        self._mark_start(seat, recovered)
        process = Process(
            member,
            self.voters,
            list(self.seats),
            self.profile,
            self.kernel,
            self.network,
            seat.clock,
            self.oracles,
            seat.clock.random.randbytes(16),
            tickets=seat.tickets,
            die=partial(self._died, member),
        )
        seat.process = self.processes[member] = process
        with suppress(Crashed):
            process.start(recovered, partial(self._store, seat, log))

    def _expect_damage(self, seat: Seat) -> None:
        """Let what is damaged, or cannot be read, be set aside: if others have it."""
        if seat.disk.fail == ("read", errno.EIO):
            if not self.is_dispensable(seat):
                seat.disk.fail = None
            elif not seat.image.damage:
                seat.image.refresh()
                seat.image.damage = "what cannot be read"
        if seat.image.damage and self.kernel.oddly("disk.ends-setting-aside", 0.6):
            seat.disk.calls_left = seat.clock.random.randrange(12)

    def _ended_at_start(self, seat: Seat) -> None:
        self.kernel.mark("crash.while-setting-aside")
        if chance(seat.clock.random, 0.5):
            seat.disk.lose_power()
        seat.disk.end_of_program()
        self.start_after(seat.member, SECOND // 4)

    def _judge_damage(self, seat: Seat, recovered: Recovered) -> None:
        """Only what we damaged is set aside, and what is not is as it was.

        A snapshot may be spared; so may a log that still holds all that it held.
        Whether it does, the image says when it is read again.
        """
        image, mark = seat.image, self.kernel.mark
        if recovered.damage and not image.damage:
            raise Violation(
                "recovery", f"member {seat.member} takes {recovered.damage} for damage"
            )
        for damage in recovered.damage:
            self.kernel.say(f"member {seat.member} sets aside: {damage}")
        if recovered.damaged:
            if image.damage:
                mark("start.set-aside-damage")
                self._forget(seat)
            else:
                mark("start.damaged-again")
        elif recovered.damage:
            mark("start.with-an-older-snapshot")
        image.damage = ""

    def is_dispensable(self, seat: Seat) -> bool:
        """Tell whether a quorum without this member remembers everything."""
        others = [m for m in self.voters if m != seat.member]
        remembering = sum(self.seats[member].image.remembers for member in others)
        return 2 * remembering > len(self.voters)

    def _mark_start(self, seat: Seat, recovered: Recovered) -> None:
        mark = self.kernel.mark
        if recovered.meta is None:
            mark("start.new" if seat.starts == 1 else "start.empty-again")
        if recovered.snapshot is not None:
            mark("start.from-snapshot")
        if recovered.base:
            mark("start.from-purged-log")
        if seat.image.forgotten:
            mark("start.wiped")
        if any(member != seat.member for member in self.processes):
            mark("start.while-others-run")

    def _store(self, seat: Seat, log: Log, process: Process) -> Store:
        random = self.kernel.stream(f"store/{seat.member}/{seat.starts}")
        delay = partial(self._disk_delay, seat, random)
        return Store(self.kernel, seat.disk, delay, process, random, log)

    def start_after(self, member: MemberId, delay: int) -> None:
        """Start a member some time later."""
        self.kernel.after(delay, None, partial(self.start, member))

    def _died(self, member: MemberId, why: str) -> None:
        self.crash(member, why, power=self.processes[member].loses_power)
        self.start_after(member, SECOND // 4)

    def crash(self, member: MemberId, why: str, *, power: bool = False) -> None:
        """End a member's process, and its disk's memory if the power is lost."""
        seat = self.seats[member]
        process = seat.process
        if process is None:
            return
        self.kernel.say(f"member {member} ends: {why}")
        for ticket in seat.tickets.values():
            timeout = self.profile.session_timeout
            ticket.until = self.kernel.now + round(timeout * SECOND)
        process.gone = True
        seat.process = None
        del self.processes[member]
        for doing in process.store.crash():
            self.kernel.mark(f"crash.while-{doing}")
        if power:
            for loss in dict.fromkeys(seat.disk.lose_power()):
                self.kernel.mark(f"power-loss.{loss}")
        self.network.crash(process, silently=power)

    def wipe(self, member: MemberId) -> None:
        """Give a member that does not run a new disk."""
        seat = self.seats[member]
        self._forget(seat)
        seat.disk.wipe()

    def _forget(self, seat: Seat) -> None:
        if not seat.image.refresh().metadata.seasoned:
            self.kernel.mark("wiped-again")
        seat.image.forget_all()
        self.oracles.wiped(seat.member)

    def may_roll_back(self, seat: Seat, old: Disk) -> bool:
        """Tell whether all who count would notice, whatever befalls them.

        What they have in memory alone they may forget; nobody can notice then.
        """
        bounds = Bounds(1 << 20, 2)
        try:
            recovered, _ = Store.open(
                old.copy(), seat.member, _NAME, bounds, repairable=False
            )
        except StorageError:
            return False
        metadata = decode_metadata(recovered.meta)
        last = recovered.records[-1][0] if recovered.records else recovered.base
        had_got_to = standing(metadata.current_epoch, Zxid(last))
        others = [self.seats[m].image for m in self.voters if m != seat.member]
        return (
            metadata.seasoned
            and self.is_dispensable(seat)
            and all(
                dict(image.metadata.levels).get(seat.member, 0) > had_got_to
                for image in others
                if image.remembers
            )
        )

    def roll_back(self, seat: Seat, old: Disk) -> None:
        """Put an old copy of the disk of a member that does not run in its place."""
        self._forget(seat)
        seat.image.rolled_back = True
        seat.disk.become(old)

    def damage_everybody(self, random: Random) -> None:
        """Let no voter's log be readable; an operator has copies, not at hand."""
        for member in self.voters:
            self.crash(member, "damage everywhere")
            seat = self.seats[member]
            seat.backup = seat.disk.copy()
            first = min(name for name in seat.disk.names if name.startswith("log."))
            seat.image.refresh().damage = first
            rot(seat.disk.names[first], 40, random)

    def restore_everybody(self) -> None:
        """Do what an operator does who has copies of all voters' disks."""
        for member in self.voters:
            seat = self.seats[member]
            if seat.backup is not None:
                self.kernel.mark("damaged.restored")
                self.crash(member, "it is being restored")
                self._forget(seat)
                seat.disk.become(seat.backup)
                seat.backup = None
                self.start(member)

    # --- looking at it ---

    def leader(self) -> Process | None:
        """Return the process that leads the latest established epoch."""
        leading = [
            (process.role.epoch, process.member)
            for process in self.processes.values()
            if process.role.leader == process.member and process.role.epoch
        ]
        return self.processes[max(leading)[1]] if leading else None

    def is_healthy(self) -> bool:
        """Tell whether everybody is well and everything is fast."""
        return (
            len(self.processes) == len(self.seats)
            and not self.network.cuts
            and not self.clogs
            and all(
                seat.slowness == 1
                and seat.stalled_until <= self.kernel.now
                and not (seat.disk.full or seat.disk.fail)
                and not (seat.process is None or seat.process.paused)
                for seat in self.seats.values()
            )
        )

    def check_recovery(self, process: Process) -> None:
        """A restart right now would lead to the same tree."""
        seat = self.seats[process.member]
        bounds = Bounds(1 << 20, 2)
        recovered, _ = Store.open(
            seat.disk.copy(), seat.member, _NAME, bounds, repairable=False
        )
        tree = DataTree()
        if recovered.snapshot is not None:
            restore(tree, b"".join(recovered.snapshot.pieces))
        for zxid, payload in recovered.records:
            if tree.zxid < zxid <= process.tree.zxid:
                tree.apply(zxid, payload)
        if (tree.zxid, tree.digest()) != (process.tree.zxid, process.tree.digest()):
            raise Violation(
                "snapshot-and-log",
                f"member {process.member} serves {process.tree.zxid:#x}, its disk "
                f"amounts to {tree.zxid:#x}",
            )
