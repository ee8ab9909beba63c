"""Three members: reads and writes at any of them, partitions, disks and power."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from coordlib import (
    BadVersionError,
    Check,
    Config,
    Create,
    Delete,
    Ensemble,
    MemberId,
    MultiError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    ReadOnlyError,
    ReplicaClosedError,
    Role,
    RolledBackError,
    RuntimeInconsistencyError,
    Session,
    Set,
    Stat,
    StorageError,
)
from coordlib.replica.lifetime import inline
from coordlib.replica.replica import Surroundings
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.testing import MemoryEnsemble
from coordlib.transport.memory import MemoryNetwork
from replica.sessions import open_session, poll
from transport.seat import in_virtual_time


def leader_and_others(members: MemoryEnsemble) -> tuple[int, list[int]]:
    leader = members.leader_id
    assert leader is not None
    return leader, [m for m in members if m != leader]


# --- reading and writing ---


@pytest.mark.parametrize("member", [1, 2, 3])
@in_virtual_time
async def test_every_operation_does_the_same_at_every_member(member: int) -> None:
    async with MemoryEnsemble(3) as members, members[member].session() as session:
        assert await session.create("/a", b"one") == "/a"
        assert await session.create("/a/s-", sequential=True) == "/a/s-0000000000"
        data, stat = await session.get("/a")
        assert (data, stat.version, stat.num_children) == (b"one", 0, 1)
        stat = await session.set("/a", b"two", version=0)
        assert stat.version == 1
        assert await session.exists("/b") is None
        assert await session.get_children("/a") == ["s-0000000000"]
        results = await session.multi(
            [
                Check("/a", 1),
                Set("/a", b"three"),
                Create("/b"),
                Delete("/a/s-0000000000"),
            ]
        )
        assert results[0] is None
        assert isinstance(results[1], Stat)
        assert results[1].mzxid == (await session.get("/a"))[1].mzxid
        assert results[2:] == ["/b", None]
        await session.delete("/a", version=2)
        await session.create("/e", ephemeral=True)

        stat = (await session.get("/e"))[1]
        assert stat.ephemeral_owner == session.id
        await members.wait_equal()
        for ensemble in members.values():
            assert ensemble.tree.get_children("/")[1:] == ["b", "e"]


@pytest.mark.parametrize("member", [1, 2, 3])
@in_virtual_time
async def test_every_refusal_says_what_was_wrong(member: int) -> None:
    async with MemoryEnsemble(3) as members, members[member].session() as session:
        await session.create("/a")
        await session.create("/a/b")
        await session.create("/e", ephemeral=True)
        znodes = [await session.get(path) for path in ("/", "/a", "/a/b", "/e")]

        with pytest.raises(NodeExistsError, match="/a"):
            await session.create("/a")
        with pytest.raises(NoNodeError, match="/x/y"):
            await session.create("/x/y")
        with pytest.raises(NoChildrenForEphemeralsError):
            await session.create("/e/child")
        with pytest.raises(NoNodeError):
            await session.set("/x", b"")
        with pytest.raises(BadVersionError):
            await session.set("/a", b"", version=7)
        with pytest.raises(NoNodeError):
            await session.delete("/x")
        with pytest.raises(BadVersionError):
            await session.delete("/a/b", version=3)
        with pytest.raises(BadVersionError):
            await session.delete("/a/b", czxid=1)
        with pytest.raises(NotEmptyError):
            await session.delete("/a")
        for read in (session.get, session.get_children, session.predecessor):
            with pytest.raises(NoNodeError):
                await read("/x")
        with pytest.raises(MultiError) as caught:
            await session.multi([Create("/c"), Check("/a", 5), Create("/d")])
        assert caught.value.failed_at == 1
        assert [type(error) for error in caught.value.errors] == [
            RolledBackError,
            BadVersionError,
            RuntimeInconsistencyError,
        ]

        assert znodes == [await session.get(path) for path in ("/", "/a", "/a/b", "/e")]
        assert (await session.get_children("/"))[1:] == ["a", "e"]


@in_virtual_time
async def test_a_session_sees_its_own_writes_at_once() -> None:
    async with MemoryEnsemble(3) as members:

        async def write_and_read(session: Session, path: str) -> None:
            await session.create(path)
            for i in range(30):
                stat = await session.set(path, b"%d" % i)
                data, seen = await session.get(path)
                assert (data, seen.mzxid) == (b"%d" % i, stat.mzxid)

        async with trio.open_nursery() as nursery:
            for m in members:
                session = await open_session(members[m])
                for i in range(5):
                    nursery.start_soon(write_and_read, session, f"/{m}-{i}")
        await members.wait_equal()


@in_virtual_time
async def test_writes_of_one_session_are_applied_in_their_order() -> None:
    async with MemoryEnsemble(3) as members:
        _, [follower, _] = leader_and_others(members)
        session = await open_session(members[follower])
        # Asked for in this order, without waiting in between.
        waiters = [session._kept.submit(Create(f"/{i}"), f"/{i}") for i in range(3000)]
        for waiter in waiters:
            await waiter.wait()

        assert (await session.get_children("/"))[1:] == [str(i) for i in range(3000)]


@in_virtual_time
async def test_writes_wait_while_there_is_no_leader() -> None:
    async with MemoryEnsemble(3) as members:
        leader, [follower, _] = leader_and_others(members)
        session = await open_session(members[follower])
        await members.crash(leader)
        began = trio.current_time()
        await session.create("/a")

        assert trio.current_time() - began < 0.5


# --- sync ---


@in_virtual_time
async def test_sync_at_a_follower_sees_every_write_acknowledged_before() -> None:
    async with MemoryEnsemble(3) as members:
        leader, [follower, other] = leader_and_others(members)
        writer = await open_session(members[leader])
        reader = await open_session(members[follower])
        await writer.create("/a")
        await members.wait_equal()
        for i in range(30):
            # The follower hears of commits late; it is not in the quorum.
            members.network.cut(leader, follower)
            stat = await writer.set("/a", b"%d" % i)
            assert members[follower].tree.get("/a")[1].mzxid < stat.mzxid
            members.heal()
            await reader.sync()

            assert await reader.get("/a") == (b"%d" % i, stat)
        assert other in members


@in_virtual_time
async def test_a_leader_that_was_cut_off_does_not_answer_sync() -> None:
    async with MemoryEnsemble(3) as members:
        leader, [new, _] = leader_and_others(members)
        session = await open_session(members[leader], timeout=60)
        members.partition({leader}, set(members) - {leader})
        with trio.move_on_after(20) as scope:
            await session.sync()
        assert scope.cancelled_caught
        async with members[new].session() as writer:
            await writer.create("/a")
        assert await session.exists("/a") is None

        members.heal()
        await session.sync()
        assert await session.exists("/a") is not None


@in_virtual_time
async def test_syncs_at_one_time_share_a_round() -> None:
    async with MemoryEnsemble(3) as members:
        _, [follower, _] = leader_and_others(members)
        session = await open_session(members[follower])
        contact = members[follower]._running()._contact
        before = contact._number
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(session.sync)

        assert contact._number - before <= 3


# --- partitions ---


@in_virtual_time
async def test_a_minority_serves_reads_and_refuses_writes() -> None:
    async with MemoryEnsemble(3) as members:
        minority, others = leader_and_others(members)
        session = await open_session(members[minority], timeout=9)
        await session.create("/a", b"x")
        members.partition({minority}, others)
        cut_at = trio.current_time()
        await trio.sleep(2)
        assert members[minority].read_only
        assert members[minority].leader_id is None
        assert members[minority].role is Role.LOOKING
        await trio.sleep(1.5)
        for write in (
            session.create("/b"),
            session.delete("/a"),
            session.multi([Check("/a")]),
        ):
            with pytest.raises(ReadOnlyError):
                await write
        assert trio.current_time() == cut_at + 3.5
        assert (await session.get("/a"))[0] == b"x"
        async with members[others[0]].session() as other:
            await other.set("/a", b"y")
            assert not members[others[0]].read_only
        assert (await session.get("/a"))[0] == b"x"

        members.heal()
        await session.sync()
        assert (await session.get("/a"))[0] == b"y"
        await session.create("/b")
        await members.wait_equal()
        assert not members[minority].read_only


@in_virtual_time
async def test_what_a_minority_proposed_is_gone_and_its_author_knows() -> None:
    async with MemoryEnsemble(3) as members:
        old, others = leader_and_others(members)
        session = await open_session(members[old], timeout=60)
        outcome: list[str] = []

        async def create() -> None:
            outcome.append(await session.create("/a-", sequential=True))

        async with trio.open_nursery() as nursery:
            members.partition({old}, others)
            nursery.start_soon(create)
            await trio.sleep(5)
            assert not outcome
            members.heal()
        await members.wait_equal()

        # Sent again in the new epoch, and applied once.
        assert members[1].tree.get_children("/")[1:] == ["a-0000000000"]
        assert outcome == ["/a-0000000000"]


# --- disks ---


@in_virtual_time
async def test_nothing_is_acknowledged_before_a_quorum_of_disks_has_it() -> None:
    async with MemoryEnsemble(3) as members:
        leader, others = leader_and_others(members)
        session = await open_session(members[leader], timeout=60)
        for m in others:
            members.disks[MemberId(m)].stall()
        with trio.move_on_after(0.9) as scope:
            await session.create("/a")
        assert scope.cancelled_caught
        assert members[leader].tree.exists("/a") is None
        members.disks[MemberId(others[0])].resume()
        await session.sync()
        await session.create("/b")
        # The two whose disks work.
        for m in (leader, others[0]):
            records = members.disks[MemberId(m)].read().records
            assert any(b"/b" in payload for _, payload in records)


@in_virtual_time
async def test_a_leader_whose_disk_stalls_gives_up_the_lead() -> None:
    async with MemoryEnsemble(3) as members:
        old, others = leader_and_others(members)
        session = await open_session(members[others[0]], timeout=30)
        members.disks[MemberId(old)].stall()
        # Its quorum of disks is the two others: writes go on meanwhile.
        await session.create("/a")
        began = trio.current_time()
        await poll(lambda: members[others[0]].leader_id in others)
        assert trio.current_time() - began < 3
        await session.create("/b")

        members.disks[MemberId(old)].resume()
        with trio.fail_after(5):
            await members.wait_equal()
        assert members[old].role is Role.FOLLOWING


@asynccontextmanager
async def on_network(
    network: MemoryNetwork, member: int, disk: MemoryDisk
) -> AsyncIterator[Ensemble]:
    """Run one of three members that may fail on its own."""
    seats = {m: f"memory:{m}" for m in (1, 2, 3)}
    async with Ensemble(
        member,
        seats,
        transport=network.transport(MemberId(member), [MemberId(m) for m in seats]),
        store=MemoryStore(disk, latency=0.001),
        surroundings=Surroundings(
            entropy=lambda n: bytes([member]) * n,
            wall_clock=trio.current_time,
            blocking=inline,
        ),
    ) as ensemble:
        yield ensemble


@in_virtual_time
async def test_a_member_whose_disk_fails_stops_alone() -> None:
    network = MemoryNetwork()
    disks = [MemoryDisk(), MemoryDisk(), MemoryDisk()]
    ended: list[Exception] = []

    async def be_member_three() -> None:
        try:
            async with on_network(network, 3, disks[2]):
                await trio.sleep_forever()
        except StorageError as error:
            ended.append(error)

    async with (
        on_network(network, 1, disks[0]) as one,
        on_network(network, 2, disks[1]),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(be_member_three)
        await one.wait_ready()
        async with one.session(timeout=30) as session:
            await session.create("/a")
            disks[2].fail(OSError("broken"))
            await session.create("/b")
            await trio.sleep(3)
            await session.create("/c")

        assert [str(error) for error in ended] == ["write failed: broken"]


# --- power ---


@pytest.mark.parametrize("latency", [0.0, 0.003])
@in_virtual_time
async def test_a_loss_of_power_loses_nothing_acknowledged(latency: float) -> None:
    config = Config(snapshot_interval=7)
    async with MemoryEnsemble(3, disk_latency=latency, config=config) as members:
        acknowledged: list[str] = []
        for _ in range(5):

            async def write(session: Session) -> None:
                try:
                    while True:
                        acknowledged.append(
                            await session.create("/x-", sequential=True)
                        )
                except ReplicaClosedError:
                    pass

            async with trio.open_nursery() as nursery:
                for m in members:
                    nursery.start_soon(write, await open_session(members[m]))
                await trio.sleep(0.1)
                for m in list(members):
                    await members.crash(m)
            for m in members.disks:
                await members.restart(m)
            await members.wait_equal()

            names = members[1].tree.get_children("/")
            assert {f"/{name}" for name in names} >= set(acknowledged)
        assert len(acknowledged) > 50


@in_virtual_time
async def test_a_wiped_member_does_not_vote_before_it_has_caught_up() -> None:
    async with MemoryEnsemble(3) as members:
        leader, [up, wiped] = leader_and_others(members)
        await members.crash(wiped)
        async with members[leader].session() as session:
            await session.create("/a")
        await members.wait_equal()
        await members.crash(leader)
        await members.crash(up)
        # Two of three are here, but one of them has forgotten everything.
        members._seats[MemberId(wiped)].disk = MemoryDisk()
        await members.restart(wiped)
        await members.restart(up)
        with trio.move_on_after(60) as scope:
            await members.wait_ready()
        assert scope.cancelled_caught
        assert members.leader_id is None

        await members.restart(leader)
        with trio.fail_after(5):
            await members.wait_equal()
        assert members[wiped].tree.exists("/a") is not None
        # Now it counts again.
        await members.crash(leader)
        with trio.fail_after(5):
            await members.wait_ready()


@in_virtual_time
async def test_the_first_start_needs_all_voters_once() -> None:
    network = MemoryNetwork()
    disks = [MemoryDisk(), MemoryDisk(), MemoryDisk()]
    async with (
        on_network(network, 1, disks[0]) as one,
        on_network(network, 2, disks[1]),
    ):
        with trio.move_on_after(60) as scope:
            await one.wait_ready()
        assert scope.cancelled_caught
        async with on_network(network, 3, disks[2]):
            with trio.fail_after(5):
                await one.wait_ready()
        with trio.fail_after(5):
            await one.wait_ready()
            async with one.session() as session:
                await session.create("/a")


@in_virtual_time
async def test_a_member_that_was_away_catches_up_by_a_snapshot() -> None:
    config = Config(history_records_max=10, snapshot_interval=20)
    async with MemoryEnsemble(3, config=config) as members:
        leader, [away, _] = leader_and_others(members)
        await members.crash(away)
        async with members[leader].session() as session:
            for i in range(50):
                await session.create(f"/{i}", bytes(20_000))
            await members.restart(away)
            await members.wait_equal()

            assert len(members[away].tree.get_children("/")) == 51
            assert members.disks[MemberId(away)].read().base > 0
            # And again from what it keeps now.
            await members.crash(away)
            await members.restart(away)
            await members.wait_equal()
