"""Snapshots are made bit by bit, and not longer than somebody needs them."""

from __future__ import annotations

import gc
from contextlib import suppress
from itertools import pairwise

import pytest
import trio
import trio.testing

from coordlib.consensus import Snapshot
from coordlib.errors import ProtocolError, StorageError
from coordlib.ids import Zxid
from coordlib.replica.snapshots import (
    SnapshotMaker,
    load,
    load_received,
    many_znodes,
    release,
)
from coordlib.storage.interface import StoredSnapshot
from coordlib.tree import Capture, DataTree, Set, capture, encode_snapshot, restore
from tree_world import TreeWorld

ZNODES = 1000


def ignore(done: int) -> None:
    pass


def large() -> TreeWorld:
    world = TreeWorld()
    for number in range(ZNODES):
        world.create(f"/{number}", bytes(1000))
    return world


async def test_others_run_while_a_snapshot_is_made(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    world, made = large(), list[bytes]()
    expected = encode_snapshot(capture(world.tree))
    changes = 0

    async def make(captured: Capture) -> None:
        made.extend(await SnapshotMaker().finish(captured, ignore))

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
        await SnapshotMaker().finish(captured, ignore)

    assert scope.cancelled_caught
    assert is_closed(captured, world)


async def test_several_snapshots_take_turns(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    world, maker = large(), SnapshotMaker()
    bodies = dict[int, bytes]()

    async def make(captured: Capture) -> None:
        bodies[captured.zxid] = b"".join(await maker.finish(captured, ignore))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(make, capture(world.tree))
            world.create(f"/later-{number}")

    for zxid, body in bodies.items():
        tree = DataTree()
        restore(tree, body)
        assert (tree.zxid, len(tree.znodes())) == (zxid, zxid + 4)
    assert len(bodies) == 3


def is_closed(captured: Capture, world: TreeWorld) -> bool:
    """Tell whether nothing is saved any more for what the capture has not seen."""
    world.apply(Set(f"/{ZNODES - 1}", b"changed"))
    while captured.step(ZNODES):
        pass
    return b"changed" in b"".join(captured.pieces())


def stored(body: bytes) -> StoredSnapshot:
    pieces = [body[at : at + 5000] for at in range(0, len(body), 5000)]
    return StoredSnapshot(1, len(body), pieces)


async def test_others_run_while_a_tree_is_loaded() -> None:
    world, tree, told = large(), DataTree(), list[int]()
    body = encode_snapshot(capture(world.tree))
    turns = 0

    async def run_beside() -> None:
        nonlocal turns
        while not tree.zxid:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_beside)
        await load(tree, stored(body), told.append, freeze=False)

    assert tree.digest() == world.tree.digest()
    assert turns > len(body) // 5000
    assert told == [*range(5000, len(body), 5000), len(body)]


async def test_others_run_while_a_received_snapshot_is_loaded() -> None:
    world, told = large(), list[int]()
    body = encode_snapshot(capture(world.tree))
    turns = 0

    async def run_beside() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_beside)
        snapshot = Snapshot(Zxid(world.tree.zxid), body)
        tree = await load_received(snapshot, told.append, freeze=False)
        nursery.cancel_scope.cancel()

    assert tree.digest() == world.tree.digest()
    assert told[-1] == len(body)
    assert turns > len(body) >> 16


async def test_a_received_snapshot_is_of_the_zxid_that_was_announced() -> None:
    body = encode_snapshot(capture(large().tree))

    with pytest.raises(ProtocolError, match="another zxid"):
        await load_received(Snapshot(Zxid(7), body), ignore, freeze=False)


async def test_a_tree_that_is_released_goes_bit_by_bit() -> None:
    tree, sizes = large().tree, list[int]()

    async def look() -> None:
        while True:
            sizes.append(len(tree.znodes()))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await release(tree)
        nursery.cancel_scope.cancel()

    # Two steps, at worst, lie between two turns.
    assert max(a - b for a, b in pairwise(sizes)) <= 500
    assert len(tree.znodes()) == 1


async def test_a_load_that_is_cancelled_leaves_the_tree_as_it_was() -> None:
    tree = DataTree()
    with trio.CancelScope() as scope:
        scope.cancel()
        body = encode_snapshot(capture(large().tree))
        await load(tree, stored(body), ignore, freeze=False)

    assert scope.cancelled_caught
    assert not tree.zxid


async def test_a_snapshot_that_is_no_tree_is_an_error_of_the_storage() -> None:
    with pytest.raises(StorageError, match="the snapshot at 0:1 is no tree: no snap"):
        await load(DataTree(), stored(bytes(100)), ignore, freeze=False)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_and_is_then_as_it_was(*, enabled: bool) -> None:
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with suppress(KeyError), many_znodes(100 << 20, freeze=True):
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        gc.enable() if before else gc.disable()
    assert not gc.get_freeze_count()


def test_only_what_is_large_is_kept_from_the_garbage_collector() -> None:
    with many_znodes(1000, freeze=True):
        assert gc.isenabled()
    with many_znodes(100 << 20, freeze=False):
        assert not gc.isenabled()
    assert not gc.get_freeze_count()

    with many_znodes(100 << 20, freeze=True):
        pass
    try:
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
