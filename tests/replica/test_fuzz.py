"""Peers that say anything at any time: links close, the replica goes on.

One real member on a memory network; the other two are puppets that speak the
wire format and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b

import attrs
import pytest
import trio

from coordlib import Config, Ensemble, MemberId
from coordlib.consensus import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    FollowerInfo,
    LeaderInfo,
    NewLeader,
    Notification,
    Ping,
    Pong,
    Proposal,
    Role,
    Truncate,
    UpToDate,
    Vote,
)
from coordlib.ids import Epoch, Zxid, make_zxid
from coordlib.replica.lifetime import inline
from coordlib.replica.replica import Surroundings
from coordlib.replica.wire import (
    Body,
    Confirm,
    Forward,
    SnapshotFrom,
    SnapshotOffer,
    SnapshotPiece,
    Touch,
    encode_body,
)
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.transport.interface import UNKNOWN_ENSEMBLE, Hello, Link
from coordlib.transport.memory import MemoryNetwork
from coordlib.tree import DataTree, capture, encode_snapshot
from transport.seat import in_virtual_time

MEMBERS = [MemberId(1), MemberId(2), MemberId(3)]
NAME = "fuzz"


@attrs.define(eq=False)
class Puppet:
    """A peer that says what it is told to, and what makes little sense."""

    member: MemberId
    rng: random.Random
    links: list[Link] = attrs.field(factory=list)
    heard: int = 0

    def hello(self) -> Hello:
        return Hello(NAME, UNKNOWN_ENSEMBLE, self.member, self.rng.randbytes(16))

    async def serve(self, link: Link) -> None:
        self.links.append(link)
        try:
            while True:
                self.heard += len(await link.recv())
        finally:
            self.links.remove(link)

    def say(self, frame: bytes) -> None:
        for link in self.links:
            link.send(frame)

    def epoch(self) -> Epoch:
        return Epoch(self.rng.choice([0, 1, 1, 1, 2, 3, 1 << 31, 1 << 40]))

    def zxid(self) -> Zxid:
        return self.rng.choice(
            [
                Zxid(0),
                make_zxid(1, self.rng.randrange(6)),
                make_zxid(2, self.rng.randrange(3)),
                Zxid(self.rng.getrandbits(63)),
            ]
        )

    def nonsense(self) -> Body:
        """Return a well-formed message, most likely out of place."""
        rng, number = self.rng, self.rng.choice([0, 1, 2, 3, 50, 1 << 62])
        payloads = [
            rng.randbytes(rng.randrange(60)) for _ in range(rng.randrange(1, 4))
        ]
        tails = tuple(self.zxid() for _ in range(rng.randrange(4)))
        member = rng.choice([*MEMBERS, MemberId(0), MemberId(99)])
        vote = Vote(rng.random() < 0.5, self.epoch(), self.zxid(), member)
        flag = rng.random() < 0.5
        choices: list[Body] = [
            Notification(
                number,
                rng.choice(list(Role)),
                member,
                self.epoch(),
                rng.choice([None, vote]),
            ),
            FollowerInfo(
                number,
                self.epoch(),
                flag,
                empty=rng.random() < 0.5,
                current_epoch=self.epoch(),
                last_zxid=self.zxid(),
            ),
            LeaderInfo(self.epoch()),
            AckEpoch(self.epoch(), flag, self.epoch(), tails),
            Truncate(self.zxid()),
            Proposal(self.epoch(), self.zxid(), self.zxid(), payloads),
            NewLeader(self.epoch(), rng.randbytes(16)),
            AckNewLeader(self.epoch()),
            UpToDate(self.epoch(), self.zxid()),
            Ack(self.epoch(), self.zxid()),
            Commit(self.epoch(), self.zxid()),
            Ping(number),
            Pong(number),
            Forward(self.epoch(), payloads),
            Touch(self.epoch(), number, rng.randbytes(16)),
            Confirm(number, self.zxid()),
            SnapshotOffer(
                self.zxid(), number, rng.choice([bytes(16), bytes(range(16))])
            ),
            SnapshotFrom(self.zxid(), number),
            SnapshotPiece(self.zxid(), 0, b"x" * rng.randrange(1, 11)),
            rng.choice(snapshot_at(self.zxid())),
        ]
        return rng.choice(choices)

    def lead(self) -> list[Body]:
        """Return how a leader brings a new follower level and goes on."""
        epoch = Epoch(self.rng.randrange(1, 4))
        first = make_zxid(epoch, 1)
        payloads = [self.rng.randbytes(30)]
        return [
            Notification(90, Role.LEADING, self.member, epoch, None),
            LeaderInfo(epoch),
            *self.rng.choice([[], snapshot_at(Zxid(0))]),
            NewLeader(epoch, bytes(16)),
            UpToDate(epoch, Zxid(0)),
            Proposal(epoch, Zxid(0), first, payloads),
            Commit(epoch, first),
        ]

    def follow(self) -> list[Body]:
        """Return how a follower lets itself be led."""
        return [
            Notification(
                91,
                Role.LOOKING,
                MemberId(0),
                Epoch(0),
                Vote(
                    seasoned=True,
                    current_epoch=Epoch(0),
                    last_zxid=Zxid(0),
                    member=MemberId(1),
                ),
            ),
            Notification(92, Role.FOLLOWING, MemberId(1), Epoch(0), None),
            FollowerInfo(
                92,
                Epoch(0),
                seasoned=False,
                empty=True,
                current_epoch=Epoch(0),
                last_zxid=Zxid(0),
            ),
            AckEpoch(Epoch(1), promised=True, current_epoch=Epoch(0), tails=()),
            AckNewLeader(Epoch(1)),
            Ack(Epoch(1), make_zxid(1, self.rng.randrange(4))),
        ]


def snapshot_at(zxid: Zxid) -> list[Body]:
    """Return a sound snapshot of an empty tree: the offer, all of it in one piece."""
    tree = DataTree()
    if zxid:
        tree.apply(zxid, b"")
    body = encode_snapshot(capture(tree))
    digest = blake2b(body, digest_size=16).digest()
    offer = SnapshotOffer(zxid, len(body), digest)
    return [offer, SnapshotPiece(zxid, 0, body)]


async def be_followed(puppet: Puppet) -> Link:
    """Have member 1 wait for what a puppet synchronises it with."""
    puppet.say(
        encode_body(Notification(90, Role.LEADING, puppet.member, Epoch(1), None))
    )
    await trio.sleep(0.01)
    puppet.say(encode_body(LeaderInfo(Epoch(1))))
    [link] = [link for link in puppet.links if link.member == 1]
    return link


async def play(rng: random.Random, ensemble: Ensemble, puppets: list[Puppet]) -> None:
    for _ in range(150):
        puppet = rng.choice(puppets)
        script = [puppet.nonsense()]
        if rng.random() < 0.3:
            script = rng.choice([puppet.lead, puppet.follow])()
        for body in script:
            for who in rng.choice([[puppet], [puppet], puppets]):
                said = who.nonsense() if rng.random() < 0.05 else body
                frame = bytearray(encode_body(said))
                if rng.random() < 0.03:
                    frame[rng.randrange(len(frame))] ^= rng.randrange(256)
                who.say(bytes(frame))
            if rng.random() < 0.7:
                await trio.sleep(rng.choice([0, 0.001, 0.005]))
        await trio.sleep(rng.choice([0, 0.002, 0.02, 0.2]))
        ensemble.statistics()


@asynccontextmanager
async def among_puppets(
    rng: random.Random,
) -> AsyncIterator[tuple[Ensemble, list[Puppet]]]:
    """Run member 1 with puppets for members 2 and 3, and link them."""
    network = MemoryNetwork()
    puppets = [Puppet(member, rng) for member in MEMBERS[1:]]
    async with trio.open_nursery() as nursery:
        for puppet in puppets:
            transport = network.transport(puppet.member, MEMBERS)
            nursery.start_soon(transport.run, puppet.hello, puppet.serve)
        async with Ensemble(
            1,
            {m: f"memory:{m}" for m in MEMBERS},
            name=NAME,
            transport=network.transport(MemberId(1), MEMBERS),
            store=MemoryStore(MemoryDisk(), latency=0.001),
            config=Config(history_records_max=3, snapshot_interval=3),
            surroundings=Surroundings(
                entropy=rng.randbytes, wall_clock=trio.current_time, blocking=inline
            ),
        ) as ensemble:
            await trio.sleep(0.1)
            yield ensemble, puppets
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(15))
@in_virtual_time
async def test_nonsense_of_peers_stops_no_replica(seed: int) -> None:
    rng = random.Random(seed)
    async with among_puppets(rng) as (ensemble, puppets):
        await play(rng, ensemble, puppets)

        assert sum(puppet.heard for puppet in puppets)


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(SnapshotPiece(make_zxid(1, 1), 5, b"x"), id="a piece"),
        pytest.param(Commit(Epoch(1), make_zxid(1, 1)), id="a message"),
    ],
)
@in_virtual_time
async def test_who_goes_on_before_a_snapshot_was_taken_is_cut_off(
    behind: Body,
) -> None:
    async with among_puppets(random.Random(0)) as (ensemble, [puppet, other]):
        link = await be_followed(puppet)
        for body in [*snapshot_at(make_zxid(1, 1)), behind]:
            puppet.say(encode_body(body))
        await trio.sleep(0.05)

        assert link not in puppet.links
        assert other.links
        ensemble.statistics()


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([(0, b"0123456789")], id="not a tree"),
        pytest.param([(1, b"012345678")], id="a gap"),
        pytest.param([(0, b"01234567890")], id="too long"),
        pytest.param([(0, b"012345678x")], id="not what was offered"),
    ],
)
@in_virtual_time
async def test_a_bad_snapshot_closes_the_link_alone(
    pieces: list[tuple[int, bytes]],
) -> None:
    zxid = make_zxid(1, 1)
    digest = blake2b(b"0123456789", digest_size=16).digest()
    async with among_puppets(random.Random(0)) as (ensemble, [puppet, other]):
        link = await be_followed(puppet)
        puppet.say(encode_body(SnapshotOffer(zxid, 10, digest)))
        for offset, part in pieces:
            puppet.say(encode_body(SnapshotPiece(zxid, offset, part)))
        await trio.sleep(0.05)

        assert link not in puppet.links
        assert other.links
        ensemble.statistics()


@in_virtual_time
async def test_a_snapshot_of_nobodys_leader_is_not_listened_to() -> None:
    async with among_puppets(random.Random(0)) as (ensemble, [puppet, other]):
        await be_followed(puppet)
        for body in snapshot_at(make_zxid(1, 1)):
            other.say(encode_body(body))
        await trio.sleep(0.05)

        assert puppet.links
        assert other.links
        assert ensemble.statistics().zxid == 0
