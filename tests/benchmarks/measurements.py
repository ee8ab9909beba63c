"""What is measured: one function for each line of the report.

Each takes the running ensemble and its bare counterpart, and measures what it
compares one right after the other, since machines have moods.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio

from .bare import BARE_LEADER
from .fleet import Fleet
from .load import Figures, milliseconds

__all__ = ["FAILOVER", "MEASUREMENTS", "Measured", "Measurement", "measure_failover"]

FAILOVER = "failover"
_KILLS = 20
# Seconds of writing before the leader is killed: anywhere in a heartbeat.
_CALM = 0.35

Measured = dict[str, tuple[float, str]]
"""Numbers with their units, by name."""

Measurement = Callable[[Fleet, Fleet, float], Awaitable[Measured]]
"""Takes the members, the bare processes and seconds for each number."""


async def _write_one(members: Fleet, bare: Fleet, seconds: float) -> Measured:
    """One write at a time."""
    leader = await members.ask_leader("writes", 1, seconds)
    limit = await bare.children[BARE_LEADER].ask("writes", 1, seconds)
    follower = await members.ask_follower("writes", 1, seconds)
    measured: Measured = {}
    for place, numbers in ("leader", leader), ("follower", follower), ("bare", limit):
        measured[f"{place}_p50"] = numbers["p50"], "ms"
        measured[f"{place}_p99"] = numbers["p99"], "ms"
        if numbers is not limit:
            measured[f"{place}_p50_to_bare"] = numbers["p50"] / limit["p50"], "ratio"
    return measured


def _writes(outstanding: int, *, at_follower: bool = False) -> Measurement:
    async def measure(members: Fleet, bare: Fleet, seconds: float) -> Measured:
        """Agreed writes a second, with so many under way."""
        limit = await bare.children[BARE_LEADER].ask("writes", outstanding, seconds)
        places = {"leader": await members.ask_leader("writes", outstanding, seconds)}
        if at_follower:
            places["follower"] = await members.ask_follower(
                "writes", outstanding, seconds
            )
        measured: Measured = {}
        for place, numbers in [*places.items(), ("bare", limit)]:
            measured[place] = numbers["rate"], "1/s"
            measured[f"{place}_p99"] = numbers["p99"], "ms"
            measured[f"{place}_cpu"] = numbers["cpu"], "us"
            if numbers is not limit:
                ratio = numbers["rate"] / limit["rate"]
                measured[f"{place}_to_bare"] = ratio, "ratio"
        return measured

    return measure


def _rate(command: str, count: int, *, at_leader: bool = False) -> Measurement:
    async def measure(members: Fleet, _bare: Fleet, seconds: float) -> Measured:
        """Operations a second in one member."""
        ask = members.ask_leader if at_leader else members.ask_follower
        numbers = await ask(command, count, seconds)
        return {"rate": (numbers["rate"], "1/s")}

    return measure


async def _watch(members: Fleet, _bare: Fleet, seconds: float) -> Measured:
    """From a set at one follower to its event at the other."""
    leader, _ = await members.lead()
    setter, watcher = (c for m, c in sorted(members.children.items()) if m != leader)
    await watcher.tell("watch")
    await setter.ask("announce", 0, seconds)
    return _in_milliseconds(await watcher.hear())


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
    return _in_milliseconds(milliseconds(outages, p50=0.5, p90=0.9, max=1.0))


def _in_milliseconds(figures: Figures) -> Measured:
    return {name: (value, "ms") for name, value in figures.items()}
