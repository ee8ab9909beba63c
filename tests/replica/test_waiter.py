"""Slots for one waiting task, and bells."""

from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from coordlib.replica.waiter import Bell, Waiter


class GiftError(Exception):
    """Given instead of a value."""


async def test_a_gift_before_the_wait_is_kept_for_it() -> None:
    waiter = Waiter[int]()
    waiter.resolve(7)

    with assert_checkpoints():
        assert await waiter.wait() == 7


async def test_a_gift_wakes_the_task_that_waits() -> None:
    waiter = Waiter[int]()
    got: list[int] = []

    async def wait() -> None:
        got.append(await waiter.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        waiter.resolve(7)

    assert got == [7]


async def test_of_several_gifts_the_first_counts() -> None:
    first, second = Waiter[int](), Waiter[int]()
    first.resolve(1)
    first.resolve(2)
    first.fail(GiftError())
    second.fail(GiftError())
    second.resolve(2)

    assert await first.wait() == 1
    with pytest.raises(GiftError):
        await second.wait()


async def test_a_failure_is_raised_where_it_is_waited_for() -> None:
    waiter = Waiter[int]()

    async def wait() -> None:
        with pytest.raises(GiftError):
            await waiter.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        waiter.fail(GiftError())


async def test_a_cancelled_wait_leaves_an_abandoned_waiter() -> None:
    waiter = Waiter[int]()
    with trio.CancelScope() as scope:
        scope.cancel()
        await waiter.wait()

    assert waiter.abandoned
    waiter.resolve(7)


async def test_a_gift_and_a_cancellation_at_once_lose_nothing() -> None:
    waiter = Waiter[int]()
    got: list[int] = []
    scope = trio.CancelScope()

    async def wait() -> None:
        with scope:
            got.append(await waiter.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        waiter.resolve(7)
        scope.cancel()

    # Whoever is told that it is not abandoned relies on its being heard.
    assert got == [7]
    assert not waiter.abandoned


async def test_a_bell_rung_before_is_heard_once() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    with assert_checkpoints():
        await bell.wait()

    with trio.move_on_after(0.01) as scope:
        await bell.wait()
    assert scope.cancelled_caught


async def test_a_bell_wakes_its_task_again_and_again() -> None:
    bell = Bell()
    heard = 0

    async def listen() -> None:
        nonlocal heard
        while True:
            await bell.wait()
            heard += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for expected in range(1, 4):
            await wait_all_tasks_blocked()
            bell.ring()
            await wait_all_tasks_blocked()
            assert heard == expected
        nursery.cancel_scope.cancel()
    bell.ring()


async def test_a_ring_while_the_task_is_busy_is_remembered() -> None:
    bell = Bell()
    seen: list[int] = []
    value = 0

    async def listen() -> None:
        while len(seen) < 2:
            await bell.wait()
            seen.append(value)
            await wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        value = 1
        bell.ring()
        # The task is awake but has not run: it will see this anyway.
        value = 2
        bell.ring()
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert seen == [2]
        # It has run, and does something else.
        value = 3
        bell.ring()
    assert seen == [2, 3]
