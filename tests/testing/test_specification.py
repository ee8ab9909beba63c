"""The witness's specification and the tree agree on random histories."""

from __future__ import annotations

import random

import pytest

from coordlib.errors import ErrorCode
from coordlib.ids import SessionId
from coordlib.testing import Exists, Get, GetChildren, Refusal
from coordlib.testing.specification import Specification
from coordlib.tree import (
    NO_SESSION,
    OPEN_ACL_UNSAFE,
    SYSTEM_PATHS,
    Acl,
    AddIdentities,
    Check,
    Configure,
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
    SubOperation,
    decode_transaction,
)
from testing.story import read_tree, told
from tree_world import TreeWorld

# So few that operations meet; some are no paths, and some come from numbers.
PATHS = ["/", "/a", "/b", "/a/b", "/a/c", "/a/b/c", "/s0000000000", "/a/", "x"]
PATHS += SYSTEM_PATHS


ANNA, BEN = Identity("digest", "anna:hash"), Identity("plug-in", "ben")
AT_HOME = Identity("ip", "10.0.0.1")
IDENTITIES = [ANNA, BEN, AT_HOME, Identity("super", "")]
MEANT = [ANNA, BEN, AT_HOME, Identity("auth", ""), Identity("world", "anyone")]
MEANT += [ANNA, Identity("world", "anyone"), Identity("world", "wrong")]


def some_acl(rng: random.Random) -> tuple[Acl, ...]:
    if rng.random() < 0.6:
        return OPEN_ACL_UNSAFE
    permissions = [Permission.ALL, Permission.ALL, Permission(rng.randrange(32))]
    return tuple(
        [
            Acl(rng.choice(permissions), rng.choice(MEANT))
            for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))
        ]
    )


def some_operation(rng: random.Random) -> SubOperation:
    path, version = rng.choice(PATHS), rng.choice([-1, -1, 0, 1])
    match rng.randrange(10):
        case 0 | 1 | 2:
            ephemeral = rng.random() < 0.3
            return Create(
                path, rng.randbytes(2), acl=some_acl(rng), ephemeral=ephemeral
            )
        case 8:
            return Create(path, None, container=True)
        case 9:
            return Create(path, ttl_ms=rng.randrange(1, 5))
        case 3:
            return Create(rng.choice(["/s", "/a/s", "/a/"]), sequential=True)
        case 4 | 5:
            return Set(path, rng.choice([None, rng.randbytes(3)]), version)
        case 6:
            return Check(path, version, rng.choice([0, 0, 1]))
        case _:
            return Delete(path, version, rng.choice([0, 0, 0, rng.randrange(200)]))


def some_whole(rng: random.Random, session: SessionId) -> Operation:
    """Return what no multi may hold."""
    if not session and rng.random() < 0.5:
        return Configure("server.1=a:1:1:participant\n")
    if session and rng.random() < 0.3:
        return AddIdentities((rng.choice(IDENTITIES),))
    return SetAcl(rng.choice(PATHS), some_acl(rng), rng.choice([-1, 0, 1]))


def assert_same_reads(
    state: Specification, tree: DataTree, sessions: list[SessionId]
) -> None:
    for path in [*tree.znodes(), *PATHS]:
        for read in (Get(path), Exists(path), GetChildren(path)):
            assert state.read(read, NO_SESSION) == read_tree(tree, read)
        for session in sessions:
            may = tree.may(session, path, Permission.READ)
            refused = state.read(Get(path), session) == Refusal(ErrorCode.NO_AUTH)
            assert may is not refused


@pytest.mark.parametrize("seed", range(20))
def test_the_specification_does_what_the_tree_does(seed: int) -> None:
    rng = random.Random(seed)
    world, state = TreeWorld(), Specification()
    sessions = [world.open(b"1"), world.open(b"2")]
    # Finds the second one, and opens none.
    assert world.open(b"2") == 2
    sessions.append(SessionId(world.tree.zxid))
    for zxid, payload in world.log:
        state.apply(zxid, decode_transaction(payload))
    for _ in range(200):
        session = rng.choice([SessionId(0), *sessions])
        cxid: int | None = None
        match rng.randrange(30):
            case 0:
                applied = world.close(rng.choice(sessions))
            case 1:
                sessions.append(world.open(rng.choice([b"1", b"2", b"3"])))
                zxid, payload = world.log[-1]
                state.apply(zxid, decode_transaction(payload))
                continue
            case 2 | 3 | 4 | 5:
                parts = [some_operation(rng) for _ in range(rng.randrange(1, 4))]
                applied = world.apply(Multi(tuple(parts)), session)
            case 7 | 11 | 12 | 13:
                applied = world.apply(some_whole(rng, session), session)
            case 8 | 9 | 10:
                seen = world.tree.znodes().get(path := rng.choice(PATHS))
                mzxid = 0 if seen is None or rng.random() < 0.2 else seen.mzxid
                applied = world.apply(DeleteContainer(path, mzxid), session)
            case 6 if session:
                cxid = rng.randrange(1, 9)
                applied = world.apply(some_operation(rng), session, cxid=cxid)
            case _:
                applied = world.apply(some_operation(rng), session)
        transaction = decode_transaction(world.log[-1][1])

        assert state.repeats(transaction) == applied.duplicate
        if not applied.duplicate:
            assert state.apply(applied.zxid, transaction) == told(applied.result)
        assert_same_reads(state, world.tree, sessions)
