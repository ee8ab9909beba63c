"""Too much is asked for: memory stays bounded, and who is refused knows where he is."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from coordlib import Config, Create, Limits, OverloadedError, Session
from coordlib.ids import counter_of
from coordlib.replica.proposals import Proposals
from coordlib.replica.wire import Forward
from coordlib.testing import MemoryEnsemble
from coordlib.tree import encode_request
from replica.sessions import open_session, poll

MOST = 30
SMALL = Config(limits=Limits(requests_max=MOST))


async def flood(
    sessions: list[Session], count: int, nursery: trio.Nursery
) -> tuple[list[str], list[str]]:
    """Ask for many znodes at once; return which were taken, and which refused.

    What was taken joins the first list only when it is acknowledged.
    """
    taken: list[str] = []
    refused: list[str] = []

    async def create(session: Session, path: str) -> None:
        try:
            taken.append(await session.create(path, bytes(100)))
        except OverloadedError:
            refused.append(path)

    for number in range(count):
        for session in sessions:
            nursery.start_soon(create, session, f"/{session.id:x}-{number}")
    await trio.testing.wait_all_tasks_blocked()
    return taken, refused


async def test_a_member_without_a_quorum_takes_only_so_much(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3, config=SMALL) as members:
        ensemble = members[1]
        sessions = [await open_session(ensemble, 60) for _ in range(5)]
        members.partition({1}, {2, 3})
        await trio.sleep(2 * SMALL.silence_timeout)

        async with trio.open_nursery() as nursery:
            taken, refused = await flood(sessions, 40, nursery)
            assert ensemble.statistics().outstanding == MOST
            assert len(refused) == 5 * 40 - MOST
            # A new session is a request, too; and to read asks nobody.
            with pytest.raises(OverloadedError):
                async with ensemble.session():
                    pass
            await sessions[0].exists("/")
            for _ in range(1000):
                with pytest.raises(OverloadedError):
                    await sessions[0].create("/more")
            assert ensemble.statistics().outstanding == MOST
            members.heal()

        assert len(taken) == MOST
        await sessions[0].sync()
        children = {f"/{name}" for name in await sessions[0].get_children("/")}
        assert children >= set(taken)
        assert not children & {*refused, "/more"}


async def test_few_large_requests_are_too_much_as_well(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    config = Config(limits=Limits(requests_bytes_max=1000))
    async with MemoryEnsemble(3, config=config) as members:
        session = await open_session(members[1], 60)
        members.partition({1}, {2, 3})
        await trio.sleep(2 * config.silence_timeout)

        async with trio.open_nursery() as nursery:
            taken, refused = await flood([session], 20, nursery)
            assert len(refused) > 10
            assert members[1]._running().outstanding.size < 1000 + 300
            members.heal()

        assert len(taken) + len(refused) == 20


@pytest.mark.parametrize("followers", [True, False])
async def test_a_leader_has_only_so_much_under_way_for_everybody(
    followers: bool,  # noqa: FBT001 - a parameter of the test
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3, config=SMALL) as members:
        where = (1, 2) if followers else (3,)
        sessions = [await open_session(members[m], 60) for m in where]
        before = counter_of(members[3].statistics().last_zxid)
        for member in (1, 2):
            members.disks[members[member].member_id].stall()

        async with trio.open_nursery() as nursery:
            taken, refused = await flood(sessions, 50, nursery)
            await trio.sleep(0.5)
            under_way = counter_of(members[3].statistics().last_zxid) - before
            # A third of the room for each of three members.
            assert under_way == len(where) * MOST / 3
            assert not taken
            for member in (1, 2):
                members.disks[members[member].member_id].resume()

        assert len(taken) == len(where) * MOST
        assert len(refused) == len(where) * (50 - MOST)
        await members.wait_equal()


async def test_a_member_that_ignores_its_share_is_cut_off(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with MemoryEnsemble(3, config=SMALL) as members:
        session = await open_session(members[1], 60)
        leader, follower = members[3]._running(), members[1]._running()
        for member in (1, 2):
            members.disks[members[member].member_id].stall()
        bodies = [
            encode_request(session.id, cxid, cxid, Create(f"/{cxid}"))
            for cxid in range(1, 401)
        ]
        to_leader = follower.driver.links.to(follower.role.leader)
        from_follower = leader.driver.links.to(members[1].member_id)
        assert to_leader is not None
        assert from_follower is not None
        for start in range(0, 400, 10):
            forward = Forward(follower.role.epoch, bodies[start : start + 10])
            follower.driver.links.send((to_leader.id,), forward)
        await trio.sleep(0.05)

        last = counter_of(members[3].statistics().last_zxid)
        assert last < MOST + 20
        assert leader._proposals._count < MOST + 20
        assert 1 not in members[3].statistics().linked or not follower.serving
        # What else it sent is behind a gap, whether or not there is room by now.
        full = leader._proposals
        leader._proposals = Proposals(leader._offer, leader.config.limits)
        leader.hear(from_follower, Forward(leader.role.epoch, bodies[-1:]))
        assert not leader._proposals
        leader._proposals = full
        for member in (1, 2):
            members.disks[members[member].member_id].resume()
        await poll(lambda: members[1].statistics().serving)
        await members.wait_equal()
        # In order and without a gap, as far as they came.
        made = [int(n) for n in await session.get_children("/") if n.isdecimal()]
        assert sorted(made) == list(range(1, len(made) + 1))
        assert 0 < len(made) < 100
