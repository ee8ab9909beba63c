"""How long a member that is far behind takes to be level, and what that costs.

``python -m tests.benchmarks.behind records 300000`` and ``... znodes 100000``: three
processes; the third is killed, the others go on, and it starts again. Counted from
its start to its being level, its own recovery included; the leader's memory is the
highest of that time, above what it was before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter

import attrs
import trio

from coordlib import Config, Ensemble, NodeExistsError, Session

from .fleet import Fleet, open_fleet
from .load import PAYLOAD, Figures

__all__ = ["run_behind"]

# The log on the disk is all there is of what is older than a second.
_NO_SNAPSHOTS = Config(
    snapshot_interval=1 << 40,
    snapshot_interval_bytes=1 << 50,
    history_records_max=10_000,
)
_CONFIGS = {"records": _NO_SNAPSHOTS, "znodes": Config()}
_OUTSTANDING = 1000


@asynccontextmanager
async def run_behind(
    what: str, number: int, addresses: dict[int, str], directory: Path
) -> AsyncIterator[Mapping[str, Callable[[int, float], Awaitable[Figures]]]]:
    """Run the member and yield what it can be told to do."""
    config = _CONFIGS[what]
    async with Ensemble(number, addresses, data_dir=directory, config=config) as own:
        await own.wait_ready()
        async with own.session(timeout=600) as session:
            member = _Member(own, session)
            yield {
                "status": member.status,
                "records": member.records,
                "znodes": member.znodes,
                "reset_memory": member.reset_memory,
                "memory": member.memory,
            }


@attrs.frozen
class _Member:
    ensemble: Ensemble
    session: Session

    async def status(self, _count: int, _seconds: float) -> Figures:
        await self.ensemble.wait_ready()
        statistics = self.ensemble.statistics()
        return {
            "leader": statistics.leader_id or 0,
            "epoch": statistics.epoch,
            "zxid": statistics.zxid,
        }

    async def records(self, count: int, _seconds: float) -> Figures:
        with suppress(NodeExistsError):
            await self.session.create("/a")
        await self._do(lambda _: self.session.set("/a", PAYLOAD), count)
        return {}

    async def znodes(self, count: int, _seconds: float) -> Figures:
        for directory in range(1 + count // 1000):
            await self.session.create(f"/d{directory}")
        await self._do(
            lambda i: self.session.create(f"/d{i // 1000}/{i}", PAYLOAD), count
        )
        return {}

    async def _do(
        self, operate: Callable[[int], Awaitable[object]], count: int
    ) -> None:
        numbers = iter(range(count))

        async def some() -> None:
            for number in numbers:
                await operate(number)

        async with trio.open_nursery() as nursery:
            for _ in range(_OUTSTANDING):
                nursery.start_soon(some)

    async def reset_memory(self, _count: int, _seconds: float) -> Figures:
        # Linux: the highest so far is what it is now.
        await trio.Path("/proc/self/clear_refs").write_text("5")
        return await self.memory(0, 0)

    async def memory(self, _count: int, _seconds: float) -> Figures:
        for line in (await trio.Path("/proc/self/status").read_text()).splitlines():
            if line.startswith("VmHWM:"):
                return {"bytes": 1024 * float(line.split()[1])}
        return {"bytes": 0}


async def _measure(what: str, count: int) -> Figures:
    async with open_fleet(f"behind-{what}") as fleet:
        leader = fleet.children[(await fleet.lead())[0]]
        away = max(fleet.children.keys() - {(await fleet.lead())[0]})
        await fleet.kill(away)
        begun = perf_counter()
        await leader.ask(what, count, seconds=3600)
        wrote = perf_counter() - begun
        before = await leader.ask("reset_memory")
        begun = perf_counter()
        await fleet.start(away)
        await _level(fleet, away, (await leader.ask("status"))["zxid"])
        took = perf_counter() - begun
        highest = await leader.ask("memory")
        own = await fleet.children[away].ask("memory")
    return {
        "written_s": wrote,
        "level_s": took,
        "leader_bytes": highest["bytes"] - before["bytes"],
        "learner_bytes": own["bytes"],
    }


async def _level(fleet: Fleet, number: int, zxid: float) -> None:
    child = fleet.children[number]
    while (  # noqa: ASYNC110 - another process's event
        await child.ask("status", seconds=600)
    )["zxid"] < zxid:
        await trio.sleep(0.05)


if __name__ == "__main__":
    print(json.dumps(trio.run(partial(_measure, sys.argv[1], int(sys.argv[2])))))
