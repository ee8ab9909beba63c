"""A disk that takes seconds delays its own member and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from coordlib import Config, Ensemble
from coordlib.storage.memory import MemoryDisk, MemoryStore
from replica.seats import seats_of
from transport.seat import in_virtual_time

SILENCE = Config().silence_timeout
FAST, SLOW = 0.002, 3.0


async def be_slow(disk: MemoryDisk) -> None:
    """Let every write from now on take up to so many seconds."""
    while True:
        disk.stall()
        await trio.sleep(SLOW)
        disk.resume()
        await trio.sleep(2 * FAST)


@asynccontextmanager
async def members_of(
    stores: dict[int, MemoryStore],
) -> AsyncIterator[dict[int, Ensemble]]:
    async with AsyncExitStack() as stack:
        members = seats_of(stores)
        for member in members.values():
            await stack.enter_async_context(member)
        for member in members.values():
            await member.wait_ready()
        yield members


def leader_of(members: dict[int, Ensemble]) -> int:
    leader = members[1].leader_id
    assert leader is not None
    return leader


async def longest_write(ensemble: Ensemble, count: int) -> float:
    longest = 0.0
    async with ensemble.session(timeout=60) as session:
        for i in range(count):
            began = trio.current_time()
            await session.create(f"/{ensemble.member_id}-{i}", bytes(1000))
            longest = max(longest, trio.current_time() - began)
            # Many more seconds than the slow disk takes.
            await trio.sleep(0.1)
    return longest


@in_virtual_time
async def test_a_follower_with_a_slow_disk_keeps_no_write_waiting() -> None:
    disks = {member: MemoryDisk() for member in (1, 2, 3)}
    stores = {m: MemoryStore(disk, latency=FAST) for m, disk in disks.items()}
    async with members_of(stores) as members, trio.open_nursery() as nursery:
        leader = leader_of(members)
        slow, fast = (m for m in members if m != leader)
        nursery.start_soon(be_slow, disks[slow])
        longest_queue = 0

        async def look() -> None:
            nonlocal longest_queue
            while True:
                held = len(stores[slow]._queue) + len(
                    members[slow]._running().driver._gated
                )
                longest_queue = max(longest_queue, held)
                await trio.sleep(0.05)

        nursery.start_soon(look)
        assert await longest_write(members[leader], 50) < 10 * FAST
        assert await longest_write(members[fast], 50) < 20 * FAST
        # What came in while it had not been seen to stall; not a hundred.
        assert 0 < longest_queue < 5 * SILENCE / 0.1
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_a_leader_with_a_slow_disk_keeps_writes_waiting_once_at_most() -> None:
    disks = {member: MemoryDisk() for member in (1, 2, 3)}
    stores = {m: MemoryStore(disk, latency=FAST) for m, disk in disks.items()}
    async with members_of(stores) as members, trio.open_nursery() as nursery:
        old = leader_of(members)
        other = next(m for m in members if m != old)
        nursery.start_soon(be_slow, disks[old])
        # Its own word is not needed: two other disks are a majority.
        assert await longest_write(members[other], 50) < 2 * SILENCE
        assert members[other].leader_id != old
        assert await longest_write(members[other], 0) == 0
        async with members[other].session() as session:
            began = trio.current_time()
            await session.create("/last")
            assert trio.current_time() - began < 20 * FAST
        nursery.cancel_scope.cancel()
