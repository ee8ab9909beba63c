"""Random histories: replicas agree, any bytes are survived, digests tell states."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from coordlib.ids import SessionId
from coordlib.tree import (
    READ_ACL_UNSAFE,
    Acl,
    AddIdentities,
    Applied,
    Cause,
    Check,
    CloseSession,
    Create,
    DataTree,
    Delete,
    DeleteContainer,
    Identity,
    Multi,
    Operation,
    Permission,
    Set,
    SetAcl,
    capture,
    encode_snapshot,
    restore,
)
from tree_world import OWNER, TreeWorld

# So few names that operations meet.
paths = st.sampled_from(["/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a", "/"])
small_data = st.sampled_from([None, b"", b"x", b"yy"])
some_versions = st.sampled_from([-1, -1, 0, 1, 2])
sequential = st.builds(
    Create,
    st.sampled_from(["/s", "/a/s", "/"]),
    sequential=st.just(value=True),
    ephemeral=st.booleans(),
)
numbered = st.sampled_from(["/s0000000000", "/a/s0000000001", "/s0000000002"])
parts = st.one_of(
    st.builds(Create, paths, small_data, ephemeral=st.booleans()),
    st.builds(Create, paths, small_data),
    st.builds(Create, paths, container=st.just(value=True)),
    st.builds(Create, paths, ttl_ms=st.integers(1, 9)),
    sequential,
    st.builds(Create, numbered),
    st.builds(Set, paths | numbered, small_data, some_versions),
    st.builds(Delete, paths | numbered, some_versions),
    st.builds(Check, paths, some_versions),
)
# Sessions are opened first, so their ids are known: 1 and 2.
operations: st.SearchStrategy[Operation] = st.one_of(
    parts,
    parts,
    st.builds(Multi, st.lists(parts, max_size=5).map(tuple)),
    st.builds(DeleteContainer, paths, st.just(0)),
    st.builds(
        CloseSession,
        st.sampled_from([SessionId(1), SessionId(2)]),
        st.just(Cause.CLOSED),
        st.just(OWNER),
    ),
)
histories = st.lists(st.tuples(operations, st.sampled_from([0, 1, 2])), max_size=25)
somebody = st.builds(
    Identity, st.sampled_from(["digest", "auth", "super"]), st.sampled_from(["a:b", ""])
)
acls = st.lists(
    st.builds(Acl, st.integers(0, 31).map(Permission), somebody), max_size=3
).map(tuple)
guarded: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Create, paths, acl=acls),
    st.builds(SetAcl, paths, acls, some_versions),
    st.builds(AddIdentities, st.lists(somebody, max_size=2).map(tuple)),
)
guarded_histories = st.lists(
    st.tuples(operations | guarded, st.sampled_from([0, 1, 2])), max_size=25
)
damages = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=25)


@settings(deadline=None, max_examples=60)
@given(guarded_histories, st.integers(0, 25))
def test_same_transactions_give_the_same_outcomes_and_digest(
    history: list[tuple[Operation, int]], snapshot_at: int
) -> None:
    """Of three replicas one was restored from a snapshot on the way.

    Another is asked for its digest all the time, which must not matter.
    """
    world, asked, restored = TreeWorld(), DataTree(), DataTree()
    world.open(b"1")
    world.open(b"2")
    for operation, session in history:
        world.apply(operation, session)

    outcomes: list[list[Applied]] = [[], [], []]
    source = DataTree()
    for index, (zxid, payload) in enumerate(world.log):
        outcomes[0].append(source.apply(zxid, payload))
        outcomes[1].append(asked.apply(zxid, payload))
        asked.digest()
        if index == snapshot_at:
            restore(restored, encode_snapshot(capture(source)))
        elif index > snapshot_at:
            outcomes[2].append(restored.apply(zxid, payload))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][snapshot_at + 1 :] == outcomes[2]
    assert source.digest() == asked.digest() == world.tree.digest()
    if len(world.log) > snapshot_at:
        assert restored.digest() == source.digest()
        assert encode_snapshot(capture(restored)) == encode_snapshot(capture(source))


@settings(deadline=None)
@given(guarded_histories, damages, st.binary(max_size=60))
def test_apply_survives_any_bytes(
    history: list[tuple[Operation, int]], places: list[tuple[int, int]], junk: bytes
) -> None:
    world = TreeWorld()
    world.open(b"1")
    for operation, session in history:
        world.apply(operation, session)
    for (_, payload), (at, bits) in zip(tuple(world.log), places, strict=False):
        damaged = bytearray(payload)
        damaged[at % len(damaged)] ^= bits
        world.apply_payload(bytes(damaged))
    world.apply_payload(junk)

    copied = DataTree()
    restore(copied, encode_snapshot(capture(world.tree)))
    assert copied.digest() == world.tree.digest()


@pytest.mark.parametrize(
    "field",
    ["czxid", "mzxid", "pzxid", "ctime", "mtime", "version", "creates", "aversion"],
)
def test_digest_covers_every_number_of_a_znode(field: str) -> None:
    trees = [TreeWorld(), TreeWorld(), TreeWorld()]
    for world in trees:
        world.create("/a", b"x")
    znode = trees[2].tree.znodes()["/a"]
    setattr(znode, field, 99)

    first, second, third = (world.tree.digest() for world in trees)
    assert first == second != third


def test_digest_covers_the_acl_of_a_znode() -> None:
    trees = [TreeWorld(), TreeWorld()]
    for world in trees:
        world.create("/a", b"x")
    trees[1].tree.znodes()["/a"].acl = READ_ACL_UNSAFE

    assert trees[0].tree.digest() != trees[1].tree.digest()


def test_digest_covers_data_owner_and_path() -> None:
    digests = []
    for path, data, ephemeral in [
        ("/a", b"x", False),
        ("/a", b"y", False),
        ("/a", b"x", True),
        ("/b", b"x", False),
    ]:
        world = TreeWorld()
        session = world.open()
        world.create(path, data, session=session, ephemeral=ephemeral)
        # The outcome, which would differ too, is forgotten.
        world.apply(Check("/"), session, acked=2)
        digests.append(world.tree.digest())

    assert len(set(digests)) == len(digests)


def test_digest_covers_the_numbers_of_a_session() -> None:
    trees = [TreeWorld(), TreeWorld(), TreeWorld(), TreeWorld()]
    for world in trees:
        world.open()
    trees[2].tree.sessions()[0].last_cxid = 1
    trees[3].tree.sessions()[0].timeout_ms = 1

    digests = [world.tree.digest() for world in trees]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
