"""A hold that cannot be proved ends before the next one can begin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from coordlib import (
    Config,
    Delete,
    LockLost,
    MultiError,
    ReplicaClosedError,
    Session,
    SessionError,
    Set,
)
from coordlib.recipes import Lock
from coordlib.testing import MemoryEnsemble
from recipes.interference import Room, nothing_left
from transport.seat import in_virtual_time

T = 6.0

leading_or_not = pytest.mark.parametrize("holder_leads", [False, True])


async def hold(session: Session, room: Room) -> None:
    async with Lock(session, "/l") as grant:
        with room.visit(grant):
            await trio.sleep_forever()


async def hold_until_lost(session: Session, room: Room) -> None:
    with pytest.raises(LockLost):
        await hold(session, room)


async def visit(session: Session, room: Room) -> None:
    async with Lock(session, "/l") as grant:
        with room.visit(grant):
            await trio.sleep(0.1)


@asynccontextmanager
async def holder_and_other(
    *, holder_leads: bool
) -> AsyncIterator[tuple[MemoryEnsemble, int, Session, Session]]:
    """Yield the holder's member, its session, and one at another member."""
    async with MemoryEnsemble(3) as members:
        leader = members.leader_id
        assert leader is not None
        holder = int(leader) if holder_leads else leader % 3 + 1
        other = holder % 3 + 1
        async with (
            members[holder].session(timeout=T) as holding,
            members[other].session(timeout=T) as waiting,
        ):
            yield members, holder, holding, waiting


@leading_or_not
@pytest.mark.parametrize("healed_after", [0.75 * T, 0.95 * T, 1.5 * T, None])
@in_virtual_time
async def test_a_holder_cut_off_stops_before_the_next_begins(
    *, healed_after: float | None, holder_leads: bool
) -> None:
    room = Room()
    async with holder_and_other(holder_leads=holder_leads) as (members, cut_off, a, b):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_until_lost, a, room)
            await trio.sleep(0.5)
            nursery.start_soon(visit, b, room)
            await trio.sleep(0.5)
            members.partition({cut_off}, {1, 2, 3} - {cut_off})
            began = trio.current_time()
            if healed_after is not None:
                await trio.sleep(healed_after)
                members.heal()

        # The room itself has seen that there were never two.
        first, second = room.visits
        assert first.left - began <= 2 / 3 * T
        # A beat, and the way of an answer, before it was cut off.
        assert first.left - began >= 2 / 3 * T - 0.25
        assert second.entered > first.left
        assert second.token > first.token
        if healed_after is None or healed_after > T:
            assert second.entered - began >= T - 0.25
        else:
            # What the cut-off member gave up is free as soon as it can say so.
            assert second.entered - began < T
        members.heal()
        await members.wait_equal()
        await nothing_left(members, b, "/l")


@leading_or_not
@in_virtual_time
async def test_a_short_cut_is_not_noticed(*, holder_leads: bool) -> None:
    room = Room()
    async with holder_and_other(holder_leads=holder_leads) as (members, cut_off, a, b):
        async with trio.open_nursery() as nursery, Lock(a, "/l") as grant:
            with room.visit(grant):
                nursery.start_soon(visit, b, room)
                members.partition({cut_off}, {1, 2, 3} - {cut_off})
                await trio.sleep(0.5 * T)
                members.heal()
                await trio.sleep(2 * T)
                grant.check()
        await nothing_left(members, b, "/l")
    assert len(room.visits) == 2


@in_virtual_time
async def test_what_a_stale_holder_writes_is_refused() -> None:
    async def hold_on(a: Session, b: Session) -> None:
        async with Lock(a, "/l") as grant:
            with trio.CancelScope(shield=True):
                await b.multi([Delete(grant.path), Set("/register", b"theirs")])
                with pytest.raises(MultiError):
                    await a.multi([grant.guard(), Set("/register", b"stale")])
            with pytest.raises(LockLost):
                grant.check()

    async with holder_and_other(holder_leads=False) as (_, _, a, b):
        await a.create("/register")
        with pytest.raises(LockLost):
            await hold_on(a, b)
        assert (await b.get("/register"))[0] == b"theirs"


@in_virtual_time
async def test_a_deleted_znode_ends_the_block() -> None:
    async with holder_and_other(holder_leads=False) as (members, _, a, b):
        async with trio.open_nursery() as nursery:
            async with Lock(a, "/l"):
                pass

            async def admin() -> None:
                await trio.sleep(1)
                (name,) = await b.get_children("/l")
                await b.delete(f"/l/{name}")

            nursery.start_soon(admin)
            began = trio.current_time()
            with pytest.raises(LockLost) as lost:
                async with Lock(a, "/l") as grant:
                    await trio.sleep_forever()
            assert trio.current_time() - began < 1.1
            assert (lost.value.path, lost.value.token) == ("/l", grant.token)
        a.check()
        await nothing_left(members, a, "/l")


@in_virtual_time
async def test_a_waiter_whose_znode_is_deleted_stands_in_line_again() -> None:
    room = Room()
    async with holder_and_other(holder_leads=False) as (members, _, a, b):
        async with trio.open_nursery() as nursery, Lock(a, "/l") as grant:
            with room.visit(grant):
                nursery.start_soon(visit, b, room)
                await trio.sleep(1)
                _, waiting = await a.get_children("/l")
                await a.delete(f"/l/{waiting}")
                await trio.sleep(1)
                assert waiting not in await a.get_children("/l")
                assert len(await a.get_children("/l")) == 2
        await nothing_left(members, a, "/l")
    assert len(room.visits) == 2


@in_virtual_time
async def test_a_line_deleted_with_its_path_is_made_anew() -> None:
    room = Room()
    async with holder_and_other(holder_leads=False) as (members, _, a, b):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_until_lost, a, room)
            await trio.sleep(0.5)
            nursery.start_soon(visit, b, room)
            await trio.sleep(0.5)
            line = [f"/l/{name}" for name in await a.get_children("/l")]
            assert len(line) == 2
            await b.multi([*map(Delete, line), Delete("/l")])
        await nothing_left(members, a, "/l")
    first, second = room.visits
    assert second.token > first.token
    assert second.entered >= first.left


@in_virtual_time
async def test_a_block_that_came_to_its_end_after_the_loss_raises_as_well() -> None:
    async def hold_on(a: Session, b: Session) -> None:
        async with Lock(a, "/l") as grant:
            with trio.CancelScope(shield=True):
                await b.delete(grant.path)
                await trio.sleep(1)

    async with holder_and_other(holder_leads=False) as (_, _, a, b):
        with pytest.raises(LockLost):
            await hold_on(a, b)
        a.check()


@in_virtual_time
async def test_the_blocks_own_error_comes_before_the_loss() -> None:
    async def fail(session: Session) -> None:
        async with Lock(session, "/l"):
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("mine")

    async with holder_and_other(holder_leads=False) as (members, cut_off, a, b):
        async with trio.open_nursery() as nursery:

            async def cut() -> None:
                await trio.sleep(1)
                members.partition({cut_off}, {1, 2, 3} - {cut_off})

            nursery.start_soon(cut)
            with pytest.raises(ValueError, match="mine"):
                await fail(a)
        members.heal()
        await nothing_left(members, b, "/l")


@in_virtual_time
async def test_a_cancellation_from_outside_comes_before_the_loss() -> None:
    async with holder_and_other(holder_leads=False) as (members, cut_off, a, b):
        with trio.CancelScope() as outside:
            async with Lock(a, "/l"):
                members.partition({cut_off}, {1, 2, 3} - {cut_off})
                try:
                    await trio.sleep_forever()
                finally:
                    outside.cancel()
        assert outside.cancelled_caught
        members.heal()
        await nothing_left(members, b, "/l")


@in_virtual_time
async def test_nested_locks_are_lost_as_one() -> None:
    async def hold_both(session: Session) -> None:
        with pytest.raises(LockLost) as lost:
            await hold_nested(session)
        assert lost.value.path == "/outer"

    async def hold_nested(session: Session) -> None:
        async with Lock(session, "/outer"), Lock(session, "/inner"):
            await trio.sleep_forever()

    async with (
        holder_and_other(holder_leads=False) as (members, cut_off, a, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(hold_both, a)
        await trio.sleep(1)
        members.partition({cut_off}, {1, 2, 3} - {cut_off})


@in_virtual_time
async def test_closing_the_session_ends_the_block() -> None:
    room = Room()
    async with holder_and_other(holder_leads=False) as (members, _, a, b):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_until_lost, a, room)
            await trio.sleep(1)
            await a.aclose()
        await visit(b, room)
        await nothing_left(members, b, "/l")
    assert len(room.visits) == 2


@in_virtual_time
async def test_closing_the_session_ends_the_wait() -> None:
    ended: list[float] = []

    async def wait(session: Session) -> None:
        with pytest.raises(SessionError):
            async with Lock(session, "/l"):
                pytest.fail("entered")
        ended.append(trio.current_time())

    async with holder_and_other(holder_leads=False) as (members, _, a, b):
        async with Lock(b, "/l") as grant:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, a)
                await trio.sleep(1)
                closed_at = trio.current_time()
                await a.aclose()
            assert ended[0] - closed_at < 0.1
            grant.check()
        await nothing_left(members, b, "/l")


@in_virtual_time
async def test_a_waiter_cut_off_leaves_the_line_when_its_session_is_lost() -> None:
    async with holder_and_other(holder_leads=False) as (members, cut_off, a, b):
        async with Lock(b, "/l") as grant:
            members.partition({cut_off}, {1, 2, 3} - {cut_off})
            began = trio.current_time()
            with pytest.raises(SessionError):
                async with Lock(a, "/l"):
                    pytest.fail("entered")
            assert trio.current_time() - began <= 2 / 3 * T + 0.2
            members.heal()
            grant.check()
        await nothing_left(members, b, "/l")


@in_virtual_time
async def test_a_crash_of_the_own_member_ends_the_block() -> None:
    room = Room()

    async def member_one(members: MemoryEnsemble) -> None:
        async with members[1].session(timeout=T) as session:
            await hold_until_lost(session, room)
            with pytest.raises(ReplicaClosedError):
                session.check()

    async with MemoryEnsemble(3) as members, members[2].session(timeout=T) as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(member_one, members)
            await trio.sleep(1)
            await members.crash(1)
        with trio.fail_after(2 * T):
            await visit(other, room)
        await nothing_left(members, other, "/l")
    first, second = room.visits
    assert second.token > first.token


@pytest.mark.parametrize("crash_after", [0.0, 0.0015, 0.003, 0.0045, 0.006, 0.05])
@in_virtual_time
async def test_a_crash_of_the_leader_is_survived_in_all_stages(
    crash_after: float,
) -> None:
    """While it is asked for the lock, holds it, or is asked to release it."""
    room = Room()

    async def contend(session: Session) -> None:
        for _ in range(5):
            async with Lock(session, "/l") as grant:
                with room.visit(grant):
                    await trio.sleep(0.002)

    async with MemoryEnsemble(3) as members:
        leader = members.leader_id
        assert leader is not None
        first, second = (leader % 3 + 1, (leader + 1) % 3 + 1)
        async with members[first].session() as one, members[second].session() as two:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(contend, one)
                nursery.start_soon(contend, two)
                await trio.sleep(crash_after)
                await members.crash(leader)
            await members.restart(leader)
            await members.wait_equal()
            await nothing_left(members, one, "/l")

    assert len(room.visits) == 10
    assert room.tokens == sorted(set(room.tokens))


@in_virtual_time
async def test_a_block_that_ended_in_time_is_not_told_of_a_loss_after_it() -> None:
    async with MemoryEnsemble(3) as members:
        follower = (members.leader_id or 0) % 3 + 1
        async with members[follower].session(timeout=1.0) as session:
            async with Lock(session, "/l") as grant:
                members.partition({follower}, {1, 2, 3} - {follower})
                await trio.sleep(0.1)
                grant.check()
            # The release outlasted the session.
            with pytest.raises(SessionError):
                session.check()


@in_virtual_time
async def test_an_answer_that_comes_too_late_revives_nothing() -> None:
    """It comes after the deadline, and before anybody has looked at the clock."""
    # Two thirds of it are half a beat more than whole beats.
    timeout = 2.925
    left_at = 0.0

    async def hold_on(session: Session) -> None:
        nonlocal left_at
        async with Lock(session, "/l"):
            try:
                await trio.sleep_forever()
            finally:
                left_at = trio.current_time()
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.04)

    async def lost_on_time(session: Session) -> None:
        with pytest.raises(LockLost):
            await hold_on(session)
        with pytest.raises(SessionError):
            session.check()

    patient = Config(silence_timeout=60.0)
    async with MemoryEnsemble(3, config=patient) as members:
        follower = (members.leader_id or 0) % 3 + 1
        async with (
            members[follower].session(timeout=timeout) as session,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(lost_on_time, session)
            await trio.sleep(1)
            members.partition({follower}, {1, 2, 3} - {follower})
            await trio.sleep_until(session.deadline + 0.01)
            assert 0 < trio.current_time() - left_at < 0.02
            members.heal()


@in_virtual_time
async def test_a_frozen_process_finds_out_by_the_clock() -> None:
    """No task of it ran for 2T; ``check`` comes before anything else runs."""

    async def freeze_within(session: Session) -> None:
        async with Lock(session, "/l") as grant:
            grant.check()
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, MockClock)
            clock.jump(2 * T)
            with pytest.raises(LockLost):
                grant.check()

    async with holder_and_other(holder_leads=False) as (_, _, a, _):
        with pytest.raises(LockLost):
            await freeze_within(a)
