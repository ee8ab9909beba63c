"""Frame bodies: each comes back as it was, and no bytes raise anything unforeseen."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, strategies as st

from coordlib import encoding
from coordlib.consensus import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    FollowerInfo,
    HandOver,
    LeaderInfo,
    NewLeader,
    Notification,
    Ping,
    Pong,
    Proposal,
    Role,
    Snapshot,
    Truncate,
    UpToDate,
    Vote,
)
from coordlib.errors import ProtocolError
from coordlib.ids import EPOCH_MAX, MEMBER_ID_MAX, Epoch, MemberId, Zxid
from coordlib.replica.wire import (
    Body,
    Confirm,
    Forward,
    SnapshotFrom,
    SnapshotOffer,
    SnapshotPiece,
    Touch,
    decode_body,
    encode_body,
)

NUMBERS = st.integers(0, 2**63 - 1)
EPOCHS = st.builds(Epoch, st.integers(0, EPOCH_MAX))
ZXIDS = st.builds(Zxid, NUMBERS)
MEMBERS = st.builds(MemberId, NUMBERS)
IDS = st.binary(min_size=16, max_size=16)
PARTS = st.lists(st.binary(max_size=50), min_size=1, max_size=5)
LEVELS = st.lists(
    st.tuples(st.builds(MemberId, st.integers(1, MEMBER_ID_MAX)), ZXIDS), max_size=3
).map(tuple)
VOTES = st.builds(Vote, st.booleans(), EPOCHS, ZXIDS, MEMBERS)


STRATEGIES: dict[type[Body], st.SearchStrategy[Body]] = {
    Notification: st.builds(
        Notification, NUMBERS, st.sampled_from(Role), MEMBERS, EPOCHS, st.none() | VOTES
    ),
    FollowerInfo: st.builds(
        FollowerInfo,
        NUMBERS,
        EPOCHS,
        st.booleans(),
        st.booleans(),
        EPOCHS,
        ZXIDS,
        LEVELS,
    ),
    LeaderInfo: st.builds(LeaderInfo, EPOCHS, LEVELS),
    AckEpoch: st.builds(
        AckEpoch, EPOCHS, st.booleans(), EPOCHS, st.lists(ZXIDS).map(tuple)
    ),
    Truncate: st.builds(Truncate, ZXIDS),
    Proposal: st.builds(Proposal, EPOCHS, ZXIDS, ZXIDS, PARTS),
    NewLeader: st.builds(NewLeader, EPOCHS, IDS),
    AckNewLeader: st.builds(AckNewLeader, EPOCHS),
    UpToDate: st.builds(UpToDate, EPOCHS, ZXIDS),
    Ack: st.builds(Ack, EPOCHS, ZXIDS),
    Commit: st.builds(Commit, EPOCHS, ZXIDS),
    HandOver: st.builds(HandOver, EPOCHS, MEMBERS),
    Ping: st.builds(Ping, NUMBERS, LEVELS),
    Pong: st.builds(Pong, NUMBERS),
    Forward: st.builds(Forward, EPOCHS, PARTS),
    Touch: st.builds(Touch, EPOCHS, NUMBERS, IDS),
    Confirm: st.builds(Confirm, NUMBERS, ZXIDS),
    SnapshotOffer: st.builds(SnapshotOffer, ZXIDS, NUMBERS, IDS),
    SnapshotFrom: st.builds(SnapshotFrom, ZXIDS, NUMBERS),
    SnapshotPiece: st.builds(
        SnapshotPiece, ZXIDS, NUMBERS, st.binary(min_size=1, max_size=50)
    ),
}
BODIES: st.SearchStrategy[Body] = st.one_of(list(STRATEGIES.values()))


@given(BODIES)
def test_every_body_comes_back_as_it_was(body: Body) -> None:
    decoded = decode_body(encode_body(body))

    assert decoded == body
    assert type(decoded) is type(body)


def test_every_kind_of_body_is_tested_here() -> None:
    # A snapshot travels in pieces.
    assert STRATEGIES.keys() == set(get_args(Body)) - {Snapshot}


@given(st.binary(max_size=100))
def test_random_bytes_are_a_body_or_a_protocol_error(frame: bytes) -> None:
    try:
        body = decode_body(frame)
    except ProtocolError:
        return

    assert encode_body(body) == frame


@given(BODIES, st.data())
def test_damaged_bytes_are_a_body_or_a_protocol_error(
    body: Body, data: st.DataObject
) -> None:
    frame = bytearray(encode_body(body))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(frame) - 1))
        frame[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_body(bytes(frame))
    except ProtocolError:
        return

    assert encode_body(decoded) == bytes(frame)


@given(BODIES, st.data())
def test_a_body_cut_off_or_prolonged_is_refused_or_another_body(
    body: Body, data: st.DataObject
) -> None:
    frame = encode_body(body)
    other = data.draw(
        st.integers(0, len(frame) - 1).map(lambda end: frame[:end])
        | st.binary(min_size=1, max_size=5).map(lambda more: frame + more)
    )
    try:
        decoded = decode_body(other)
    except ProtocolError:
        return

    # Only of what carries plain bytes can there be more or less.
    assert isinstance(decoded, SnapshotPiece)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=8,
)


@given(st.integers(-1, 110), st.lists(VALUES, max_size=7), st.binary(max_size=5))
def test_any_fields_of_any_kind_are_a_body_or_a_protocol_error(
    kind: int, fields: list[object], rest: bytes
) -> None:
    head = encoding.encode([kind, *fields])
    frame = len(head).to_bytes(2, "big") + head + rest
    try:
        body = decode_body(frame)
    except ProtocolError:
        return

    assert encode_body(body) == frame


def test_an_epoch_that_cannot_be_is_refused() -> None:
    for epoch in (EPOCH_MAX + 1, 1 << 40):
        info = FollowerInfo(
            number=1,
            accepted_epoch=Epoch(epoch),
            seasoned=True,
            empty=False,
            current_epoch=Epoch(0),
            last_zxid=Zxid(0),
        )
        with pytest.raises(ProtocolError, match="epoch"):
            decode_body(encode_body(info))


@pytest.mark.parametrize(
    "payloads", [[b"x" * (4 << 20)], [b"y" * 70_000] * 60, [b"z"] * 4096]
)
def test_the_largest_batches_fit_a_head(payloads: list[bytes]) -> None:
    for body in (
        Proposal(Epoch(1), Zxid(2), Zxid(3), payloads),
        Forward(Epoch(1), payloads),
    ):
        assert decode_body(encode_body(body)) == body
