"""Members that follow without a vote."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from coordlib import Config, ConfigError, Ensemble, Role
from coordlib.recipes import Lock
from coordlib.testing import MemoryEnsemble

OBSERVER = 4


async def test_an_observer_serves_reads_and_forwards_writes(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3, observers=1) as members:
        assert members[OBSERVER].is_observer
        assert not members[1].is_observer
        async with (
            members[OBSERVER].session() as session,
            members[1].session() as other,
        ):
            await session.create("/a", b"from an observer")
            await other.sync()
            assert (await other.get("/a"))[0] == b"from an observer"

            await other.set("/a", b"from a voter")
            await session.sync()
            assert (await session.get("/a"))[0] == b"from a voter"

            async with Lock(session, "/lock") as grant:
                grant.check()
        await members.wait_equal()


async def test_an_observer_keeps_no_quorum_and_never_leads(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3, observers=2) as members:
        leader = members.leader_id
        assert leader is not None
        members.partition({1, 4, 5}, {2, 3})
        await trio.sleep(2 * Config().silence_timeout)
        await members[2].wait_ready()

        assert members[4].read_only
        assert members[1].role is Role.LOOKING
        members.heal()
        await members.wait_equal()
        assert members.leader_id in {2, 3}


async def test_an_observer_catches_up_after_a_crash_and_outlives_a_leader(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3, observers=1) as members:
        async with members[OBSERVER].session() as session:
            await session.create("/a")
            leader = members.leader_id
            assert leader is not None
            await members.crash(leader)
            await session.create("/b")
            await members.restart(leader)
        await members.crash(OBSERVER)
        async with members[1].session() as session:
            await session.create("/c")
        await members.restart(OBSERVER)
        await members.wait_equal()
        assert members[OBSERVER].tree.get_children("/")[1:] == ["a", "b", "c"]


def test_a_member_is_a_voter_or_an_observer() -> None:
    with pytest.raises(ConfigError, match="cannot be a voter and an observer"):
        Ensemble(1, {1: "127.0.0.1:7400"}, observers={1: "127.0.0.1:7401"})
    with pytest.raises(ConfigError, match="needs a voter"):
        Ensemble(1, observers={1: "127.0.0.1:7401"})
    with pytest.raises(ConfigError, match="member 3 is not one of the members: 1, 2"):
        Ensemble(3, {1: "127.0.0.1:7400"}, observers={2: "127.0.0.1:7401"})
