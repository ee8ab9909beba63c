"""The bytes of transactions: exact round trips, and a refusal of all else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from coordlib import encoding
from coordlib.errors import ErrorCode, ProtocolError
from coordlib.ids import MemberId, SessionId
from coordlib.tree import (
    OPEN_ACL_UNSAFE,
    TTL_MS_MAX,
    Acl,
    AddIdentities,
    Cause,
    Check,
    CloseSession,
    Create,
    Delete,
    DeleteContainer,
    Identity,
    Multi,
    OpenSession,
    Operation,
    Permission,
    Refused,
    ResumeSession,
    Set,
    SetAcl,
    Transaction,
    decode_transaction,
    encode_request,
    identity_of,
    stamp,
)
from tree_world import OWNER, TreeWorld

HEADER = bytes(32)

uint64 = st.integers(0, (1 << 64) - 1)
versions = st.integers(-(1 << 31), (1 << 31) - 1)
texts = st.text(max_size=20)
data = st.none() | st.binary(max_size=20)
identities = st.builds(Identity, st.text(min_size=1, max_size=20), texts)
acls = st.just(OPEN_ACL_UNSAFE) | st.lists(
    st.builds(Acl, st.integers(0, 31).map(Permission), identities), max_size=3
).map(tuple)
parts = st.one_of(
    st.builds(Create, texts, data, ephemeral=st.booleans(), sequential=st.booleans()),
    st.builds(Create, texts, data, container=st.just(value=True)),
    st.builds(
        Create,
        texts,
        data,
        acl=acls,
        sequential=st.booleans(),
        ttl_ms=st.sampled_from([1, TTL_MS_MAX]),
    ),
    st.builds(Delete, texts, versions, uint64),
    st.builds(Set, texts, data, versions),
    st.builds(Check, texts, versions, uint64),
)
owners = st.binary(min_size=16, max_size=16)
members = st.integers(1, 254).map(MemberId)
operations: st.SearchStrategy[Operation] = st.one_of(
    parts,
    st.builds(Multi, st.lists(parts, max_size=4).map(tuple)),
    st.builds(DeleteContainer, texts, uint64),
    st.builds(
        OpenSession,
        st.binary(min_size=1, max_size=64),
        owners,
        members,
        st.integers(1, (1 << 31) - 1),
        st.lists(identities, max_size=3).map(tuple),
    ),
    st.builds(SetAcl, texts, acls, versions),
    st.builds(AddIdentities, st.lists(identities, max_size=3).map(tuple)),
    st.builds(
        ResumeSession,
        uint64.map(SessionId),
        st.binary(min_size=1, max_size=64),
        owners,
        members,
    ),
    st.builds(
        CloseSession,
        uint64.map(SessionId),
        st.sampled_from([Cause.CLOSED, Cause.EXPIRED]),
        owners,
    ),
)


@settings(deadline=None)
@given(uint64, uint64, uint64, uint64, operations)
def test_transaction_comes_back_as_it_went(
    time_ms: int, session: int, cxid: int, acked: int, operation: Operation
) -> None:
    request = encode_request(session, cxid, acked, operation)
    payload = stamp(request, time_ms)

    assert payload[8:] == request
    assert identity_of(payload) == (session, cxid)
    assert decode_transaction(payload) == Transaction(
        time_ms, SessionId(session), cxid, acked, operation
    )


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_random_bytes_decode_or_are_refused(junk: bytes) -> None:
    for payload in (junk, HEADER + junk):
        with suppress(ProtocolError):
            decode_transaction(payload)


@settings(deadline=None)
@given(operations, st.data())
def test_damaged_transaction_decodes_or_is_refused(
    operation: Operation, data: st.DataObject
) -> None:
    payload = bytearray(stamp(encode_request(1, 2, 3, operation), 4))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(32, len(payload) - 1))] = data.draw(
            st.integers(0, 255)
        )

    damaged = bytes(payload)
    try:
        transaction = decode_transaction(damaged)
    except ProtocolError:
        return
    # What is accepted has one encoding only.
    again = encode_request(1, 2, 3, transaction.operation)
    assert stamp(again, 4) == damaged


@pytest.mark.parametrize(
    "fields",
    [
        None,
        7,
        "text",
        {},
        [],
        ["kind"],
        [True, "/a", b"", 0, 0, None],
        [99],
        [1],
        [1, "/a", b""],
        [1, "/a", b"", 0, 0, None, 0],
        [1, b"/a", b"", 0, 0, None],
        [1, "/a", "text", 0, 0, None],
        [1, "/a", b"", 7, 0, None],
        [1, "/a", b"", -1, 0, None],
        [1, "/a", b"", False, 0, None],
        [1, "/a", b"", 0, 1, None],
        [1, "/a", b"", 4, 1, None],
        [1, "/a", b"", 5, 0, None],
        [1, "/a", b"", 5, -1, None],
        [1, "/a", b"", 6, 1 << 40, None],
        [1, "/a", b"", 6, True, None],
        [1, "/a", b"", 0, 0],
        [1, "/a", b"", 0, 0, 0],
        [1, "/a", b"", 0, 0, [[31, "world", "anyone"]]],
        [1, "/a", b"", 0, 0, [[32, "world", "anyone"]]],
        [1, "/a", b"", 0, 0, [[-1, "world", "anyone"]]],
        [1, "/a", b"", 0, 0, [[1, "world"]]],
        [1, "/a", b"", 0, 0, [[1, "world", b"anyone"]]],
        [1, "/a", b"", 0, 0, [[1, 7, "anyone"]]],
        [1, "/a", b"", 0, 0, ["world:anyone"]],
        [7, "/a", None],
        [7, b"/a", None, -1],
        [7, "/a", 1, -1],
        [7, "/a", None, 1 << 31],
        [14, [[7, "/a", None, -1]]],
        [14, [[100, [["digest", "a:b"]]]]],
        [100],
        [100, None],
        [100, [["digest"]]],
        [100, [["digest", b"a:b"]]],
        [100, [["", "a:b"]]],
        [100, [["digest", "a" * 1025]]],
        [100, [["digest", f"a:{n}"] for n in range(65)]],
        [2, "/a", -1],
        [2, "/a", 1 << 31, 0],
        [2, "/a", -1, -1],
        [2, "/a", -1.0, 0],
        [5, "/a", b"", -(1 << 31) - 1],
        [5, "/a", b"", None],
        [5, "/a", "text", 0],
        [13, "/a", True, 0],
        [13, "/a", 0, 1 << 63, 0],
        [14],
        [14, None],
        [14, [1]],
        [14, [[14, []]]],
        [14, [[20, "/a", 1]]],
        [20, "/a"],
        [20, "/a", -1],
        [20, b"/a", 1],
        [14, [[-10, b"nonce", OWNER, 1, 1, []]]],
        [14, [[1, "/a", b"", 9, 0, None]]],
        [-10, b"nonce", OWNER, 1, 1],
        [-10, b"nonce", OWNER, 0, 1, []],
        [-10, b"", OWNER, 1, 1, []],
        [-10, bytes(65), OWNER, 1, 1, []],
        [-10, "nonce", OWNER, 1, 1, []],
        [-10, b"nonce", b"short", 1, 1, []],
        [-10, b"nonce", OWNER, 1, 0, []],
        [-10, b"nonce", OWNER, 1, 1 << 31, []],
        [-10, b"nonce", OWNER, 1, 1, [["", ""]]],
        [-11, 1, 2],
        [-11, -1, 2, OWNER],
        [-11, 1, 1, OWNER],
        [-11, 1, 4, OWNER],
        [-11, 1, 2, b"short"],
    ],
)
def test_malformed_operation_is_refused(fields: object) -> None:
    payload = HEADER + encoding.encode(fields)

    with pytest.raises(ProtocolError):
        decode_transaction(payload)


@pytest.mark.parametrize("length", [0, 1, 31])
def test_short_payload_has_no_identity(length: int) -> None:
    assert identity_of(b"\xff" * length) == (0, 0)
    with pytest.raises(ProtocolError):
        decode_transaction(b"\xff" * length)


def test_undecodable_transaction_is_refused_and_changes_only_the_zxid() -> None:
    world = TreeWorld()
    session = world.open()
    digest = world.tree.digest()
    applied = world.apply_request(encode_request(session, 1, 0, Create("/a")) + b"x")

    assert isinstance(applied.result, Refused)
    assert applied.result.code is ErrorCode.BAD_ARGUMENTS
    assert (applied.zxid, applied.session, applied.cxid) == (2, session, 1)
    assert not applied.duplicate
    assert world.tree.zxid == 2
    assert world.tree.digest() == digest
    # The cxid was not used up.
    assert not world.apply(Create("/a"), session, cxid=1).duplicate


def test_zxids_never_go_back() -> None:
    world = TreeWorld()
    world.create("/a")

    with pytest.raises(AssertionError):
        world.tree.apply(1, b"")
