"""Containers and znodes with a time to live: what they are, and when they go."""

from __future__ import annotations

import random

import pytest

from coordlib.errors import BadArgumentsError, ErrorCode, NoNodeError
from coordlib.tree import (
    CONFIG_PATH,
    NO_SESSION,
    TTL_MS_MAX,
    Cause,
    Create,
    DataTree,
    Delete,
    DeleteContainer,
    EventType,
    Multi,
    MultiRefused,
    Refused,
    Set,
    SubOperation,
    TreeEvent,
    capture,
    encode_request,
    encode_snapshot,
    restore,
    stamp,
)
from coordlib.tree.lifetimes import CONTAINER_OWNER, is_owner, ttl_of, ttl_owner
from tree_world import TreeWorld

LATE = 10_000_000


@pytest.fixture
def world() -> TreeWorld:
    return TreeWorld()


def goes(tree: DataTree, time_ms: int = LATE) -> list[str]:
    """Return what the leader would have deleted."""
    return [deletion.path for deletion in tree.overdue(100, time_ms)]


def refusal(world: TreeWorld, path: str, *, at_ms: int = LATE) -> ErrorCode:
    """Ask to delete what must stay; return why it does."""
    before = world.tree.digest()
    applied = world.clean(path, at_ms=at_ms)
    assert isinstance(applied.result, Refused)
    assert list(applied.events) == []
    assert world.tree.digest() == before
    return applied.result.code


# --- the numbers ---


def test_owners_are_zookeepers_numbers() -> None:
    unsigned = (1 << 64) - 1

    assert CONTAINER_OWNER & unsigned == 0x8000000000000000
    assert ttl_owner(1) & unsigned == 0xFF00000000000001
    assert ttl_owner(TTL_MS_MAX) & unsigned == 0xFF0000FFFFFFFFFF


@pytest.mark.parametrize("ttl_ms", [1, 1000, TTL_MS_MAX])
def test_an_owner_tells_the_time_to_live(ttl_ms: int) -> None:
    assert ttl_of(ttl_owner(ttl_ms)) == ttl_ms


def test_other_owners_tell_no_time_to_live() -> None:
    assert [ttl_of(owner) for owner in (0, 7, CONTAINER_OWNER)] == [0, 0, 0]


def test_few_negative_numbers_are_owners() -> None:
    for owner in (0, 1, (1 << 63) - 1, CONTAINER_OWNER, ttl_owner(1)):
        assert is_owner(owner)
    for number in (
        1 << 63,
        -1,
        CONTAINER_OWNER + 1,
        CONTAINER_OWNER - 1,
        ttl_owner(0),
        ttl_owner(TTL_MS_MAX + 1),
    ):
        assert not is_owner(number)


@pytest.mark.parametrize(
    "create",
    [
        Create("/a", ephemeral=True, container=True),
        Create("/a", sequential=True, container=True),
        Create("/a", ephemeral=True, ttl_ms=1),
        Create("/a", container=True, ttl_ms=1),
        Create("/a", ttl_ms=-1),
        Create("/a", ttl_ms=TTL_MS_MAX + 1),
    ],
)
def test_contradicting_choices_have_no_mode_and_no_bytes(create: Create) -> None:
    with pytest.raises(BadArgumentsError):
        _ = create.mode
    with pytest.raises(BadArgumentsError):
        encode_request(1, 1, 0, Multi((create,)))


# --- containers ---


def test_a_stat_shows_no_owner_of_containers_and_of_times_to_live(
    world: TreeWorld,
) -> None:
    stats = [
        world.create("/c", container=True).stat,
        world.create("/t", ttl_ms=1).stat,
        world.create("/t-", ttl_ms=1, sequential=True).stat,
    ]

    assert [stat.ephemeral_owner for stat in stats] == [NO_SESSION] * 3
    assert world.tree.exists("/t-0000000002") is not None


def test_both_may_have_children_of_every_kind(world: TreeWorld) -> None:
    session = world.open()
    world.create("/c", container=True)
    world.create("/t", ttl_ms=1)
    for parent in ("/c", "/t"):
        world.create(f"{parent}/e", session=session, ephemeral=True)
        world.create(f"{parent}/c", container=True)
        world.create(f"{parent}/t", ttl_ms=1)
        world.create(f"{parent}/s-", sequential=True)

        assert len(world.tree.get_children(parent)) == 4


def test_a_container_goes_when_its_last_child_is_gone(world: TreeWorld) -> None:
    world.create("/c", container=True)
    world.create("/c/1")
    world.create("/c/2")
    world.apply(Delete("/c/1"))
    assert goes(world.tree) == []
    assert refusal(world, "/c") is ErrorCode.NOT_EMPTY
    world.apply(Delete("/c/2"))
    assert goes(world.tree) == ["/c"]
    applied = world.clean("/c")

    assert applied.result is None
    assert list(applied.events) == [
        TreeEvent(EventType.DELETED, "/c", applied.zxid, Cause.CONTAINER)
    ]
    assert world.tree.exists("/c") is None
    assert goes(world.tree) == []


def test_a_container_that_was_never_used_stays(world: TreeWorld) -> None:
    world.create("/c", container=True)

    assert goes(world.tree) == []
    assert refusal(world, "/c") is ErrorCode.BAD_VERSION


def test_a_child_that_was_taken_back_was_no_use(world: TreeWorld) -> None:
    world.create("/c", container=True)
    refused = world.apply(Multi((Create("/c/1"), Delete("/c/1"), Delete("/none"))))

    assert isinstance(refused.result, MultiRefused)
    assert goes(world.tree) == []
    assert refusal(world, "/c") is ErrorCode.BAD_VERSION


def test_a_container_whose_session_children_expired_goes(world: TreeWorld) -> None:
    session = world.open()
    world.create("/c", container=True)
    world.create("/c/e", session=session, ephemeral=True)
    world.close(session)

    assert goes(world.tree) == ["/c"]


def test_a_container_that_is_used_again_in_time_stays(world: TreeWorld) -> None:
    world.create("/c", container=True)
    world.create("/c/1")
    world.apply(Delete("/c/1"))
    [deletion] = world.tree.overdue(1, LATE)
    world.create("/c/2")
    applied = world.apply(deletion)

    assert isinstance(applied.result, Refused)
    assert applied.result.code is ErrorCode.NOT_EMPTY
    assert goes(world.tree) == []


# --- times to live ---


def test_a_time_to_live_counts_from_the_last_change_of_data(world: TreeWorld) -> None:
    world.create("/t", ttl_ms=50)
    born = world.time_of(world.tree.zxid)
    assert refusal(world, "/t", at_ms=born + 50) is ErrorCode.BAD_VERSION
    world.apply(Set("/t", b""))
    set_at = world.time_of(world.tree.zxid)
    assert set_at > born
    assert goes(world.tree, set_at + 50) == []
    assert refusal(world, "/t", at_ms=set_at + 50) is ErrorCode.BAD_VERSION
    assert goes(world.tree, set_at + 51) == ["/t"]
    applied = world.clean("/t", at_ms=set_at + 51)

    assert list(applied.events) == [
        TreeEvent(EventType.DELETED, "/t", applied.zxid, Cause.TTL)
    ]
    assert world.tree.exists("/t") is None
    assert goes(world.tree) == []


def test_children_keep_alive_but_do_not_restart_the_clock(world: TreeWorld) -> None:
    world.create("/t", ttl_ms=1)
    world.create("/t/a")
    assert goes(world.tree) == []
    assert refusal(world, "/t") is ErrorCode.NOT_EMPTY
    world.apply(Delete("/t/a"))
    now = world.time_of(world.tree.zxid)

    assert goes(world.tree, now) == ["/t"]
    assert world.clean("/t", at_ms=now).result is None


def test_a_znode_that_was_set_since_the_leader_looked_stays(world: TreeWorld) -> None:
    """Whatever the clocks say: the leader's may have jumped."""
    world.create("/t", ttl_ms=1)
    [deletion] = world.tree.overdue(1, LATE)
    world.apply(Set("/t", b"needed"))
    payload = stamp(encode_request(0, 1, 0, deletion), LATE)
    applied = world.apply_payload(payload)

    assert isinstance(applied.result, Refused)
    assert applied.result.code is ErrorCode.BAD_VERSION
    assert world.tree.exists("/t") is not None


def test_a_znode_made_anew_since_the_leader_looked_stays(world: TreeWorld) -> None:
    world.create("/t", ttl_ms=1)
    [deletion] = world.tree.overdue(1, LATE)
    world.apply(Delete("/t"))
    world.create("/t", ttl_ms=1)
    payload = stamp(encode_request(0, 1, 0, deletion), LATE)
    applied = world.apply_payload(payload)

    assert isinstance(applied.result, Refused)
    assert applied.result.code is ErrorCode.BAD_VERSION


def test_a_clock_that_went_back_deletes_nothing(world: TreeWorld) -> None:
    world.create("/t", ttl_ms=1)

    assert goes(world.tree, 5) == []
    assert refusal(world, "/t", at_ms=5) is ErrorCode.BAD_VERSION


# --- what the ensemble never deletes ---


def test_all_other_znodes_stay(world: TreeWorld) -> None:
    session = world.open()
    world.create("/plain")
    world.create("/plain/a")
    world.apply(Delete("/plain/a"))
    world.create("/e", session=session, ephemeral=True)
    assert goes(world.tree) == []
    for path in ("/plain", "/e"):
        assert refusal(world, path) is ErrorCode.BAD_VERSION
    assert refusal(world, "/none") is ErrorCode.NO_NODE
    assert refusal(world, "no path") is ErrorCode.NO_NODE
    assert refusal(world, "/") is ErrorCode.NOT_EMPTY
    assert refusal(world, CONFIG_PATH) is ErrorCode.BAD_VERSION


def test_no_session_may_ask_for_it(world: TreeWorld) -> None:
    session = world.open()
    mzxid = world.create("/t", ttl_ms=1).stat.mzxid
    request = encode_request(session, 1, 0, DeleteContainer("/t", mzxid))
    applied = world.apply_payload(stamp(request, LATE))

    assert isinstance(applied.result, Refused)
    assert applied.result.code is ErrorCode.BAD_ARGUMENTS


# --- the index ---


def test_no_more_are_returned_than_asked_for_and_the_oldest_first(
    world: TreeWorld,
) -> None:
    for number in range(3):
        world.create(f"/c{number}", container=True)
        world.create(f"/c{number}/x")
    for number in (2, 0, 1):
        world.apply(Delete(f"/c{number}/x"))
    for number, ttl_ms in enumerate((300, 100, 200)):
        world.create(f"/t{number}", ttl_ms=ttl_ms)

    def first(count: int) -> list[str]:
        return [deletion.path for deletion in world.tree.overdue(count, LATE)]

    assert first(99) == ["/t1", "/t2", "/t0", "/c2", "/c0", "/c1"]
    assert first(4) == ["/t1", "/t2", "/t0", "/c2"]
    assert first(2) == ["/t1", "/t2"]
    assert first(0) == []


def expected(tree: DataTree, time_ms: int) -> set[str]:
    """Find the candidates by looking at every znode."""
    return {
        path
        for path, znode in tree.znodes().items()
        if not znode.children
        and (
            (znode.ephemeral_owner == CONTAINER_OWNER and znode.creates)
            or 0 < ttl_of(znode.ephemeral_owner) < time_ms - znode.mtime
        )
    }


def some_operation(rng: random.Random) -> SubOperation:
    path = rng.choice(["/a", "/b", "/a/a", "/a/b", "/b/a", "/none/a"])
    match rng.randrange(7):
        case 0 | 1:
            return Create(path, container=True)
        case 2:
            return Create(path, ttl_ms=rng.randrange(1, 20))
        case 3:
            return Create(path)
        case 4:
            return Set(path, b"")
        case _:
            return Delete(path)


@pytest.mark.parametrize("seed", range(10))
def test_the_index_holds_what_a_search_of_the_tree_finds(seed: int) -> None:
    rng = random.Random(seed)
    world = TreeWorld()
    cleaned = 0
    for _ in range(200):
        parts = [some_operation(rng) for _ in range(rng.choice([1, 1, 2]))]
        world.apply(Multi(tuple(parts)) if len(parts) > 1 else parts[0])
        now = world.time_of(world.tree.zxid + 1)
        found = goes(world.tree, now)
        assert set(found) == expected(world.tree, now)
        if rng.random() < 0.2:
            copy = DataTree()
            restore(copy, encode_snapshot(capture(world.tree)))
            assert set(goes(copy, now)) == set(found)
        if found and rng.random() < 0.5:
            assert world.clean(found[0], at_ms=now).result is None
            cleaned += 1
    assert cleaned


# --- null data ---


def test_null_data_is_kept_exactly_and_read_as_empty(world: TreeWorld) -> None:
    session = world.open()
    made = world.apply(Create("/a", None), session)
    world.create("/b")
    world.apply(Set("/b", None))

    for path in ("/a", "/b"):
        data, stat = world.tree.get(path)
        assert data == b""
        assert stat.data_length == 0
        assert world.tree.get_nullable(path) == (None, stat)
    assert not isinstance(made.result, Refused)
    copy = DataTree()
    restore(copy, encode_snapshot(capture(world.tree)))
    assert copy.get_nullable("/a") == world.tree.get_nullable("/a")


def test_null_data_is_another_state_than_empty_data() -> None:
    digests = []
    for data in (None, b""):
        world = TreeWorld()
        world.apply(Create("/a", data))
        digests.append(world.tree.digest())

    assert digests[0] != digests[1]


def test_exact_data_of_no_znode_is_an_error(world: TreeWorld) -> None:
    with pytest.raises(NoNodeError):
        world.tree.get_nullable("/none")


def test_a_set_of_null_that_is_taken_back_leaves_the_data(world: TreeWorld) -> None:
    world.create("/a", b"x")
    world.apply(Multi((Set("/a", None), Delete("/none"))))

    assert world.tree.get_nullable("/a")[0] == b"x"
