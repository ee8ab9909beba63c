"""A tree of a million znodes: how it starts, and whether it stops its host.

One member with a data directory, in a process of its own, since memory counts:
``python -m tests.benchmarks.million make DIRECTORY ZNODES`` makes the tree, and
``measure`` starts from it. A stall is how late a task wakes that sleeps for a
millisecond, and, as ``cpu``, how long the loop's thread worked meanwhile, which
depends least on what else the machine does.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from coordlib import Config, Create, Ensemble, Session

from .load import PAYLOAD, Figures, milliseconds

__all__ = ["MILLION", "measure_million"]

MILLION = "million"

_ZNODES = 1_000_000
_CHILDREN = 1000
_WRITES_PER_SECOND = 2000
_OUTSTANDING = 256
# By hand only, so that it is known when there is one.
_CONFIG = Config(snapshot_interval=1 << 40, snapshot_interval_bytes=1 << 60)
# What the next start has to read beside the snapshot: as much as lies between
# two snapshots by default.
_LOG_RECORDS = 20_000


def measure_million(seconds: float) -> dict[str, tuple[float, str]]:
    """Return the figures; takes some minutes."""
    with tempfile.TemporaryDirectory() as directory:
        _run_alone("make", directory, _ZNODES)
        found = json.loads(_run_alone("measure", directory, seconds))
    units = {"s": "s", "cpu_s": "s", "ms": "ms", "rate": "1/s", "bytes": "bytes"}
    return {
        name: (float(value), units.get(name.rpartition(".")[2], "ratio"))
        for name, value in found.items()
    }


def _run_alone(task: str, directory: str, number: float) -> str:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.benchmarks.million",
            task,
            directory,
            f"{number}",
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


@asynccontextmanager
async def _member(directory: str) -> AsyncIterator[tuple[Ensemble, Session]]:
    async with Ensemble(data_dir=directory, config=_CONFIG) as ensemble:
        await ensemble.wait_ready()
        async with ensemble.session(timeout=3600) as session:
            yield ensemble, session


async def _make(directory: str, znodes: int) -> None:
    async with _member(directory) as (ensemble, session):
        for parent in range(znodes // _CHILDREN):
            path = f"/parent-{parent:06d}"
            children = (f"{path}/child-{n:06d}" for n in range(_CHILDREN - 1))
            creates = [Create(path), *(Create(child, PAYLOAD) for child in children)]
            await session.multi(creates)
        # Two, so that the log before the first is purged.
        for _ in range(2):
            await session.set("/parent-000000", b"")
            await _save(ensemble)
        writer = _Writer(session, znodes // _CHILDREN)
        async with trio.open_nursery() as nursery:
            for _ in range(_OUTSTANDING):
                nursery.start_soon(writer.write_up_to, _LOG_RECORDS)


async def _measure(directory: str, seconds: float) -> Figures:
    stalls = _Stalls()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.note)
        before, began, worked = _resident(), time.perf_counter(), time.process_time()
        async with _member(directory) as (ensemble, session):
            start = time.perf_counter() - began, time.process_time() - worked
            znodes = len(ensemble._running().tree.znodes())
            figures = {
                "start.s": start[0],
                "start.cpu_s": start[1],
                **stalls.taken("start"),
                "znode_after_start.bytes": (_resident() - before) / znodes,
                "znode_at_most.bytes": (_peak() - before) / znodes,
                **await _measure_stalls(ensemble, session, stalls, seconds),
                **await _measure_rates(ensemble, session, seconds),
            }
        nursery.cancel_scope.cancel()
    return figures


async def _measure_stalls(
    ensemble: Ensemble, session: Session, stalls: _Stalls, seconds: float
) -> Figures:
    parents = len(ensemble.tree.get_children("/")) - 1
    writer = _Writer(session, parents)
    async with trio.open_nursery() as nursery:
        for number in range(_OUTSTANDING):
            nursery.start_soon(writer.write_evenly, number)
        await trio.sleep(1.0)
        stalls.taken("")
        await trio.sleep(seconds)
        figures = stalls.taken("calm")
        began = time.perf_counter()
        await _save(ensemble)
        figures |= {"snapshot.s": time.perf_counter() - began}
        figures |= stalls.taken("snapshot")
        nursery.cancel_scope.cancel()
    return figures


async def _measure_rates(
    ensemble: Ensemble, session: Session, seconds: float
) -> Figures:
    parents = len(ensemble.tree.get_children("/")) - 1
    writer = _Writer(session, parents)
    async with trio.open_nursery() as nursery:
        for _ in range(_OUTSTANDING):
            nursery.start_soon(writer.write_up_to, 1 << 40)
        await trio.sleep(1.0)
        # Before and after, because a machine does not stay as fast as it is.
        before = await writer.rate(partial(trio.sleep, seconds))
        busy = await writer.rate(partial(_save, ensemble))
        after = await writer.rate(partial(trio.sleep, seconds))
        nursery.cancel_scope.cancel()
    calm = (before + after) / 2
    return {"calm.rate": calm, "snapshot.rate": busy, "kept": busy / calm}


async def _save(ensemble: Ensemble) -> None:
    """Take a snapshot and wait until it is there."""
    replica = ensemble._running()
    replica._begin_snapshot()
    while replica._saving:  # noqa: ASYNC110 - there is no event for it
        await trio.sleep(0.01)


@attrs.define
class _Writer:
    """Sets znodes here and there in the tree."""

    session: Session
    parents: int
    begun: int = 0
    done: int = 0

    async def write_up_to(self, number: int) -> None:
        while self.begun < number:
            await self._write()

    async def write_evenly(self, number: int) -> None:
        """Be one of many who together write so much a second."""
        interval = _OUTSTANDING / _WRITES_PER_SECOND
        due = trio.current_time() + interval * number / _OUTSTANDING
        while True:
            await trio.sleep_until(due)
            await self._write()
            due += interval

    async def rate(self, wait: Callable[[], Awaitable[None]]) -> float:
        """Return the writes a second while ``wait`` lasts."""
        done, began = self.done, time.perf_counter()
        await wait()
        return (self.done - done) / (time.perf_counter() - began)

    async def _write(self) -> None:
        self.begun += 1
        # Prime to both, so that it goes around.
        child = self.begun * 7919 % (_CHILDREN - 1)
        parent = self.begun * 104_729 % self.parents
        await self.session.set(f"/parent-{parent:06d}/child-{child:06d}", PAYLOAD)
        self.done += 1


@attrs.define
class _Stalls:
    """How late a task woke each time that it slept for a millisecond."""

    wall: list[int] = attrs.Factory(list)
    cpu: list[int] = attrs.Factory(list)

    async def note(self) -> None:
        while True:
            due = time.perf_counter_ns() + 1_000_000
            worked = time.thread_time_ns()
            await trio.sleep(0.001)
            self.wall.append(max(0, time.perf_counter_ns() - due))
            self.cpu.append(time.thread_time_ns() - worked)

    def taken(self, name: str) -> Figures:
        """Return the figures since the last call."""
        figures = {}
        for kind, stalls in (("stall", self.wall), ("stall_cpu", self.cpu)):
            for share, value in milliseconds(stalls, p99=0.99, max=1.0).items():
                figures[f"{name}_{kind}_{share}.ms"] = value
            stalls.clear()
        return figures


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _main(task: str, directory: str, number: str) -> None:
    if task == "make":
        await _make(directory, int(number))
    else:
        print(json.dumps(await _measure(directory, float(number))))


if __name__ == "__main__":
    _, _task, _directory, _number = sys.argv
    trio.run(_main, _task, _directory, _number)
