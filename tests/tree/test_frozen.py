"""A snapshot made in steps is the one that would have been made at one go."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given, settings, strategies as st

from coordlib.errors import ProtocolError
from coordlib.tree import (
    READ_ACL_UNSAFE,
    Acl,
    Capture,
    Create,
    DataTree,
    Delete,
    Identity,
    Multi,
    Operation,
    Permission,
    Set,
    SetAcl,
    SubOperation,
    capture,
    encode_snapshot,
    restore,
)
from tree_world import TreeWorld


def restored(body: bytes) -> DataTree:
    tree = DataTree()
    restore(tree, body)
    return tree


def finished(captured: Capture, entries: int = 1) -> bytes:
    while captured.step(entries):
        pass
    return b"".join(captured.pieces())


def paths_of(body: bytes) -> list[str]:
    return list(restored(body).znodes())[4:]


ACLS = [
    (Acl(Permission.ALL, Identity("digest", f"{name}:hash")),) for name in ("a", "b")
]
PATHS = ["/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a", "/a/a/b", "/a!"]
QUOTAS = ["/zookeeper/quota/a", "/zookeeper/quota/a/zookeeper_limits"]
QUOTAS.append("/zookeeper/quota/a/zookeeper_stats")
paths = st.sampled_from([*PATHS, *PATHS, *QUOTAS])
creates = st.builds(
    Create,
    paths,
    st.sampled_from([b"", b"count=9", None]),
    ephemeral=st.booleans(),
    acl=st.sampled_from([*ACLS, Create("/").acl, READ_ACL_UNSAFE]),
)
sets = st.builds(Set, st.sampled_from(["/", *PATHS]), st.binary(max_size=2))
deletes = st.builds(Delete, paths)
parts: st.SearchStrategy[SubOperation] = st.one_of(creates, deletes, sets)
multis = st.lists(parts, min_size=1, max_size=4).map(lambda p: Multi(tuple(p)))
acls = st.builds(SetAcl, st.sampled_from(PATHS), st.sampled_from(ACLS))
operations: st.SearchStrategy[Operation] = st.one_of(
    creates, deletes, deletes, sets, multis, acls
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(operations, max_size=20),
    st.lists(st.one_of(st.integers(1, 6), operations), max_size=40),
    st.integers(0, 10),
)
def test_steps_between_changes_make_what_one_go_makes(
    before: list[Operation], meanwhile: list[int | Operation], another_at: int
) -> None:
    world = TreeWorld()
    session = world.open()
    for operation in before:
        world.apply(operation, session)

    expected = [restored(encode_snapshot(capture(world.tree)))]
    captures = [capture(world.tree)]
    for index, event in enumerate(meanwhile):
        if index == another_at:
            expected.append(restored(encode_snapshot(capture(world.tree))))
            captures.append(capture(world.tree))
        if isinstance(event, int):
            captures[index % len(captures)].step(event)
        else:
            world.apply(event, session)
    for tree, captured in zip(expected, captures, strict=True):
        made = restored(finished(captured))
        assert (made.zxid, made.digest()) == (tree.zxid, tree.digest())
    live = encode_snapshot(capture(world.tree))
    assert restored(live).digest() == world.tree.digest()


def test_steps_alone_make_the_same_bytes() -> None:
    world = TreeWorld()
    for number in range(300):
        world.create(f"/{number}")
        world.create(f"/{number}/below")

    assert finished(capture(world.tree)) == encode_snapshot(capture(world.tree))


def test_what_a_quota_says_of_its_use_is_of_that_moment() -> None:
    world = TreeWorld()
    for path in ("/a", *QUOTAS):
        world.create(path, b"count=9" if path == QUOTAS[1] else b"")
    captured = capture(world.tree)
    expected = world.tree.get(QUOTAS[2])
    world.create("/a/a")

    assert world.tree.get(QUOTAS[2]) != expected
    assert restored(finished(captured)).get(QUOTAS[2]) == expected


def test_acl_is_of_that_moment() -> None:
    world = TreeWorld()
    world.create("/a")
    captured = capture(world.tree)
    expected = world.tree.get_acl("/a")
    world.apply(SetAcl("/a", ACLS[0]))

    assert restored(finished(captured)).get_acl("/a") == expected


def test_znode_whose_children_are_being_walked_is_deleted() -> None:
    world = TreeWorld()
    world.create("/a")
    for number in range(200):
        world.create(f"/a/{number}")
    expected = encode_snapshot(capture(world.tree))
    captured = capture(world.tree)
    captured.step(150)
    for number in range(200):
        world.apply(Delete(f"/a/{number}"))
    world.apply(Delete("/a"))

    assert sorted(paths_of(finished(captured))) == sorted(paths_of(expected))


def test_many_children_are_walked_while_they_go_and_come() -> None:
    world = TreeWorld()
    for number in range(400):
        world.create(f"/{number}")
    captured = capture(world.tree)
    expected = encode_snapshot(capture(world.tree))
    for number in range(400):
        captured.step(1)
        world.apply(Delete(f"/{399 - number}"))
        world.create(f"/{399 - number}")

    assert sorted(paths_of(finished(captured))) == sorted(paths_of(expected))


def test_a_parent_comes_before_its_children_though_all_are_deleted() -> None:
    world = TreeWorld()
    for path in ("/a", "/a/a", "/a/a/a", "/b"):
        world.create(path)
    captured = capture(world.tree)
    world.apply(Set("/a", b"changed before it is deleted"))
    for path in ("/a/a/a", "/a/a", "/a"):
        world.apply(Delete(path))

    assert paths_of(finished(captured)) == ["/b", "/a", "/a/a", "/a/a/a"]


def test_equal_acls_that_came_and_went_have_one_number() -> None:
    world = TreeWorld()
    world.apply(Create("/a", acl=ACLS[0]))
    world.apply(Create("/b"))
    world.apply(Create("/c", acl=tuple(ACLS[0])))
    captured = capture(world.tree)
    captured.step(6)
    for path in ("/a", "/c"):
        world.apply(Delete(path))

    tree = restored(finished(captured))
    assert tree.get_acl("/a")[0] is tree.get_acl("/c")[0]


def test_tree_that_becomes_another_leaves_a_capture_as_it_was() -> None:
    world, other = TreeWorld(), TreeWorld()
    world.create("/old")
    other.create("/new")
    captured = capture(world.tree)
    captured.step(1)
    world.tree.become(other.tree)
    world.create("/newer")

    assert paths_of(finished(captured)) == ["/old"]


def test_capture_that_was_closed_is_saved_nothing_for() -> None:
    world = TreeWorld()
    world.create("/a")
    captured, another = capture(world.tree), capture(world.tree)
    captured.close()
    captured.close()
    world.apply(Set("/a", b"changed"))

    # A znode of the future.
    with pytest.raises(ProtocolError):
        restored(finished(captured))
    assert restored(finished(another)).get("/a")[0] == b""


@pytest.mark.parametrize("steps", [0, 1, 3, 100])
def test_what_a_snapshot_holds_goes_when_it_is_dropped(steps: int) -> None:
    world = TreeWorld()
    for number in range(20):
        world.create(f"/{number}")
    world.open(b"session")
    captured = capture(world.tree)
    for _ in range(steps):
        captured.step(1)
    captured.close()
    reference = weakref.ref(captured)

    gc.disable()
    try:
        del captured
        assert reference() is None
    finally:
        gc.enable()


def test_incomplete_snapshot_is_none() -> None:
    captured = capture(DataTree())
    captured.step(1)

    with pytest.raises(AssertionError):
        captured.pieces()


def test_what_is_kept_of_changed_znodes_is_no_work_for_the_garbage_collector() -> None:
    world = TreeWorld()
    for number in range(20):
        world.create(f"/{number}")
    world.apply(SetAcl("/3", ACLS[0]))
    expected = restored(encode_snapshot(capture(world.tree)))
    captured = capture(world.tree)
    for number in range(20):
        world.apply(Set(f"/{number}", b"later"))
    world.apply(Delete("/19"))

    assert len(captured._frozen._kept) == 20
    # It sees at its first look that tuples of plain values cannot be in a cycle.
    gc.collect(0)
    assert not any(map(gc.is_tracked, captured._frozen._kept.values()))
    assert restored(finished(captured)).digest() == expected.digest()


def test_a_snapshot_that_was_begun_survives_the_dismantling_of_its_tree() -> None:
    world = TreeWorld()
    session = world.open()
    for number in range(30):
        world.create(f"/{number}", container=number % 2 == 0)
        world.create(f"/{number}/e", session=session, ephemeral=True)
    expected = restored(encode_snapshot(capture(world.tree)))
    captured = capture(world.tree)
    captured.step(20)

    steps = 0
    while world.tree.dismantle(7):
        captured.step(1)
        steps += 1

    assert steps == (60 + 3) // 7
    assert list(world.tree.znodes()) == ["/"]
    assert restored(finished(captured)).digest() == expected.digest()
