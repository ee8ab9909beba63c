"""Which watch is told of which change: ZooKeeper's trigger table."""

from __future__ import annotations

import pytest

from coordlib.tree import (
    OPEN_ACL_UNSAFE,
    Cause,
    EventType,
    Told,
    TreeEvent,
    Watch,
    WatchedEvent,
    WatchKind,
    WatchTable,
)

CREATED = EventType.CREATED
DELETED = EventType.DELETED
DATA_CHANGED = EventType.DATA_CHANGED
CHILDREN_CHANGED = EventType.CHILDREN_CHANGED

ONE_SHOT = [WatchKind.DATA, WatchKind.EXISTS, WatchKind.CHILD]
STAYING = [WatchKind.PERSISTENT, WatchKind.RECURSIVE]


def told(
    table: WatchTable, *changes: tuple[EventType, str]
) -> list[tuple[Watch, EventType, str]]:
    """Fire one transaction and return who was told of what."""
    events = [
        TreeEvent(kind, path, 7, Cause.DELETED if kind is DELETED else None)
        for kind, path in changes
    ]
    return [
        (watch, told.event.type, told.event.path)
        for told in table.fire(events)
        for watch in told.watches
    ]


@pytest.mark.parametrize(
    ("kind", "change", "types"),
    [
        (WatchKind.DATA, CREATED, [CREATED]),
        (WatchKind.DATA, DATA_CHANGED, [DATA_CHANGED]),
        (WatchKind.DATA, DELETED, [DELETED]),
        (WatchKind.EXISTS, CREATED, [CREATED]),
        (WatchKind.EXISTS, DATA_CHANGED, [DATA_CHANGED]),
        (WatchKind.EXISTS, DELETED, [DELETED]),
        (WatchKind.CHILD, CREATED, []),
        (WatchKind.CHILD, DATA_CHANGED, []),
        (WatchKind.CHILD, DELETED, [DELETED]),
        (WatchKind.PERSISTENT, CREATED, [CREATED]),
        (WatchKind.PERSISTENT, DATA_CHANGED, [DATA_CHANGED]),
        # Once, although it is in both of ZooKeeper's tables.
        (WatchKind.PERSISTENT, DELETED, [DELETED]),
        (WatchKind.RECURSIVE, CREATED, [CREATED]),
        (WatchKind.RECURSIVE, DATA_CHANGED, [DATA_CHANGED]),
        (WatchKind.RECURSIVE, DELETED, [DELETED]),
    ],
)
def test_change_of_the_watched_znode(
    kind: WatchKind, change: EventType, types: list[EventType]
) -> None:
    table = WatchTable()
    watch = table.add("/a", kind)

    assert told(table, (change, "/a")) == [
        (watch, kind_told, "/a") for kind_told in types
    ]


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        (WatchKind.DATA, CREATED, []),
        (WatchKind.EXISTS, DELETED, []),
        (WatchKind.CHILD, CREATED, [(CHILDREN_CHANGED, "/a")]),
        (WatchKind.CHILD, DELETED, [(CHILDREN_CHANGED, "/a")]),
        (WatchKind.CHILD, DATA_CHANGED, []),
        (WatchKind.PERSISTENT, CREATED, [(CHILDREN_CHANGED, "/a")]),
        (WatchKind.PERSISTENT, DELETED, [(CHILDREN_CHANGED, "/a")]),
        (WatchKind.PERSISTENT, DATA_CHANGED, []),
        # Never CHILDREN_CHANGED (ZOOKEEPER-4475).
        (WatchKind.RECURSIVE, CREATED, [(CREATED, "/a/b")]),
        (WatchKind.RECURSIVE, DELETED, [(DELETED, "/a/b")]),
        (WatchKind.RECURSIVE, DATA_CHANGED, [(DATA_CHANGED, "/a/b")]),
    ],
)
def test_change_of_a_child(
    kind: WatchKind, change: EventType, expected: list[tuple[EventType, str]]
) -> None:
    table = WatchTable()
    watch = table.add("/a", kind)

    assert told(table, (change, "/a/b")) == [(watch, *what) for what in expected]


def test_only_a_recursive_watch_sees_grandchildren() -> None:
    table = WatchTable()
    for kind in WatchKind:
        table.add("/a", kind)
    root = table.add("/", WatchKind.RECURSIVE)

    assert [
        (watch.path, watch.kind) for watch, *_ in told(table, (CREATED, "/a/b/c"))
    ] == [("/a", WatchKind.RECURSIVE), ("/", WatchKind.RECURSIVE)]
    assert told(table, (CREATED, "/ab")) == [(root, CREATED, "/ab")]


def test_root_is_a_parent_too() -> None:
    table = WatchTable()
    watch = table.add("/", WatchKind.CHILD)

    assert told(table, (CREATED, "/a")) == [(watch, CHILDREN_CHANGED, "/")]


def test_order_is_the_znode_then_its_children_then_its_parent() -> None:
    # DataTree.deleteNode.
    table = WatchTable()
    parent = table.add("/a", WatchKind.CHILD)
    both = table.add("/a", WatchKind.PERSISTENT)
    child = table.add("/a/b", WatchKind.CHILD)
    data = table.add("/a/b", WatchKind.DATA)

    assert told(table, (DELETED, "/a/b")) == [
        (data, DELETED, "/a/b"),
        (child, DELETED, "/a/b"),
        (parent, CHILDREN_CHANGED, "/a"),
        (both, CHILDREN_CHANGED, "/a"),
    ]


def test_events_of_a_multi_come_in_its_order() -> None:
    table = WatchTable()
    watch = table.add("/a", WatchKind.RECURSIVE)
    changes = [(CREATED, "/a/x"), (DATA_CHANGED, "/a"), (DELETED, "/a/x")]

    assert told(table, *changes) == [(watch, *change) for change in changes]


@pytest.mark.parametrize("kind", ONE_SHOT)
def test_one_shot_watch_is_told_once(kind: WatchKind) -> None:
    table = WatchTable()
    table.add("/a", kind)

    assert len(told(table, (DELETED, "/a"), (DELETED, "/a"))) == 1
    assert len(table) == 0


@pytest.mark.parametrize("kind", STAYING)
def test_other_watch_stays(kind: WatchKind) -> None:
    table = WatchTable()
    watch = table.add("/a", kind)

    assert len(told(table, (DELETED, "/a"), (CREATED, "/a"))) == 2
    assert len(table) == 1
    table.remove(watch)
    assert told(table, (DELETED, "/a")) == []


@pytest.mark.parametrize("kind", list(WatchKind))
def test_removing_twice_is_removing_once(kind: WatchKind) -> None:
    table = WatchTable()
    watch, other = table.add("/a", kind), table.add("/a", kind)
    assert watch != other
    table.remove(watch)
    table.remove(watch)

    assert len(table) == 1
    assert [w for w, *_ in told(table, (DELETED, "/a"))] == [other]


def test_consumed_watch_may_be_removed() -> None:
    table = WatchTable()
    watch = table.add("/a", WatchKind.DATA)
    told(table, (DELETED, "/a"))
    staying = table.add("/a", WatchKind.DATA)
    table.remove(watch)

    assert len(table) == 1
    assert told(table, (CREATED, "/a")) == [(staying, CREATED, "/a")]


@pytest.mark.parametrize("kind", list(WatchKind))
def test_removed_watch_leaves_nothing_behind(kind: WatchKind) -> None:
    table = WatchTable()
    table.remove(table.add("/a", kind))

    assert table._data == table._child == table._persistent == table._recursive == {}


def test_event_carries_zxid_and_the_cause_of_a_deletion() -> None:
    table = WatchTable()
    data = table.add("/a", WatchKind.DATA)
    child = table.add("/", WatchKind.CHILD)

    assert table.fire([TreeEvent(DELETED, "/a", 9, Cause.EXPIRED)]) == [
        Told(WatchedEvent(DELETED, "/a", 9, Cause.EXPIRED), [data], OPEN_ACL_UNSAFE),
        Told(WatchedEvent(CHILDREN_CHANGED, "/", 9), [child], OPEN_ACL_UNSAFE),
    ]


def test_nothing_is_told_without_watches() -> None:
    assert told(WatchTable(), (CREATED, "/a")) == []


def test_event_types_have_zookeepers_numbers() -> None:
    # RESYNC takes the number of ZooKeeper's None: an event without a change.
    assert [int(number) for number in EventType] == [-1, 1, 2, 3, 4, 5, 6, 7]
