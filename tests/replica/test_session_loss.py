"""When a session is suspended, lost and expired; nobody else begins before it ends."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from coordlib import (
    Config,
    ConnectionLossError,
    OperationError,
    ReadOnlyError,
    SessionClosedError,
    SessionExpiredError,
    SessionState,
)
from coordlib.ids import MemberId
from coordlib.testing import MemoryEnsemble
from replica.sessions import open_session, poll, state_of, wait_until_gone
from transport.seat import in_virtual_time

HEARTBEAT = Config().heartbeat_interval


@in_virtual_time
async def test_a_session_is_suspended_then_lost_then_expired() -> None:
    async with MemoryEnsemble(3) as members:
        leader = members.leader_id or 0
        minority = next(m for m in members if m != leader)
        session = await open_session(members[minority], timeout=6)
        await session.create("/e", ephemeral=True)
        await trio.sleep(10)
        assert state_of(session) is SessionState.CONNECTED

        last_answered = session.deadline - 4
        assert 0 <= trio.current_time() - last_answered < 2 * HEARTBEAT
        members.partition({minority}, set(members) - {minority})

        await trio.sleep_until(last_answered + 2 - 0.01)
        assert state_of(session) is SessionState.CONNECTED
        await trio.sleep_until(last_answered + 2 + HEARTBEAT)
        assert state_of(session) is SessionState.SUSPENDED
        with pytest.raises(ReadOnlyError):
            await session.create("/refused")
        await session.get("/e")
        await trio.sleep_until(last_answered + 4 - 0.01)
        session.check()
        await trio.sleep_until(last_answered + 4)
        with pytest.raises(SessionExpiredError):
            session.check()
        assert state_of(session) is SessionState.LOST
        assert members[leader].tree.exists("/e") is not None

        gone_at = await wait_until_gone(members[leader], "/e")
        assert last_answered + 6 <= gone_at <= last_answered + 6 + 3 * HEARTBEAT


@in_virtual_time
async def test_a_write_under_way_when_the_session_is_lost_may_have_happened() -> None:
    async with MemoryEnsemble(3) as members:
        leader = members.leader_id or 0
        session = await open_session(members[leader], timeout=3)
        members.partition({leader}, set(members) - {leader})
        with pytest.raises(ConnectionLossError):
            await session.create("/a")
        assert state_of(session) is SessionState.LOST


@in_virtual_time
async def test_a_suspended_session_comes_back_with_the_quorum() -> None:
    async with MemoryEnsemble(3) as members, members[3].session(timeout=30) as session:
        await session.create("/e", ephemeral=True)
        members.partition({3}, {1, 2})
        await trio.sleep(15)
        assert state_of(session) is SessionState.SUSPENDED
        members.heal()
        await members.wait_ready()
        await session.sync()

        assert state_of(session) is SessionState.CONNECTED
        await session.set("/e", b"still mine")


@in_virtual_time
async def test_a_new_leader_gives_every_session_its_full_timeout() -> None:
    async with MemoryEnsemble(3) as members:
        leader = members.leader_id or 0
        first, second = [m for m in members if m != leader]
        session = await open_session(members[first], timeout=4)
        await session.create("/e", ephemeral=True)
        members.partition({first}, {leader, second})
        await trio.sleep(3)
        # Two voters stay: the one that keeps the session is not heard again.
        await members.crash(leader)
        await members.restart(leader)
        members.partition({first}, {leader, second})
        with trio.fail_after(2):
            await members[second].wait_ready()
        began = trio.current_time()

        gone_at = await wait_until_gone(members[second], "/e")
        assert began + 4 - 1 <= gone_at <= began + 4 + 5 * HEARTBEAT


@in_virtual_time
async def test_sessions_survive_changes_of_leader() -> None:
    async with MemoryEnsemble(3) as members:
        sessions = {m: await open_session(members[m], timeout=5) for m in members}
        for m, session in sessions.items():
            await session.create(f"/{m}", ephemeral=True)
        for _ in range(4):
            leader = members.leader_id or 0
            others = set(members) - {leader}
            members.partition({leader}, others)
            await trio.sleep(1.5)
            members.heal()
            await members.wait_ready()
            assert members.leader_id != leader

        for m, session in sessions.items():
            assert state_of(session) is SessionState.CONNECTED
            await session.set(f"/{m}", b"here")
        await members.wait_equal()


@in_virtual_time
async def test_what_a_deposed_leader_decided_is_not_carried_out_later() -> None:
    async with MemoryEnsemble(3, config=Config(silence_timeout=3.0)) as members:
        old = members.leader_id or 0
        others = sorted(set(members) - {old})
        session = await open_session(members[others[0]], timeout=1.5)
        await session.create("/e", ephemeral=True)
        # The others see their links to the leader break; the leader sees nothing.
        members.partition({old}, others)
        for member in others:
            link = members[member]._running().driver.links.to(MemberId(old))
            assert link is not None
            link.link.close()
        await poll(lambda: members[others[0]].leader_id in others)
        await trio.sleep(2.5)
        assert members[old].leader_id == old
        # It has expired the session, as far as it knows.
        assert members[old].statistics().last_zxid > members[old].statistics().zxid

        members.heal()
        await members.wait_ready()
        await members.wait_equal()
        assert state_of(session) is SessionState.CONNECTED
        await session.set("/e", b"still mine")


@in_virtual_time
async def test_a_session_closed_in_a_minority_is_closed_later() -> None:
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[1], timeout=300)
        await session.create("/e", ephemeral=True)
        members.partition({1}, {2, 3})
        await trio.sleep(2)

        began = trio.current_time()
        await session.aclose()
        assert trio.current_time() - began == pytest.approx(1.0)
        assert state_of(session) is SessionState.CLOSED
        with pytest.raises(SessionClosedError):
            await session.get("/")
        members.heal()
        await members.wait_ready()
        with trio.fail_after(1):
            await wait_until_gone(members[2], "/e")
        await trio.sleep(0.1)
        assert members[1].statistics().outstanding == 0


@in_virtual_time
async def test_a_closing_session_loses_its_grants_before_its_ephemerals() -> None:
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[1])
        path = await session.create("/e", ephemeral=True)
        stat = await session.exists(path)
        assert stat is not None
        znode_was_there = False

        async def rely_on_it() -> None:
            nonlocal znode_was_there
            with (
                trio.CancelScope() as scope,
                session.bind(scope, path, stat.czxid) as binding,
            ):
                try:
                    await trio.sleep_forever()
                finally:
                    assert binding.lost
                    znode_was_there = all(
                        e.tree.exists(path) is not None for e in members.values()
                    )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rely_on_it)
            await trio.sleep(0.5)
            await session.aclose()

        assert znode_was_there


@in_virtual_time
async def test_a_write_under_way_when_its_session_is_closed_may_have_happened() -> None:
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[1], timeout=30)
        outcomes: list[BaseException] = []

        async def write() -> None:
            try:
                await session.create("/a")
            except (OperationError, SessionClosedError, ConnectionLossError) as error:
                outcomes.append(error)

        async with trio.open_nursery() as nursery:
            members.network.cut(2, 1)
            members.network.cut(3, 1)
            nursery.start_soon(write)
            await trio.sleep(0.05)
            await session.aclose()
        await trio.sleep(3)
        members.heal()
        await members.wait_ready()
        await members.wait_equal()

        # The quorum has it, so nobody may have been told that nothing changed.
        if members[1].tree.exists("/a") is not None:
            assert [type(error) for error in outcomes] == [ConnectionLossError]


async def test_a_process_that_was_frozen_has_lost_its_session(
    mock_clock: MockClock,
) -> None:
    mock_clock.autojump_threshold = 0
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[1], timeout=3)
        await session.create("/e", ephemeral=True)
        await trio.sleep(1)
        stat = await session.exists("/e")
        assert stat is not None
        with (
            trio.CancelScope() as scope,
            session.bind(scope, "/e", stat.czxid) as binding,
        ):
            # All at once, without a checkpoint: nothing here can notice.
            mock_clock.jump(2.5)
            assert binding.lost
            with pytest.raises(SessionExpiredError):
                session.check()
            await trio.sleep_forever()

        assert scope.cancelled_caught
        assert state_of(session) is SessionState.LOST


async def test_the_end_of_a_scope_and_of_its_session_go_together(
    mock_clock: MockClock,
) -> None:
    mock_clock.autojump_threshold = 0
    async with MemoryEnsemble(3) as members:
        for i in range(60):
            session = await open_session(members[1 + i % 3], timeout=1.5)
            path = await session.create("/e-", ephemeral=True, sequential=True)
            stat = await session.exists(path)
            assert stat is not None
            with (
                trio.CancelScope() as scope,
                session.bind(scope, path, stat.czxid) as binding,
            ):
                # Answers to heartbeats are under way, or not.
                await trio.sleep(0.35 + i * 0.0017)
                mock_clock.jump([0.8, 0.9, 0.95, 1.0, 1.2, 3.0][i % 6])
                await trio.sleep(0.5)

            assert scope.cancelled_caught == binding.lost
            assert binding.lost == (state_of(session) is SessionState.LOST)


async def test_a_frozen_leader_expires_nobody_early(mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1], timeout=9)
        for _ in range(20):
            mock_clock.jump(2.9)
            await trio.sleep(0.05)

            assert state_of(session) is not SessionState.LOST
        await session.create("/a")
