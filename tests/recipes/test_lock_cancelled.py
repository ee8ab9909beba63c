"""A lock that is not waited for leaves no trace, wherever the wait was broken off."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel

from coordlib import Config, Session, SessionClosedError
from coordlib.recipes import Lock
from coordlib.testing import MemoryEnsemble
from recipes.interference import (
    Room,
    cancelled_at_each_step,
    everything_below,
    nothing_left,
    three_sessions,
)
from transport.seat import in_virtual_time

# A quick ensemble, and one so slow that a release outlasts its patience.
QUICK, SLOW = 0.001, 0.4
# Its containers stay, so that each attempt meets the same tree.
PATIENT = Config(
    heartbeat_interval=0.5,
    silence_timeout=5.0,
    election_wait=1.0,
    clean_interval=3600.0,
)

slow_and_quick = pytest.mark.parametrize("latency", [QUICK, SLOW])


async def hold_a_while(session: Session, path: str, duration: float) -> None:
    async with Lock(session, path):
        await trio.sleep(duration)


@slow_and_quick
@in_virtual_time
async def test_cancelled_at_any_await_of_an_uncontended_hold(latency: float) -> None:
    async with (
        MemoryEnsemble(3, latency=latency, config=PATIENT) as members,
        three_sessions(members, timeout=30) as sessions,
    ):

        async def act() -> None:
            await hold_a_while(sessions[0], "/locks/a", 0.01)

        async def after() -> None:
            with trio.fail_after(10):
                await hold_a_while(sessions[1], "/locks/a", 0.01)
            await nothing_left(members, sessions[0], "/locks/a")
            # So that the next time the path has to be made, too.
            await sessions[0].delete("/locks/a")
            await sessions[0].delete("/locks")
            await sessions[0].sync()

        # Four creations, the two refused ones in between, two looks, the block
        # and the release.
        assert await cancelled_at_each_step(act, after) == 9


@slow_and_quick
@in_virtual_time
async def test_cancelled_at_any_await_while_others_wait(latency: float) -> None:
    async with (
        MemoryEnsemble(3, latency=latency, config=PATIENT) as members,
        three_sessions(members, timeout=30) as sessions,
    ):
        room = Room()

        async def other(session: Session) -> None:
            async with Lock(session, "/l") as grant:
                with room.visit(grant):
                    await trio.sleep(0.2)

        async def act() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other, sessions[1])
                await trio.sleep(5 * latency)
                nursery.start_soon(other, sessions[2])
                await trio.lowlevel.checkpoint()
                await in_the_middle()

        async def in_the_middle() -> None:
            async with Lock(sessions[0], "/l") as grant:
                with room.visit(grant):
                    await trio.sleep(0.01)

        async def after() -> None:
            with trio.fail_after(20):
                await other(sessions[2])
            await nothing_left(members, sessions[0], "/l")

        assert await cancelled_at_each_step(act, after) >= 10
        assert room.tokens == sorted(set(room.tokens))


@slow_and_quick
@in_virtual_time
async def test_cancelled_at_any_await_of_an_attempt(latency: float) -> None:
    async with (
        MemoryEnsemble(3, latency=latency, config=PATIENT) as members,
        three_sessions(members, timeout=30) as sessions,
    ):

        async def act() -> None:
            grant = await Lock(sessions[0], "/l").try_acquire()
            assert grant is not None
            async with grant:
                await trio.sleep(0.01)

        async def after() -> None:
            with trio.fail_after(10):
                await hold_a_while(sessions[1], "/l", 0.01)
            await nothing_left(members, sessions[0], "/l")
            await sessions[0].sync()

        assert await cancelled_at_each_step(act, after) == 6


@in_virtual_time
async def test_all_who_wait_go_at_once_and_the_holder_does_not_notice() -> None:
    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with Lock(sessions[0], "/l") as grant:
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(
                        hold_a_while, sessions[number % 3], "/l", 1, name=number
                    )
                await trio.sleep(1)
                assert len(await everything_below(sessions[0], "/l")) == 21
                nursery.cancel_scope.cancel()
            await trio.sleep(1)
            assert len(await everything_below(sessions[0], "/l")) == 1
            grant.check()
        await nothing_left(members, sessions[0], "/l")


@in_virtual_time
async def test_patience_is_counted_once() -> None:
    """Predecessors that leave do not start the caller's clock again."""
    async with (
        MemoryEnsemble(3) as members,
        three_sessions(members) as sessions,
        trio.open_nursery() as nursery,
    ):
        for number in range(10):
            nursery.start_soon(hold_a_while, sessions[number % 3], "/l", 0.2)
        await trio.sleep(0.1)
        began = trio.current_time()
        with trio.move_on_after(0.5) as patience:
            await hold_a_while(sessions[0], "/l", 0)
        assert patience.cancelled_caught
        assert trio.current_time() - began == pytest.approx(0.5)


@in_virtual_time
async def test_an_answer_that_does_not_come_holds_a_release_up_for_a_second() -> None:
    async with (
        MemoryEnsemble(3) as members,
        three_sessions(members, timeout=30) as (
            one,
            two,
            _,
        ),
    ):
        leader = members.leader_id
        assert leader is not None
        holder = one if leader != 1 else two
        async with Lock(holder, "/l"):
            members.partition({1}, {2}, {3})
            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(1.0)

        members.heal()
        await nothing_left(members, holder, "/l")


@in_virtual_time
async def test_a_refused_release_is_carried_out_later() -> None:
    """Suspended: nothing can be written. The reaper does it after healing."""
    async with (
        MemoryEnsemble(3) as members,
        three_sessions(members, timeout=9) as (
            one,
            two,
            _,
        ),
    ):
        async with Lock(one, "/l"):
            members.partition({1}, {2, 3})
            await trio.sleep(4)
        members.heal()

        with trio.fail_after(2):
            await hold_a_while(two, "/l", 0)
        one.check()
        await nothing_left(members, one, "/l")


@in_virtual_time
async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    error = ValueError("mine")

    async def fail(session: Session) -> None:
        async with Lock(session, "/l"):
            raise error

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        with pytest.raises(ValueError, match="mine") as raised:
            await fail(sessions[0])
        assert raised.value is error
        await nothing_left(members, sessions[0], "/l")


@in_virtual_time
async def test_a_cancellation_meanwhile_does_not_hide_the_error() -> None:
    """It waits until the release is done, which takes a round trip."""

    async def fail(session: Session) -> None:
        with trio.CancelScope() as outside:
            async with Lock(session, "/l"):
                outside.cancel()
                raise ValueError("mine")

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        with pytest.raises(ValueError, match="mine"):
            await fail(sessions[0])
        assert members[1].tree.get_children("/l") == []


@in_virtual_time
async def test_a_closed_session_refuses_at_once() -> None:
    async with MemoryEnsemble(3) as members:
        async with members[1].session() as session:
            pass
        with pytest.raises(SessionClosedError):
            await hold_a_while(session, "/l", 1)
