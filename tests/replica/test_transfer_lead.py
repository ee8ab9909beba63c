"""The lead is handed over: on request, and by whoever leaves."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from coordlib import (
    Config,
    Ensemble,
    LeadTransferError,
    ReplicaClosedError,
    Role,
    Session,
)
from coordlib.testing import MemoryEnsemble

LATENCY = 0.002
DISK = 0.0005
OBSERVER = 4
# Less than a heartbeat, a silence or an election's wait.
QUICK = 5 * 2 * LATENCY


def scene(*, observers: int = 0) -> MemoryEnsemble:
    return MemoryEnsemble(3, observers=observers, latency=LATENCY, disk_latency=DISK)


async def write(session: Session, path: str, taken: list[float]) -> None:
    """Count up in a znode, and note how long each write takes."""
    await session.create(path, b"0")
    while True:
        begun = trio.current_time()
        await session.set(path, b"%d" % (len(taken) + 1), version=len(taken))
        taken.append(trio.current_time() - begun)


async def test_a_rolling_restart_costs_no_election_and_loses_no_write(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with scene(observers=1) as members:
        led = set[int | None]()
        for round_ in range(2):
            for member in (3, 2, 1):
                others = [m for m in (1, 2, 3, OBSERVER) if m != member]
                taken: dict[int, list[float]] = {m: [] for m in others}
                led.add(members.leader_id)
                async with (
                    members[others[0]].session() as first,
                    members[others[1]].session() as second,
                    members[OBSERVER].session() as third,
                ):
                    sessions = dict(zip(others, (first, second, third), strict=True))
                    async with trio.open_nursery() as nursery:
                        for m, session in sessions.items():
                            path = f"/{round_}-{member}-{m}"
                            nursery.start_soon(write, session, path, taken[m])
                        await trio.sleep(0.05)
                        await members.stop(member)
                        await members.restart(member)
                        await members.wait_ready()
                        await trio.sleep(0.05)
                        nursery.cancel_scope.cancel()
                    for m, session in sessions.items():
                        await session.sync()
                        path = f"/{round_}-{member}-{m}"
                        data, stat = await session.get(path)
                        # The last one may have been on its way when it was cancelled.
                        assert stat.version in {len(taken[m]), len(taken[m]) + 1}
                        assert data == b"%d" % stat.version
                        # Its own way, what was on its way before it, and the change.
                        way = 6 * LATENCY + 2 * DISK
                        follows_later = 2 * QUICK if m == OBSERVER else QUICK
                        assert max(taken[m]) < way + follows_later
        await members.wait_equal()
    assert len(led) > 1


@pytest.mark.parametrize("to", [None, 1, 2])
async def test_the_lead_goes_to_whom_it_should(
    to: int | None,
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with scene() as members:
        assert members.leader_id == 3
        # The first thing that a leader does is to note who the members are.
        await trio.sleep(QUICK)
        begun = trio.current_time()

        leader = await members[3].transfer_lead(to)

        assert trio.current_time() - begun < QUICK
        assert leader == members[3].leader_id == (to or 2)
        await members.wait_ready()
        assert members.leader_id == leader
        assert members[3].role is Role.FOLLOWING


async def test_writes_wait_for_the_next_leader(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with scene() as members, members[1].session() as session:
        async with members[3].session() as other, trio.open_nursery() as nursery:
            nursery.start_soon(members[3].transfer_lead, 2)
            nursery.start_soon(session.create, "/a")
            nursery.start_soon(other.create, "/b")

        assert members.leader_id == 2
        await session.sync()
        assert {"a", "b"} <= set(await session.get_children("/"))


async def test_who_cannot_lead_is_refused_at_once(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with scene(observers=1) as members, Ensemble() as alone:
        await members.crash(1)
        for member, to in ((3, OBSERVER), (3, 3), (3, 9), (3, 1), (2, None)):
            with pytest.raises(LeadTransferError):
                await members[member].transfer_lead(to)
        await alone.wait_ready()
        with pytest.raises(LeadTransferError, match="no other voter"):
            await alone.transfer_lead()

        assert members.leader_id == 3
        async with members[2].session() as session:
            await session.create("/a")


async def test_a_successor_that_lags_is_not_waited_for_long_and_nothing_is_lost(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    silence = Config().silence_timeout
    async with (
        scene() as members,
        members[2].session() as session,
        members[3].session() as other,
    ):
        members.disks[members[1].member_id].stall()
        await session.create("/a")
        begun = trio.current_time()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.create, "/b")
            nursery.start_soon(other.create, "/c")
            with pytest.raises(LeadTransferError, match="1"):
                await members[3].transfer_lead(1)
            assert trio.current_time() - begun < 1.2 * silence

        assert members.leader_id == 3
        assert {"a", "b", "c"} <= set(await other.get_children("/"))


async def test_two_at_once_are_one_transfer_and_one_refusal(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    refused: list[LeadTransferError] = []

    async with scene() as members:

        async def transfer(to: int) -> None:
            try:
                await members[3].transfer_lead(to)
            except LeadTransferError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(transfer, 1)
            nursery.start_soon(transfer, 2)

        assert len(refused) == 1
        await members.wait_ready()
        assert members.leader_id in {1, 2}


async def test_a_cancelled_transfer_goes_on_without_its_caller(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with scene() as members:
        with trio.move_on_after(LATENCY / 2) as scope:
            await members[3].transfer_lead(1)

        assert scope.cancelled_caught
        await trio.sleep(QUICK)
        assert members.leader_id == 1


async def test_a_replica_that_ends_meanwhile_says_so(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with scene() as members, trio.open_nursery() as nursery:
        leader = members[3]

        async def transfer() -> None:
            with pytest.raises(ReplicaClosedError):
                await leader.transfer_lead(1)

        nursery.start_soon(transfer)
        await trio.sleep(LATENCY / 2)
        await members.crash(3)


async def test_leaving_takes_no_longer_when_nobody_takes_over(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with scene() as members:
        members.partition({3}, {1, 2})
        begun = trio.current_time()
        await members.stop(3)
        assert trio.current_time() - begun <= 1.0
        await members.wait_ready()
        assert members.leader_id == 2

    async with scene() as members:
        await members.crash(1)
        await members.stop(2)
        begun = trio.current_time()
        await members.stop(3)
        # Until it knows that 2 is gone.
        assert trio.current_time() - begun < 2 * LATENCY


async def test_all_members_leave_together_without_waiting_for_each_other(
    autojump_clock: MockClock,  # noqa: ARG001 - virtual time
) -> None:
    async with scene() as members, members[1].session() as session:
        await session.create("/a")
        begun = trio.current_time()

    assert trio.current_time() - begun < QUICK
