"""One leads at a time, and has ended before the next begins."""

from __future__ import annotations

import math

import pytest
import trio

from coordlib import LeadershipLost, Session, SessionError
from coordlib.recipes import Election, Grant
from coordlib.testing import MemoryEnsemble
from recipes.interference import Room, nothing_left, three_sessions
from transport.seat import in_virtual_time

T = 3.0


async def lead_for(leadership: Grant, room: Room, duration: float) -> float:
    with room.visit(leadership):
        await trio.sleep(duration)
    return duration


@in_virtual_time
async def test_each_candidate_leads_in_its_turn_and_resigns() -> None:
    room = Room()
    results: list[tuple[int, float]] = []

    async def stand(number: int, session: Session) -> None:
        result = await Election(session, "/leader").run(lead_for, room, number)
        results.append((number, result))

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with trio.open_nursery() as nursery:
            for number in (2, 0, 1):
                nursery.start_soon(stand, number, sessions[number])
                await trio.sleep(0.1)
        await nothing_left(members, sessions[0], "/leader")

    assert results == [(2, 2.0), (0, 0.0), (1, 1.0)]
    assert room.tokens == sorted(set(room.tokens))


@in_virtual_time
async def test_a_leadership_proves_itself() -> None:
    async def lead(leadership: Grant) -> str:
        leadership.check()
        await sessions[0].multi([leadership.guard()])
        return leadership.path

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        path = await Election(sessions[0], "/leader").run(lead)
    assert path.startswith("/leader/")


@in_virtual_time
async def test_a_leaders_error_comes_out_and_gives_up_the_lead() -> None:
    async def fail(_leadership: Grant) -> None:
        raise ZeroDivisionError

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        with pytest.raises(ZeroDivisionError):
            await Election(sessions[0], "/leader").run(fail)
        with trio.fail_after(1):
            await Election(sessions[1], "/leader").run(lead_for, Room(), 0)


@in_virtual_time
async def test_one_leads_at_a_time_across_partitions() -> None:
    room = Room()

    async def candidate(members: MemoryEnsemble, member: int) -> None:
        while True:
            async with members[member].session(timeout=T) as session:
                try:
                    await Election(session, "/leader").run(lead_for, room, math.inf)
                except SessionError:
                    continue

    async with MemoryEnsemble(3) as members, trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(candidate, members, member)
        await trio.sleep(1)
        for cut_off in (1, 2, 3, 1, 2, 3):
            members.partition({cut_off}, {1, 2, 3} - {cut_off})
            await trio.sleep(1.7 * T)
            members.heal()
            await trio.sleep(1)
        nursery.cancel_scope.cancel()

    # Every leader was cut off at some time.
    assert len(room.visits) >= 3
    assert room.tokens == sorted(set(room.tokens))


@in_virtual_time
async def test_a_stubborn_leader_is_awaited_to_its_end() -> None:
    ended: list[float] = []

    async def ignore_everything(_leadership: Grant) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(3 * T)
        ended.append(trio.current_time())

    async with (
        MemoryEnsemble(3) as members,
        three_sessions(members, timeout=T) as (
            one,
            two,
            _,
        ),
    ):
        members.partition({1}, {2, 3})
        members.heal()
        async with trio.open_nursery() as nursery:

            async def cut() -> None:
                await trio.sleep(1)
                members.partition({1}, {2, 3})

            nursery.start_soon(cut)
            with pytest.raises(LeadershipLost) as lost:
                await Election(one, "/leader").run(ignore_everything)
        assert trio.current_time() == pytest.approx(ended[0])
        assert lost.value.path == "/leader"
        # The others have gone on without it.
        with trio.fail_after(1):
            await Election(two, "/leader").run(lead_for, Room(), 0)


@in_virtual_time
async def test_a_candidate_whose_session_ends_never_leads() -> None:
    async def stand(session: Session) -> None:
        with pytest.raises(SessionError):
            await Election(session, "/leader").run(never)

    async def never(_leadership: Grant) -> None:
        pytest.fail("led")

    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                Election(sessions[0], "/leader").run, lead_for, Room(), 5
            )
            await trio.sleep(0.1)
            nursery.start_soon(stand, sessions[1])
            await trio.sleep(0.1)
            await sessions[1].aclose()
        await nothing_left(members, sessions[0], "/leader")


@in_virtual_time
async def test_a_leader_cannot_stand_in_its_own_election() -> None:
    async def lead(_leadership: Grant) -> None:
        with pytest.raises(RuntimeError, match="already holds"):
            await election.run(lead)

    async with MemoryEnsemble(1) as members, members[1].session() as session:
        election = Election(session, "/leader")
        await election.run(lead)


@in_virtual_time
async def test_everybody_knows_who_leads() -> None:
    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        election = Election(sessions[2], "/leader")
        assert await election.leader() is None
        async with trio.open_nursery() as nursery:
            for number in (0, 1):
                candidate = Election(sessions[number], "/leader", data=b"%d" % number)
                nursery.start_soon(candidate.run, lead_for, Room(), 1)
                await trio.sleep(0.1)
            assert await election.leader() == b"0"
            await trio.sleep(1)
            assert await election.leader() == b"1"
        await sessions[2].sync()
        assert await election.leader() is None


@in_virtual_time
async def test_an_observer_sees_every_leader_and_the_time_between() -> None:
    seen: list[bytes | None] = []

    async def observe(session: Session) -> None:
        async with Election(session, "/leader").observe() as leaders:
            while True:
                seen.append(await anext(leaders))

    async def lead(leadership: Grant) -> None:
        await lead_for(leadership, room, 1)

    room = Room()
    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(observe, sessions[2])
            await trio.sleep(0.1)
            # The same candidate twice is two leaders.
            for number in (0, 0, 1):
                await trio.sleep(1)
                candidate = Election(sessions[number], "/leader", data=b"%d" % number)
                await candidate.run(lead)
            async with trio.open_nursery() as both:
                for number in (0, 1):
                    candidate = Election(
                        sessions[number], "/leader", data=b"%d" % number
                    )
                    both.start_soon(candidate.run, lead)
                    await trio.sleep(0.1)
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        await nothing_left(members, sessions[0], "/leader")

    # Where one waits already, nobody sees a time without a leader.
    assert seen == [None, b"0", None, b"0", None, b"1", None, b"0", b"1", None]


@in_virtual_time
async def test_observing_ends_with_the_session() -> None:
    async def observe(session: Session) -> None:
        async with Election(session, "/leader").observe() as leaders:
            async for leader in leaders:
                assert leader is None

    async with (
        MemoryEnsemble(3) as members,
        three_sessions(members, timeout=T) as (
            one,
            _,
            _,
        ),
    ):
        members.partition({1}, {2, 3})
        with pytest.raises(SessionError):
            await observe(one)
