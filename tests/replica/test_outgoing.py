"""What a learner gets from the disk: in order, after a broken link, after damage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import blake2b
from pathlib import Path

import attrs
import pytest
import trio
import trio.lowlevel
import trio.testing

from coordlib import Config, Ensemble, MemberId
from coordlib.consensus import Proposal, SendRecords, Settings
from coordlib.errors import ProtocolError
from coordlib.ids import Epoch, Zxid
from coordlib.replica.links import ReplicaLink, ReplicaLinks
from coordlib.replica.outgoing import Outgoing
from coordlib.replica.progress import LongWork
from coordlib.replica.wire import (
    Body,
    SnapshotFrom,
    SnapshotOffer,
    SnapshotPiece,
    decode_body,
)
from coordlib.storage.directory import snapshot_name
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.testing import MemoryEnsemble
from coordlib.transport.memory import MemoryNetwork
from replica.sessions import poll
from storage.store_client import Client, running, transactions
from transport.seat import in_virtual_time

CONTENT = bytes(range(256)) * 1000
SNAPSHOT = Zxid(5)


@attrs.define(eq=False)
class FakeLink:
    """Notes what is sent; takes nothing more until it is told to."""

    member: MemberId = attrs.field(factory=lambda: MemberId(2))
    sent: list[Body] = attrs.field(factory=list)
    queued_bytes: int = 0
    full: bool = False
    closed: bool = False
    _writable: trio.Event = attrs.field(factory=trio.Event)

    def send(self, frame: bytes) -> bool:
        self.sent.append(decode_body(frame))
        return not self.full

    async def wait_writable(self) -> None:
        self._writable = trio.Event()
        await self._writable.wait()

    async def recv(self) -> list[bytes]:
        raise AssertionError("nothing here reads")

    def take_more(self) -> None:
        self._writable.set()

    def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def a_store() -> AsyncIterator[Client]:
    async with running(MemoryStore(MemoryDisk())) as client:
        await client.write(*transactions(*range(1, 2001)))
        await client.store.save_snapshot(SNAPSHOT, [CONTENT])
        yield client


def outgoing(client: Client) -> Outgoing:
    return Outgoing(client.store, Settings(), LongWork("test"))


def a_link() -> tuple[FakeLink, ReplicaLink]:
    link = FakeLink()
    return link, ReplicaLinks(1 << 30).add(link)


ORDER = SendRecords(1, Epoch(3), Zxid(7), Zxid(1900))


async def test_records_leave_as_proposals_of_the_leaders_epoch() -> None:
    link, replica_link = a_link()
    async with a_store() as client:
        await outgoing(client).send_records(
            replica_link, ORDER, trio.lowlevel.checkpoint
        )

    previous = 7
    for proposal in link.sent:
        assert isinstance(proposal, Proposal)
        assert (proposal.epoch, proposal.previous) == (3, previous)
        assert proposal.first == previous + 1
        for payload in proposal.payloads:
            previous += 1
            assert payload == b"t%d" % previous
    assert previous == 1900
    assert len(link.sent) > 2


def has_sent(link: FakeLink, count: int) -> bool:
    return len(link.sent) >= count


async def test_records_are_read_no_faster_than_the_link_takes_them() -> None:
    link, replica_link = a_link()
    link.full = True
    async with a_store() as client, trio.open_nursery() as nursery:
        nursery.start_soon(
            outgoing(client).send_records,
            replica_link,
            ORDER,
            trio.lowlevel.checkpoint,
        )
        for count in (1, 2):
            with trio.fail_after(5):
                while len(link.sent) < count:
                    await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert len(link.sent) == count
            link.take_more()
        nursery.cancel_scope.cancel()


async def test_records_wait_until_they_are_durable() -> None:
    link, replica_link = a_link()
    durable = trio.Event()
    async with a_store() as client, trio.open_nursery() as nursery:
        nursery.start_soon(
            outgoing(client).send_records, replica_link, ORDER, durable.wait
        )
        await trio.testing.wait_all_tasks_blocked()
        assert link.sent == []
        durable.set()

    assert link.sent


@pytest.mark.parametrize("here", [0, 1, 100_000, len(CONTENT) - 1])
async def test_what_the_learner_has_of_a_snapshot_is_not_sent(here: int) -> None:
    link, replica_link = a_link()
    async with a_store() as client, trio.open_nursery() as nursery:
        nursery.start_soon(outgoing(client).send_snapshot, replica_link, SNAPSHOT)
        await trio.testing.wait_all_tasks_blocked()
        digest = blake2b(CONTENT, digest_size=16).digest()
        assert link.sent == [SnapshotOffer(SNAPSHOT, len(CONTENT), digest)]

        replica_link.answer(SnapshotFrom(SNAPSHOT, here))
        await trio.testing.wait_all_tasks_blocked()
        rest = bytearray(CONTENT[:here])
        for piece in link.sent[1:]:
            assert isinstance(piece, SnapshotPiece)
            assert piece.offset == len(rest)
            rest += piece.part
        assert rest == CONTENT

        # It goes on when the learner has taken it over.
        assert nursery.child_tasks
        replica_link.answer(SnapshotFrom(SNAPSHOT, len(CONTENT)))


async def test_a_snapshot_that_the_learner_took_over_at_once_is_not_sent() -> None:
    link, replica_link = a_link()
    async with a_store() as client, trio.open_nursery() as nursery:
        nursery.start_soon(outgoing(client).send_snapshot, replica_link, SNAPSHOT)
        await trio.testing.wait_all_tasks_blocked()
        replica_link.answer(SnapshotFrom(SNAPSHOT, len(CONTENT)))

    assert len(link.sent) == 1


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([SnapshotFrom(Zxid(6), 0)], id="of another snapshot"),
        pytest.param([SnapshotFrom(SNAPSHOT, len(CONTENT) + 1)], id="beyond the end"),
        pytest.param([SnapshotFrom(SNAPSHOT, 0)] * 2, id="not taken after all"),
    ],
)
async def test_nonsense_for_an_answer_is_refused(answers: list[SnapshotFrom]) -> None:
    _, replica_link = a_link()

    async def answer() -> None:
        for one in answers:
            await trio.testing.wait_all_tasks_blocked()
            replica_link.answer(one)

    async with a_store() as client, trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        with pytest.raises(ProtocolError):
            await outgoing(client).send_snapshot(replica_link, SNAPSHOT)


# Whole members.

BEHIND = Config(history_records_max=10, snapshot_interval=20)


@in_virtual_time
async def test_a_snapshot_goes_on_where_a_broken_link_left_off() -> None:
    async with MemoryEnsemble(3, config=BEHIND, latency=0.01) as members:
        leader = members.leader_id
        assert leader is not None
        away = next(m for m in members if m != leader)
        await members.crash(away)
        async with members[leader].session() as session:
            for i in range(50):
                await session.create(f"/{i}", bytes(20_000))
        await members.restart(away)
        incoming = members[away]._running().driver._incoming
        await poll(lambda: len(incoming._content) >= 100_000)
        [sending] = members[leader].statistics().progress
        assert sending.work == f"sending a snapshot to member {away}"
        [receiving] = members[away].statistics().progress
        assert receiving.work == f"receiving a snapshot from member {leader}"
        assert 0 < receiving.done < sending.done <= sending.total == receiving.total
        members.partition({away}, set(members) - {away})
        await trio.sleep(3)
        assert not members[away].statistics().epoch
        assert incoming.resumed == 0
        members.heal()
        with trio.fail_after(10):
            await members.wait_equal()

        assert incoming.resumed >= 100_000
        assert incoming.is_empty


@in_virtual_time
async def test_who_leads_no_longer_sends_no_longer() -> None:
    async with MemoryEnsemble(3, config=BEHIND, latency=0.01) as members:
        leader = members.leader_id
        assert leader is not None
        away, other = (m for m in members if m != leader)
        await members.crash(away)
        async with members[leader].session() as session:
            for i in range(50):
                await session.create(f"/{i}", bytes(20_000))
        await members.restart(away)
        incoming = members[away]._running().driver._incoming
        await poll(lambda: bool(incoming._content))
        links = members[leader]._running().driver.links
        assert links.with_jobs()

        await members[leader].transfer_lead(other)

        assert links.with_jobs() == []
        with trio.fail_after(10):
            await members.wait_equal()


@asynccontextmanager
async def on_disks(
    path: Path, network: MemoryNetwork, member: int
) -> AsyncIterator[Ensemble]:
    ids = [MemberId(m) for m in (1, 2, 3)]
    async with Ensemble(
        member,
        {m: f"memory:{m}" for m in ids},
        transport=network.transport(MemberId(member), ids),
        data_dir=path / str(member),
        config=BEHIND,
    ) as ensemble:
        yield ensemble


async def test_a_snapshot_that_is_damaged_is_replaced_before_one_is_sent(
    tmp_path: Path,
) -> None:
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(on_disks(tmp_path, network, m))
            for m in (1, 2)
        ]
        async with on_disks(tmp_path, network, 3) as third:
            await third.wait_ready()
        with trio.fail_after(20):
            for member in members:
                await member.wait_ready()
            async with members[0].session() as session:
                for i in range(60):
                    await session.create(f"/{i}", bytes(1000))
                stores = [member._running()._store for member in members]
                while not all(store.extent.base for store in stores):
                    await session.set("/0", b"")
            for number, store in enumerate(stores, start=1):
                extent = store.extent
                assert extent.snapshot is not None
                file = tmp_path / str(number) / snapshot_name(extent.snapshot[0])
                content = bytearray(file.read_bytes())
                content[len(content) // 2] ^= 1
                file.write_bytes(content)

            async with on_disks(tmp_path, network, 3) as again:
                await again.wait_ready()
                await poll(lambda: again.digest() == members[0].digest())
