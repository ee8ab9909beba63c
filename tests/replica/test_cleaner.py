"""Who deletes what nobody needs, how soon, how fast, and what it spares."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from coordlib import Cause, Config, EventType, NodeExistsError, NoNodeError, Set
from coordlib.replica.cleaner import Cleaner
from coordlib.testing import MemoryEnsemble
from replica.sessions import open_session, wait_until_gone

# --- the pace ---


def test_a_new_reign_begins_with_a_pause() -> None:
    cleaner = Cleaner(100.0, interval=5.0, per_minute_max=600)

    assert cleaner.allowance(104.9) == 0
    assert cleaner.allowance(105.0) == 10


def test_after_a_look_that_found_little_there_is_a_pause() -> None:
    cleaner = Cleaner(0.0, interval=5.0, per_minute_max=600)
    cleaner.cleaned(9, 5.0)

    assert cleaner.allowance(9.9) == 0
    assert cleaner.allowance(10.0) == 10


def test_after_a_look_that_found_much_the_next_is_as_soon_as_the_rate_allows() -> None:
    cleaner = Cleaner(0.0, interval=5.0, per_minute_max=600)
    cleaner.cleaned(10, 5.0)

    assert cleaner.allowance(5.9) == 0
    assert cleaner.allowance(6.0) == 10


@pytest.mark.parametrize("per_minute_max", [1, 59, 60, 1000])
@pytest.mark.parametrize("interval", [0.01, 1.0, 60.0])
def test_no_more_are_deleted_in_a_minute(interval: float, per_minute_max: int) -> None:
    cleaner = Cleaner(0.0, interval=interval, per_minute_max=per_minute_max)
    deleted = 0
    for tenth in range(1, 6000):
        count = cleaner.allowance(tenth / 10)
        if count:
            deleted += count
            cleaner.cleaned(count, tenth / 10)

    # In ten minutes; and what is allowed at the end may be deleted yet.
    assert 0 < deleted <= 10 * per_minute_max + max(1, per_minute_max // 60)


# --- whole members ---


async def test_a_used_container_goes_soon_and_says_why(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3) as members, members[2].session() as session:
        await session.create("/c", container=True)
        await trio.sleep(5)
        assert await session.exists("/c") is not None
        async with session.watch("/c", recursive=True) as events:
            await session.create("/c/x")
            await session.delete("/c/x")
            emptied = trio.current_time()
            seen = [await events.__anext__() for _ in range(3)]

        assert [(e.type, e.path, e.cause) for e in seen] == [
            (EventType.CREATED, "/c/x", None),
            (EventType.DELETED, "/c/x", Cause.DELETED),
            (EventType.DELETED, "/c", Cause.CONTAINER),
        ]
        assert trio.current_time() - emptied < 2.0


async def test_a_time_to_live_ends_at_all_members_and_after_it(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3) as members, members[1].session() as session:
        born = trio.current_time()
        path = await session.create("/t-", ttl=10, sequential=True)
        for member in (1, 2, 3):
            await wait_until_gone(members[member], path)

            assert 10.0 < trio.current_time() - born < 12.0


async def test_setting_data_in_time_keeps_a_znode(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3) as members, members[1].session() as session:
        await session.create("/t", ttl=3)
        for _ in range(4):
            await trio.sleep(2)
            await session.set("/t", b"alive")
        last = trio.current_time()

        assert await wait_until_gone(members[1], "/t") - last > 3.0


async def test_many_go_at_the_rate_that_is_configured(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    config = Config(cleaned_per_minute_max=120, clean_interval=1.0)
    async with (
        MemoryEnsemble(1, config=config) as members,
        members[1].session() as session,
    ):
        await session.create("/p")
        for number in range(30):
            await session.create(f"/p/{number}", ttl=0.001)
        began = trio.current_time()
        while names := await session.get_children("/p"):
            await trio.sleep(0.5)
            # Two a second, and two at once in the beginning.
            assert len(names) >= 26 - 2 * (trio.current_time() - began)


async def test_a_new_leader_goes_on(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3) as members:
        leader = members[1].leader_id
        assert leader is not None
        other = next(member for member in (1, 2, 3) if member != leader)
        session = await open_session(members[other], timeout=60)
        await session.create("/t", ttl=2)
        await session.create("/c", container=True)
        await session.create("/c/x")
        await session.delete("/c/x")
        await members.crash(leader)

        assert await wait_until_gone(members[other], "/c") < 4.0
        assert await wait_until_gone(members[other], "/t") < 5.0


async def test_a_write_that_waited_for_a_leader_is_in_time(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    # So slow that the leader looks around before it hears of the write.
    async with MemoryEnsemble(3, latency=0.15) as members:
        session = await open_session(members[1], timeout=60)
        await session.create("/t", ttl=3)
        for member in (2, 3):
            await members.crash(member)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.set, "/t", b"alive")
            await trio.sleep(10)
            for member in (2, 3):
                await members.restart(member)
        back = trio.current_time()
        await session.sync()

        assert await session.get("/t")
        assert await wait_until_gone(members[1], "/t") - back > 2.5


async def test_a_container_that_vanishes_before_its_child_can_be_made_again(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3) as members, members[1].session() as session:
        await session.create("/c", container=True)
        await session.create("/c/x")
        await session.delete("/c/x")
        await wait_until_gone(members[1], "/c")
        with pytest.raises(NoNodeError):
            await session.create("/c/y")
        await session.create("/c", container=True)
        await session.create("/c/y")
        with pytest.raises(NodeExistsError):
            await session.create("/c", container=True)
        await trio.sleep(10)

        assert await session.get_children("/c") == ["y"]


async def test_null_data_is_read_as_empty(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        await session.create("/a", None)
        await session.create("/b", b"x")
        await session.set("/b", None)
        await session.multi([Set("/a", None)])

        for path in ("/a", "/b"):
            data, stat = await session.get(path)
            assert (data, stat.data_length) == (b"", 0)
