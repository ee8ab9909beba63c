"""The witness's specification and the tree agree on random histories."""

from __future__ import annotations

import random

import pytest

from coordlib.ids import SessionId
from coordlib.testing import Exists, Get, GetChildren
from coordlib.testing.specification import Specification
from coordlib.tree import (
    NO_SESSION,
    SYSTEM_PATHS,
    Check,
    Configure,
    Create,
    DataTree,
    Delete,
    DeleteContainer,
    Multi,
    Set,
    SubOperation,
    decode_transaction,
)
from testing.story import read_tree, told
from tree_world import TreeWorld

# So few that operations meet; some are no paths, and some come from numbers.
PATHS = ["/", "/a", "/b", "/a/b", "/a/c", "/a/b/c", "/s0000000000", "/a/", "x"]
PATHS += SYSTEM_PATHS


def some_operation(rng: random.Random) -> SubOperation:
    path, version = rng.choice(PATHS), rng.choice([-1, -1, 0, 1])
    match rng.randrange(10):
        case 0 | 1 | 2:
            return Create(path, rng.randbytes(2), ephemeral=rng.random() < 0.3)
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


def assert_same_reads(state: Specification, tree: DataTree) -> None:
    for path in [*tree.znodes(), *PATHS]:
        for read in (Get(path), Exists(path), GetChildren(path)):
            assert state.read(read, NO_SESSION) == read_tree(tree, read)


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
            case 7:
                applied = world.apply(Configure("server.1=a:1:1:participant\n"))
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
        assert_same_reads(state, world.tree)
