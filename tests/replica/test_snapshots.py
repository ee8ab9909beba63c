"""Snapshots are made bit by bit, and not longer than somebody needs them."""

from __future__ import annotations

import attrs
import trio
import trio.testing

from coordlib.ids import MemberId
from coordlib.replica.links import ReplicaLinks
from coordlib.replica.snapshots import SnapshotMaker
from coordlib.replica.wire import SnapshotPiece, decode_body
from coordlib.tree import Capture, DataTree, Set, capture, encode_snapshot, restore
from tree_world import TreeWorld

ZNODES = 1000


def large() -> TreeWorld:
    world = TreeWorld()
    for number in range(ZNODES):
        world.create(f"/{number}", bytes(1000))
    return world


@attrs.define(eq=False)
class FakeLink:
    member: MemberId = attrs.field(factory=lambda: MemberId(2))
    sent: list[bytes] = attrs.field(factory=list)
    queued_bytes: int = 0

    def send(self, frame: bytes) -> bool:
        self.sent.append(frame)
        return True

    async def wait_writable(self) -> None:
        raise AssertionError("it always is")

    async def recv(self) -> list[bytes]:
        raise AssertionError("nothing here reads")

    def close(self) -> None:
        raise AssertionError("nothing here closes")


async def test_others_run_while_a_snapshot_is_made(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    world, made = large(), list[bytes]()
    expected = encode_snapshot(capture(world.tree))
    changes = 0

    async def make(captured: Capture) -> None:
        made.extend(await SnapshotMaker().finish(captured))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make, capture(world.tree))
        while not made:
            await trio.lowlevel.checkpoint()
            world.create(f"/later-{changes}")
            changes += 1

    assert changes > ZNODES / 300
    assert b"".join(made) == expected


async def test_snapshot_that_is_cancelled_needs_nothing_more(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    world = large()
    captured = capture(world.tree)
    with trio.CancelScope() as scope:
        scope.cancel()
        await SnapshotMaker().finish(captured)

    assert scope.cancelled_caught
    assert is_closed(captured, world)


async def test_several_snapshots_take_turns(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    world, maker = large(), SnapshotMaker()
    bodies = dict[int, bytes]()

    async def make(captured: Capture) -> None:
        bodies[captured.zxid] = b"".join(await maker.finish(captured))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(make, capture(world.tree))
            world.create(f"/later-{number}")

    for zxid, body in bodies.items():
        tree = DataTree()
        restore(tree, body)
        assert (tree.zxid, len(tree.znodes())) == (zxid, zxid + 4)
    assert len(bodies) == 3


async def test_snapshot_arrives_whole_and_what_was_held_behind_it(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    world, link = large(), FakeLink()
    replica_link = ReplicaLinks(1 << 30).add(link)
    replica_link.hold()
    replica_link.send(b"behind it")
    await replica_link.send_snapshot(capture(world.tree), SnapshotMaker().finish)

    *frames, last = link.sent
    assert last == b"behind it"
    pieces = [decode_body(frame) for frame in frames]
    body = b""
    for piece in pieces:
        assert isinstance(piece, SnapshotPiece)
        assert piece.offset == len(body)
        body += piece.part
    assert body == encode_snapshot(capture(world.tree))
    assert len(pieces) > 3


async def test_snapshot_ends_with_the_link_that_it_was_for(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    world, links, link = large(), ReplicaLinks(1 << 30), FakeLink()
    replica_link = links.add(link)
    captured = capture(world.tree)
    async with trio.open_nursery() as nursery:
        replica_link.hold()
        nursery.start_soon(replica_link.send_snapshot, captured, SnapshotMaker().finish)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        links.remove(replica_link)

    assert link.sent == []
    assert is_closed(captured, world)


def is_closed(captured: Capture, world: TreeWorld) -> bool:
    """Tell whether nothing is saved any more for what the capture has not seen."""
    world.apply(Set(f"/{ZNODES - 1}", b"changed"))
    while captured.step(ZNODES):
        pass
    return b"changed" in b"".join(captured.pieces())
