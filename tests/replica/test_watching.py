"""Watches: every change, in order, whatever happens to leaders; and level waits."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordlib import (
    Cause,
    Config,
    EventType,
    Gap,
    SessionClosedError,
    WatchedEvent,
    Znode,
)
from coordlib.config import Limits
from coordlib.testing import MemoryEnsemble
from replica.sessions import open_session
from transport.seat import in_virtual_time


@in_virtual_time
async def test_a_watch_reports_what_happens_at_its_znode() -> None:
    async with MemoryEnsemble(3) as members:
        author = await open_session(members[1])
        session = await open_session(members[2])
        async with session.watch("/a") as events:
            await author.create("/a")
            await author.set("/a", b"x")
            await author.create("/a/b")
            await author.set("/a/b", b"not reported")
            await author.delete("/a/b")
            await author.delete("/a")
            await author.create("/other")
            seen = [await anext(events) for _ in range(5)]

            assert [(event.type, event.path, event.cause) for event in seen] == [
                (EventType.CREATED, "/a", None),
                (EventType.DATA_CHANGED, "/a", None),
                (EventType.CHILDREN_CHANGED, "/a", None),
                (EventType.CHILDREN_CHANGED, "/a", None),
                (EventType.DELETED, "/a", Cause.DELETED),
            ]
            assert [e.zxid for e in seen] == sorted({e.zxid for e in seen})


@in_virtual_time
async def test_a_recursive_watch_reports_all_below_with_causes() -> None:
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[2])
        async with session.watch("/", recursive=True) as events:
            async with members[3].session() as author:
                await author.create("/a")
                await author.create("/a/b")
                await author.create("/a/b/e", ephemeral=True)
            seen = [await anext(events) for _ in range(4)]

        assert [(event.type, event.path, event.cause) for event in seen] == [
            (EventType.CREATED, "/a", None),
            (EventType.CREATED, "/a/b", None),
            (EventType.CREATED, "/a/b/e", None),
            (EventType.DELETED, "/a/b/e", Cause.CLOSED),
        ]


@in_virtual_time
async def test_the_event_is_there_before_the_reply_of_its_write() -> None:
    async with MemoryEnsemble(3) as members:
        for m in members:
            session = await open_session(members[m])
            async with session.watch(f"/{m}") as events:
                await session.create(f"/{m}")

                assert len(events._queue._events) == 1
                assert (await anext(events)).type is EventType.CREATED


@in_virtual_time
async def test_nothing_is_missed_or_told_twice_while_leaders_change() -> None:
    async with MemoryEnsemble(3) as members:
        watching = await open_session(members[1], timeout=60)
        seen: list[WatchedEvent] = []

        async def collect() -> None:
            async with watching.watch("/", recursive=True) as events:
                while True:
                    seen.append(await anext(events))

        async def write(member: int) -> None:
            session = await open_session(members[member], timeout=60)
            for _ in range(100):
                await session.create(f"/{member}-", sequential=True)
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as writers:
                writers.start_soon(write, 1)
                writers.start_soon(write, 2)
                for _ in range(3):
                    await trio.sleep(0.3)
                    leader = members.leader_id
                    assert leader is not None
                    members.partition({leader}, set(members) - {leader})
                    await trio.sleep(2)
                    members.heal()
                    await members.wait_ready()
            await members.wait_equal()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

        assert all(event.type is EventType.CREATED for event in seen)
        tree = members[1].tree
        expected = [f"/{name}" for name in tree.get_children("/")[1:]]
        assert [event.path for event in seen] == expected
        assert len(expected) == 200


@in_virtual_time
async def test_a_slow_reader_is_told_to_read_again() -> None:
    config = Config(limits=Limits(events_max=10))
    async with MemoryEnsemble(1, config=config) as members:
        session = await open_session(members[1])
        await session.create("/a")
        async with session.watch("/a", recursive=True) as events:
            for i in range(25):
                await session.create(f"/a/{i}")
            seen = [await anext(events)]
            while events._queue._events:
                seen.append(await anext(events))

        assert (seen[0].type, seen[0].gap) == (EventType.RESYNC, Gap.OVERRUN)
        assert seen[0].path == "/a"
        assert len(seen) <= 10
        last = seen[-1]
        assert (last.type, last.path) == (EventType.CREATED, "/a/24")


@in_virtual_time
async def test_a_member_that_caught_up_by_a_snapshot_tells_to_read_again() -> None:
    config = Config(history_records_max=5, snapshot_interval=10)
    async with MemoryEnsemble(3, config=config) as members:
        leader = members.leader_id
        assert leader is not None
        away = next(m for m in members if m != leader)
        session = await open_session(members[away], timeout=600)
        author = await open_session(members[leader])
        async with session.watch("/a") as events:
            members.partition({away}, set(members) - {away})
            await author.create("/a")
            for i in range(50):
                await author.create(f"/{i}")
            await trio.sleep(3)
            members.heal()

            assert (await anext(events)).type is EventType.RESYNC
            assert await session.exists("/a") is not None
            await author.set("/a", b"x")
            assert (await anext(events)).type is EventType.DATA_CHANGED


@in_virtual_time
async def test_waiting_for_a_znode_looks_at_what_is() -> None:
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[2])
        author = await open_session(members[3])
        shown: list[bytes | None] = []

        def is_done(znode: Znode | None) -> bool:
            shown.append(None if znode is None else znode.data)
            return znode is not None and znode.data == b"done"

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def write() -> None:
                await author.create("/a", b"begun")
                await author.delete("/a")
                await author.create("/a", b"again")
                await author.set("/a", b"done")

            found = await session.wait_for("/a", is_done)
        assert found is not None
        assert (found.path, found.data) == ("/a", b"done")
        assert shown[0] is None
        assert await session.wait_for("/a", is_done) == found
        assert await session.wait_for("/b", lambda znode: znode is None) is None
        assert members[2].statistics().watches == 0


@in_virtual_time
async def test_waiting_for_a_deletion_returns_the_first_of_several() -> None:
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[2])
        author = await open_session(members[3])
        for path in ("/a", "/b", "/c"):
            await author.create(path)
        await session.sync()
        deleted: list[str] = []

        async def wait() -> None:
            deleted.append(await session.wait_deleted("/a", "/b"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await author.delete("/c")
            await trio.sleep(1)
            assert not deleted
            await author.delete("/b")
        assert deleted == ["/b"]
        assert await session.wait_deleted("/a", "/missing", "/b") == "/missing"


@in_virtual_time
async def test_waiting_for_a_deletion_survives_a_snapshot() -> None:
    async with MemoryEnsemble(
        3, config=Config(history_records_max=5, snapshot_interval=10)
    ) as members:
        leader = members.leader_id
        assert leader is not None
        away = next(m for m in members if m != leader)
        session = await open_session(members[away], timeout=600)
        author = await open_session(members[leader])
        await author.create("/a")
        await session.sync()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.wait_deleted, "/a")
            members.partition({away}, set(members) - {away})
            await author.delete("/a")
            for i in range(50):
                await author.create(f"/{i}")
            await trio.sleep(3)
            members.heal()


@in_virtual_time
async def test_a_stream_ends_with_its_sessions_error_after_its_events() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        async with session.watch("/a") as events:
            await session.create("/a")
            await session.aclose()

            assert (await anext(events)).type is EventType.CREATED
            with pytest.raises(SessionClosedError):
                await anext(events)
        assert members[1].statistics().watches == 0


@in_virtual_time
async def test_reaping_deletes_own_ephemerals_also_those_under_way() -> None:
    async with MemoryEnsemble(3) as members:
        session = await open_session(members[2])
        other = await open_session(members[3])
        await session.create("/l")
        await session.create("/l/kept")
        await session.create("/l/x-mine", ephemeral=True)
        await session.create("/l/y", ephemeral=True)
        await other.create("/l/x-other", ephemeral=True)
        await session.sync()
        with trio.move_on_after(0.0001) as scope:
            await session.create("/l/x-", ephemeral=True, sequential=True)
        assert scope.cancelled_caught
        session.reap("/l", "x-")
        session.reap("/missing", "x-")
        session.reap("malformed", "x-")
        await trio.sleep(0.1)
        await members.wait_equal()

        assert members[1].tree.get_children("/l") == ["kept", "y", "x-other"]
        assert members[2].statistics().outstanding == 0
