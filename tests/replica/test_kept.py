"""One kept session and its bindings, in virtual time and on one member."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from coordlib import (
    Config,
    ConnectionLossError,
    Create,
    Delete,
    Ensemble,
    Session,
    SessionExpiredError,
    SessionState,
)
from coordlib.replica.replica import Replica
from coordlib.tree import DataTree
from replica.sessions import open_session, state_of
from transport.seat import in_virtual_time


@asynccontextmanager
async def without_heartbeats(timeout: float) -> AsyncIterator[tuple[Session, Replica]]:
    """Open a session whose heartbeats are never due."""
    config = Config(heartbeat_interval=1e5, silence_timeout=1e6)
    async with Ensemble(config=config) as ensemble:
        yield await open_session(ensemble, timeout), ensemble._running()


@in_virtual_time
async def test_the_clock_alone_suspends_and_ends_a_session() -> None:
    async with without_heartbeats(9) as (session, _):
        began = session.deadline - 6
        for after, state in [
            (2.99, SessionState.CONNECTED),
            (3.0, SessionState.SUSPENDED),
            (5.99, SessionState.SUSPENDED),
            (6.0, SessionState.LOST),
            (100.0, SessionState.LOST),
        ]:
            await trio.sleep_until(began + after)
            assert state_of(session) is state


@in_virtual_time
async def test_an_answer_extends_a_session_from_the_sending_of_its_question() -> None:
    async with without_heartbeats(9) as (session, _):
        deadline = session.deadline
        await trio.sleep(4)
        asked_at = trio.current_time()
        session._kept.confirmed(asked_at - 1)
        assert session.deadline == pytest.approx(asked_at - 1 + 6)
        assert session.deadline > deadline
        assert state_of(session) is SessionState.CONNECTED

        session._kept.confirmed(asked_at - 3)
        assert session.deadline == pytest.approx(asked_at - 1 + 6)


@in_virtual_time
async def test_a_late_answer_revives_nothing() -> None:
    async with without_heartbeats(9) as (session, _):
        await trio.sleep(6)
        session._kept.confirmed(trio.current_time())

        assert state_of(session) is SessionState.LOST
        with pytest.raises(SessionExpiredError):
            session.check()


@in_virtual_time
async def test_a_bound_scope_ends_with_the_session_to_the_moment() -> None:
    async with without_heartbeats(9) as (session, _):
        path = await session.create("/e", ephemeral=True)
        stat = await session.exists(path)
        assert stat is not None
        deadline = session.deadline
        with (
            trio.CancelScope() as scope,
            session.bind(scope, path, stat.czxid) as binding,
        ):
            await trio.sleep(4)
            session._kept.confirmed(trio.current_time())
            assert scope.deadline == session.deadline > deadline
            await trio.sleep_until(session.deadline - 0.001)
            assert not binding.lost
            await trio.sleep_forever()
        assert binding.lost
        assert scope.cancelled_caught
        assert trio.current_time() == session.deadline


@pytest.mark.parametrize("how", ["deleted", "made anew", "never there"])
@in_virtual_time
async def test_a_bound_scope_ends_with_its_znode(how: str) -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/e", ephemeral=True)
        stat = await session.exists("/e")
        assert stat is not None
        czxid = stat.czxid if how != "never there" else 1
        with (
            trio.CancelScope() as scope,
            session.bind(scope, "/e", czxid) as binding,
        ):
            if how == "made anew":
                await session.multi([Delete("/e"), Create("/e")])
            elif how == "deleted":
                await session.delete("/e")
            await trio.sleep_forever()
        assert binding.lost
        assert scope.cancelled_caught
        assert ensemble.statistics().watches == 0


@in_virtual_time
async def test_a_bound_scope_ignores_other_changes() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a")
        stat = await session.exists("/a")
        assert stat is not None
        with (
            trio.CancelScope() as scope,
            session.bind(scope, "/a", stat.czxid) as binding,
        ):
            await session.set("/a", b"x")
            await session.create("/a/child")
            await session.delete("/a/child")
            await trio.sleep(100)
            assert not binding.lost
        await session.delete("/a")
        assert not scope.cancel_called


@in_virtual_time
async def test_a_snapshot_without_the_session_leaves_its_writes_in_doubt() -> None:
    async with without_heartbeats(9) as (session, replica):
        waiter = session._kept.submit(Create("/a"), "/a")
        staged = DataTree()
        staged.apply(1 << 40, b"")
        replica.install(staged)

        with pytest.raises(ConnectionLossError):
            await waiter.wait()
        with pytest.raises(SessionExpiredError):
            await session.get("/")
