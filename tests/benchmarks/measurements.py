"""What is measured: one function for each line of the report.

Each takes the running ensemble and its bare counterpart, and measures what it
compares one right after the other, since machines have moods.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import attrs
import trio

from .bare import BARE_LEADER
from .fleet import Fleet
from .load import Figures, milliseconds

__all__ = ["FAILOVER", "MEASUREMENTS", "Measured", "Measurement", "measure_failover"]

FAILOVER = "failover"
_KILLS = 20
# Seconds of writing before the leader is killed: anywhere in a heartbeat.
_CALM = 0.35

_MS = "ms"
_RATE = "1/s"
_RATIO = "coordlib/bare"


@attrs.frozen
class Measured:
    """Numbers, and the unit of each by the same name."""

    figures: Figures
    units: dict[str, str]


Measurement = Callable[[Fleet, Fleet, float], Awaitable[Measured]]
"""Takes the members, the bare processes and seconds for each measurement."""


async def _write_one(members: Fleet, bare: Fleet, seconds: float) -> Measured:
    """One write at a time."""
    leader = await members.ask_leader("writes", 1, seconds)
    limit = await bare.children[BARE_LEADER].ask("writes", 1, seconds)
    follower = await members.ask_follower("writes", 1, seconds)
    figures: Figures = {}
    for place, measured in (
        ("leader", leader),
        ("follower", follower),
        ("bare", limit),
    ):
        figures[f"{place}_p50"] = measured["p50"]
        figures[f"{place}_p99"] = measured["p99"]
    units = dict.fromkeys(figures, _MS)
    figures["leader_p50_to_bare"] = leader["p50"] / limit["p50"]
    figures["follower_p50_to_bare"] = follower["p50"] / limit["p50"]
    return Measured(
        figures,
        {**units, "leader_p50_to_bare": _RATIO, "follower_p50_to_bare": _RATIO},
    )


def _writes(outstanding: int, *, at_follower: bool = False) -> Measurement:
    async def measure(members: Fleet, bare: Fleet, seconds: float) -> Measured:
        """Agreed writes a second, with so many under way."""
        limit = await bare.children[BARE_LEADER].ask("writes", outstanding, seconds)
        measured = {"leader": await members.ask_leader("writes", outstanding, seconds)}
        if at_follower:
            measured["follower"] = await members.ask_follower(
                "writes", outstanding, seconds
            )
        figures = {"bare": limit["rate"]}
        units = {"bare": _RATE}
        for place, numbers in measured.items():
            figures[place] = numbers["rate"]
            units[place] = _RATE
            figures[f"{place}_p99"] = numbers["p99"]
            units[f"{place}_p99"] = _MS
            figures[f"{place}_to_bare"] = numbers["rate"] / limit["rate"]
            units[f"{place}_to_bare"] = _RATIO
        return Measured(figures, units)

    return measure


def _rate(command: str, count: int, *, at_leader: bool = False) -> Measurement:
    async def measure(members: Fleet, _bare: Fleet, seconds: float) -> Measured:
        """Operations a second in one member."""
        ask = members.ask_leader if at_leader else members.ask_follower
        measured = await ask(command, count, seconds)
        return Measured({"rate": measured["rate"]}, {"rate": _RATE})

    return measure


async def _watch(members: Fleet, _bare: Fleet, seconds: float) -> Measured:
    """From a set at one follower to its event at the other."""
    leader, _ = await members.lead()
    setter, watcher = (c for m, c in sorted(members.children.items()) if m != leader)
    await watcher.tell("watch")
    await setter.ask("announce", 0, seconds)
    figures = await watcher.hear()
    return Measured(figures, dict.fromkeys(figures, _MS))


MEASUREMENTS: dict[str, Measurement] = {
    "write_one": _write_one,
    "writes_64": _writes(64),
    "writes_256": _writes(256, at_follower=True),
    "writes_1024": _writes(1024),
    "tree_get": _rate("tree_gets", 1),
    "session_get": _rate("session_gets", 1),
    "session_get_64_tasks": _rate("session_gets", 64),
    "lock_cycle": _rate("lock_cycles", 1, at_leader=True),
    "watch": _watch,
}


async def measure_failover(members: Fleet) -> Measured:
    """From the kill of the leader to the first write of the next epoch.

    A survivor has a write under way all the time, one after the other; a first
    answer may still be to a write that the dead leader agreed upon, so those
    of its epoch do not count. Survivors take turns.
    """
    outages: list[int] = []
    for turn in range(_KILLS):
        leader, _ = await members.lead()
        survivor = sorted(members.children.keys() - {leader})[turn % 2]
        writer = members.children[survivor]
        await writer.tell("write_into_next_epoch")
        await trio.sleep(_CALM + turn * 0.01)
        killed = time.monotonic_ns()
        await members.kill(leader)
        answer = await writer.hear()
        outages.append(int(answer["at"]) - killed)
        await members.start(leader)
        await members.children[leader].ask("status")
    figures = milliseconds(outages, p50=0.5, p90=0.9, max=1.0)
    return Measured(figures, dict.fromkeys(figures, _MS))
