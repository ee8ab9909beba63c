"""Members whose disks are full: who leads, what is acknowledged, what comes back."""

from __future__ import annotations

import logging

import pytest
import trio

from coordlib import Config, Ensemble, Session
from coordlib.ids import MemberId
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.testing import MemoryEnsemble
from transport.seat import in_virtual_time

SILENCE = Config().silence_timeout


async def written(session: Session, *paths: str) -> None:
    for path in paths:
        await session.create(path)


async def wait_led(members: MemoryEnsemble, *, but_by: int) -> None:
    """Wait until another member leads than that one."""
    while members.leader_id in {None, but_by}:  # noqa: ASYNC110 - there is no event
        await trio.sleep(0.01)


def leader_of(members: MemoryEnsemble) -> MemberId:
    leader = members.leader_id
    assert leader is not None
    return leader


@in_virtual_time
async def test_a_leader_without_room_hands_over_before_anybody_misses_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with MemoryEnsemble(3) as members:
        old = leader_of(members)
        async with members[old].session() as session:
            await session.create("/a")
            members.disks[old].fill()
            began = trio.current_time()
            await session.create("/b")
            # Two disks are a quorum, so nobody had to wait for the third.
            assert trio.current_time() - began < 0.1
            await wait_led(members, but_by=old)
            # Much sooner than a disk that merely stalls is given up.
            assert trio.current_time() - began < SILENCE / 2
            assert members[old].statistics().disk_full_for > 0
    assert [r.levelname for r in caplog.records if "durable" in r.message] == [
        "WARNING"
    ]


@in_virtual_time
async def test_a_member_without_room_is_not_elected_again_before_it_has_some() -> None:
    async with MemoryEnsemble(3) as members:
        full = leader_of(members)
        members.disks[full].fill()
        async with members[full].session() as session:
            await session.create("/a")
            await wait_led(members, but_by=full)
            second = leader_of(members)
            await members.crash(second)
            with trio.move_on_after(20 * SILENCE):
                await wait_led(members, but_by=second)
            # Of two disks one takes nothing, so there is no quorum.
            assert members.leader_id is None

            members.disks[full].resume()
            with trio.fail_after(5 * SILENCE):
                await members.wait_ready()
        await members.restart(second)
        await members.wait_equal()
        await trio.sleep(SILENCE)
        assert members[full].tree.exists("/a") is not None
        assert members[full].statistics().disk_full_for == 0


@in_virtual_time
async def test_a_follower_without_room_acknowledges_nothing_and_catches_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with MemoryEnsemble(3) as members:
        leader = leader_of(members)
        full, other = (m for m in members.disks if m != leader)
        members.disks[full].fill()
        held = members.disks[full].read().records
        async with members[leader].session(timeout=60) as session:
            await written(session, "/a", "/b")
            await trio.sleep(5 * SILENCE)
            await written(session, "/c")
            assert leader_of(members) == leader
            assert members.disks[full].read().records == held

            # Now its word would be needed.
            await members.crash(other)
            with trio.move_on_after(5 * SILENCE) as scope:
                await session.create("/d")
            assert scope.cancelled_caught

            members.disks[full].resume()
            with trio.fail_after(5 * SILENCE):
                await members.wait_ready()
                await session.create("/e")
        await members.restart(other)
        await members.wait_equal()
        assert members[full].tree.exists("/d") is not None
    assert any("room on the disk again" in r.message for r in caplog.records)


@in_virtual_time
async def test_an_ensemble_of_one_waits_for_room_and_loses_nothing() -> None:
    disk = MemoryDisk()
    async with (
        Ensemble(store=MemoryStore(disk)) as ensemble,
        ensemble.session(timeout=60) as session,
        trio.open_nursery() as nursery,
    ):
        disk.fill()
        nursery.start_soon(session.create, "/a")
        await trio.sleep(5 * SILENCE)
        assert ensemble.read_only
        assert ensemble.tree.exists("/a") is None
        assert ensemble.statistics().disk_full_for > 4 * SILENCE

        disk.resume()
        with trio.fail_after(SILENCE):
            await ensemble.wait_ready()
            await session.create("/b")
        assert ensemble.tree.exists("/a") is not None


@in_virtual_time
async def test_with_three_full_disks_nothing_is_acknowledged_until_two_have_room() -> (
    None
):
    async with MemoryEnsemble(3) as members:
        async with members[1].session(timeout=60) as session:
            for disk in members.disks.values():
                disk.fill()
            created = trio.Event()

            async def create() -> None:
                await session.create("/a")
                created.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(create)
                await trio.sleep(10 * SILENCE)
                members.disks[MemberId(1)].resume()
                await trio.sleep(5 * SILENCE)
                assert not created.is_set()

                members.disks[MemberId(2)].resume()
                with trio.fail_after(5 * SILENCE):
                    await created.wait()
        members.disks[MemberId(3)].resume()
        await members.wait_equal()


@in_virtual_time
async def test_what_waits_for_a_full_disk_does_not_grow_with_time() -> None:
    async with MemoryEnsemble(3) as members:
        full = leader_of(members)
        members.disks[full].fill()
        other = next(m for m in members if m != full)
        async with members[full].session() as session:
            await session.create("/a")
            await wait_led(members, but_by=full)
        async with members[other].session() as session:
            for i in range(20):
                await session.create(f"/{i}")
                await trio.sleep(SILENCE)
        replica = members[full]._running()
        assert len(replica.driver._gated) < 10


@in_virtual_time
async def test_a_snapshot_without_room_is_tried_again_at_the_next_interval(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = MemoryDisk()
    async with (
        Ensemble(store=MemoryStore(disk), config=Config(snapshot_interval=10)) as one,
        one.session(timeout=60) as session,
    ):
        await written(session, *(f"/{i}" for i in range(8)))
        assert disk.read().snapshot is None
        # So little that the log still gets it in.
        disk.no_room = "it is too small"
        await written(session, *(f"/a{i}" for i in range(8)))
        assert disk.read().snapshot is None
        assert any("for a snapshot" in r.message for r in caplog.records)

        disk.resume()
        await written(session, *(f"/b{i}" for i in range(20)))
        await trio.sleep(1)
        assert disk.read().snapshot is not None
