"""Runs of trio that repeat themselves: virtual time, and tasks in a seeded order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

__all__ = ["run_seeded"]

T = TypeVar("T")


def run_seeded(seed: int, run: Callable[[], Awaitable[T]]) -> T:
    """Run ``run`` on a clock that jumps; the same run whenever the seed is.

    Trio shuffles the tasks that could run, on purpose. The only public way to
    have them in a fixed order is its plugin for Hypothesis, which serves tests
    that Hypothesis runs; this sets the same two private names.
    """

    async def main() -> T:
        trio._core._run._r.seed(seed)
        return await run()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        return trio.run(main, clock=MockClock(autojump_threshold=0))
