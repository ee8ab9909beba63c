"""Every operation on znodes by ZooKeeper's rules and in its order of checks."""

from __future__ import annotations

import pytest

from coordlib.errors import ErrorCode
from coordlib.tree import (
    DATA_BYTES_MAX,
    NO_SESSION,
    READ_ACL_UNSAFE,
    SYSTEM_PATHS,
    Cause,
    Check,
    Configure,
    Create,
    Created,
    CreateMode,
    Delete,
    EventType,
    Multi,
    MultiRefused,
    Operation,
    Refused,
    Set,
    Stat,
    TreeEvent,
)
from coordlib.tree.znodes import to_int32
from tree_world import TreeWorld


@pytest.fixture
def world() -> TreeWorld:
    return TreeWorld()


def code_of(world: TreeWorld, operation: Operation, session: int = 0) -> ErrorCode:
    """Apply an operation that must be refused, leave no event, and return why."""
    before = world.tree.digest() if not session else None
    applied = world.apply(operation, session)
    assert isinstance(applied.result, Refused), applied
    assert list(applied.events) == []
    if before is not None:
        assert world.tree.digest() == before
    return applied.result.code


def born(children: int) -> Stat:
    """Return the stat of a znode that no transaction made."""
    return Stat(0, 0, 0, 0, 0, 0, -children, 0, NO_SESSION, 0, children)


def test_new_tree_is_what_a_new_zookeeper_holds(world: TreeWorld) -> None:
    assert world.tree.get("/") == (b"", born(1))
    assert world.tree.get_children("/") == ["zookeeper"]
    assert world.tree.get("/zookeeper") == (b"", born(2))
    assert world.tree.get_children("/zookeeper") == ["config", "quota"]
    assert world.tree.get("/zookeeper/quota") == (b"", born(0))
    config = born(0)._replace(aversion=-1)
    assert world.tree.get("/zookeeper/config") == (b"", config)
    assert world.tree.get_acl("/zookeeper/config") == (READ_ACL_UNSAFE, config)


def test_what_no_transaction_made_is_no_child_that_was_created(
    world: TreeWorld,
) -> None:
    assert world.create("/a-", sequential=True).path == "/a-0000000000"
    root = world.tree.exists("/")

    assert root is not None
    assert (root.cversion, root.num_children, root.pzxid) == (0, 2, 1)


@pytest.mark.parametrize("path", SYSTEM_PATHS)
def test_system_znodes_stay(world: TreeWorld, path: str) -> None:
    for version in (-1, 0, 7):
        assert code_of(world, Delete(path, version)) is ErrorCode.BAD_ARGUMENTS
    assert code_of(world, Create(path.rstrip("/") or "/zookeeper")) is (
        ErrorCode.NODE_EXISTS
    )


def test_system_znodes_are_written_like_any(world: TreeWorld) -> None:
    world.create("/zookeeper/mine")
    applied = world.apply(Set("/zookeeper/quota", b"x"))

    assert isinstance(applied.result, Stat)
    assert world.tree.get("/zookeeper/quota")[0] == b"x"
    assert world.apply(Delete("/zookeeper/mine")).result is None


MEMBERS = "server.1=10.0.0.1:7400:7400:participant\n"


def test_configuration_is_written_with_its_zxid_in_hexadecimal(
    world: TreeWorld,
) -> None:
    for _ in range(9):
        world.create("/a-", sequential=True)
    applied = world.apply(Configure(MEMBERS))

    data, stat = world.tree.get("/zookeeper/config")
    assert data.decode() == f"{MEMBERS}version=a"
    assert (applied.result, stat.version, stat.mzxid) == (stat, 1, 10)
    assert list(applied.events) == [
        TreeEvent(
            EventType.DATA_CHANGED, "/zookeeper/config", 10, None, READ_ACL_UNSAFE
        )
    ]


def test_no_session_says_who_the_members_are(world: TreeWorld) -> None:
    session = world.open()

    assert code_of(world, Configure(MEMBERS), session) is ErrorCode.BAD_ARGUMENTS
    assert world.tree.get("/zookeeper/config")[0] == b""


def test_a_configuration_has_the_bounds_of_data(world: TreeWorld) -> None:
    long = Configure("x" * DATA_BYTES_MAX)

    assert code_of(world, long) is ErrorCode.BAD_ARGUMENTS


def test_created_znode_has_its_zxid_and_time_everywhere(world: TreeWorld) -> None:
    world.create("/pad")
    applied = world.apply(Create("/a", b"data"))

    now = world.time_of(2)
    stat = Stat(2, 2, 2, now, now, 0, 0, 0, NO_SESSION, 4, 0)
    assert applied.result == Created("/a", stat)
    assert list(applied.events) == [TreeEvent(EventType.CREATED, "/a", 2)]
    assert world.tree.get("/a") == (b"data", stat)


def test_set_changes_version_mzxid_and_mtime_only(world: TreeWorld) -> None:
    born = world.create("/a").stat
    applied = world.apply(Set("/a", b"xyz", 0))

    stat = Stat(1, 2, 1, born.ctime, world.time_of(2), 1, 0, 0, NO_SESSION, 3, 0)
    assert applied.result == stat
    assert list(applied.events) == [TreeEvent(EventType.DATA_CHANGED, "/a", 2)]
    assert world.tree.exists("/a") == stat


def test_set_to_identical_data_counts_and_tells(world: TreeWorld) -> None:
    world.create("/a", b"same")
    applied = world.apply(Set("/a", b"same"))

    assert isinstance(applied.result, Stat)
    assert applied.result.version == 1
    assert [e.kind for e in applied.events] == [EventType.DATA_CHANGED]


def test_child_changes_pzxid_and_cversion_of_its_parent_only(world: TreeWorld) -> None:
    born = world.create("/a").stat
    world.create("/a/b")
    with_child = world.tree.exists("/a")
    world.apply(Set("/a/b", b"not the parent's business"))
    world.create("/a/b/c")
    assert world.tree.exists("/a") == with_child
    world.apply(Delete("/a/b/c"))
    world.apply(Delete("/a/b"))
    childless = world.tree.exists("/a")

    zxid, now = born.czxid, born.ctime
    assert with_child == Stat(zxid, zxid, 2, now, now, 0, 1, 0, NO_SESSION, 0, 1)
    assert childless == Stat(zxid, zxid, 6, now, now, 0, 2, 0, NO_SESSION, 0, 0)


def test_delete_removes_and_says_why(world: TreeWorld) -> None:
    world.create("/a")
    applied = world.apply(Delete("/a", 0))

    assert applied.result is None
    assert list(applied.events) == [
        TreeEvent(EventType.DELETED, "/a", 2, Cause.DELETED)
    ]
    assert world.tree.exists("/a") is None


@pytest.mark.parametrize("version", [1, -2, -(1 << 31), (1 << 31) - 1])
def test_any_version_but_minus_one_must_be_equal(
    world: TreeWorld, version: int
) -> None:
    world.create("/a")

    for operation in (
        Set("/a", b"", version),
        Delete("/a", version),
        Check("/a", version),
    ):
        assert code_of(world, operation) is ErrorCode.BAD_VERSION


def test_check_is_silent_when_the_version_is_right(world: TreeWorld) -> None:
    world.create("/a")

    for operation in (Check("/a"), Check("/a", 0), Check("/a", 0, 1)):
        applied = world.apply(operation)
        assert (applied.result, list(applied.events)) == (None, [])


def test_czxid_tells_incarnations_of_a_path_apart(world: TreeWorld) -> None:
    first = world.create("/a").stat.czxid
    world.apply(Delete("/a", czxid=first))
    second = world.create("/a").stat.czxid

    assert code_of(world, Delete("/a", 0, first)) is ErrorCode.BAD_VERSION
    assert code_of(world, Check("/a", 0, first)) is ErrorCode.BAD_VERSION
    assert world.apply(Check("/a", 0, second)).result is None
    assert world.apply(Delete("/a", 0, second)).result is None


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (Create("/"), ErrorCode.NODE_EXISTS),
        (Create("/a"), ErrorCode.NODE_EXISTS),
        (Create("/none/b"), ErrorCode.NO_NODE),
        (Create("/a/"), ErrorCode.BAD_ARGUMENTS),
        (Create("/e/"), ErrorCode.BAD_ARGUMENTS),
        (Create("/e/b"), ErrorCode.NO_CHILDREN_FOR_EPHEMERALS),
        (Create("/e/b", ephemeral=True), ErrorCode.NO_CHILDREN_FOR_EPHEMERALS),
        (Create("relative"), ErrorCode.BAD_ARGUMENTS),
        (Create(""), ErrorCode.BAD_ARGUMENTS),
        (Create("//x"), ErrorCode.BAD_ARGUMENTS),
        (Create("/x\0"), ErrorCode.BAD_ARGUMENTS),
        # The server looks for the parent before it looks at the whole path,
        # except for a NUL.
        (Create("/none//b"), ErrorCode.NO_NODE),
        (Create("/none/\0"), ErrorCode.BAD_ARGUMENTS),
        (Create("/" + "x" * 1024), ErrorCode.BAD_ARGUMENTS),
        (Create("/" + "x" * 1020, sequential=True), ErrorCode.BAD_ARGUMENTS),
        (Create("/b", bytes(DATA_BYTES_MAX + 1)), ErrorCode.BAD_ARGUMENTS),
        (Delete("/"), ErrorCode.BAD_ARGUMENTS),
        (Delete("/", 7), ErrorCode.BAD_ARGUMENTS),
        (Delete("/none"), ErrorCode.NO_NODE),
        (Delete("bad"), ErrorCode.BAD_ARGUMENTS),
        (Delete("/a"), ErrorCode.NOT_EMPTY),
        (Delete("/a", 7), ErrorCode.BAD_VERSION),
        (Set("/none", b"", 7), ErrorCode.NO_NODE),
        (Set("/a/", b""), ErrorCode.BAD_ARGUMENTS),
        (Set("/a", bytes(DATA_BYTES_MAX + 1)), ErrorCode.BAD_ARGUMENTS),
        (Check("/none", 7), ErrorCode.NO_NODE),
        (Check("/a//b", 7), ErrorCode.BAD_ARGUMENTS),
    ],
)
def test_refusal_has_zookeepers_code(
    world: TreeWorld, operation: Operation, code: ErrorCode
) -> None:
    session = world.open()
    world.create("/a")
    world.create("/a/child")
    world.create("/e", session=session, ephemeral=True)

    assert code_of(world, operation, session) is code


def test_refusal_names_the_path_as_it_was_given(world: TreeWorld) -> None:
    result = world.apply(Create("//", sequential=True)).result

    assert isinstance(result, Refused)
    assert result.path == "//"


def test_largest_data_is_accepted(world: TreeWorld) -> None:
    world.create("/a", bytes(DATA_BYTES_MAX))
    assert isinstance(world.apply(Set("/a", bytes(DATA_BYTES_MAX))).result, Stat)


def test_ephemeral_needs_a_session(world: TreeWorld) -> None:
    operation = Create("/none/e", ephemeral=True)

    assert code_of(world, operation) is ErrorCode.SESSION_EXPIRED


def test_sequence_number_counts_all_children_ever_created(world: TreeWorld) -> None:
    world.create("/q")
    assert world.create("/q/a-", sequential=True).path == "/q/a-0000000000"
    world.create("/q/plain")
    world.apply(Delete("/q/plain"))
    assert world.create("/q/b-", sequential=True).path == "/q/b-0000000002"
    # A refused create uses no number.
    assert code_of(world, Create("/q/b-0000000002")) is ErrorCode.NODE_EXISTS
    assert world.create("/q/", sequential=True).path == "/q/0000000003"
    assert world.create("/", sequential=True).path == "/0000000001"


def test_sequence_begins_anew_with_a_new_parent(world: TreeWorld) -> None:
    world.create("/q")
    world.create("/q/a-", sequential=True)
    world.apply(Delete("/q/a-0000000000"))
    world.apply(Delete("/q"))
    world.create("/q")

    assert world.create("/q/a-", sequential=True).path == "/q/a-0000000000"


def test_sequence_number_wraps_like_javas_int(world: TreeWorld) -> None:
    world.create("/q")
    world.tree.znodes()["/q"].creates = (1 << 31) - 1

    assert world.create("/q/", sequential=True).path == "/q/2147483647"
    assert world.create("/q/", sequential=True).path == "/q/-2147483648"
    assert world.create("/q/", sequential=True).path == "/q/-2147483647"


def test_version_wraps_and_is_never_minus_one(world: TreeWorld) -> None:
    # ZOOKEEPER-4743.
    world.create("/a")
    versions = []
    for stored in ((1 << 31) - 1, -2):
        world.tree.znodes()["/a"].version = stored
        stat = world.apply(Set("/a", b"", stored)).result
        assert isinstance(stat, Stat)
        versions.append(stat.version)

    assert versions == [-(1 << 31), 0]


@pytest.mark.parametrize(
    ("number", "wrapped"),
    [
        (0, 0),
        ((1 << 31) - 1, (1 << 31) - 1),
        (1 << 31, -(1 << 31)),
        ((1 << 32) - 1, -1),
    ],
)
def test_int32_is_javas(number: int, wrapped: int) -> None:
    assert to_int32(number) == wrapped


def test_create_mode_has_zookeepers_numbers() -> None:
    modes = {
        Create("/a").mode: 0,
        Create("/a", ephemeral=True).mode: 1,
        Create("/a", sequential=True).mode: 2,
        Create("/a", ephemeral=True, sequential=True).mode: 3,
        Create("/a", container=True).mode: 4,
        Create("/a", ttl_ms=1).mode: 5,
        Create("/a", ttl_ms=1, sequential=True).mode: 6,
    }
    assert modes == {mode: int(mode) for mode in CreateMode}


def test_each_operation_of_a_multi_sees_the_earlier_ones(world: TreeWorld) -> None:
    applied = world.apply(
        Multi(
            (
                Create("/a", b"1"),
                Create("/a/b"),
                Set("/a", b"22", 0),
                Check("/a", 1),
                Delete("/a/b"),
            )
        )
    )

    now = world.time_of(1)
    assert applied.result == [
        # The stats are those of the moment, not of the end.
        Created("/a", Stat(1, 1, 1, now, now, 0, 0, 0, NO_SESSION, 1, 0)),
        Created("/a/b", Stat(1, 1, 1, now, now, 0, 0, 0, NO_SESSION, 0, 0)),
        Stat(1, 1, 1, now, now, 1, 1, 0, NO_SESSION, 2, 1),
        None,
        None,
    ]
    assert list(applied.events) == [
        TreeEvent(EventType.CREATED, "/a", 1),
        TreeEvent(EventType.CREATED, "/a/b", 1),
        TreeEvent(EventType.DATA_CHANGED, "/a", 1),
        TreeEvent(EventType.DELETED, "/a/b", 1, Cause.DELETED),
    ]


def test_failed_multi_reports_as_zookeeper_does(world: TreeWorld) -> None:
    applied = world.apply(Multi((Create("/a"), Delete("/none"), Set("/a", b""))))

    assert applied.result == MultiRefused(
        (
            Refused(ErrorCode.OK, "/a"),
            Refused(ErrorCode.NO_NODE, "/none"),
            Refused(ErrorCode.RUNTIME_INCONSISTENCY, "/a"),
        ),
        1,
    )


def test_failed_multi_leaves_no_trace(world: TreeWorld) -> None:
    session = world.open()
    world.create("/a", b"1")
    world.create("/a/b", session=session, ephemeral=True)
    record = world.tree.session(session)
    assert record is not None
    before = (world.tree.digest(), world.tree.get("/a"), world.tree.get("/"))

    applied = world.apply(
        Multi(
            (
                Set("/a", b"2"),
                Create("/a/n-", sequential=True),
                Delete("/a/b"),
                Delete("/a/n-0000000001"),
                Set("/a", b"3"),
                Delete("/a"),
                Create("/a", b"another"),
                Check("/a", 7),
            )
        )
    )

    assert isinstance(applied.result, MultiRefused)
    assert list(applied.events) == []
    assert (world.tree.digest(), world.tree.get("/a"), world.tree.get("/")) == before
    assert world.tree.get_children("/a") == ["b"]
    assert list(record.ephemerals) == ["/a/b"]
    # Neither is a sequence number used up (ZOOKEEPER-1624).
    assert world.create("/a/n-", sequential=True).path == "/a/n-0000000001"


def test_rolled_back_ephemerals_leave_their_session(world: TreeWorld) -> None:
    session = world.open()
    operations = (Create("/e", ephemeral=True), Check("/none"))
    assert isinstance(world.apply(Multi(operations), session).result, MultiRefused)

    assert list(world.close(session).events) == []


def test_change_after_a_multi_is_not_taken_back_by_the_next(world: TreeWorld) -> None:
    world.apply(Multi((Create("/a"),)))
    world.create("/b")
    world.apply(Multi((Create("/c"), Check("/none"))))

    assert world.tree.get_children("/") == ["zookeeper", "a", "b"]


@pytest.mark.parametrize("path", ["/a", "/none/a"])
def test_nothing_is_kept_to_undo_after_a_multi(world: TreeWorld, path: str) -> None:
    world.apply(Multi((Create(path),)))

    assert world.tree._znodes._undo is None


def test_empty_multi_succeeds(world: TreeWorld) -> None:
    assert world.apply(Multi(())).result == []


def test_a_parent_may_be_full(
    world: TreeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordlib.tree.mutations.CHILDREN_MAX", 2)
    world.create("/a")

    assert code_of(world, Create("/b")) is ErrorCode.QUOTA_EXCEEDED
    world.create("/a/b")
