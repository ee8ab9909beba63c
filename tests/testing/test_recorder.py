"""A recorder notes what a session is asked, and what it answers."""

from __future__ import annotations

import math

import pytest
import trio

from coordlib import (
    BadArgumentsError,
    BadVersionError,
    Check,
    ConnectionLossError,
    Create,
    Delete,
    Ensemble,
    MultiError,
    NodeExistsError,
    NoNodeError,
    ReadOnlyError,
    Session,
    SessionClosedError,
    Set,
)
from coordlib.errors import ErrorCode
from coordlib.testing import (
    Exists,
    Get,
    GetChildren,
    History,
    MemoryEnsemble,
    Recorder,
    Refusal,
    Sync,
    check_history,
    committed_log,
)
from coordlib.tree import Multi
from transport.seat import in_virtual_time


def recorder(history: History, session: Session, ensemble: Ensemble) -> Recorder:
    return Recorder(history, session, ensemble.tree)


async def test_each_call_is_noted_with_its_answer() -> None:
    history = History()
    async with Ensemble() as ensemble, ensemble.session() as session:
        client = recorder(history, session, ensemble)
        assert await client.create("/a", b"0") == "/a"
        stat = await client.set("/a", b"1", version=0)
        assert await client.get("/a") == (b"1", stat)
        assert await client.exists("/b") is None
        names = await client.get_children("/a")
        names.clear()
        await client.sync()
        assert await client.multi([Check("/a", 1), Create("/b")]) == [None, "/b"]
        await client.delete("/a", version=1)
        zxid = ensemble.tree.zxid

    assert [(call.operation, call.result) for call in history.calls] == [
        (Create("/a", b"0"), "/a"),
        (Set("/a", b"1", 0), stat),
        (Get("/a"), (b"1", stat)),
        (Exists("/b"), None),
        (GetChildren("/a"), []),
        (Sync(), None),
        (Multi((Check("/a", 1), Create("/b"))), [None, "/b"]),
        (Delete("/a", 1), None),
    ]
    assert [call.cxid for call in history.calls] == [1, 2, 0, 0, 0, 0, 3, 4]
    assert [call.zxid - zxid for call in history.calls] == [
        -3,
        -2,
        -2,
        -2,
        -2,
        -2,
        -1,
        0,
    ]
    times = [time for call in history.calls for time in (call.called, call.returned)]
    assert times == sorted(set(times))


async def test_what_was_refused_is_noted_by_its_code() -> None:
    history = History()
    async with Ensemble() as ensemble:
        async with ensemble.session() as session:
            client = recorder(history, session, ensemble)
            with pytest.raises(NoNodeError):
                await client.get("/a")
            with pytest.raises(NodeExistsError):
                await client.create("/")
            with pytest.raises(BadVersionError):
                await client.set("/", b"", version=3)
            with pytest.raises(MultiError):
                await client.multi([Create("/a"), Delete("/b")])
            with pytest.raises(BadArgumentsError):
                await client.create("no path")
            with pytest.raises(BadArgumentsError):
                await client.delete("/")
        with pytest.raises(SessionClosedError):
            await client.set("/", b"")
        with pytest.raises(SessionClosedError):
            await client.get("/")

    assert [call.result for call in history.calls[:-1]] == [
        Refusal(ErrorCode.NO_NODE),
        Refusal(ErrorCode.NODE_EXISTS),
        Refusal(ErrorCode.BAD_VERSION),
        Refusal(ErrorCode.NO_NODE, failed_at=1),
        Refusal(ErrorCode.BAD_ARGUMENTS),
        Refusal(ErrorCode.BAD_ARGUMENTS),
        Refusal(ErrorCode.SESSION_EXPIRED),
    ]
    # What is refused unsent takes no number.
    assert [call.cxid for call in history.calls] == [0, 1, 2, 3, 4, 4, 5, 0]
    assert not history.calls[-1].answered


@in_virtual_time
async def test_a_cancelled_write_is_unknown() -> None:
    history = History()
    async with MemoryEnsemble(3) as members, members[1].session() as session:
        client = recorder(history, session, members[1])
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.create("/a")
        await client.create("/b")
        await members.wait_equal()

        assert [call.answered for call in history.calls] == [False, True]
        assert check_history(history.calls, committed_log(members)) == []


@in_virtual_time
async def test_without_a_running_member_there_is_no_committed_log() -> None:
    async with MemoryEnsemble(1) as members:
        await members.crash(1)
        with pytest.raises(ValueError, match="no member runs"):
            committed_log(members)


@in_virtual_time
async def test_who_is_cut_off_is_refused_and_then_does_not_know() -> None:
    history = History()
    async with MemoryEnsemble(3) as members, members[1].session(timeout=3) as session:
        client = recorder(history, session, members[1])
        members.partition({1}, {2, 3})
        with pytest.raises(ConnectionLossError):
            await client.create("/a")
        members.heal()
        async with members[1].session(timeout=3) as second:
            client = recorder(history, second, members[1])
            members.partition({1}, {2, 3})
            await trio.sleep(1.5)
            with pytest.raises(ReadOnlyError):
                await client.create("/b")
            members.heal()
            await trio.sleep(0.3)
            await client.create("/c")
        await members.wait_equal()

        assert [call.result for call in history.calls] == [
            None,
            Refusal(ErrorCode.NOT_READ_ONLY),
            "/c",
        ]
        assert check_history(history.calls, committed_log(members)) == []


@in_virtual_time
async def test_tasks_that_share_a_session_share_its_recorder() -> None:
    history = History()
    async with MemoryEnsemble(3) as members, members[2].session() as session:
        client = recorder(history, session, members[2])

        async def work(name: str) -> None:
            await client.create(name)
            for _ in range(5):
                await client.set(name, b"")

        async with trio.open_nursery() as nursery:
            for name in ("/a", "/b", "/c"):
                nursery.start_soon(work, name)
        await members.wait_equal()

        assert {call.cxid for call in history.calls} == set(range(1, 19))
        assert check_history(history.calls, committed_log(members)) == []


@in_virtual_time
async def test_what_went_by_itself_is_explained_by_the_log() -> None:
    history = History()
    async with MemoryEnsemble(3) as members, members[2].session() as session:
        client = recorder(history, session, members[2])
        await client.create("/box", None, container=True)
        await client.create("/box/a")
        await client.create("/mortal", b"x", ttl=1)
        await client.set("/mortal", None)
        await client.delete("/box/a")
        for path in ("/box", "/mortal"):
            await session.wait_deleted(path)
            assert await client.exists(path) is None
        assert await client.get_children("/") == ["zookeeper"]
        await members.wait_equal()

        assert history.calls[0].operation == Create("/box", None, container=True)
        assert history.calls[2].operation == Create("/mortal", b"x", ttl_ms=1000)
        assert check_history(history.calls, committed_log(members)) == []


@in_virtual_time
async def test_a_call_is_noted_before_it_is_asked_and_when_it_is_answered() -> None:
    noted: list[tuple[float, float]] = []
    times = iter([2.5, 3.5, 4.5])
    history = History(
        clock=lambda: next(times),
        note=lambda call: noted.append((call.called, call.returned)),
    )
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        client = Recorder(history, session, members[1].tree)
        await client.set("/", b"x")
        assert noted == [(2.5, math.inf), (2.5, 3.5)]

        with trio.move_on_after(0):
            await client.set("/", b"y")
    assert noted[2:] == [(4.5, math.inf)]
