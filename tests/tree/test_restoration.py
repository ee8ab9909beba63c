"""A tree is made of a snapshot little by little, and all checks are made."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest

from coordlib import encoding
from coordlib.errors import ProtocolError
from coordlib.tree import (
    Create,
    DataTree,
    Multi,
    Restoration,
    capture,
    encode_snapshot,
)
from tree_world import TreeWorld


def large() -> TreeWorld:
    """Return a tree of a few pieces, with a quota and znodes that may go."""
    world = TreeWorld()
    for directory in "abc":
        world.create(f"/{directory}", container=True)
        world.apply(Multi(tuple(Create(f"/{directory}/{n}") for n in range(400))))
    world.create("/mortal", ttl_ms=5)
    world.create("/zookeeper/quota/a", b"")
    world.create("/zookeeper/quota/a/zookeeper_limits", b"count=7")
    world.create("/zookeeper/quota/a/zookeeper_stats", b"")
    return world


def restored(body: bytes, size: int) -> DataTree:
    tree, restoration = DataTree(), Restoration()
    for begin in range(0, len(body), size):
        restoration.add(body[begin : begin + size])
    for _ in restoration.finish():
        assert not tree.zxid, "nothing is replaced before the end"
    restoration.install(tree)
    return tree


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_parts_of_any_size_make_the_same_tree(size: int) -> None:
    world = large()

    tree = restored(encode_snapshot(capture(world.tree)), size)

    assert tree.digest() == world.tree.digest()
    assert tree.zxid == world.tree.zxid
    assert tree.quotas_exceeded() == world.tree.quotas_exceeded() == ["/a"]
    assert tree.overdue(9, 1 << 40) == world.tree.overdue(9, 1 << 40)


def test_the_last_checks_are_made_in_steps() -> None:
    restoration = Restoration()
    restoration.add(encode_snapshot(capture(large().tree)))

    # Parents, mortals, places of quotas; and 1211 znodes under quotas.
    assert sum(1 for _ in restoration.finish()) == 1 + 1 + 1 + 3


def test_less_than_a_piece_is_kept_of_the_bytes() -> None:
    body = encode_snapshot(capture(large().tree))
    restoration = Restoration()
    for begin in range(0, len(body), 500):
        restoration.add(body[begin : begin + 500])
        # A piece of 250 small znodes.
        assert len(restoration._buffer) < 20_000


def test_damage_is_found_as_soon_as_its_piece_is_there() -> None:
    body = bytearray(encode_snapshot(capture(large().tree)))
    body[500] ^= 1
    restoration = Restoration()

    with pytest.raises(ProtocolError, match="damaged piece"):
        restoration.add(bytes(body[: len(body) // 2]))


def test_a_piece_that_claims_to_be_huge_is_only_missing() -> None:
    body = encode_snapshot(capture(DataTree()))
    restoration = Restoration()
    restoration.add(body[:16] + b"\xff" * 8 + body[24:])

    with pytest.raises(ProtocolError, match="cut off"):
        next(restoration.finish())


def test_kinds_do_not_go_back() -> None:
    restoration = Restoration()
    restoration.add(encode_snapshot(capture(DataTree())))
    no_sessions = encoding.encode([1, []])

    with pytest.raises(ProtocolError, match="integer from 4"):
        restoration.add(
            struct.pack(">II", len(no_sessions), crc32(no_sessions)) + no_sessions
        )


def test_trees_that_become_each_other_have_changed_places() -> None:
    world, other = large(), TreeWorld()
    other.create("/other")
    digests = world.tree.digest(), other.tree.digest()

    world.tree.become(other.tree)

    assert (other.tree.digest(), world.tree.digest()) == digests
    assert (world.tree.zxid, other.tree.exists("/other")) == (1, None)
    assert world.tree.get("/other")[1].czxid == 1
