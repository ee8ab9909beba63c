"""What a member says of the ensemble, warns of, and has no room for."""

from __future__ import annotations

import logging

import pytest
import trio.testing

from coordlib import (
    Config,
    Create,
    Ensemble,
    Limits,
    OverloadedError,
    QuotaExceededError,
)
from coordlib.replica.quota_warnings import QuotaWarnings
from coordlib.testing import MemoryEnsemble
from coordlib.tree import limits_path
from transport.seat import in_virtual_time
from tree_world import TreeWorld


@in_virtual_time
async def test_the_members_are_in_the_tree_of_all() -> None:
    async with MemoryEnsemble(3, observers=1) as members:
        async with members[4].session() as session:
            await session.sync()
            data, stat = await session.get("/zookeeper/config")
        await members.wait_equal()

    assert data.decode().splitlines() == [
        "server.1=memory:1:1:participant",
        "server.2=memory:2:2:participant",
        "server.3=memory:3:3:participant",
        "server.4=memory:4:4:observer",
        f"version={stat.mzxid:x}",
    ]
    assert stat.version == 1


@in_virtual_time
async def test_the_next_leader_leaves_a_right_configuration_as_it_is() -> None:
    async with MemoryEnsemble(3) as members:
        async with members[1].session() as session:
            await session.sync()
        before = members[1].tree.get("/zookeeper/config")
        assert before[0]
        leader = members[1].leader_id
        assert leader is not None
        await members.crash(leader)
        await members.wait_ready()
        await members.restart(leader)
        await members.wait_ready()
        await members.wait_equal()

        for member in members:
            assert members[member].tree.get("/zookeeper/config") == before


async def test_who_has_no_address_says_nothing() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        assert (await session.get("/zookeeper/config"))[0] == b""


async def test_an_exceeded_soft_quota_shows_and_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    caplog.set_level(logging.WARNING)
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a")
        await session.set_quota("/a", count=1)
        await trio.sleep(5)
        assert ensemble.statistics().quotas_exceeded == ()
        assert caplog.messages == []
        await session.create("/a/b")
        await trio.sleep(50)
        assert ensemble.statistics().quotas_exceeded == ("/a",)

    (message,) = caplog.messages
    assert "/a is exceeded: 2 znodes, 0 bytes" in message


def test_a_quota_is_warned_of_anew_after_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    world, warnings = TreeWorld(), QuotaWarnings()
    for path in ("/a", "/a/b", "/zookeeper/quota/a"):
        world.create(path)
    world.create(limits_path("/a"), b"count=1")
    for now in range(130):
        warnings.look(world.tree, float(now))

    assert len(caplog.messages) == 3


async def test_a_member_keeps_so_many_sessions() -> None:
    config = Config(limits=Limits(sessions_max=2))
    async with Ensemble(config=config) as ensemble, ensemble.session():
        async with ensemble.session():
            with pytest.raises(OverloadedError, match="sessions_max"):
                await ensemble.session().__aenter__()
        async with ensemble.session() as session:
            await session.create("/a")


async def test_a_member_lets_a_znode_have_so_many_children() -> None:
    config = Config(limits=Limits(children_max=2))
    async with Ensemble(config=config) as ensemble, ensemble.session() as session:
        await session.multi([Create("/a"), Create("/a/1"), Create("/a/2")])
        zxid = ensemble.tree.zxid
        with pytest.raises(QuotaExceededError, match="children_max"):
            await session.create("/a/3")
        with pytest.raises(QuotaExceededError, match="children_max"):
            await session.multi([Create("/a/1/x"), Create("/a/", sequential=True)])
        assert ensemble.tree.zxid == zxid
        await session.delete("/a/1")
        await session.create("/a/3")
