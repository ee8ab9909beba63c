"""The role that is measured: a member of an ensemble, with one session."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from coordlib import Ensemble, NodeExistsError, Session
from coordlib.ids import epoch_of
from coordlib.recipes import Lock

from .load import PAYLOAD, Figures, drive, milliseconds

__all__ = ["run_member"]

# Synchronous reads between two checkpoints: the member goes on living.
_READS = 1000
# Between two sets that are watched: one event at a time.
_WATCH_PAUSE = 0.003
_WATCHED = "/watched"
_STAMP_BYTES = 8
_END = bytes(_STAMP_BYTES)


@asynccontextmanager
async def run_member(
    number: int, addresses: dict[int, str], directory: Path
) -> AsyncIterator[Mapping[str, Callable[[int, float], Awaitable[Figures]]]]:
    """Run the member and yield what it can be told to do."""
    async with Ensemble(number, addresses, data_dir=directory) as ensemble:
        await ensemble.wait_ready()
        async with ensemble.session() as session:
            member = _Member(ensemble, session)
            yield {
                "status": member.status,
                "writes": member.writes,
                "tree_gets": member.tree_gets,
                "session_gets": member.session_gets,
                "lock_cycles": member.lock_cycles,
                "announce": member.announce,
                "watch": member.watch,
                "write_into_next_epoch": member.write_into_next_epoch,
            }


@attrs.frozen
class _Member:
    ensemble: Ensemble
    session: Session

    async def status(self, _count: int, _seconds: float) -> Figures:
        await self.ensemble.wait_ready()
        statistics = self.ensemble.statistics()
        return {"leader": statistics.leader_id or 0, "epoch": statistics.epoch}

    async def writes(self, count: int, seconds: float) -> Figures:
        paths = [f"/written-{number}" for number in range(count)]
        for path in paths:
            await self._ensure(path)
        return await drive(
            lambda number: self.session.set(paths[number], PAYLOAD), count, seconds
        )

    async def tree_gets(self, _count: int, seconds: float) -> Figures:
        await self._ensure("/read")
        tree, reads = self.ensemble.tree, 0
        begun = time.perf_counter()
        while (took := time.perf_counter() - begun) < seconds:
            for _ in range(_READS):
                tree.get("/read")
            reads += _READS
            await trio.lowlevel.checkpoint()
        return {"rate": reads / took}

    async def session_gets(self, count: int, seconds: float) -> Figures:
        await self._ensure("/read")
        return await drive(lambda _: self.session.get("/read"), count, seconds)

    async def lock_cycles(self, count: int, seconds: float) -> Figures:
        """Enter and leave locks that nobody else wants."""
        return await drive(
            lambda number: self._enter(f"/locks-{number}"), count, seconds
        )

    async def _enter(self, path: str) -> None:
        async with Lock(self.session, path):
            pass

    async def announce(self, _count: int, seconds: float) -> Figures:
        """Set a znode to the time, again and again, and to the end at last."""
        await self._ensure(_WATCHED)
        with trio.move_on_after(seconds):
            while True:
                now = time.monotonic_ns().to_bytes(_STAMP_BYTES, "big")
                await self.session.set(_WATCHED, now + PAYLOAD[_STAMP_BYTES:])
                await trio.sleep(_WATCH_PAUSE)
        await self.session.set(_WATCHED, _END)
        return {}

    async def watch(self, _count: int, _seconds: float) -> Figures:
        """Tell how old what was announced is when its event is read."""
        latencies: list[int] = []
        async with self.session.watch(_WATCHED) as events:
            async for _ in events:
                now = time.monotonic_ns()
                stamp = self.ensemble.tree.get(_WATCHED)[0][:_STAMP_BYTES]
                if stamp == _END:
                    break
                if stamp:
                    latencies.append(now - int.from_bytes(stamp, "big"))
        return milliseconds(latencies, p50=0.5, p99=0.99)

    async def write_into_next_epoch(self, _count: int, _seconds: float) -> Figures:
        """Write until a write belongs to a later epoch; tell when it was answered."""
        await self._ensure("/written-0")
        epoch = self.ensemble.statistics().epoch
        while True:
            stat = await self.session.set("/written-0", PAYLOAD)
            if epoch_of(stat.mzxid) > epoch:
                return {"at": time.monotonic_ns()}

    async def _ensure(self, path: str) -> None:
        if await self.session.exists(path) is None:
            try:
                await self.session.create(path, PAYLOAD)
            except NodeExistsError:
                # Created through another member, and not known here yet.
                await self.session.sync()
