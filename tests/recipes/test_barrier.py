"""A gate holds up those who come while it is closed, and nobody else."""

from __future__ import annotations

import pytest
import trio

from coordlib import NotEmptyError, Session
from coordlib.recipes import Barrier
from coordlib.testing import MemoryEnsemble
from recipes.interference import nothing_left, three_sessions
from transport.seat import in_virtual_time


@in_virtual_time
async def test_all_who_wait_pass_when_the_gate_is_opened() -> None:
    passed: list[float] = []

    async def wait(session: Session) -> None:
        await Barrier(session, "/gates/a").wait()
        passed.append(trio.current_time())

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        await Barrier(sessions[0], "/gates/a").close()
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(wait, sessions[number % 3])
            await trio.sleep(5)
            assert passed == []
            opened = trio.current_time()
            await Barrier(sessions[1], "/gates/a").open()
        assert len(passed) == 30
        assert max(passed) - opened < 0.1
        await nothing_left(members, sessions[0], "/gates")


@in_virtual_time
async def test_an_open_gate_holds_nobody_up() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        with trio.fail_after(1):
            await Barrier(session, "/gate").wait()


@in_virtual_time
async def test_opening_and_closing_can_be_repeated() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        gate = Barrier(session, "/gate")
        await gate.open()
        await gate.close()
        await gate.close()
        with trio.move_on_after(5) as patience:
            await gate.wait()
        assert patience.cancelled_caught
        await gate.open()
        await gate.open()
        with trio.fail_after(1):
            await gate.wait()


@in_virtual_time
async def test_the_gate_stays_closed_without_its_keeper() -> None:
    async with MemoryEnsemble(3) as members, members[2].session() as waiter:
        async with members[1].session() as keeper:
            await Barrier(keeper, "/gate").close()
        with trio.move_on_after(5) as patience:
            await Barrier(waiter, "/gate").wait()
        assert patience.cancelled_caught


@in_virtual_time
async def test_a_member_that_lags_lets_nobody_through() -> None:
    """The gate is closed elsewhere; the own member has not heard of it."""
    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        leader = members.leader_id
        assert leader is not None
        lagging, other = leader % 3 + 1, (leader + 1) % 3 + 1
        members.network.cut(leader, lagging)
        members.network.cut(other, lagging)
        await Barrier(sessions[other - 1], "/gate").close()

        with trio.move_on_after(0.5) as patience:
            await Barrier(sessions[lagging - 1], "/gate").wait()
        assert patience.cancelled_caught
        members.heal()
        with trio.move_on_after(5) as patience:
            await Barrier(sessions[lagging - 1], "/gate").wait()
        assert patience.cancelled_caught


@in_virtual_time
async def test_a_znode_with_children_is_no_gate() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        await session.create("/gate")
        await session.create("/gate/child")
        with pytest.raises(NotEmptyError):
            await Barrier(session, "/gate").open()
