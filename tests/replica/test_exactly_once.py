"""Moments in which a request could be lost or done twice, one by one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from coordlib import Create, Ensemble, MemberId
from coordlib.config import Config
from coordlib.ids import Epoch
from coordlib.replica.lifetime import inline
from coordlib.replica.replica import Surroundings
from coordlib.replica.wire import Forward
from coordlib.storage.interface import (
    Extent,
    Reading,
    Records,
    Recovered,
    SnapshotReading,
    Write,
)
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.testing import MemoryEnsemble
from coordlib.transport.memory import MemoryNetwork
from coordlib.tree import DataTree, encode_request, stamp
from replica.sessions import open_session
from transport.seat import in_virtual_time


def leader_and_others(members: MemoryEnsemble) -> list[int]:
    leader = members.leader_id
    assert leader is not None
    return [leader, *(m for m in members if m != leader)]


@in_virtual_time
async def test_a_follower_that_rejoins_its_epoch_asks_twice_and_gets_once() -> None:
    async with MemoryEnsemble(5) as members:
        leader, follower, *others = leader_and_others(members)
        session = await open_session(members[follower], timeout=60)
        epoch = members[leader].statistics().epoch
        done: list[str] = []

        async def create() -> None:
            done.append(await session.create("/a-", sequential=True))

        async with trio.open_nursery() as nursery:
            # Proposed, but on no quorum of disks when the follower is back.
            for m in others:
                members.disks[MemberId(m)].stall()
            members.network.cut(leader, follower)
            nursery.start_soon(create)
            await trio.sleep(0.05)
            link = members[follower]._running().driver.links.to(MemberId(leader))
            assert link is not None
            link.link.close()
            await trio.sleep(0.01)
            members.heal()
            await trio.sleep(0.5)
            assert members[follower].statistics().serving
            assert not done
            for m in others:
                members.disks[MemberId(m)].resume()
        await members.wait_equal()

        assert members[follower].statistics().epoch == epoch
        # The test is about this: it was in the log twice.
        records = members.disks[MemberId(leader)].read().records
        assert sum(b"/a-" in payload for _, payload in records) == 2
        assert done == ["/a-0000000000"]
        assert members[leader].tree.get_children("/")[1:] == ["a-0000000000"]


@in_virtual_time
async def test_a_request_for_another_epoch_is_dropped() -> None:
    async with MemoryEnsemble(3) as members:
        leader, follower, _ = leader_and_others(members)
        replica = members[leader]._running()
        link = replica.driver.links.to(MemberId(follower))
        assert link is not None
        session = await open_session(members[follower])
        request = encode_request(session.id, 1, 1, Create("/late"))
        epoch = members[leader].statistics().epoch
        for other in (epoch - 1, epoch + 1):
            replica.hear(link, Forward(Epoch(other), [request]))
        await trio.sleep(0.5)
        assert replica.tree.exists("/late") is None

        replica.hear(link, Forward(epoch, [request]))
        await trio.sleep(0.5)
        assert replica.tree.exists("/late") is not None


@in_virtual_time
async def test_an_outcome_in_a_snapshot_answers_at_once() -> None:
    disk = MemoryDisk()
    async with Ensemble(store=MemoryStore(disk)) as ensemble:
        session, replica = await open_session(ensemble), ensemble._running()
        disk.stall()
        waiter = session._kept.submit(Create("/a-", sequential=True), "/a-")
        [request] = replica.outstanding._by_key.values()
        staged = DataTree()
        for zxid, payload in disk.read().records:
            staged.apply(zxid, payload)
        staged.apply(staged.zxid + 1, stamp(request.body, 0))
        replica.install(staged)

        assert len(replica.outstanding) == 0
        assert (await waiter.wait()).session == session.id
        ensemble.abort()


@attrs.define(eq=False)
class WaryStore:
    """A store that refuses a snapshot of what is not durable yet."""

    disk: MemoryDisk
    store: MemoryStore
    saved: int = 0

    def recover(self) -> Recovered:
        return self.store.recover()

    def submit(self, write: Write) -> None:
        self.store.submit(write)

    async def run(
        self,
        on_durable: Callable[[int], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await self.store.run(on_durable, task_status=task_status)

    @property
    def no_room(self) -> str:
        return self.store.no_room

    async def save_snapshot(self, zxid: int, pieces: Sequence[bytes]) -> bool:
        recovered = self.disk.read()
        assert zxid <= max([recovered.base, *(z for z, _ in recovered.records)])
        self.saved += 1
        return await self.store.save_snapshot(zxid, pieces)

    @property
    def extent(self) -> Extent:
        return self.store.extent

    def read_records(self, after: int, upto: int) -> Reading[Records]:
        return self.store.read_records(after, upto)

    def read_snapshot(self, zxid: int) -> SnapshotReading:
        return self.store.read_snapshot(zxid)

    def close(self) -> None:
        self.store.close()


@asynccontextmanager
async def members_with_disks(
    latencies: list[float],
) -> AsyncIterator[tuple[list[Ensemble], list[WaryStore]]]:
    network, ids = MemoryNetwork(), [MemberId(m) for m in (1, 2, 3)]
    stores = []
    for latency in latencies:
        disk = MemoryDisk()
        stores.append(WaryStore(disk, MemoryStore(disk, latency=latency)))
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(
                Ensemble(
                    member,
                    {m: f"memory:{m}" for m in ids},
                    transport=network.transport(member, ids),
                    store=store,
                    config=Config(snapshot_interval=5),
                    surroundings=Surroundings(
                        entropy=random.Random(member).randbytes,
                        wall_clock=trio.current_time,
                        blocking=inline,
                    ),
                )
            )
            for member, store in zip(ids, stores, strict=True)
        ]
        yield members, stores


@in_virtual_time
async def test_no_snapshot_is_ahead_of_its_own_log() -> None:
    # Two fast disks are a quorum: the slow one's tree is ahead of its log.
    for slow in range(3):
        latencies = [0.001, 0.001, 0.001]
        latencies[slow] = 0.1
        async with members_with_disks(latencies) as (members, stores):
            await members[0].wait_ready()
            session = await open_session(members[0], timeout=60)
            for i in range(100):
                await session.create(f"/{i}")
            await trio.sleep(1)

            assert all(store.saved for store in stores)
