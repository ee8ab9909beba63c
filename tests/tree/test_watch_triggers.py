"""Which operation tells which watch what: ZooKeeper's trigger table, by its tree.

Each row is an operation on a tree with ``/a``, ``/a/b`` and the ephemeral ``/a/e``.
Source: ``DataTree.createNode``, ``deleteNode``, ``setData``, ``killSession``.
"""

from __future__ import annotations

import pytest

from coordlib.ids import SessionId
from coordlib.tree import (
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Acl,
    Cause,
    Check,
    Create,
    Delete,
    DeleteContainer,
    EventType,
    Identity,
    Multi,
    Operation,
    Permission,
    Set,
    SetAcl,
    WatchKind,
    WatchTable,
)
from tree_world import TreeWorld

CREATED = EventType.CREATED
DELETED = EventType.DELETED
DATA_CHANGED = EventType.DATA_CHANGED
CHILDREN_CHANGED = EventType.CHILDREN_CHANGED

DATA, EXISTS, CHILD = WatchKind.DATA, WatchKind.EXISTS, WatchKind.CHILD
PERSISTENT, RECURSIVE = WatchKind.PERSISTENT, WatchKind.RECURSIVE

Seen = list[tuple[EventType, str]]

CLOSES = "the session closes"

OPERATIONS: dict[str, Operation | str] = {
    "create /a/n": Create("/a/n"),
    "create /a/s- in sequence": Create("/a/s-", sequential=True),
    "create /a/n container": Create("/a/n", container=True),
    "create fails": Create("/a/b"),
    "set /a/b": Set("/a/b", b"new"),
    "set /a/b to what it is": Set("/a/b", b""),
    "set fails": Set("/a/b", b"new", 7),
    "set_acl /a/b": SetAcl("/a/b", READ_ACL_UNSAFE),
    "delete /a/b": Delete("/a/b"),
    "delete fails": Delete("/a"),
    "check": Check("/a/b"),
    "multi": Multi((Set("/a", b"1"), Delete("/a/b"), Create("/a/b"), Set("/a", b"2"))),
    "multi fails": Multi((Set("/a", b"1"), Delete("/a/b"), Delete("/missing"))),
    CLOSES: CLOSES,
}

# Operation, watched path, and what each kind of watch is told.
ROWS: list[tuple[str, str, dict[WatchKind, Seen]]] = [
    (
        "create /a/n",
        "/a/n",
        {kind: [(CREATED, "/a/n")] for kind in (DATA, EXISTS, PERSISTENT, RECURSIVE)},
    ),
    (
        "create /a/n",
        "/a",
        {
            CHILD: [(CHILDREN_CHANGED, "/a")],
            PERSISTENT: [(CHILDREN_CHANGED, "/a")],
            RECURSIVE: [(CREATED, "/a/n")],
        },
    ),
    ("create /a/n", "/", {RECURSIVE: [(CREATED, "/a/n")]}),
    ("create /a/n container", "/", {RECURSIVE: [(CREATED, "/a/n")]}),
    ("create /a/s- in sequence", "/a/s-", {}),
    (
        "create /a/s- in sequence",
        "/a/s-0000000002",
        {
            kind: [(CREATED, "/a/s-0000000002")]
            for kind in (DATA, EXISTS, PERSISTENT, RECURSIVE)
        },
    ),
    ("create fails", "/a", {}),
    ("create fails", "/a/b", {}),
    (
        "set /a/b",
        "/a/b",
        {
            kind: [(DATA_CHANGED, "/a/b")]
            for kind in (DATA, EXISTS, PERSISTENT, RECURSIVE)
        },
    ),
    (
        "set /a/b to what it is",
        "/a/b",
        {
            kind: [(DATA_CHANGED, "/a/b")]
            for kind in (DATA, EXISTS, PERSISTENT, RECURSIVE)
        },
    ),
    ("set /a/b", "/a", {RECURSIVE: [(DATA_CHANGED, "/a/b")]}),
    ("set fails", "/a/b", {}),
    ("set_acl /a/b", "/a/b", {}),
    ("set_acl /a/b", "/a", {}),
    (
        "delete /a/b",
        "/a/b",
        {kind: [(DELETED, "/a/b")] for kind in WatchKind},
    ),
    (
        "delete /a/b",
        "/a",
        {
            CHILD: [(CHILDREN_CHANGED, "/a")],
            PERSISTENT: [(CHILDREN_CHANGED, "/a")],
            RECURSIVE: [(DELETED, "/a/b")],
        },
    ),
    ("delete /a/b", "/", {RECURSIVE: [(DELETED, "/a/b")]}),
    ("delete fails", "/a", {}),
    ("check", "/a/b", {}),
    (
        "multi",
        "/a",
        {
            DATA: [(DATA_CHANGED, "/a")],
            EXISTS: [(DATA_CHANGED, "/a")],
            CHILD: [(CHILDREN_CHANGED, "/a")],
            PERSISTENT: [
                (DATA_CHANGED, "/a"),
                (CHILDREN_CHANGED, "/a"),
                (CHILDREN_CHANGED, "/a"),
                (DATA_CHANGED, "/a"),
            ],
            RECURSIVE: [
                (DATA_CHANGED, "/a"),
                (DELETED, "/a/b"),
                (CREATED, "/a/b"),
                (DATA_CHANGED, "/a"),
            ],
        },
    ),
    (
        "multi",
        "/a/b",
        {
            DATA: [(DELETED, "/a/b")],
            EXISTS: [(DELETED, "/a/b")],
            CHILD: [(DELETED, "/a/b")],
            PERSISTENT: [(DELETED, "/a/b"), (CREATED, "/a/b")],
            RECURSIVE: [(DELETED, "/a/b"), (CREATED, "/a/b")],
        },
    ),
    ("multi fails", "/a", {}),
    ("multi fails", "/a/b", {}),
    (CLOSES, "/a/e", {kind: [(DELETED, "/a/e")] for kind in WatchKind}),
    (
        CLOSES,
        "/a",
        {
            CHILD: [(CHILDREN_CHANGED, "/a")],
            PERSISTENT: [(CHILDREN_CHANGED, "/a")],
            RECURSIVE: [(DELETED, "/a/e")],
        },
    ),
]


class Watched:
    """A tree with some znodes, and its watches."""

    def __init__(self) -> None:
        self.world = TreeWorld()
        self.table = WatchTable()
        self.session: SessionId = self.world.open()
        self.world.create("/a")
        self.world.create("/a/b")
        self.world.create("/a/e", session=self.session, ephemeral=True)

    def perform(self, operation: Operation | str) -> Seen:
        """Apply it and return what each watch is told, one after the other."""
        if isinstance(operation, str):
            applied = self.world.close(self.session, Cause.EXPIRED)
        else:
            applied = self.world.apply(operation)
        return [
            (told.event.type, told.event.path)
            for told in self.table.fire(applied.events)
            for _ in told.watches
        ]


@pytest.mark.parametrize(
    ("operation", "path", "expected"), ROWS, ids=[f"{o} at {p}" for o, p, _ in ROWS]
)
@pytest.mark.parametrize("kind", list(WatchKind))
def test_an_operation_tells_a_watch_what_the_table_says(
    operation: str, path: str, expected: dict[WatchKind, Seen], kind: WatchKind
) -> None:
    watched = Watched()
    watched.table.add(path, kind)

    assert watched.perform(OPERATIONS[operation]) == expected.get(kind, [])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_all_watches_of_one_path_are_told_the_same_as_alone(operation: str) -> None:
    # One-shot, persistent and recursive on one path (ZOOKEEPER-4466).
    together = Watched()
    for kind in WatchKind:
        together.table.add("/a", kind)
    alone: Seen = []
    for kind in WatchKind:
        watched = Watched()
        watched.table.add("/a", kind)
        alone += watched.perform(OPERATIONS[operation])

    assert sorted(together.perform(OPERATIONS[operation])) == sorted(alone)


def test_a_watch_of_two_ancestors_and_the_znode_are_each_told_once() -> None:
    watched = Watched()
    for path in ("/", "/a", "/a/b"):
        watched.table.add(path, RECURSIVE)

    assert watched.perform(Delete("/a/b")) == [(DELETED, "/a/b")] * 3


def test_what_is_made_anew_is_not_told_to_a_watch_that_saw_it_deleted() -> None:
    watched = Watched()
    watched.table.add("/a/b", DATA)

    assert watched.perform(Delete("/a/b")) == [(DELETED, "/a/b")]
    assert watched.perform(Create("/a/b")) == []


def test_the_ensembles_own_deletions_are_told_with_their_cause() -> None:
    watched = Watched()
    watched.world.apply(Create("/a/c", container=True))
    watched.world.create("/a/c/x")
    watched.world.apply(Delete("/a/c/x"))
    watched.table.add("/a", RECURSIVE)
    znode = watched.world.tree.znodes()["/a/c"]
    applied = watched.world.apply(DeleteContainer("/a/c", znode.mzxid))

    [told] = watched.table.fire(applied.events)
    assert (told.event.type, told.event.path) == (DELETED, "/a/c")
    assert told.event.cause is Cause.CONTAINER
    closed = watched.world.close(watched.session, Cause.EXPIRED)
    [told] = watched.table.fire(closed.events)
    assert told.event.cause is Cause.EXPIRED
    assert told.event.zxid == watched.world.tree.zxid


def test_the_acl_that_counts_is_that_of_the_moment_and_of_the_parent() -> None:
    mine = (Acl(Permission.ALL, Identity("digest", "me:hash")),)
    watched = Watched()
    watched.table.add("/a", PERSISTENT)
    watched.table.add("/a/b", PERSISTENT)
    watched.world.apply(SetAcl("/a/b", mine))
    applied = watched.world.apply(Delete("/a/b"))

    seen = watched.table.fire(applied.events)
    assert [(told.event.type, told.acl) for told in seen] == [
        (DELETED, mine),
        (CHILDREN_CHANGED, OPEN_ACL_UNSAFE),
    ]


@pytest.mark.parametrize("kind", list(WatchKind))
def test_a_session_finds_its_own_watches_of_a_kind(kind: WatchKind) -> None:
    table = WatchTable()
    own = table.add("/a", kind, b"one")
    table.add("/a", kind, b"two")
    table.add("/b", kind, b"one")

    assert table.find("/a", b"one", None) == [own]
    for other in WatchKind:
        same = other is kind or {other, kind} == {DATA, EXISTS}
        assert table.find("/a", b"one", other) == ([own] if same else [])
