"""The tree against a model of a few lines, on random histories."""

from __future__ import annotations

import copy

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from coordlib.errors import ErrorCode
from coordlib.ids import SessionId
from coordlib.tree import (
    READ_ACL_UNSAFE,
    SYSTEM_PATHS,
    Acl,
    AddIdentities,
    Applied,
    Cause,
    Check,
    CloseSession,
    Create,
    Created,
    DataTree,
    Delete,
    DeleteContainer,
    EventType,
    Identity,
    Multi,
    MultiRefused,
    Operation,
    Permission,
    Refused,
    Result,
    Set,
    SetAcl,
    Stat,
    SubOperation,
    SubResult,
    capture,
    encode_snapshot,
    restore,
)
from tree_world import OWNER, TreeWorld


class NotAllowed(Exception):  # noqa: N818 - what the model says of an operation
    """An operation is refused with this code."""


@attrs.define
class ModelZnode:
    data: bytes | None
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    owner: int
    version: int = 0
    creates: int = 0
    deletes: int = 0
    aversion: int = 0
    container: bool = False
    ttl_ms: int = 0


class Model:
    """Znodes in a dict; children are found by looking at every path."""

    def __init__(self) -> None:
        self.znodes = {path: ModelZnode(b"", 0, 0, 0, 0, 0, 0) for path in SYSTEM_PATHS}
        self.znodes["/"].deletes = -1
        self.znodes["/zookeeper"].deletes = -2
        self.znodes["/zookeeper/config"].aversion = -1
        self.events: list[tuple[EventType, str]] = []

    def children(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        names = [p[len(prefix) :] for p in self.znodes if p.startswith(prefix)]
        return [name for name in names if name and "/" not in name]

    def stat(self, path: str) -> Stat:
        z = self.znodes[path]
        return Stat(
            czxid=z.czxid,
            mzxid=z.mzxid,
            pzxid=z.pzxid,
            ctime=z.ctime,
            mtime=z.mtime,
            version=z.version,
            cversion=z.creates + z.deletes,
            aversion=z.aversion,
            ephemeral_owner=SessionId(z.owner),
            data_length=len(z.data or b""),
            num_children=len(self.children(path)),
        )

    def perform(
        self, operation: SubOperation, zxid: int, now: int, session: int
    ) -> SubResult:
        if isinstance(operation, Create):
            return self.create(operation, zxid, now, session)
        z = self.znodes.get(operation.path)
        if isinstance(operation, Delete) and operation.path in SYSTEM_PATHS:
            raise NotAllowed(ErrorCode.BAD_ARGUMENTS)
        if z is None:
            raise NotAllowed(ErrorCode.NO_NODE)
        if operation.version not in (-1, z.version):
            raise NotAllowed(ErrorCode.BAD_VERSION)
        if isinstance(operation, Check):
            return None
        if isinstance(operation, Set):
            z.data, z.mzxid, z.mtime = operation.data, zxid, now
            z.version += 1
            self.events.append((EventType.DATA_CHANGED, operation.path))
            return self.stat(operation.path)
        if self.children(operation.path):
            raise NotAllowed(ErrorCode.NOT_EMPTY)
        self.delete(operation.path, zxid)
        return None

    def create(self, operation: Create, zxid: int, now: int, session: int) -> SubResult:
        if operation.ephemeral and not session:
            raise NotAllowed(ErrorCode.SESSION_EXPIRED)
        up, _, _ = operation.path.rpartition("/")
        parent = self.znodes.get(up or "/")
        if parent is None:
            raise NotAllowed(ErrorCode.NO_NODE)
        number = str(parent.creates).zfill(10) if operation.sequential else ""
        path = operation.path + number
        if path in self.znodes:
            raise NotAllowed(ErrorCode.NODE_EXISTS)
        if parent.owner:
            raise NotAllowed(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS)
        owner = session if operation.ephemeral else 0
        self.znodes[path] = ModelZnode(
            operation.data,
            zxid,
            zxid,
            zxid,
            now,
            now,
            owner,
            container=operation.container,
            ttl_ms=operation.ttl_ms,
        )
        parent.creates += 1
        parent.pzxid = zxid
        self.events.append((EventType.CREATED, path))
        return Created(path, self.stat(path))

    def delete(self, path: str, zxid: int) -> None:
        parent = self.znodes[path.rpartition("/")[0] or "/"]
        parent.deletes += 1
        parent.pzxid = zxid
        del self.znodes[path]
        self.events.append((EventType.DELETED, path))

    def clean(self, path: str, zxid: int, now: int, session: int) -> None:
        """Delete a znode whose time is over; the leader has just looked."""
        if session:
            raise NotAllowed(ErrorCode.BAD_ARGUMENTS)
        z = self.znodes.get(path)
        if z is None:
            raise NotAllowed(ErrorCode.NO_NODE)
        if self.children(path):
            raise NotAllowed(ErrorCode.NOT_EMPTY)
        is_old = z.ttl_ms and z.mtime + z.ttl_ms < now
        if not (is_old or (z.container and z.creates)):
            raise NotAllowed(ErrorCode.BAD_VERSION)
        self.delete(path, zxid)

    def apply(self, operation: Operation, zxid: int, now: int, session: int) -> object:
        """Return the result, a refusal as its code."""
        self.events = []
        match operation:
            case Multi(parts):
                before = copy.deepcopy(self.znodes)
                results: list[object] = []
                for index, part in enumerate(parts):
                    try:
                        results.append(self.perform(part, zxid, now, session))
                    except NotAllowed as refusal:
                        self.znodes, self.events = before, []
                        return index, refusal.args[0]
                return results
            case CloseSession(closing):
                left = [p for p, z in self.znodes.items() if z.owner == closing]
                for path in sorted(left):
                    self.delete(path, zxid)
                return None
            case Create() | Delete() | Set() | Check() | DeleteContainer():
                try:
                    if not isinstance(operation, DeleteContainer):
                        return self.perform(operation, zxid, now, session)
                    self.clean(operation.path, zxid, now, session)
                except NotAllowed as refusal:
                    return refusal.args[0]
                return None
            case _:
                raise NotImplementedError


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
# Beyond the model, which knows no permissions.
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


def plain(result: Result) -> object:
    """Return a result as the model gives it."""
    match result:
        case Refused(code):
            return code
        case MultiRefused(refusals, failed_at):
            return failed_at, refusals[failed_at].code
        case _:
            return result


def as_seen(tree: DataTree, operation: Operation) -> Operation:
    """Return a leader's deletion of a znode as it is now."""
    if not isinstance(operation, DeleteContainer):
        return operation
    stat = tree.exists(operation.path)
    return attrs.evolve(operation, mzxid=stat.mzxid if stat else 0)


def assert_equal(tree: DataTree, model: Model) -> None:
    assert set(tree.znodes()) == set(model.znodes)
    for path, expected in model.znodes.items():
        assert tree.get_nullable(path) == (expected.data, model.stat(path))
        assert tree.get(path)[0] == (expected.data or b"")
        in_order = sorted(
            model.children(path),
            key=lambda n: (model.znodes[f"{path.rstrip('/')}/{n}"].czxid, n),
        )
        assert tree.get_children(path) == in_order
        before = None
        for name in in_order:
            child = f"{path.rstrip('/')}/{name}"
            assert tree.predecessor(child) == before
            before = child


@settings(deadline=None, max_examples=150)
@given(histories)
def test_tree_does_what_the_model_does(
    history: list[tuple[Operation, int]],
) -> None:
    world, model = TreeWorld(), Model()
    live = {int(world.open(b"1")), int(world.open(b"2"))}
    for drawn, session in history:
        if session and session not in live:
            continue
        operation = as_seen(world.tree, drawn)
        applied = world.apply(operation, session)
        now = world.time_of(applied.zxid)
        expected = model.apply(operation, applied.zxid, now, session)
        live.discard(applied.closed)

        assert plain(applied.result) == expected
        assert [(e.kind, e.path) for e in applied.events] == model.events
        assert {e.zxid for e in applied.events} <= {applied.zxid}
    assert_equal(world.tree, model)


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
