"""Watches that are told once, set with their read; removal; permissions; bounds."""

from __future__ import annotations

from typing import cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordlib import (
    Acl,
    BadArgumentsError,
    Cause,
    Config,
    EventType,
    Gap,
    Identity,
    Limits,
    NoNodeError,
    NoWatchError,
    OneShotWatch,
    OverloadedError,
    Permission,
    ReplicaClosedError,
    Session,
    SessionClosedError,
    WatchedEvent,
    WatchKind,
    digest_identity,
)
from coordlib.testing import MemoryEnsemble
from replica.sessions import open_session
from transport.seat import in_virtual_time


async def three_watches(session: Session, path: str) -> list[OneShotWatch]:
    return [
        (await session.get_and_watch(path))[2],
        (await session.exists_and_watch(path))[1],
        (await session.get_children_and_watch(path))[1],
    ]


@in_virtual_time
async def test_a_read_sets_a_watch_for_the_next_change() -> None:
    async with MemoryEnsemble(3) as members:
        author = await open_session(members[1])
        session = await open_session(members[2])
        await author.create("/a", b"x")
        await session.sync()
        data, stat, of_data = await session.get_and_watch("/a")
        assert (data, stat.version) == (b"x", 0)
        found, of_absent = await session.exists_and_watch("/b")
        assert found is None
        names, of_children = await session.get_children_and_watch("/a")
        assert names == []
        assert members[2].statistics().watches == 3

        stat = await author.set("/a", b"y")
        await author.create("/a/c")
        await author.create("/b")
        event = await of_data.wait()
        assert event == WatchedEvent(EventType.DATA_CHANGED, "/a", stat.mzxid)
        assert await of_data.wait() == of_data.event == event
        assert (await of_children.wait()).type is EventType.CHILDREN_CHANGED
        assert (await of_absent.wait()).type is EventType.CREATED
        assert members[2].statistics().watches == 0
        assert of_absent.path == "/b"
        kinds = [of_data.kind, of_absent.kind, of_children.kind]
        assert kinds == [WatchKind.DATA, WatchKind.EXISTS, WatchKind.CHILD]
        # Nothing of it is left with the session.
        assert not session._kept._listeners


@in_virtual_time
async def test_nothing_happens_between_the_read_and_its_watch() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        author = await open_session(members[1])
        await session.create("/n", b"0")

        async def count() -> None:
            for i in range(1, 100):
                await author.set("/n", b"%d" % i)

        seen: list[bytes] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            while not seen or seen[-1] != b"99":
                data, stat, watch = await session.get_and_watch("/n")
                seen.append(data)
                if data != b"99":
                    # The very next transaction of this znode is told.
                    event = await watch.wait()
                    assert event.zxid == stat.mzxid + 1


@in_virtual_time
async def test_the_watch_of_a_read_that_is_refused_is_not_set() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        with pytest.raises(NoNodeError):
            await session.get_and_watch("/missing")
        with pytest.raises(NoNodeError):
            await session.get_children_and_watch("/missing")
        with pytest.raises(BadArgumentsError):
            await session.exists_and_watch("malformed")
        assert members[1].statistics().watches == 0


@in_virtual_time
async def test_one_event_consumes_each_watch_of_a_deleted_znode_once() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        async with members[1].session() as owner:
            await owner.create("/e", ephemeral=True)
            watches = await three_watches(session, "/e")
        for watch in watches:
            event = await watch.wait()
            assert (event.type, event.cause) == (EventType.DELETED, Cause.CLOSED)
        await session.create("/e")
        assert [watch.event and watch.event.type for watch in watches] == [
            EventType.DELETED
        ] * 3


@in_virtual_time
async def test_the_event_is_there_before_anybody_reads_what_it_tells_of() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        await session.create("/a", b"old")
        author = await open_session(members[1])
        woken: list[WatchedEvent] = []

        async def wait(watch: OneShotWatch) -> None:
            woken.append(await watch.wait())

        # Far more than one slice of waiting tasks.
        async with trio.open_nursery() as nursery:
            watches = [(await session.get_and_watch("/a"))[2] for _ in range(2000)]
            for watch in watches:
                nursery.start_soon(wait, watch)
            await wait_all_tasks_blocked()
            await author.set("/a", b"new")
            assert len(woken) < 1000
            assert all(watch.event is not None for watch in watches)
        assert len(woken) == 2000


@in_virtual_time
async def test_a_removed_watch_is_told_nothing_and_leaves_nothing() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        await session.create("/a")
        _, _, watch = await session.get_and_watch("/a")
        with watch:
            pass
        watch.remove()
        await session.set("/a", b"")
        assert watch.event is None
        assert members[1].statistics().watches == 0
        assert not session._kept._listeners


@in_virtual_time
async def test_watches_are_removed_by_path_and_kind_and_told_so() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        other = await open_session(members[1])
        await session.create("/a")
        data, exists, child = await three_watches(session, "/a")
        _, _, others = await other.get_and_watch("/a")

        await session.remove_watches("/a", WatchKind.DATA)
        assert (await data.wait()).type is EventType.DATA_WATCH_REMOVED
        assert (await exists.wait()).type is EventType.DATA_WATCH_REMOVED
        with pytest.raises(NoWatchError):
            await session.remove_watches("/a", WatchKind.EXISTS)
        async with (
            session.watch("/a") as events,
            session.watch("/a", recursive=True) as below,
        ):
            await session.set("/a", b"x")
            await session.remove_watches("/a")
            await session.set("/a", b"y")
            for stream in (events, below):
                assert [event.type async for event in stream] == [
                    EventType.DATA_CHANGED,
                    EventType.PERSISTENT_WATCH_REMOVED,
                ]
        assert (await child.wait()).type is EventType.CHILD_WATCH_REMOVED
        assert (await others.wait()).type is EventType.DATA_CHANGED
        with pytest.raises(NoWatchError):
            await session.remove_watches("/a")
        with pytest.raises(BadArgumentsError):
            await session.remove_watches("malformed")
        with pytest.raises(TypeError, match="WatchKind"):
            await session.remove_watches("/a", cast("WatchKind", 2))


@in_virtual_time
async def test_a_wait_is_not_ended_by_removing_watches() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        await session.create("/a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.wait_for, "/a", lambda znode: znode is None)
            nursery.start_soon(session.wait_deleted, "/a")
            await wait_all_tasks_blocked()
            with pytest.raises(NoWatchError):
                await session.remove_watches("/a")
            await session.delete("/a")


@in_virtual_time
async def test_a_watch_ends_with_its_session_and_leaves_nothing() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        await session.create("/a")
        watches = await three_watches(session, "/a")
        await session.aclose()
        for watch in watches:
            with pytest.raises(SessionClosedError):
                await watch.wait()
        assert members[1].statistics().watches == 0


@in_virtual_time
async def test_a_thousand_readers_are_told_that_the_replica_ends() -> None:
    failed: list[type] = []

    async def read(session: Session) -> None:
        async with session.watch("/a") as events:
            try:
                await anext(events)
            except (ReplicaClosedError, SessionClosedError) as error:
                failed.append(type(error))

    async with trio.open_nursery() as nursery, MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        for _ in range(1000):
            nursery.start_soon(read, session)
        await wait_all_tasks_blocked()
    assert failed == [ReplicaClosedError] * 1000


@in_virtual_time
async def test_who_may_not_read_is_not_told() -> None:
    mine = (Acl(Permission.ALL, digest_identity("me", "secret")),)
    async with MemoryEnsemble(3) as members:
        me, stranger = await open_session(members[1]), await open_session(members[2])
        await me.add_auth("digest", b"me:secret")
        await me.create("/a")
        await stranger.sync()
        watches = await three_watches(stranger, "/a")
        async with (
            stranger.watch("/", recursive=True) as seen,
            me.watch("/", recursive=True) as own,
        ):
            await me.set_acl("/a", mine)
            await me.set("/a", b"secret")
            await me.create("/a/b", acl=mine)
            # READ of the child itself counts, not that of the parent.
            await me.create("/a/open")
            await me.delete("/a/b")
            await me.delete("/a/open")
            await me.delete("/a")
            await me.create("/done")

            types = [(await anext(own)).path for _ in range(7)]
            assert types == ["/a", "/a/b", "/a/open", "/a/b", "/a/open", "/a", "/done"]
            assert [(await anext(seen)).path for _ in range(3)] == [
                "/a/open",
                "/a/open",
                "/done",
            ]
        # Consumed by what must not be told, as in ZooKeeper, but not silently.
        for watch in watches:
            event = await watch.wait()
            assert (event.type, event.gap) == (EventType.RESYNC, Gap.DENIED)
            assert event.path == "/a"


@in_virtual_time
async def test_identities_count_at_the_moment_of_the_change() -> None:
    mine = (Acl(Permission.ALL, digest_identity("me", "secret")),)
    async with MemoryEnsemble(1) as members:
        me, session = await open_session(members[1]), await open_session(members[1])
        await me.add_auth("digest", b"me:secret")
        await me.create("/a", acl=mine)
        async with session.watch("/a") as events:
            await me.set("/a", b"not told")
            await session.add_auth("digest", b"me:secret")
            stat = await me.set("/a", b"told")
            assert (await anext(events)).zxid == stat.mzxid


@in_virtual_time
async def test_a_session_that_is_not_open_yet_is_nobody() -> None:
    nobody = (Acl(Permission.ALL, Identity("digest", "x:y")),)
    async with MemoryEnsemble(1) as members:
        me = await open_session(members[1])
        replica = members[1]._running()
        told: list[WatchedEvent] = []
        replica.subscriptions.add("/", WatchKind.RECURSIVE, told.append, b"unopened")
        await me.create("/public")
        await me.create("/private", acl=nobody)
        assert [event.path for event in told] == ["/public"]


@in_virtual_time
async def test_a_session_and_a_member_have_so_many_watches() -> None:
    limits = Limits(session_watches_max=3, watches_max=5)
    async with MemoryEnsemble(1, config=Config(limits=limits)) as members:
        session, other = await open_session(members[1]), await open_session(members[1])
        await session.create("/a")
        watches = await three_watches(session, "/a")
        with pytest.raises(OverloadedError):
            await session.exists_and_watch("/b")
        stream = session.watch("/b")
        with pytest.raises(OverloadedError):
            await stream.__aenter__()
        watches[0].remove()
        await session.exists_and_watch("/b")
        await other.exists_and_watch("/b")
        await other.exists_and_watch("/b")
        with pytest.raises(OverloadedError):
            await other.exists_and_watch("/b")
        # Those that are told count no more.
        await session.create("/b")
        await three_watches(other, "/b")
        assert members[1].statistics().watches == 5


@in_virtual_time
async def test_a_snapshot_tells_one_shot_watches_to_read_again() -> None:
    async with MemoryEnsemble(
        3, config=Config(history_records_max=5, snapshot_interval=10)
    ) as members:
        leader = members.leader_id
        assert leader is not None
        away = next(m for m in members if m != leader)
        author = await open_session(members[leader])
        session = await open_session(members[away], timeout=600)
        await author.create("/a")
        await session.sync()
        watches = await three_watches(session, "/a")
        async with session.watch("/a") as events:
            members.partition({away}, set(members) - {away})
            await author.delete("/a")
            for i in range(50):
                await author.create(f"/{i}")
            await trio.sleep(3)
            members.heal()
            event = await anext(events)
            assert (event.type, event.gap) == (EventType.RESYNC, Gap.SNAPSHOT)
        for watch in watches:
            event = await watch.wait()
            assert (event.type, event.gap) == (EventType.RESYNC, Gap.SNAPSHOT)
            assert await session.exists("/a") is None
        assert members[away].statistics().watches == 0


@in_virtual_time
async def test_a_busy_stream_ends_with_its_session() -> None:
    async with MemoryEnsemble(1) as members:
        session, author = await open_session(members[1]), await open_session(members[1])
        async with session.watch("/a") as events:
            await author.create("/a")
            await session.aclose()
            await author.delete("/a")
            assert (await anext(events)).type is EventType.CREATED
            with pytest.raises(SessionClosedError):
                await anext(events)


@in_virtual_time
async def test_giving_up_a_wait_keeps_the_watch() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        await session.create("/a")
        _, _, watch = await session.get_and_watch("/a")
        with trio.move_on_after(1) as scope:
            await watch.wait()
        assert scope.cancelled_caught
        await session.set("/a", b"")
        assert (await watch.wait()).type is EventType.DATA_CHANGED


@in_virtual_time
async def test_a_stream_is_read_in_its_block_and_set_whole_or_not_at_all() -> None:
    async with MemoryEnsemble(1) as members:
        session = await open_session(members[1])
        with pytest.raises(RuntimeError, match="async with"):
            await anext(session.watch("/a"))
        with trio.CancelScope() as scope:
            scope.cancel()
            async with session.watch("/a"):
                pass
        assert scope.cancelled_caught
        assert members[1].statistics().watches == 0
        assert not session._kept._listeners
