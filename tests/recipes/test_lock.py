"""What a lock does while nothing goes wrong, and what it costs."""

from __future__ import annotations

import random

import pytest
import trio

from coordlib import (
    BadArgumentsError,
    LockLost,
    MultiError,
    NoChildrenForEphemeralsError,
    NoNodeError,
    NotEmptyError,
    Session,
    Set,
)
from coordlib.recipes import Lock
from coordlib.testing import MemoryEnsemble
from recipes.interference import (
    Room,
    StepCounter,
    everything_below,
    nothing_left,
    three_sessions,
)
from transport.seat import in_virtual_time


@in_virtual_time
async def test_one_at_a_time_across_members() -> None:
    room = Room()
    chance = random.Random(1)

    async def contend(session: Session) -> None:
        lock = Lock(session, "/locks/report")
        for _ in range(5):
            await trio.sleep(chance.random() * 0.05)
            async with lock as grant:
                with room.visit(grant):
                    await trio.sleep(chance.random() * 0.05)

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with trio.open_nursery() as nursery:
            for session in sessions * 2:
                nursery.start_soon(contend, session)
        await nothing_left(members, sessions[0], "/locks/report")

    assert len(room.visits) == 30
    assert room.tokens == sorted(set(room.tokens))


@in_virtual_time
async def test_the_first_to_come_is_the_first_served() -> None:
    order: list[int] = []

    async def contend(session: Session, number: int) -> None:
        async with Lock(session, "/l"):
            order.append(number)

    async with (
        MemoryEnsemble(3) as members,
        three_sessions(members) as sessions,
        trio.open_nursery() as nursery,
        Lock(sessions[0], "/l"),
    ):
        for number in range(12):
            nursery.start_soon(contend, sessions[number % 3], number)
            await trio.sleep(0.1)
        assert order == []

    assert order == list(range(12))


@in_virtual_time
async def test_an_uncontended_hold_costs_two_transactions() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        async with Lock(session, "/locks/a"):
            pass
        before = members[1].statistics().zxid

        async with Lock(session, "/locks/a"):
            assert members[1].statistics().zxid == before + 1

        assert members[1].statistics().zxid == before + 2


@in_virtual_time
async def test_a_taken_lock_is_tried_without_a_transaction() -> None:
    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with Lock(sessions[0], "/l"):
            await sessions[1].sync()
            before = members[2].statistics().zxid
            for _ in range(100):
                assert await Lock(sessions[1], "/l").try_acquire() is None
            await sessions[1].sync()
            assert members[2].statistics().zxid == before

        await sessions[1].sync()
        grant = await Lock(sessions[1], "/l").try_acquire()
        assert grant is not None
        async with grant:
            grant.check()
        await nothing_left(members, sessions[0], "/l")


@in_virtual_time
async def test_of_two_that_try_at_once_one_succeeds() -> None:
    results: list[bool] = []
    room = Room()

    async def attempt(session: Session) -> None:
        grant = await Lock(session, "/l").try_acquire()
        results.append(grant is not None)
        if grant is not None:
            async with grant:
                with room.visit(grant):
                    await trio.sleep(1)

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        await sessions[0].create("/l")
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(attempt, session)
        await nothing_left(members, sessions[0], "/l")

    assert sorted(results) == [False, False, True]


@in_virtual_time
async def test_entering_again_in_the_same_task_is_refused() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        lock = Lock(session, "/l")
        async with lock as grant:
            with pytest.raises(RuntimeError, match="already holds"):
                await lock.__aenter__()
            with pytest.raises(RuntimeError, match="already holds"):
                await lock.try_acquire()
            with pytest.raises(RuntimeError, match="once"):
                await grant.__aenter__()
            grant.check()

        async with lock as again:
            assert again.token > grant.token
        tried = await lock.try_acquire()
        assert tried is not None
        async with tried:
            with pytest.raises(RuntimeError, match="already holds"):
                await lock.__aenter__()


@in_virtual_time
async def test_two_objects_are_two_contenders() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        async with Lock(session, "/l"):
            with trio.move_on_after(60) as patience:
                async with Lock(session, "/l"):
                    pytest.fail("two at a time")
        assert patience.cancelled_caught
        await nothing_left(members, session, "/l")


@in_virtual_time
async def test_a_grant_proves_nothing_after_its_release() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        await session.create("/report")
        async with Lock(session, "/l") as grant:
            grant.check()
            assert grant.deadline == session.deadline
            await session.multi([grant.guard(), Set("/report", b"mine")])

        assert grant.lost
        with pytest.raises(LockLost) as lost:
            grant.check()
        assert (lost.value.path, lost.value.token) == ("/l", grant.token)
        with pytest.raises(MultiError):
            await session.multi([grant.guard(), Set("/report", b"stale")])
        assert (await session.get("/report"))[0] == b"mine"


@in_virtual_time
async def test_contenders_are_listed_in_their_order() -> None:
    async def contend(session: Session, data: bytes) -> None:
        async with Lock(session, "/l", data=data):
            await trio.sleep_forever()

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        lock = Lock(sessions[0], "/l")
        assert await lock.contenders() == []
        async with trio.open_nursery() as nursery:
            for number in (2, 0, 1):
                nursery.start_soon(contend, sessions[number], b"%d" % number)
                await trio.sleep(0.1)
            assert await lock.contenders() == [b"2", b"0", b"1"]
            nursery.cancel_scope.cancel()


@in_virtual_time
async def test_strangers_below_the_path_do_not_count() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        await session.create("/l")
        await session.create("/l/notes", b"persistent")
        await session.create("/l/0000-candidate-", ephemeral=True, sequential=True)

        with trio.fail_after(1):
            async with Lock(session, "/l"):
                assert await Lock(session, "/l").contenders() == [b""]
            tried = await Lock(session, "/l").try_acquire()
            assert tried is not None
            async with tried:
                pass


@in_virtual_time
async def test_the_root_can_be_a_lock() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        async with Lock(session, "/") as grant:
            assert grant.path.count("/") == 1
        assert await session.get_children("/") == ["zookeeper"]


@pytest.mark.parametrize("path", ["locks", "/locks/", "/a//b"])
@in_virtual_time
async def test_a_malformed_path_is_refused(path: str) -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        with pytest.raises(BadArgumentsError):
            async with Lock(session, path):
                pytest.fail("entered")


@in_virtual_time
async def test_an_ephemeral_path_is_refused() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        await session.create("/l", ephemeral=True)
        with pytest.raises(NoChildrenForEphemeralsError):
            async with Lock(session, "/l"):
                pytest.fail("entered")


@in_virtual_time
async def test_the_path_may_vanish_at_any_time() -> None:
    deleted = 0

    async def sweep(session: Session) -> None:
        nonlocal deleted
        while True:
            for path in ("/locks/a", "/locks"):
                try:
                    await session.delete(path)
                    deleted += 1
                except (NoNodeError, NotEmptyError):
                    pass

    async def contend(session: Session) -> None:
        for _ in range(10):
            async with Lock(session, "/locks/a"):
                await trio.sleep(0.01)
            await trio.sleep(0.02)

    async def in_turns(*sessions: Session) -> None:
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(contend, session)

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        with trio.fail_after(60):
            async with trio.open_nursery() as sweeping:
                sweeping.start_soon(sweep, sessions[0])
                await in_turns(sessions[1], sessions[2])
                sweeping.cancel_scope.cancel()

    assert deleted > 5


@in_virtual_time
async def test_a_release_wakes_one_contender() -> None:
    """Fifty wait: a few steps of each, not a few for each that leaves."""
    counters: list[StepCounter] = []

    async def contend(session: Session) -> None:
        counter = StepCounter(trio.lowlevel.current_task())
        counters.append(counter)
        trio.lowlevel.add_instrument(counter)
        async with Lock(session, "/l"):
            await trio.sleep(0.01)
        trio.lowlevel.remove_instrument(counter)

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(contend, sessions[number % 3])
        await nothing_left(members, sessions[0], "/l")

    assert len(counters) == 50
    assert max(counter.steps for counter in counters) <= 16


@in_virtual_time
async def test_who_leaves_the_middle_of_the_line_disturbs_nobody() -> None:
    order: list[int] = []
    patience = [trio.CancelScope() for _ in range(5)]

    async def contend(session: Session, number: int) -> None:
        with patience[number]:
            async with Lock(session, "/l"):
                order.append(number)

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with trio.open_nursery() as nursery, Lock(sessions[0], "/l") as grant:
            for number in range(5):
                nursery.start_soon(contend, sessions[number % 3], number)
                await trio.sleep(0.1)
            patience[2].cancel()
            await trio.sleep(1)
            assert order == []
            assert len(await everything_below(sessions[0], "/l")) == 5
            grant.check()
        await nothing_left(members, sessions[0], "/l")

    assert order == [0, 1, 3, 4]


@in_virtual_time
async def test_tokens_rise_over_crashes_and_restarts() -> None:
    tokens: list[int] = []

    async def hold(members: MemoryEnsemble, member: int) -> None:
        async with members[member].session(timeout=1) as session:
            async with Lock(session, "/l") as grant:
                tokens.append(grant.token)
            await session.delete("/l")

    async with MemoryEnsemble(3) as members:
        for _ in range(3):
            await hold(members, 1)
            leader = members.leader_id
            assert leader is not None
            await members.crash(leader)
            await hold(members, next(iter(members)))
            await members.restart(leader)
            await members.wait_ready()
        for member in (1, 2, 3):
            await members.crash(member)
        for member in (1, 2, 3):
            await members.restart(member)
        await hold(members, 2)

    assert tokens == sorted(set(tokens))
    assert len(tokens) == 7
