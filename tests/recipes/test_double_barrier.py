"""All begin together and end together, or are told that they do not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from coordlib import (
    BrokenBarrier,
    Delete,
    ReplicaClosedError,
    Session,
    SessionError,
    SessionExpiredError,
)
from coordlib.recipes import DoubleBarrier
from coordlib.testing import MemoryEnsemble
from recipes.interference import (
    cancelled_at_each_step,
    everything_below,
    nothing_left,
    three_sessions,
)
from transport.seat import in_virtual_time

T = 3.0


@attrs.define
class Party:
    """Notes who is between the two ends, and when."""

    wanted: list[float] = attrs.field(factory=list)
    entered: list[float] = attrs.field(factory=list)
    leaving: list[float] = attrs.field(factory=list)
    left: list[float] = attrs.field(factory=list)
    rosters: list[tuple[str, ...]] = attrs.field(factory=list)
    broken: int = 0

    async def take_part(
        self, session: Session, parties: int, duration: float = 0.0
    ) -> None:
        self.wanted.append(trio.current_time())
        try:
            async with DoubleBarrier(session, "/b", parties) as roster:
                self.rosters.append(roster)
                self.entered.append(trio.current_time())
                await trio.sleep(duration)
                self.leaving.append(trio.current_time())
        except BrokenBarrier:
            self.broken += 1
        else:
            self.left.append(trio.current_time())

    def check(self, parties: int) -> None:
        """All of one round came together and went together."""
        assert len(self.entered) == len(self.left) == parties
        assert len(set(self.rosters)) == 1
        assert len(self.rosters[0]) == parties
        assert min(self.entered) >= sorted(self.wanted)[parties - 1]
        assert min(self.left) >= max(self.leaving)


@asynccontextmanager
async def world() -> AsyncIterator[tuple[MemoryEnsemble, tuple[Session, ...]]]:
    async with (
        MemoryEnsemble(3) as members,
        three_sessions(members, timeout=T) as sessions,
    ):
        yield members, sessions


@in_virtual_time
async def test_all_enter_together_and_leave_together() -> None:
    party = Party()
    async with world() as (members, sessions):
        async with trio.open_nursery() as nursery:
            for number in range(7):
                duration = number % 4
                nursery.start_soon(
                    party.take_part, sessions[number % 3], 7, float(duration)
                )
                await trio.sleep(0.3)
        assert await everything_below(sessions[0], "/b") == ["/b/members"]
        await sessions[0].delete("/b/members")
        await nothing_left(members, sessions[0], "/b")
    party.check(7)


@in_virtual_time
async def test_one_too_few_wait() -> None:
    party = Party()
    async with world() as (members, sessions):
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(party.take_part, sessions[number % 3], 5)
            await trio.sleep(5)
            nursery.cancel_scope.cancel()
        assert party.entered == []
        await trio.sleep(0.1)
        assert await everything_below(sessions[0], "/b") == ["/b/members"]
        assert {m.statistics().watches for m in members.values()} == {0}


@in_virtual_time
async def test_strangers_are_not_counted() -> None:
    party = Party()
    async with world() as (_, sessions):
        await sessions[0].create("/b")
        await sessions[0].create("/b/members")
        await sessions[0].create("/b/members/stranger")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(party.take_part, sessions[0], 2)
            await trio.sleep(1)
            assert party.entered == []
            nursery.start_soon(party.take_part, sessions[1], 2)
    party.check(2)


@in_virtual_time
async def test_one_party_is_never_held_up() -> None:
    party = Party()
    async with world() as (_, sessions):
        with trio.fail_after(1):
            await party.take_part(sessions[0], 1)
    party.check(1)


@pytest.mark.parametrize("parties", [0, -1])
@in_virtual_time
async def test_a_barrier_for_nobody_is_refused(parties: int) -> None:
    async with world() as (_, sessions):
        with pytest.raises(ValueError, match="at least 1"):
            DoubleBarrier(sessions[0], "/b", parties)


@in_virtual_time
async def test_who_comes_while_a_round_is_on_is_told() -> None:
    party, late = Party(), Party()
    async with world() as (members, sessions):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(party.take_part, sessions[number], 3, 5.0)
            await trio.sleep(1)
            with trio.fail_after(0.1):
                await late.take_part(sessions[0], 3)
        # By then the containers are gone, too.
        await trio.sleep(5)
        assert await sessions[0].exists("/b") is None
        assert {m.statistics().watches for m in members.values()} == {0}
    party.check(3)
    assert late.broken == 1
    assert late.entered == []


@in_virtual_time
async def test_of_too_many_at_once_the_first_are_in() -> None:
    party = Party()
    async with world() as (_, sessions):
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number in range(9):
                    nursery.start_soon(party.take_part, sessions[number % 3], 6, 1.0)
    party.check(6)
    assert party.broken == 3


@in_virtual_time
async def test_who_gives_up_before_the_round_does_not_count() -> None:
    party = Party()
    async with world() as (_, sessions), trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await Party().take_part(sessions[0], 3)
        nursery.start_soon(party.take_part, sessions[1], 3)
        with trio.move_on_after(1):
            await Party().take_part(sessions[0], 3)
        nursery.start_soon(party.take_part, sessions[2], 3)
        await trio.sleep(1)
        assert party.entered == []
        nursery.start_soon(party.take_part, sessions[0], 3)
    party.check(3)


async def until_crash(members: MemoryEnsemble, parties: int) -> None:
    """Take part at member 3 until it crashes."""

    async def take_part() -> None:
        async with (
            members[3].session(timeout=T) as session,
            DoubleBarrier(session, "/b", parties),
        ):
            await trio.sleep_forever()

    with pytest.raises((ReplicaClosedError, SessionError)):
        await take_part()


@in_virtual_time
async def test_a_crash_before_the_round_does_not_count() -> None:
    party = Party()
    async with (
        MemoryEnsemble(3) as members,
        members[1].session() as one,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(until_crash, members, 3)
        await trio.sleep(0.5)
        nursery.start_soon(party.take_part, one, 3)
        await trio.sleep(0.5)
        await members.crash(3)
        await trio.sleep(2 * T)
        nursery.start_soon(party.take_part, one, 3)
        await trio.sleep(2)
        assert party.entered == []
        nursery.start_soon(party.take_part, one, 3)
    party.check(3)


@pytest.mark.parametrize("place", [0, 1, 2])
@in_virtual_time
async def test_a_crash_within_the_round_counts_as_leaving(place: int) -> None:
    party = Party()
    async with MemoryEnsemble(3) as members, members[1].session() as one:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                if number == place:
                    nursery.start_soon(until_crash, members, 3)
                else:
                    nursery.start_soon(party.take_part, one, 3, 1.0)
                await trio.sleep(0.1)
            await trio.sleep(0.1)
            assert len(party.entered) == 2
            crashed = trio.current_time()
            await members.crash(3)
        assert all(T - 0.2 <= at - crashed <= T + 2 for at in party.left)
        assert len(party.left) == 2
        assert await everything_below(one, "/b") == ["/b/members"]


@in_virtual_time
async def test_a_slow_waiter_still_passes() -> None:
    """The others have entered and leave before it hears that it is in."""
    party, slow = Party(), Party()
    async with world() as (members, sessions), trio.open_nursery() as nursery:
        leader = members.leader_id
        assert leader is not None
        late, *others = (leader % 3, leader - 1, (leader + 1) % 3)
        nursery.start_soon(slow.take_part, sessions[late], 3)
        await trio.sleep(0.5)
        members.partition({late + 1}, {n + 1 for n in others})
        for number in others:
            nursery.start_soon(party.take_part, sessions[number], 3)
        await trio.sleep(0.4 * T)
        assert len(party.leaving) == 2
        assert slow.entered == party.left == []
        members.heal()
    assert (len(party.left), len(slow.left)) == (2, 1)
    assert slow.rosters[0] == party.rosters[0]
    assert min(party.left) >= slow.leaving[0]


@in_virtual_time
async def test_a_round_that_nobody_ended_does_not_hold_up_the_next() -> None:
    """All crashed, and so ``ready`` was left behind."""
    party = Party()
    async with MemoryEnsemble(3) as members:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_crash, members, 1)
            await trio.sleep(1)
            await members.crash(3)
        async with members[1].session() as one:
            await trio.sleep(2 * T)
            assert await everything_below(one, "/b") == ["/b/ready"]
            with trio.fail_after(1):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(party.take_part, one, 2)
                    nursery.start_soon(party.take_part, one, 2)
            assert await one.exists("/b/ready") is None
    party.check(2)


@in_virtual_time
async def test_a_hundred_rounds_back_to_back() -> None:
    chance = random.Random(2)
    inside: list[int] = []
    most = 0

    async def work(number: int, session: Session) -> None:
        nonlocal most
        barrier = DoubleBarrier(session, "/b", 5)
        for done in range(100):
            await trio.sleep(chance.random() * 0.01)
            async with barrier:
                inside.append(number)
                rounds[number] = done
                # Nobody is in another round than we are, at either end.
                assert all(r in {done, done - 1} for r in rounds)
                await trio.sleep(chance.random() * 0.01)
                most = max(most, len(inside))
                inside.remove(number)
            assert all(r in {done, done + 1} for r in rounds)

    rounds = [-1] * 5
    async with world() as (members, sessions):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(work, number, sessions[number % 3])
        assert await everything_below(sessions[0], "/b") == ["/b/members"]
        assert {m.statistics().watches for m in members.values()} == {0}
    assert rounds == [99] * 5
    assert most == 5


@in_virtual_time
async def test_cancelled_at_any_await_of_a_round() -> None:
    rounds = 0

    async def other(session: Session) -> None:
        nonlocal rounds
        try:
            async with DoubleBarrier(session, "/b", 2):
                rounds += 1
        except BrokenBarrier:
            pytest.fail("there are never three")

    async with world() as (members, sessions):

        async def act() -> None:
            async with DoubleBarrier(sessions[0], "/b", 2):
                await trio.sleep(0.01)

        async def together() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other, sessions[1])
                await trio.sleep(0.1)
                try:
                    await act()
                except BaseException:
                    nursery.cancel_scope.cancel()
                    raise

        async def after() -> None:
            await sessions[0].sync()
            await trio.sleep(0.1)
            assert await everything_below(sessions[0], "/b/members") == []
            with trio.fail_after(1):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(other, sessions[1])
                    nursery.start_soon(other, sessions[2])
            assert await everything_below(sessions[0], "/b") == ["/b/members"]
            assert {m.statistics().watches for m in members.values()} == {0}

        assert await cancelled_at_each_step(together, after) >= 12
    assert rounds >= 24


@in_virtual_time
async def test_a_lost_session_cancels_the_block() -> None:
    ended: list[float] = []

    async def take_part(session: Session) -> None:
        with pytest.raises(SessionExpiredError):
            await stay(session)
        ended.append(trio.current_time())

    async def stay(session: Session) -> None:
        async with DoubleBarrier(session, "/b", 2):
            await trio.sleep_forever()

    async with world() as (members, sessions), trio.open_nursery() as nursery:
        party = Party()
        nursery.start_soon(take_part, sessions[0])
        nursery.start_soon(party.take_part, sessions[1], 2)
        await trio.sleep(1)
        cut = trio.current_time()
        members.partition({1}, {2, 3})
        await trio.sleep(2 * T)
        assert ended[0] - cut <= 2 / 3 * T
        assert len(party.left) == 1


@in_virtual_time
async def test_a_lost_session_ends_the_waits_at_both_ends() -> None:
    async def wait(session: Session, path: str, parties: int) -> None:
        with pytest.raises(SessionError):
            await pass_through(session, path, parties)

    async def pass_through(session: Session, path: str, parties: int) -> None:
        async with DoubleBarrier(session, path, parties):
            pass

    async def stay(session: Session) -> None:
        async with DoubleBarrier(session, "/leaving", 2):
            await trio.sleep(4 * T)

    async with world() as (members, sessions), trio.open_nursery() as nursery:
        nursery.start_soon(wait, sessions[0], "/entering", 2)
        nursery.start_soon(wait, sessions[0], "/leaving", 2)
        nursery.start_soon(stay, sessions[1])
        await trio.sleep(1)
        members.partition({1}, {2, 3})


@in_virtual_time
async def test_a_deleted_participant_is_told() -> None:
    async def wait(session: Session, parties: int) -> None:
        with pytest.raises(BrokenBarrier):
            await stay(session, parties)

    async def stay(session: Session, parties: int) -> None:
        async with DoubleBarrier(session, "/b", parties):
            await trio.sleep_forever()

    async with world() as (_, sessions):
        for parties in (1, 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait, sessions[0], parties)
                await trio.sleep(1)
                (name,) = await sessions[0].get_children("/b/members")
                await sessions[1].delete(f"/b/members/{name}")
        sessions[0].check()


@in_virtual_time
async def test_a_participant_deleted_while_it_begins_a_round_is_told() -> None:
    """The leader's member sees it first, and deletes it before it can begin."""

    async def delete_at_once(session: Session) -> None:
        async with session.watch("/b/members") as events:
            await events.wait()
            (name,) = await session.get_children("/b/members")
            await session.delete(f"/b/members/{name}")

    async with world() as (members, sessions):
        leader = members.leader_id
        assert leader is not None
        await sessions[0].create("/b")
        await sessions[0].create("/b/members")
        party = Party()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete_at_once, sessions[leader - 1])
            await trio.sleep(0.1)
            nursery.start_soon(party.take_part, sessions[leader % 3], 1)
    assert party.broken == 1
    assert party.entered == []


@in_virtual_time
async def test_a_round_deleted_before_a_slow_waiter_saw_it_is_told() -> None:
    party, slow = Party(), Party()
    async with world() as (members, sessions), trio.open_nursery() as nursery:
        leader = members.leader_id
        assert leader is not None
        late, other = leader % 3, (leader + 1) % 3
        nursery.start_soon(slow.take_part, sessions[late], 2)
        await trio.sleep(0.1)
        members.partition({late + 1}, {1, 2, 3} - {late + 1})
        nursery.start_soon(party.take_part, sessions[other], 2)
        await trio.sleep(0.1)
        assert len(party.entered) == 1
        await sessions[other].delete("/b/ready")
        members.heal()
    assert (slow.broken, len(slow.entered), len(party.left)) == (1, 0, 1)


@in_virtual_time
async def test_everything_deleted_in_the_middle_is_told_and_forgotten() -> None:
    party = Party()
    async with world() as (_, sessions):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(party.take_part, sessions[0], 3)
            nursery.start_soon(party.take_part, sessions[1], 3)
            await trio.sleep(1)
            doomed = await everything_below(sessions[2], "/b")
            await sessions[2].multi(
                [Delete(path) for path in (*reversed(doomed), "/b")]
            )
        assert party.broken == 2
        again = Party()
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(again.take_part, session, 3)
    again.check(3)


@in_virtual_time
async def test_an_error_in_the_block_is_not_held_up() -> None:
    party = Party()

    async def fail(session: Session) -> None:
        async with DoubleBarrier(session, "/b", 2):
            raise ValueError("mine")

    async with world() as (_, sessions), trio.open_nursery() as nursery:
        nursery.start_soon(party.take_part, sessions[0], 2, 3.0)
        await trio.sleep(1)
        with trio.fail_after(0.1), pytest.raises(ValueError, match="mine"):
            await fail(sessions[1])
        await trio.sleep(1)
        assert party.left == []
    assert len(party.left) == 1


@in_virtual_time
async def test_the_same_task_cannot_be_two_participants() -> None:
    async with world() as (_, sessions):
        barrier = DoubleBarrier(sessions[0], "/b", 1)
        async with barrier:
            with pytest.raises(RuntimeError, match="already in"):
                await barrier.__aenter__()
        async with barrier:
            pass
