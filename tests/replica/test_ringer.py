"""Many tasks are woken in slices, in order, and nobody is forgotten."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordlib.replica.ringer import _SLICE, Ringer
from coordlib.replica.waiter import Bell

MANY = 3 * _SLICE + 7


async def sleep_at(bell: Bell, number: int, woken: list[int]) -> None:
    await bell.wait()
    woken.append(number)


async def test_other_tasks_run_between_two_slices() -> None:
    ringer = Ringer()
    woken: list[int] = []
    seen: list[int] = []
    async with trio.open_nursery() as nursery:
        bells = [Bell() for _ in range(MANY)]
        for number, bell in enumerate(bells):
            nursery.start_soon(sleep_at, bell, number, woken)
        nursery.start_soon(ringer.run)
        await wait_all_tasks_blocked()
        for bell in bells:
            ringer.add(bell)
        assert not woken
        ringer.ring()
        while len(woken) < MANY:
            await trio.lowlevel.checkpoint()
            seen.append(len(woken))
        nursery.cancel_scope.cancel()

    # Each pass of the loop wakes one slice, or one more that was under way.
    steps = [after - before for before, after in pairwise(seen)]
    assert max(steps) <= 2 * _SLICE
    assert len([step for step in steps if step]) >= 2
    # trio shuffles those of one slice.
    assert sorted(woken) == list(range(MANY))
    assert max(woken[:_SLICE]) < 2 * _SLICE


async def test_ringing_later_wakes_nobody_at_once() -> None:
    ringer = Ringer()
    woken: list[int] = []
    async with trio.open_nursery() as nursery:
        bell = Bell()
        nursery.start_soon(ringer.run)
        nursery.start_soon(sleep_at, bell, 1, woken)
        await wait_all_tasks_blocked()
        ringer.add(bell)
        ringer.ring_later()
        assert bell._task is not None
        await wait_all_tasks_blocked()
        assert woken == [1]
        nursery.cancel_scope.cancel()


async def test_what_is_left_is_rung_when_it_ends() -> None:
    ringer = Ringer()
    woken: list[int] = []
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as running:
            running.start_soon(ringer.run)
            await wait_all_tasks_blocked()
            for number in range(MANY):
                bell = Bell()
                nursery.start_soon(sleep_at, bell, number, woken)
                ringer.add(bell)
            running.cancel_scope.cancel()
        late = Bell()
        ringer.add(late)
        await late.wait()
    assert len(woken) == MANY


async def test_a_bell_has_one_listener() -> None:
    bell = Bell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bell.wait)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await bell.wait()
        bell.ring()
