"""Closed-loop load: so many tasks, each with one operation under way.

Says how often and how fast; what an operation is, the caller says. No bounds
are checked here or anywhere in this package: benchmarks report.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter, perf_counter_ns, process_time

import trio

__all__ = ["PAYLOAD", "Figures", "drive", "milliseconds"]

Figures = dict[str, float]
"""Numbers by name, as a child reports them."""

PAYLOAD = b"x" * 100

# Seconds before counting begins: batches find their size, caches fill.
_WARM_UP = 0.5


async def drive(
    operate: Callable[[int], Awaitable[object]], tasks: int, seconds: float
) -> Figures:
    """Let ``tasks`` tasks do one operation after the other.

    Args:
      operate: Called with the task's number, from 0 on.
      tasks: How many operations are under way at any moment.
      seconds: How long to count.

    Returns:
      ``rate`` in operations a second; ``p50`` and ``p99`` in milliseconds;
      ``cpu``, this process's time in microseconds for one operation, which
      depends least on what else the machine does.

    """
    latencies: list[int] = []
    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(_repeat, operate, number, latencies)
        await trio.sleep(_WARM_UP)
        latencies.clear()
        begun, cpu_begun = perf_counter(), process_time()
        await trio.sleep(seconds)
        count = len(latencies)
        rate = count / (perf_counter() - begun)
        cpu = (process_time() - cpu_begun) / count * 1e6
        nursery.cancel_scope.cancel()
    return {"rate": rate, "cpu": cpu, **milliseconds(latencies, p50=0.5, p99=0.99)}


async def _repeat(
    operate: Callable[[int], Awaitable[object]], number: int, latencies: list[int]
) -> None:
    while True:
        begun = perf_counter_ns()
        await operate(number)
        latencies.append(perf_counter_ns() - begun)


def milliseconds(nanoseconds: Sequence[int], **shares: float) -> Figures:
    """Return percentiles of durations: the least that no more than so many exceed.

    Args:
      nanoseconds: At least one duration.
      shares: What to call each percentile, and which it is: above 0, up to 1.

    """
    ascending = sorted(nanoseconds)
    return {
        name: ascending[math.ceil(share * len(ascending)) - 1] / 1e6
        for name, share in shares.items()
    }
