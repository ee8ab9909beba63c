"""A session goes on in the next process of its member, and nowhere else."""

from __future__ import annotations

import pytest
import trio

from coordlib import (
    BadArgumentsError,
    Config,
    ReadOnlyError,
    SessionExpiredError,
    SessionState,
    SessionTicket,
)
from coordlib.ids import SessionId
from coordlib.recipes import Lock
from coordlib.testing import MemoryEnsemble
from replica.sessions import open_session, state_of

pytestmark = pytest.mark.usefixtures("autojump_clock")

TIMEOUT = 4.0


@pytest.mark.parametrize("config", [Config(), Config(snapshot_interval=2)])
async def test_the_next_process_goes_on_with_session_and_ephemerals(
    config: Config,
) -> None:
    async with MemoryEnsemble(3, config=config) as members:
        session = await open_session(members[1], TIMEOUT)
        await session.create("/e", ephemeral=True)
        ticket = session.ticket
        await members.crash(1)
        await trio.sleep(TIMEOUT / 2)
        again = await members.restart(1)
        async with again.session(resume=ticket) as resumed:
            assert (resumed.id, resumed.timeout) == (ticket.id, TIMEOUT)
            await resumed.set("/e", b"mine")
            await trio.sleep(2 * TIMEOUT)
            assert await resumed.exists("/e") is not None
        await members.wait_equal()
        assert members[2].tree.exists("/e") is None


async def test_after_its_timeout_there_is_nothing_to_resume() -> None:
    async with MemoryEnsemble(3) as members:
        ticket = (await open_session(members[1], TIMEOUT)).ticket
        await members.crash(1)
        await trio.sleep(2 * TIMEOUT)
        again = await members.restart(1)

        with pytest.raises(SessionExpiredError, match="no such session"):
            async with again.session(resume=ticket):
                pytest.fail("it was resumed")


async def test_without_the_password_there_is_nothing_to_resume() -> None:
    async with MemoryEnsemble(1) as members:
        first = await open_session(members[1], TIMEOUT)
        await members.crash(1)
        again = await members.restart(1)

        with pytest.raises(SessionExpiredError, match="password"):
            async with again.session(resume=SessionTicket(first.id, bytes(16))):
                pytest.fail("it was resumed")


async def test_another_member_does_not_resume_a_session() -> None:
    """Its keeper might still live, cut off, and rely on it."""
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[1], TIMEOUT)
        members.partition({1}, {2, 3})
        await trio.sleep(0.1)

        with pytest.raises(BadArgumentsError, match="only member 1"):
            async with members[2].session(resume=session.ticket):
                pytest.fail("it was resumed")


async def test_a_session_in_use_is_not_resumed() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        with pytest.raises(BadArgumentsError, match="in use"):
            async with members[1].session(resume=session.ticket):
                pytest.fail("it was resumed")
        await session.create("/still-fine")


async def test_a_resumed_session_is_expired_when_its_new_keeper_falls_silent() -> None:
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[1], TIMEOUT)
        await session.create("/e", ephemeral=True)
        await members.crash(1)
        # Soon the leader will end it for the first keeper's silence.
        await trio.sleep(TIMEOUT / 2)
        again = await members.restart(1)
        async with again.session(resume=session.ticket) as resumed:
            await trio.sleep(TIMEOUT)
            assert state_of(resumed) is SessionState.CONNECTED
            resumed_at = trio.current_time()
            await members.crash(1)
        async with members[2].session() as witness:
            await witness.wait_deleted("/e")
        assert TIMEOUT - 0.2 <= trio.current_time() - resumed_at <= TIMEOUT + 1.5


async def test_what_the_dead_process_asked_for_never_comes_late() -> None:
    async with MemoryEnsemble(3) as members:
        keeper = next(m for m in members if m != members.leader_id)
        session = await open_session(members[keeper], TIMEOUT)
        await session.create("/1")
        cxid = session.cxid
        ticket = session.ticket
        await members.crash(keeper)
        again = await members.restart(keeper)
        async with again.session(resume=ticket) as resumed:
            assert resumed.cxid > cxid + (1 << 31)
            await resumed.create("/2")


async def test_a_lock_survives_its_process() -> None:
    """Whoever waits does not get it while the holder comes back in time."""
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[1], TIMEOUT)
        path = await session.create("/held", ephemeral=True)
        await members.crash(1)
        again = await members.restart(1)
        async with (
            again.session(resume=session.ticket) as resumed,
            Lock(resumed, "/lock") as grant,
        ):
            assert grant.token > 0
            stat = await resumed.exists(path)
            assert stat is not None
            assert stat.ephemeral_owner == resumed.id


@pytest.mark.parametrize(
    ("id", "password"), [(0, bytes(16)), (1 << 64, bytes(16)), (1, b"short")]
)
def test_an_impossible_ticket_is_refused(id: int, password: bytes) -> None:
    with pytest.raises(BadArgumentsError):
        SessionTicket(SessionId(id), password)


async def test_a_password_is_random() -> None:
    async with MemoryEnsemble(1) as members:
        sessions = [await open_session(members[1]) for _ in range(20)]
        passwords = {session.ticket.password for session in sessions}

        assert len(passwords) == 20
        assert {len(password) for password in passwords} == {16}


def test_a_password_is_not_printed() -> None:
    assert "secret" not in repr(SessionTicket(SessionId(1), b"a 16-byte secret"))


async def test_a_cut_off_member_serves_reads_until_it_is_back() -> None:
    async with MemoryEnsemble(3) as members:
        async with members[1].session() as session:
            await session.create("/a", b"1")
            await session.sync()
        await members.wait_equal()
        members.partition({3}, {1, 2})
        await trio.sleep(3)
        assert members[3].read_only
        async with members[3].session(read_only=True) as session:
            assert state_of(session) is SessionState.READ_ONLY
            assert (await session.get("/a"))[0] == b"1"
            with pytest.raises(ReadOnlyError):
                await session.set("/a", b"2")
            with pytest.raises(ReadOnlyError):
                session.ticket  # noqa: B018 - reading it is what fails
            members.heal()
            await session.wait_connected()
            assert state_of(session) is SessionState.CONNECTED
            assert session.id
            await session.set("/a", b"2")


async def test_a_session_given_up_before_it_is_open_leaves_nothing() -> None:
    async with MemoryEnsemble(3) as members:
        members.partition({3}, {1, 2})
        await trio.sleep(3)
        for _ in range(3):
            async with members[3].session(read_only=True) as session:
                assert state_of(session) is SessionState.READ_ONLY
            assert state_of(session) is SessionState.CLOSED
        assert members[3].statistics().outstanding == 0
        members.heal()
        await members.wait_equal()
        assert members[3].statistics().sessions == 0


async def test_a_session_given_up_while_it_is_opened_is_closed() -> None:
    async with MemoryEnsemble(3) as members:
        follower = next(m for m in members if m != members.leader_id)
        async with members[follower].session(read_only=True):
            # The request is under way, and nobody waits for its answer.
            await trio.sleep(0.0015)
        await trio.sleep(1)
        await members.wait_equal()
        assert members[follower].statistics().sessions == 0


@pytest.mark.parametrize(
    ("asked", "granted"), [(0.001, 0.5), (4.0, 4.0), (1e9, 3600.0)]
)
async def test_a_timeout_is_moved_into_the_bounds(asked: float, granted: float) -> None:
    async with (
        MemoryEnsemble(1) as members,
        members[1].session(timeout=asked) as session,
    ):
        assert session.timeout == granted


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf")])
async def test_an_impossible_timeout_is_refused(timeout: float) -> None:
    async with MemoryEnsemble(1) as members:
        with pytest.raises(BadArgumentsError, match="timeout"):
            async with members[1].session(timeout=timeout):
                pytest.fail("it was opened")
        assert members[1].statistics().sessions == 0


async def test_one_waits_for_a_suspended_session_to_be_connected() -> None:
    async with MemoryEnsemble(3) as members, members[3].session(timeout=9) as session:
        members.partition({3}, {1, 2})
        await trio.sleep(4)
        assert state_of(session) is SessionState.SUSPENDED
        members.heal()
        await session.wait_connected()
        assert state_of(session) is SessionState.CONNECTED
        members.partition({3}, {1, 2})
        await trio.sleep(4)
        with pytest.raises(SessionExpiredError):
            await session.wait_connected()
        members.heal()
