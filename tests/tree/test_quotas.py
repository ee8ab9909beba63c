"""Quotas: what counts, what is refused, and that no path leads around them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings, strategies as st

from coordlib.errors import ErrorCode, ProtocolError
from coordlib.tree import (
    Cause,
    Check,
    Create,
    Created,
    DataTree,
    Delete,
    Multi,
    MultiRefused,
    Operation,
    Refused,
    Set,
    Stat,
    capture,
    encode_snapshot,
    restore,
)
from coordlib.tree.quotas import (
    Quota,
    QuotaLimits,
    Quotas,
    decode_limits,
    encode_limits,
    limits_path,
    quota_of_limits,
    stats_path,
)
from tree_world import TreeWorld


def put_quota(world: TreeWorld, path: str, limits: bytes) -> None:
    """Make a quota as ZooKeeper's command line does, one znode after the other."""
    place = "/zookeeper/quota"
    for name in path.split("/")[1:]:
        place += "/" + name
        if world.tree.exists(place) is None:
            world.create(place)
    world.create(limits_path(path), limits)
    world.create(stats_path(path), b"count=0,bytes=0")


def use_of(world: TreeWorld, path: str) -> str:
    return world.tree.get(stats_path(path))[0].decode()


def code_of(world: TreeWorld, operation: Operation) -> ErrorCode:
    result = world.apply(operation).result
    assert isinstance(result, Refused), result
    return result.code


@pytest.fixture
def world() -> TreeWorld:
    world = TreeWorld()
    world.create("/app", b"123")
    world.create("/app/a", b"45")
    return world


# --- the text ---


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (QuotaLimits(), b"count=-1,bytes=-1"),
        (QuotaLimits(count=4, bytes=5), b"count=4,bytes=5"),
        (
            QuotaLimits(4, 5, 10, 11),
            b"count=4,bytes=5=;byteHardLimit=11;countHardLimit=10",
        ),
        (QuotaLimits(bytes_hard=0), b"count=-1,bytes=-1=;byteHardLimit=0"),
    ],
)
def test_limits_are_written_as_zookeeper_writes_them(
    limits: QuotaLimits, text: bytes
) -> None:
    assert encode_limits(limits) == text
    assert decode_limits(text) == limits


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (None, QuotaLimits()),
        (b"", QuotaLimits()),
        (b"bytes=7", QuotaLimits(bytes=7)),
        (b"countHardLimit=3,count=2", QuotaLimits(count=2, count_hard=3)),
        (b"count=1;count=2", QuotaLimits(count=2)),
        (b"count=1,count=-1", QuotaLimits()),
        (b"count=,bytes=x;other=9", QuotaLimits()),
        (b"count=99999999999999999999", QuotaLimits()),
        (b"\xff\xfe=1,bytes=3", QuotaLimits(bytes=3)),
    ],
)
def test_any_bytes_are_some_limits(text: bytes | None, limits: QuotaLimits) -> None:
    assert decode_limits(text) == limits


@given(st.binary(max_size=64))
def test_no_bytes_are_an_error(text: bytes) -> None:
    assert isinstance(decode_limits(text), QuotaLimits)


@pytest.mark.parametrize(
    "path",
    [
        "/zookeeper/quota/zookeeper_limits",
        "/zookeeper/quotas/zookeeper_limits",
        "/zookeeper/quota/a/zookeeper_stats",
        "/zookeeper/quota/zookeeper/zookeeper_limits",
        "/zookeeper/quota/zookeeper/quota/zookeeper_limits",
        "/a/zookeeper_limits",
    ],
)
def test_some_places_hold_no_limits(path: str) -> None:
    assert quota_of_limits(path) == ""


# --- counting ---


def test_stats_begin_with_what_is_there(world: TreeWorld) -> None:
    put_quota(world, "/app", b"count=9,bytes=99")

    assert use_of(world, "/app") == "count=2,bytes=5"
    stat = world.tree.exists(stats_path("/app"))
    assert stat is not None
    assert stat.data_length == len("count=2,bytes=5")


def test_every_change_below_counts_and_is_no_change_of_the_stats(
    world: TreeWorld,
) -> None:
    put_quota(world, "/app", b"count=-1,bytes=-1")
    born = world.tree.exists(stats_path("/app"))
    session = world.open()
    world.create("/app/b", b"6789")
    world.create("/app/b/e", b"1", session=session, ephemeral=True)
    world.create("/application", b"of nobody's quota")
    assert use_of(world, "/app") == "count=4,bytes=10"
    world.apply(Set("/app", b""))
    world.apply(Set("/app/b", None))
    assert use_of(world, "/app") == "count=4,bytes=3"
    world.close(session, Cause.EXPIRED)
    world.apply(Delete("/app/b"))

    assert use_of(world, "/app") == "count=2,bytes=2"
    after = world.tree.exists(stats_path("/app"))
    assert (born, after is not None and after.version) == (after, 0)


def test_a_quota_on_what_is_not_there_counts_what_comes(world: TreeWorld) -> None:
    put_quota(world, "/later", b"count=1,bytes=1")
    assert use_of(world, "/later") == "count=0,bytes=0"
    world.create("/later", b"12")

    assert use_of(world, "/later") == "count=1,bytes=2"


def test_nested_quotas_both_count(world: TreeWorld) -> None:
    put_quota(world, "/app", b"count=9,bytes=9")
    put_quota(world, "/app/a", b"count=9,bytes=9")
    world.create("/app/a/x", b"1")

    assert use_of(world, "/app") == "count=3,bytes=6"
    assert use_of(world, "/app/a") == "count=2,bytes=3"


def test_what_somebody_writes_into_the_stats_does_not_stay(world: TreeWorld) -> None:
    put_quota(world, "/app", b"count=9,bytes=9")
    world.apply(Set(stats_path("/app"), b"count=0,bytes=0"))

    assert use_of(world, "/app") == "count=2,bytes=5"


def test_stats_without_limits_are_like_any_znode(world: TreeWorld) -> None:
    put_quota(world, "/app", b"count=9,bytes=9")
    world.apply(Delete(limits_path("/app")))
    world.create("/app/b")
    world.apply(Set(stats_path("/app"), b"x"))

    assert use_of(world, "/app") == "x"


def test_limits_without_stats_bind(world: TreeWorld) -> None:
    put_quota(world, "/app", b"countHardLimit=2")
    world.apply(Delete(stats_path("/app")))

    assert code_of(world, Create("/app/b")) is ErrorCode.QUOTA_EXCEEDED


# --- refusing ---


def test_a_hard_limit_refuses_what_leads_beyond_it(world: TreeWorld) -> None:
    put_quota(world, "/app", b"count=-1,bytes=-1=;byteHardLimit=6;countHardLimit=3")

    world.create("/app/b", b"6")
    for operation in (
        Create("/app/c"),
        Create("/app/b/c"),
        Set("/app/b", b"67"),
        # ZooKeeper looks at the quota first.
        Set("/app/b", b"67", 7),
    ):
        assert code_of(world, operation) is ErrorCode.QUOTA_EXCEEDED
    assert code_of(world, Set("/app/b", b"x", 7)) is ErrorCode.BAD_VERSION
    assert isinstance(world.apply(Set("/app/b", b"7")).result, Stat)
    assert use_of(world, "/app") == "count=3,bytes=6"


def test_a_soft_limit_refuses_nothing_and_shows(world: TreeWorld) -> None:
    put_quota(world, "/app", b"count=2,bytes=5")
    exceeded = world.tree.quotas_exceeded
    assert exceeded() == []
    world.create("/app/b")
    assert exceeded() == ["/app"]
    world.apply(Delete("/app/b"))
    world.apply(Set("/app/a", b"long"))
    assert exceeded() == ["/app"]
    world.apply(Set(limits_path("/app"), b"bytes=99"))

    assert exceeded() == []


def test_what_takes_no_more_room_is_never_refused(world: TreeWorld) -> None:
    put_quota(world, "/app", b"byteHardLimit=1;countHardLimit=1")

    for operation in (Set("/app", b"x"), Set("/app", b"y"), Delete("/app/a")):
        assert not isinstance(world.apply(operation).result, Refused)
    assert use_of(world, "/app") == "count=1,bytes=1"


def test_the_refusal_names_the_quota(world: TreeWorld) -> None:
    put_quota(world, "/app", b"countHardLimit=2")
    result = world.apply(Create("/app/a/n-", sequential=True)).result

    assert result == Refused(
        ErrorCode.QUOTA_EXCEEDED, "/app/a/n-", "the quota on /app is 2 znodes"
    )


def test_a_refused_multi_leaves_no_trace_in_the_use(world: TreeWorld) -> None:
    put_quota(world, "/app", b"countHardLimit=3")
    before = world.tree.digest()
    multi = Multi(
        (
            Set("/app", b"longer than it was"),
            Delete("/app/a"),
            Create("/app/b"),
            Create("/app/c"),
            Delete(stats_path("/app")),
            Delete(limits_path("/app")),
            Check("/none"),
        )
    )
    assert isinstance(world.apply(multi).result, MultiRefused)

    assert world.tree.digest() == before
    assert use_of(world, "/app") == "count=2,bytes=5"
    assert isinstance(world.apply(Create("/app/b")).result, Created)
    assert code_of(world, Create("/app/c")) is ErrorCode.QUOTA_EXCEEDED


def test_a_refused_multi_gives_back_even_wrong_stats(world: TreeWorld) -> None:
    put_quota(world, "/app", b"")
    world.apply(Delete(limits_path("/app")))
    world.apply(Set(stats_path("/app"), b"anything"))
    before = world.tree.digest()
    world.apply(Multi((Create(limits_path("/app")), Check("/none"))))

    assert world.tree.digest() == before
    assert use_of(world, "/app") == "anything"


def test_within_a_multi_each_operation_sees_the_use_by_those_before(
    world: TreeWorld,
) -> None:
    put_quota(world, "/app", b"countHardLimit=3")
    result = world.apply(Multi((Create("/app/b"), Create("/app/c")))).result

    assert isinstance(result, MultiRefused)
    assert result.refusals[1].code is ErrorCode.QUOTA_EXCEEDED
    swap = world.apply(Multi((Delete("/app/a"), Create("/app/b"), Create("/app/c"))))
    assert isinstance(swap.result, list)


# --- the index ---


def test_a_removed_quota_leaves_no_steps_behind() -> None:
    quotas = Quotas()
    for path in ("/a/b/c", "/a", "/a/b/d"):
        quotas.put(Quota(path, QuotaLimits(count=0), 1, 0))
    assert [q.path for q in quotas.holding("/a/b/c/x")] == ["/a", "/a/b/c"]
    for path in ("/a/b/c", "/a/b/d", "/a"):
        assert path in quotas.exceeded
        quotas.remove(path)

    assert (quotas.by_path, quotas.exceeded, quotas._root.below) == ({}, {}, {})


# --- snapshots ---


def test_a_restored_tree_has_the_same_quotas(world: TreeWorld) -> None:
    put_quota(world, "/app", b"count=1=;countHardLimit=3")
    other = TreeWorld()
    restore(other.tree, encode_snapshot(capture(world.tree)))

    assert other.tree.quotas_exceeded() == ["/app"]
    for each in (world, other):
        each.create("/app/b", b"123456")
        assert code_of(each, Create("/app/c")) is ErrorCode.QUOTA_EXCEEDED
    assert other.tree.digest() == world.tree.digest()


def test_a_snapshot_with_wrong_stats_is_refused(world: TreeWorld) -> None:
    put_quota(world, "/app", b"count=1")
    world.tree.znodes()[stats_path("/app")].data = b"count=7,bytes=5"
    body = encode_snapshot(capture(world.tree))

    with pytest.raises(ProtocolError, match="stats"):
        restore(DataTree(), body)


PLACES = ["/a", "/a/b", "/a/b/c", "/a/d", "/e"]
LIMITS = [b"", b"count=1,bytes=3", b"countHardLimit=2", b"byteHardLimit=3"]


def some_operation(rng: random.Random) -> Create | Set | Delete:
    path = rng.choice(PLACES)
    if rng.random() < 0.4:
        path = rng.choice([limits_path(path), stats_path(path)])
        data = rng.choice(LIMITS)
    else:
        data = bytes(rng.randrange(4))
    match rng.randrange(4):
        case 0 | 1:
            return Create(path, data)
        case 2:
            return Set(path, data)
        case _:
            return Delete(path)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32))
def test_the_use_is_always_what_is_there(seed: int) -> None:
    rng = random.Random(seed)
    world = TreeWorld()
    for place in PLACES:
        world.create(f"/zookeeper/quota{place}")
    for _ in range(60):
        if rng.random() < 0.3:
            parts = tuple(some_operation(rng) for _ in range(rng.randrange(1, 5)))
            before = world.tree.digest()
            if isinstance(world.apply(Multi(parts)).result, MultiRefused):
                assert world.tree.digest() == before
        else:
            world.apply(some_operation(rng))
        znodes = world.tree.znodes()
        for place in PLACES:
            stats = znodes.get(stats_path(place))
            if limits_path(place) in znodes and stats is not None:
                inside = [
                    znodes[path].data or b""
                    for path in znodes
                    if path == place or path.startswith(place + "/")
                ]
                size = sum(map(len, inside))
                assert stats.data == b"count=%d,bytes=%d" % (len(inside), size)
    restored = DataTree()
    restored_body = encode_snapshot(capture(world.tree))
    restore(restored, restored_body)
    assert restored.digest() == world.tree.digest()
    assert restored.quotas_exceeded() == world.tree.quotas_exceeded()
