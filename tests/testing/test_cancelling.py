"""Code that is cancelled at each of its checkpoints in turn."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from coordlib.testing import cancel_everywhere


async def test_each_checkpoint_has_its_turn() -> None:
    reached: list[str] = []

    async def act() -> None:
        reached.append("begun")
        await trio.lowlevel.checkpoint()
        reached.append("first")
        await trio.lowlevel.checkpoint()
        reached.append("second")

    async def check() -> None:
        reached.append("-")

    ended = await cancel_everywhere(act, check)

    assert ended == [True, True, True]
    assert " ".join(reached).split(" - ")[:3] == ["begun", "begun", "begun first"]
    assert reached[-4:] == ["begun", "first", "second", "-"]


async def test_what_is_shielded_comes_to_its_end() -> None:
    async def act() -> None:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()

    assert await cancel_everywhere(act) == [True, True, False]


async def test_a_swallowed_cancellation_shows() -> None:
    async def act() -> None:
        with trio.move_on_after(10) as scope:
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:
                scope.cancel()
                return
        await trio.lowlevel.checkpoint()

    assert await cancel_everywhere(act) == [False, False, True]


async def test_what_is_waited_for_happens_meanwhile(
    autojump_clock: MockClock,
) -> None:
    done: list[float] = []

    async def act() -> None:
        start = autojump_clock.current_time()
        await trio.sleep(1)
        done.append(autojump_clock.current_time() - start)

    async def long() -> None:
        await trio.sleep(2)

    async def short() -> None:
        await trio.sleep(0.5)

    assert await cancel_everywhere(act, meanwhile=long) == [True, False]
    assert done == [1.0, 1.0]
    assert await cancel_everywhere(act, meanwhile=short) == [True, True]
    assert done == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("patient", [False, True])
async def test_an_error_instead_of_a_cancellation_comes_out(*, patient: bool) -> None:
    async def act() -> None:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            raise ValueError("instead") from None

    with pytest.raises(ValueError, match="instead"):
        await cancel_everywhere(
            act, meanwhile=trio.lowlevel.checkpoint if patient else None
        )


async def test_an_error_meanwhile_comes_out() -> None:
    async def meanwhile() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("meanwhile")

    with pytest.raises(ValueError, match="meanwhile"):
        await cancel_everywhere(trio.sleep_forever, meanwhile=meanwhile)


async def test_the_callers_own_cancellation_goes_through() -> None:
    async def meanwhile() -> None:
        scope.cancel()
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        await cancel_everywhere(trio.sleep_forever, meanwhile=meanwhile)
    assert scope.cancelled_caught


async def test_what_never_ends_is_given_up() -> None:
    async def act() -> None:
        while True:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            if trio.current_effective_deadline() < 0:
                return

    with pytest.raises(RuntimeError, match="more than 20 checkpoints"):
        await cancel_everywhere(act, checkpoints_max=20)
