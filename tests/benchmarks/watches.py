"""What telling many watches costs, and how long others wait for it.

One member in memory and ten thousand tasks, each with a watch of one znode; and
the table of watches alone, with many of other znodes and one deep path. Times
are of the processor: what else the machine does is not counted.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from coordlib import Ensemble, Session
from coordlib.tree import EventType, TreeEvent, WatchKind, WatchTable

__all__ = ["WATCHES", "measure_watches"]

WATCHES = "watches"

_ROUNDS = 3
_WATCHES = 10_000
_PATH = "/watched"
_DEPTH = 500
_REPEATS = 200

Wait = Callable[[Session, Callable[[], None]], Awaitable[None]]
"""Waits for one event and says so at once."""


async def measure_watches() -> dict[str, tuple[float, str]]:
    """Return milliseconds for each kind of watch, the best of some rounds.

    ``_told``: until the write that changes the znode has returned; all events
    are with their watches then. ``_woken``: until the last task has its event.
    ``_others``: the longest that another task had to wait for its turn.
    """
    measured: dict[str, tuple[float, str]] = {}
    for name, wait in ("once", _wait_once), ("stream", _wait_in_stream):
        rounds = [await _measure(wait) for _ in range(_ROUNDS)]
        measured[f"{name}_told"] = min(r.told for r in rounds), "ms"
        measured[f"{name}_woken"] = min(r.woken for r in rounds), "ms"
        measured[f"{name}_others"] = min(r.others for r in rounds), "ms"
    measured["deep_path"] = _fire_deep(0), "us"
    measured["deep_path_among_10000"] = _fire_deep(_WATCHES), "us"
    return measured


@attrs.define
class _Round:
    """Milliseconds since the write was asked for, and the longest pass."""

    told: float = 0.0
    woken: float = 0.0
    others: float = 0.0
    left: int = _WATCHES


async def _wait_once(session: Session, note: Callable[[], None]) -> None:
    _, _, watch = await session.get_and_watch(_PATH)
    await watch.wait()
    note()


async def _wait_in_stream(session: Session, note: Callable[[], None]) -> None:
    async with session.watch(_PATH) as events:
        await anext(events)
        note()
        # Or leaving the block would be measured too.
        await trio.sleep_forever()


async def _measure(wait: Wait) -> _Round:
    result = _Round()
    done = trio.Event()

    def note() -> None:
        result.left -= 1
        if not result.left:
            result.woken = _since(began)
            done.set()

    async def tick() -> None:
        while True:
            before = time.process_time()
            await trio.lowlevel.checkpoint()
            result.others = max(result.others, _since(before))

    async with (
        Ensemble() as ensemble,
        ensemble.session() as session,
        ensemble.session() as author,
        trio.open_nursery() as nursery,
    ):
        await author.create(_PATH)
        for _ in range(_WATCHES):
            nursery.start_soon(wait, session, note)
        await wait_all_tasks_blocked(0.05)
        # Not its turn: what is measured is no more than a hundredth of a second.
        gc.collect()
        gc.disable()
        began = time.process_time()
        nursery.start_soon(tick)
        await author.set(_PATH, b"x")
        result.told = _since(began)
        await done.wait()
        await trio.lowlevel.checkpoint()
        gc.enable()
        nursery.cancel_scope.cancel()
    return result


def _fire_deep(others: int) -> float:
    """Return microseconds for one event far down, told to two watches above."""
    table = WatchTable()
    for number in range(others):
        table.add(f"/other/{number}", WatchKind.RECURSIVE)
    path = "/d" * _DEPTH
    table.add("/", WatchKind.RECURSIVE)
    table.add(path, WatchKind.RECURSIVE)
    events = [TreeEvent(EventType.DATA_CHANGED, path, 1)]
    found: list[float] = []
    for _ in range(_REPEATS):
        before = time.process_time()
        [told] = table.fire(events)
        found.append(_since(before) * 1000)
        assert len(told.watches) == 2
    return min(found)


def _since(moment: float) -> float:
    return (time.process_time() - moment) * 1000
