"""What readers of the tree see."""

from __future__ import annotations

import pytest

from coordlib.errors import BadArgumentsError, NoNodeError
from coordlib.ids import SessionId
from coordlib.tree import Create, Delete, Multi, Set, TreeReader
from tree_world import TreeWorld


@pytest.fixture
def world() -> TreeWorld:
    return TreeWorld()


def test_tree_is_a_tree_reader(world: TreeWorld) -> None:
    reader: TreeReader = world.tree
    world.create("/a", b"1")

    assert (reader.zxid, reader.get("/a")[0]) == (1, b"1")


def test_missing_znode_is_an_error_to_all_but_exists(world: TreeWorld) -> None:
    tree = world.tree

    assert tree.exists("/a") is None
    for read in (tree.get, tree.get_children, tree.predecessor):
        with pytest.raises(NoNodeError) as caught:
            read("/a")
        assert caught.value.path == "/a"


def test_malformed_path_is_an_error_to_all(world: TreeWorld) -> None:
    tree = world.tree

    for read in (tree.get, tree.exists, tree.get_children, tree.predecessor):
        with pytest.raises(BadArgumentsError):
            read("/a/")


def test_stat_is_built_once_and_renewed_by_a_change(world: TreeWorld) -> None:
    world.create("/a")
    _, stat = world.tree.get("/a")

    assert world.tree.exists("/a") is stat
    world.apply(Set("/a", b"1"))
    assert world.tree.get("/a")[1].version == 1


def test_stat_is_built_by_whoever_asks_first(world: TreeWorld) -> None:
    world.create("/a")
    world.create("/a/b")
    stat = world.tree.exists("/a")
    assert stat is not None
    assert stat.num_children == 1
    world.create("/a/c")

    assert world.tree.get("/a")[1].num_children == 2


def test_children_are_in_the_order_of_creation(world: TreeWorld) -> None:
    for name in ("z", "a", "m"):
        world.create(f"/{name}")

    assert world.tree.get_children("/") == ["zookeeper", "z", "a", "m"]
    assert world.tree.get_children("/z") == []


def test_children_of_one_multi_are_in_the_order_of_names(world: TreeWorld) -> None:
    world.apply(Multi((Create("/z"), Create("/a"))))

    assert world.tree.get_children("/") == ["zookeeper", "a", "z"]
    assert world.tree.predecessor("/z") == "/a"


def test_predecessor_is_the_sibling_created_last_before(world: TreeWorld) -> None:
    world.create("/q")
    for name in ("z", "a", "m"):
        world.create(f"/q/{name}")

    assert world.tree.predecessor("/q/z") is None
    assert world.tree.predecessor("/q/a") == "/q/z"
    assert world.tree.predecessor("/q/m") == "/q/a"


def test_predecessor_skips_siblings_without_the_text(world: TreeWorld) -> None:
    for name in ("write-1", "read-2", "read-3", "write-4"):
        world.create(f"/{name}")

    assert world.tree.predecessor("/write-4", "write-") == "/write-1"
    assert world.tree.predecessor("/write-1", "write-") is None
    assert world.tree.predecessor("/read-3", "write-") == "/write-1"


def test_predecessor_outlives_the_wrap_of_sequence_numbers(world: TreeWorld) -> None:
    world.create("/q")
    world.tree.znodes()["/q"].creates = (1 << 31) - 1
    before = world.create("/q/", sequential=True).path
    after = world.create("/q/", sequential=True).path

    # By name, "/q/-2147483648" would come first.
    assert after < before
    assert world.tree.predecessor(after) == before
    assert world.tree.predecessor(before) is None


def test_root_has_no_predecessor(world: TreeWorld) -> None:
    world.create("/a")

    assert world.tree.predecessor("/") is None


def test_descendants_are_counted_at_every_depth(world: TreeWorld) -> None:
    born = world.tree.descendants("/")
    for path in ("/a", "/a/b", "/a/b/c", "/ab"):
        world.create(path)

    assert world.tree.descendants("/") == born + 4
    assert [world.tree.descendants(p) for p in ("/a", "/a/b/c", "/ab")] == [2, 0, 0]
    with pytest.raises(NoNodeError):
        world.tree.descendants("/b")


def test_ephemerals_are_found_by_the_text_they_begin_with(world: TreeWorld) -> None:
    session, other = world.open(b"1"), world.open(b"2")
    world.create("/a", session=session)
    for path in ("/ab", "/a/e", "/b"):
        world.create(path, session=session, ephemeral=True)
    world.create("/a/x", session=other, ephemeral=True)

    assert world.tree.ephemerals(session) == ["/a/e", "/ab", "/b"]
    assert world.tree.ephemerals(session, "/a") == ["/a/e", "/ab"]
    assert world.tree.ephemerals(session, "/c") == []
    assert world.tree.ephemerals(SessionId(99)) == []


def test_a_tree_becomes_another_and_its_readers_see_it(world: TreeWorld) -> None:
    reader: TreeReader = world.tree
    other = TreeWorld()
    other.create("/a", b"theirs")
    world.tree.become(other.tree)

    assert (reader.zxid, reader.get("/a")[0]) == (1, b"theirs")


def test_live_sessions_and_quotas_can_be_looked_through(world: TreeWorld) -> None:
    first, second = world.open(b"1"), world.open(b"2")
    world.create("/zookeeper/quota/a")
    world.create("/zookeeper/quota/a/zookeeper_limits", b"count=3,bytes=-1")

    assert list(world.tree.sessions_by_id()) == [first, second]
    assert list(world.tree.quotas()) == ["/a"]


def test_children_are_counted_without_a_list(world: TreeWorld) -> None:
    world.create("/a")
    world.create("/a/b")

    assert [world.tree.children_number(p) for p in ("/a", "/a/b", "/c")] == [1, 0, 0]


def test_stats_are_kept_for_those_read_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordlib.tree.data_tree._STATS_MAX", 2)
    world = TreeWorld()
    for name in "abc":
        world.create(f"/{name}")
    first = world.tree.get("/a")[1]
    assert world.tree.get("/a")[1] is first
    world.tree.exists("/b")
    world.tree.get_acl("/c")

    kept = [path for path, znode in world.tree.znodes().items() if znode.stat]
    assert kept == ["/b", "/c"]
    assert world.tree.get("/a")[1] == first


def test_a_kept_stat_is_dropped_with_its_znode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordlib.tree.data_tree._STATS_MAX", 1)
    world = TreeWorld()
    world.create("/a")
    world.create("/b")
    world.tree.get("/a")
    world.apply(Delete("/a"))

    assert world.tree.get("/b")[1].version == 0


def test_the_digest_costs_nothing_until_somebody_asks() -> None:
    asked, silent = TreeWorld(), TreeWorld()
    for number in range(9):
        for world in (asked, silent):
            world.create(f"/{number}")
            if number % 3 == 2:
                world.apply(Delete(f"/{number - 1}"))
                world.apply(Set(f"/{number}", b"x"))
        asked.tree.digest()

    assert silent.tree.znode_table()._digests._pending is None
    assert silent.tree.digest() == asked.tree.digest()
    assert silent.tree.znode_table()._digests._pending == {}
