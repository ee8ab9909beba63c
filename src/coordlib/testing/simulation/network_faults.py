"""Directions that are cut, links that break, clog or come twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from coordlib.consensus import Role
from coordlib.ids import MemberId
from coordlib.storage.interface import EntryKind

from .kernel import SECOND, chance
from .strike import Strike

__all__ = ["FAULTS"]

Direction = tuple[MemberId, MemberId]


def _cut(strike: Strike, name: str, directions: list[Direction], duration: int) -> None:
    text = " ".join(f"{source}->{target}" for source, target in directions)
    strike.kernel.fault(name, text)
    network = strike.world.network
    fresh = [d for d in directions if not network.is_cut(*d)]
    for direction in fresh:
        network.cut(*direction)
    strike.later(duration, partial(_heal, strike, fresh))


def _heal(strike: Strike, directions: list[Direction]) -> None:
    for direction in directions:
        strike.world.network.heal(*direction)


def _both_ways(pairs: list[Direction]) -> list[Direction]:
    return pairs + [(b, a) for a, b in pairs]


def isolate(strike: Strike) -> None:
    """One member hears nobody, and nobody hears it."""
    one, *rest = strike.shuffled()
    pairs = [(one, other) for other in rest]
    _cut(strike, "isolate", _both_ways(pairs), strike.duration())


def isolate_leader(strike: Strike) -> None:
    """The leader goes on alone for long enough to be replaced, or nearly."""
    leader = strike.world.leader()
    if leader is None:
        return
    pairs = [(leader.member, m) for m in strike.world.seats if m != leader.member]
    if chance(strike.random, 0.7):
        pairs = _both_ways(pairs)
    silence = strike.world.profile.settings.silence_timeout
    duration = round(strike.random.uniform(0.5, 3.0) * silence * SECOND)
    if chance(strike.random, 0.5):
        # When it is back, what only it has logged is cut: a moment worth testing.
        leader.dies_before = strike.random.choice(["Cut", ""])
        leader.dies_writing = EntryKind.CUT
    _cut(strike, "isolate_leader", pairs, duration)
    # Clients come to it, above all while it may be the leader no more.
    for _ in range(20):
        moment = silence * strike.random.uniform(0.9, 1.3)
        strike.later(round(moment * SECOND), leader.visit)


def split(strike: Strike) -> None:
    """Two groups."""
    members = strike.shuffled()
    at = strike.random.randint(0, len(members))
    pairs = [(a, b) for a in members[:at] for b in members[at:]]
    _cut(strike, "split", _both_ways(pairs), strike.duration())


def one_way(strike: Strike) -> None:
    """Some directions only: the deaf and the mute."""
    one, *rest = strike.shuffled()
    count = strike.random.randint(0, len(rest))
    pairs = [(one, other) for other in rest[:count]]
    if chance(strike.random, 0.5):
        pairs = [(b, a) for a, b in pairs]
    _cut(strike, "one_way", pairs, strike.duration())


def bridge(strike: Strike) -> None:
    """Two groups that only one member can talk to."""
    _, *members = strike.shuffled()
    at = len(members) // 2
    pairs = [(a, b) for a in members[:at] for b in members[at:]]
    _cut(strike, "bridge", _both_ways(pairs), strike.duration())


def ring(strike: Strike) -> None:
    """Everybody sees his neighbours only."""
    members = strike.shuffled()
    count = len(members)
    pairs = [
        (members[i], members[j])
        for i in range(count)
        for j in range(i + 2, count)
        if (i, j) != (0, count - 1)
    ]
    _cut(strike, "ring", _both_ways(pairs), strike.duration())


def flap(strike: Strike) -> None:
    """A connection comes and goes."""
    members = strike.shuffled()
    pairs = [(members[0], members[-1])]
    period = strike.random.randrange(20_000, 600_000)
    for i in range(strike.random.randrange(2, 12)):
        again = partial(_cut, strike, "flap", _both_ways(pairs), period // 2)
        strike.later(i * period, again)


def _break(strike: Strike, name: str, *, half: bool) -> None:
    ends = strike.world.network.links()
    if ends:
        end = strike.random.choice(ends)
        if chance(strike.random, 0.5) and end.other.is_open:
            end = end.other
        strike.kernel.fault(name, f"{end.user.member} and {end.other.user.member}")
        strike.world.network.break_link(end, half=half)


def reset(strike: Strike) -> None:
    """A link breaks for both."""
    _break(strike, "reset", half=False)


def half_open(strike: Strike) -> None:
    """A link breaks for one, and the other does not know."""
    _break(strike, "half_open", half=True)


def reset_would_be_leader(strike: Strike) -> None:
    """All links break of one that is not established yet; it does not end."""
    network, kernel = strike.world.network, strike.kernel
    candidates = [
        process
        for process in strike.world.processes.values()
        if process.role.role is Role.LEADING and not process.role.epoch
    ]
    if candidates:
        process = strike.random.choice(candidates)
        kernel.fault("reset_would_be_leader", f"member {process.member}")
        for end in list(process.links.values()):
            if end.is_open:
                network.break_link(end, half=False)


def second_link(strike: Strike) -> None:
    """A member dials again although it has a link."""
    process = strike.some_process()
    if process is None or process.paused:
        return
    lower = [m for m in strike.world.seats if m < process.member]
    network = strike.world.network
    other = network.running(strike.random.choice(lower)) if lower else None
    if other is not None:
        strike.kernel.fault("second_link", f"{process.member} to {other.member}")
        network.connect(process, other)


def clog(strike: Strike) -> None:
    """A direction becomes slow."""
    members = strike.shuffled()
    direction = members[0], members[-1]
    strike.kernel.fault("clog", f"{direction[0]}->{direction[1]}")
    strike.world.clogs[direction] = strike.random.randrange(10_000, 800_000)
    strike.later(strike.duration(), partial(_unclog, strike, direction))


def _unclog(strike: Strike, direction: Direction) -> None:
    strike.world.clogs.pop(direction, None)


FAULTS: dict[str, Callable[[Strike], None]] = {
    "isolate": isolate,
    "isolate_leader": isolate_leader,
    "split": split,
    "one_way": one_way,
    "bridge": bridge,
    "ring": ring,
    "flap": flap,
    "reset": reset,
    "half_open": half_open,
    "reset_would_be_leader": reset_would_be_leader,
    "second_link": second_link,
    "clog": clog,
}
