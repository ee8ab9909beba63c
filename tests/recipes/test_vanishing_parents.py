"""Recipes whose parents the ensemble deletes whenever nobody is in them."""

from __future__ import annotations

import random
from typing import cast

import attrs
import trio

from coordlib import Config, NodeExistsError, NoNodeError, Session
from coordlib.recipes import Barrier, DoubleBarrier, Election, Grant, Lock
from coordlib.recipes.znodes import create
from coordlib.testing import MemoryEnsemble
from recipes.interference import Room, three_sessions
from transport.seat import in_virtual_time

# Everything that is empty goes at once.
EAGER = Config(
    heartbeat_interval=0.002,
    silence_timeout=1.0,
    clean_interval=0.001,
    cleaned_per_minute_max=1_000_000,
)


async def gone(session: Session, path: str) -> None:
    with trio.fail_after(5):
        await session.wait_deleted(path)


@in_virtual_time
async def test_what_nobody_uses_goes_with_all_of_its_parents() -> None:
    async with MemoryEnsemble(3) as members, three_sessions(members) as sessions:
        async with Lock(sessions[0], "/locks/deep/report"):
            await trio.sleep(5)
            assert await sessions[1].exists("/locks/deep/report") is not None

        await gone(sessions[1], "/locks")


@in_virtual_time
async def test_what_somebody_made_himself_stays() -> None:
    async with MemoryEnsemble(1) as members, members[1].session() as session:
        await session.create("/locks")
        async with Lock(session, "/locks/report"):
            pass
        await gone(session, "/locks/report")
        await trio.sleep(10)

        assert await session.exists("/locks") is not None


@in_virtual_time
async def test_locks_are_granted_while_their_parents_come_and_go() -> None:
    room = Room()
    chance = random.Random(1)

    async def contend(session: Session) -> None:
        for _ in range(10):
            await trio.sleep(chance.random() * 0.02)
            async with Lock(session, "/locks/report") as grant:
                with room.visit(grant):
                    await trio.sleep(chance.random() * 0.003)

    made: set[int] = set()

    async def look(session: Session) -> None:
        async with session.watch("/locks/report") as events:
            async for event in events:
                made.add(event.zxid * (event.cause is not None))

    async with (
        MemoryEnsemble(3, config=EAGER) as members,
        three_sessions(members) as sessions,
        trio.open_nursery() as watching,
    ):
        watching.start_soon(look, sessions[0])
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(contend, session)
        watching.cancel_scope.cancel()

    assert len(room.visits) == 30
    assert room.tokens == sorted(set(room.tokens))
    # It did come and go.
    assert len(made) > 5


@in_virtual_time
async def test_elections_go_on_and_observers_miss_no_leader() -> None:
    async def lead(grant: Grant) -> None:  # noqa: ARG001 - what it is called with
        await trio.sleep(0.1)

    async with (
        MemoryEnsemble(3, config=EAGER) as members,
        three_sessions(members) as sessions,
        Election(sessions[1], "/leader").observe() as leaders,
    ):
        assert await leaders.__anext__() is None
        for number in range(3):
            async with trio.open_nursery() as nursery:
                election = Election(sessions[0], "/leader", data=b"%d" % number)
                nursery.start_soon(election.run, lead)
                with trio.fail_after(5):
                    assert await leaders.__anext__() == b"%d" % number
            with trio.fail_after(5):
                assert await leaders.__anext__() is None
            await gone(sessions[0], "/leader")


@in_virtual_time
async def test_rounds_and_gates_do_not_need_their_parents_to_last() -> None:
    async with (
        MemoryEnsemble(3, config=EAGER) as members,
        three_sessions(members) as sessions,
    ):

        async def take_part(session: Session) -> None:
            async with DoubleBarrier(session, "/rounds/b", 3):
                await trio.sleep(0.01)

        for _ in range(5):
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    for session in sessions:
                        nursery.start_soon(take_part, session)
        gate = Barrier(sessions[0], "/gates/a")
        for _ in range(3):
            await gate.close()
            await trio.sleep(0.1)
            assert await sessions[0].exists("/gates/a") is not None
            await gate.open()
            await gone(sessions[0], "/gates")
        await gone(sessions[0], "/rounds")


@attrs.define
class Vanishing:
    """A session in whose ensemble the parent is gone each time it is needed."""

    times: int
    made: list[str] = attrs.field(factory=list)

    async def create(self, path: str, _data: bytes, **_kinds: bool) -> str:
        await trio.lowlevel.checkpoint()
        self.made.append(path)
        if path == "/parent":
            raise NodeExistsError(path)
        self.times -= 1
        if self.times >= 0:
            raise NoNodeError(path)
        return path


async def test_a_parent_that_vanishes_after_it_was_seen_is_made_again() -> None:
    session = Vanishing(times=3)

    assert await create(cast("Session", session), "/parent/a") == "/parent/a"
    assert session.made == ["/parent/a", "/parent"] * 3 + ["/parent/a"]
