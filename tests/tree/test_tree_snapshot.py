"""Snapshots: exact at one zxid, complete, and refused as a whole when damaged."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import given, settings, strategies as st

from coordlib import encoding
from coordlib.errors import ErrorCode, ProtocolError
from coordlib.ids import SessionId
from coordlib.tree import (
    CONFIG_PATH,
    CREATOR_ALL_ACL,
    SYSTEM_PATHS,
    Acl,
    AddIdentities,
    Create,
    Created,
    DataTree,
    Delete,
    Identity,
    Multi,
    OpenSession,
    Permission,
    Refused,
    Set,
    SetAcl,
    capture,
    encode_snapshot,
    restore,
)
from coordlib.tree.sessions import OUTCOMES_MAX
from tree_world import MEMBER, OWNER, TreeWorld

MAGIC_LENGTH = 16
EMPTY = encode_snapshot(capture(DataTree()))


def grown() -> TreeWorld:
    """Return a tree with something of everything that a snapshot holds."""
    world = TreeWorld()
    first, second = world.open(b"1"), world.open(b"2")
    world.create("/a", b"1", session=first)
    world.create("/a/e-", session=second, ephemeral=True, sequential=True)
    world.apply(Set("/a", b"2"), first)
    world.apply(Set("/a", b"3", 0), first)
    world.apply(Delete("/none"), second)
    world.apply(OpenSession(b"3", OWNER, MEMBER, 1), second)
    world.apply(Multi((Create("/a/b"), Delete("/a/b"), Set("/a", b""))), first)
    world.apply(Multi((Create("/c"), Delete("/none"))), first)
    world.create("/emptied", container=True)
    world.create("/emptied/a")
    world.apply(Delete("/emptied/a"))
    world.create("/mortal", ttl_ms=1)
    world.apply(Create("/null", None))
    world.apply_payload(b"junk")
    anna, ben = Identity("digest", "anna:hash"), Identity("plug-in", "ben")
    world.apply(AddIdentities((anna, ben)), second)
    world.apply(Create("/mine", acl=CREATOR_ALL_ACL), second)
    world.apply(SetAcl("/a", (Acl(Permission.READ, ben),)), first)
    return world


GROWN = encode_snapshot(capture(grown().tree))


def pieces_of(body: bytes) -> Iterator[object]:
    offset = MAGIC_LENGTH
    while offset < len(body):
        (length,) = struct.unpack_from(">I", body, offset)
        yield encoding.decode(body[offset + 8 : offset + 8 + length])
        offset += 8 + length


def body_of(*pieces: object) -> bytes:
    """Return a snapshot of these pieces, with right lengths and checksums."""
    encoded = [encoding.encode(piece) for piece in pieces]
    return EMPTY[:MAGIC_LENGTH] + b"".join(
        struct.pack(">II", len(piece), crc32(piece)) + piece for piece in encoded
    )


def body_with(
    *,
    sessions: list[object] | None = None,
    outcomes: list[object] | None = None,
    acls: list[object] | None = None,
    znodes: list[object] | None = None,
    zxid: object = 9,
) -> bytes:
    """Return a snapshot of these entries, and of a new tree's before the znodes."""
    sessions, outcomes = sessions or [], outcomes or []
    acls = [READ_ONLY, *(acls or [])]
    znodes = [*SYSTEM, *(znodes or [])]
    head = [zxid, len(sessions), len(outcomes), len(acls), len(znodes)]
    return body_of(head, [1, sessions], [2, outcomes], [3, acls], [4, znodes])


def znode(path: object, **changes: object) -> list[object]:
    fields: dict[str, object] = {
        "data": b"",
        "czxid": 0,
        "mzxid": 0,
        "pzxid": 0,
        "ctime": 0,
        "mtime": 0,
        "version": 0,
        "owner": 0,
        "creates": 5,
        "aversion": 0,
        "acl": 0,
    }
    return [path, *(fields | changes).values()]


READ_ONLY: list[object] = [[1, "world", "anyone"]]
SYSTEM = [
    znode(path, **({"aversion": -1, "acl": 1} if path == CONFIG_PATH else {}))
    for path in SYSTEM_PATHS
]
SESSION: list[object] = [3, b"nonce", OWNER, 1, 1000, [], 8]


def with_identities(identities: list[object]) -> list[object]:
    return [*SESSION[:5], identities, SESSION[6]]


def assert_refused(body: bytes) -> None:
    """Check that ``body`` is refused and leaves a tree as it was."""
    world = grown()
    before = (world.tree.digest(), world.tree.zxid, world.tree.get("/a"))
    with pytest.raises(ProtocolError):
        restore(world.tree, body)
    assert (world.tree.digest(), world.tree.zxid, world.tree.get("/a")) == before


def test_restored_tree_is_equal_in_every_respect() -> None:
    world = grown()
    tree = DataTree()
    restore(tree, encode_snapshot(capture(world.tree)))

    assert tree.digest() == world.tree.digest()
    assert tree.zxid == world.tree.zxid
    assert tree.get("/a") == world.tree.get("/a")
    assert tree.get_children("/a") == world.tree.get_children("/a")
    assert tree.get_nullable("/null") == world.tree.get_nullable("/null")
    assert [d.path for d in tree.overdue(9, 1 << 40)] == ["/mortal", "/emptied"]
    for theirs, ours in zip(world.tree.sessions(), tree.sessions(), strict=True):
        assert theirs.outcomes == ours.outcomes
        assert list(theirs.ephemerals) == list(ours.ephemerals)
    assert encode_snapshot(capture(tree)) == GROWN


def test_restored_tree_goes_on_like_the_original() -> None:
    world, other = grown(), TreeWorld()
    restore(other.tree, GROWN)
    session = world.tree.sessions()[0].id

    for each in (world, other):
        number = each.create("/a/n-", sequential=True).path
        assert number == "/a/n-0000000002"
        retried = each.apply(Set("/a", b"2"), session, cxid=2)
        assert retried.duplicate
        each.close(each.tree.sessions()[1].id)
        assert each.tree.get_children("/a") == ["n-0000000002"]
    assert world.tree.digest() == other.tree.digest()


def test_restore_keeps_the_object_and_forgets_its_state() -> None:
    world = TreeWorld()
    world.create("/old")
    world.open(b"old")
    reader = world.tree
    restore(reader, GROWN)

    assert reader.exists("/old") is None
    assert reader.session_by_nonce(b"old") is None
    assert reader.get("/a")[0] == b""


def test_snapshot_is_of_the_moment_of_its_capture() -> None:
    world = grown()
    captured = capture(world.tree)
    world.apply(Set("/a", b"later"))
    world.create("/later")
    world.close(world.tree.sessions()[0].id)

    assert encode_snapshot(captured) == GROWN


def test_many_znodes_are_many_pieces() -> None:
    world = TreeWorld()
    world.apply(Multi(tuple(Create(f"/{number}") for number in range(620))))
    body = encode_snapshot(capture(world.tree))

    # Their count, an ACL, then 250, 250 and 124.
    assert len(list(pieces_of(body))) == 5
    tree = DataTree()
    restore(tree, body)
    assert tree.digest() == world.tree.digest()


def test_large_znodes_are_pieces_of_their_own() -> None:
    world = TreeWorld()
    for name in "abc":
        world.create(f"/{name}", bytes(1 << 20))

    assert len(list(pieces_of(encode_snapshot(capture(world.tree))))) == 5


def test_every_kind_of_result_survives() -> None:
    tree = DataTree()
    restore(tree, GROWN)
    results = [
        type(result).__name__
        for record in tree.sessions()
        for _, result in record.outcomes.values()
    ]

    assert results == [
        *("Created", "Stat", "Refused", "list", "MultiRefused", "Stat"),
        *("Created", "Refused", "SessionOpened", "NoneType", "Created"),
    ]


@settings(deadline=None)
@given(st.data())
def test_damaged_snapshot_is_refused(data: st.DataObject) -> None:
    body = bytearray(GROWN)
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))

    assert_refused(bytes(body))


@settings(deadline=None)
@given(st.integers(0, len(GROWN) - 1))
def test_shortened_snapshot_is_refused(length: int) -> None:
    assert_refused(GROWN[:length])


@settings(deadline=None)
@given(st.data())
def test_altered_content_is_restored_or_refused(data: st.DataObject) -> None:
    """Checksums are right here, so the content itself must be checked."""
    pieces = [bytearray(encoding.encode(piece)) for piece in pieces_of(GROWN)]
    piece = data.draw(st.sampled_from(pieces))
    piece[data.draw(st.integers(0, len(piece) - 1))] = data.draw(st.integers(0, 255))
    body = GROWN[:MAGIC_LENGTH] + b"".join(
        struct.pack(">II", len(piece), crc32(piece)) + piece for piece in pieces
    )

    tree = DataTree()
    try:
        restore(tree, body)
    except ProtocolError:
        assert tree.digest() == DataTree().digest()
    else:
        # Perhaps the same values in other bytes: then what is there counts.
        again = DataTree()
        restore(again, encode_snapshot(capture(tree)))
        assert again.digest() == tree.digest()
        assert list(again.znodes()) == list(tree.znodes())


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_random_bytes_are_refused(junk: bytes) -> None:
    assert_refused(junk)
    assert_refused(EMPTY + junk if junk else b"")


def test_entries_that_go_together_are_accepted() -> None:
    tree = DataTree()
    body = body_with(
        sessions=[with_identities([["a", "b"]]), [4, b"another", OWNER, 1, 1, [], 0]],
        outcomes=[[3, 1, 5, [0]], [3, 8, 9, [0]]],
        acls=[[[2, "a", "b"]], [[4, "a", "b"]]],
        znodes=[
            znode("/a", owner=-1 << 63, acl=2),
            znode("/a/e", czxid=5, mzxid=6, pzxid=7, owner=3, acl=3),
            znode("/a/t", czxid=6, mzxid=6, pzxid=7, owner=(-1 << 56) + 1, data=None),
        ],
    )
    restore(tree, body)
    assert not tree.may(SessionId(3), "/a", Permission.READ)
    assert tree.may(SessionId(3), "/a", Permission.WRITE)
    assert tree.may(SessionId(3), "/a/e", Permission.CREATE)

    assert tree.get_children("/a") == ["e", "t"]


STAT = [0] * 11
BAD_RESULTS: list[object] = [
    None,
    [],
    [7],
    [True],
    [0, 0],
    [1, *STAT, 0],
    [1, *STAT[1:], b""],
    [2, b"/a", *STAT],
    [2, "/a", *STAT[1:]],
    [3, 0],
    [3, [[4, -8, "/a", ""]]],
    [3, [[3, []]]],
    [4, -8, "/a"],
    [4, -9, "/a", ""],
    [4, 1 << 40, "/a", ""],
    [4, -8, "/a", b""],
    [5, 0, []],
    [5, 1, [[4, -8, "/a", ""]]],
    [5, 0, [[0]]],
    [5, 0, [[1, -8, "/a", ""]]],
    [6, 1, b"", OWNER],
    [6, 1, b"nonce", b""],
]


@pytest.mark.parametrize("result", BAD_RESULTS)
def test_malformed_result_is_refused(result: object) -> None:
    assert_refused(body_with(sessions=[SESSION], outcomes=[[3, 1, 5, result]]))


TOO_MANY: list[object] = [[3, n, 5, [0]] for n in range(1, OUTCOMES_MAX + 2)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(EMPTY[:MAGIC_LENGTH], id="no head"),
        pytest.param(body_of(None), id="a head that is no list"),
        pytest.param(body_of([9, 0, 0, 0]), id="a short head"),
        pytest.param(body_of([9, 0, 0, 0, 0]), id="no root"),
        pytest.param(body_of([9, 0, 0, 0, 2], [4, [znode("/")]]), id="too few"),
        pytest.param(body_of([9, 0, 0, 0, 0], [4, [znode("/")]]), id="too many"),
        pytest.param(body_of([9, 0, 0, 0, 1], [5, [znode("/")]]), id="unknown kind"),
        pytest.param(body_of([9, 0, 0, 0, 1], [4, None]), id="no entries"),
        pytest.param(body_of([9, 0, 0, 0, 1], [4, [znode("/a")]]), id="another root"),
        pytest.param(
            body_of([9, 1, 0, 0, 1], [1, [SESSION]], [4, [znode("/", owner=3)]]),
            id="ephemeral root",
        ),
        pytest.param(
            body_of([9, 0, 0, 1, 3], [3, [READ_ONLY]], [4, SYSTEM[:3]]),
            id="a system znode less",
        ),
        pytest.param(
            body_of(
                [9, 1, 0, 1, 4],
                [1, [SESSION]],
                [3, [READ_ONLY]],
                [4, [*SYSTEM[:3], znode(SYSTEM_PATHS[3], owner=3)]],
            ),
            id="an ephemeral system znode",
        ),
        pytest.param(
            body_of([9, 0, 0, 1], [3, [znode("/", owner=-1 << 63)]]),
            id="a container as root",
        ),
        pytest.param(body_with(znodes=[znode("/a", owner=-1)]), id="an odd owner"),
        pytest.param(body_with(znodes=[znode("/a", owner=1 << 63)]), id="a big owner"),
        pytest.param(
            body_with(znodes=[znode("/a", owner=(-1 << 63) - 1)]), id="a small owner"
        ),
        pytest.param(
            body_with(znodes=[znode("/a", owner=-1 << 56)]), id="no time to live"
        ),
        pytest.param(body_with(zxid=-1), id="negative zxid"),
        pytest.param(body_with(sessions=[SESSION[1:]]), id="short session"),
        pytest.param(body_with(sessions=[SESSION], zxid=2), id="future session"),
        pytest.param(body_with(sessions=[[0, *SESSION[1:]]]), id="session 0"),
        pytest.param(
            body_with(sessions=[[4, b"n", OWNER, 1, 1, [], 0], SESSION]),
            id="sessions out of order",
        ),
        pytest.param(
            body_with(sessions=[SESSION, [4, *SESSION[1:]]]), id="equal nonces"
        ),
        pytest.param(body_with(outcomes=[[3, 1, 5, [0]]]), id="outcome of nobody"),
        pytest.param(
            body_with(sessions=[SESSION], outcomes=[[3, 9, 5, [0]]]),
            id="outcome beyond the last cxid",
        ),
        pytest.param(
            body_with(sessions=[SESSION], outcomes=[[3, 2, 5, [0]], [3, 2, 5, [0]]]),
            id="outcomes out of order",
        ),
        pytest.param(
            body_with(sessions=[SESSION], outcomes=[[3, 2, 10, [0]]]),
            id="future outcome",
        ),
        pytest.param(
            body_with(
                sessions=[[3, b"nonce", OWNER, 1, 1, [], 1 << 40]], outcomes=TOO_MANY
            ),
            id="too many outcomes",
        ),
        pytest.param(
            body_with(sessions=[with_identities([["a", "b"], ["a", "b"]])]),
            id="identity twice",
        ),
        pytest.param(
            body_with(sessions=[with_identities([["", "b"]])]), id="no scheme"
        ),
        pytest.param(body_with(acls=[None], znodes=[znode("/a", acl=2)]), id="open"),
        pytest.param(body_with(acls=[[]], znodes=[znode("/a", acl=2)]), id="empty ACL"),
        pytest.param(
            body_with(acls=[[[1, "auth", ""]]], znodes=[znode("/a", acl=2)]),
            id="auth in an ACL",
        ),
        pytest.param(
            body_with(acls=[[[1, "super", ""]]], znodes=[znode("/a", acl=2)]),
            id="super in an ACL",
        ),
        pytest.param(body_with(acls=[[[2, "a", "b"]]]), id="unused ACL"),
        pytest.param(body_with(znodes=[znode("/a", acl=2)]), id="unknown ACL"),
        pytest.param(body_with(znodes=[znode("/a", acl=-1)]), id="negative ACL"),
        pytest.param(
            body_with(acls=[READ_ONLY], znodes=[znode("/a", acl=2)]), id="equal ACLs"
        ),
        pytest.param(
            body_with(
                acls=[[[2, "a", "b"]], [[4, "a", "b"]]],
                znodes=[znode("/a", acl=3), znode("/b", acl=2)],
            ),
            id="ACLs out of order",
        ),
        pytest.param(body_with(znodes=[znode("/a", aversion=1 << 31)]), id="aversion"),
        pytest.param(body_with(znodes=[znode("/")]), id="two roots"),
        pytest.param(body_with(znodes=[znode("/a"), znode("/a")]), id="twins"),
        pytest.param(body_with(znodes=[znode("/a/b"), znode("/a")]), id="orphan"),
        pytest.param(
            body_with(sessions=[SESSION], znodes=[znode("/e", owner=3), znode("/e/b")]),
            id="child of an ephemeral",
        ),
        pytest.param(body_with(znodes=[znode("/e", owner=3)]), id="no owner"),
        pytest.param(
            body_with(znodes=[znode("/a", creates=0), znode("/a/b")]),
            id="child that was never created",
        ),
        pytest.param(body_with(znodes=[znode("a")]), id="no path"),
        pytest.param(body_with(znodes=[znode(b"/a")]), id="path in bytes"),
        pytest.param(body_with(znodes=[znode("/a", data="")]), id="text as data"),
        pytest.param(
            body_with(znodes=[znode("/a", data=bytes((1 << 20) + 1))]), id="long data"
        ),
        pytest.param(body_with(znodes=[znode("/a", version=-1)]), id="version -1"),
        pytest.param(body_with(znodes=[znode("/a", czxid=10)]), id="future czxid"),
        pytest.param(body_with(znodes=[znode("/a", czxid=5)]), id="mzxid too old"),
        pytest.param(body_with(znodes=[znode("/a", ctime=-1)]), id="negative time"),
    ],
)
def test_snapshot_that_contradicts_itself_is_refused(body: bytes) -> None:
    assert_refused(body)


def test_helpers_make_what_is_accepted() -> None:
    restore(DataTree(), body_with())
    restore(DataTree(), body_of(*pieces_of(GROWN)))


def test_refused_code_comes_back_as_a_code() -> None:
    tree = DataTree()
    restore(tree, GROWN)
    _, result = tree.sessions()[1].outcomes[2]

    assert result == Refused(ErrorCode.NO_NODE, "/none")
    _, created = tree.sessions()[1].outcomes[1]
    assert isinstance(created, Created)
