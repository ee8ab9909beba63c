"""Strict CBOR: what is accepted has exactly one encoding, and nothing else raises."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given, strategies as st

from coordlib.encoding import DEPTH_MAX, decode, encode
from coordlib.errors import ProtocolError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.binary(max_size=20)
    | st.text(max_size=20)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


def depth_of(value: object) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


@given(VALUES.filter(lambda value: depth_of(value) < DEPTH_MAX))
def test_what_is_encoded_is_decoded(value: object) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=60))
def test_random_bytes_are_a_value_or_a_protocol_error(data: bytes) -> None:
    try:
        value = decode(data)
    except ProtocolError:
        return

    assert encode(value) == data


@given(VALUES, st.data())
def test_mutated_bytes_are_a_value_or_a_protocol_error(
    value: object, data: st.DataObject
) -> None:
    damaged = bytearray(encode(value))
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(damaged))
    except ProtocolError:
        return

    assert encode(decoded) == bytes(damaged)


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 28, 29, 35, 37, 43, 258, 260, 55799])
def test_every_tag_is_refused(tag: int) -> None:
    for content in (b"\x00", b"\x41\x61", b"\x61a", b"\x80", b"\x81\x00"):
        data = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1] + content

        with pytest.raises(ProtocolError):
            decode(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\x00", id="something after the value"),
        pytest.param(b"\x18\x05", id="a number longer than necessary"),
        pytest.param(b"\x9f\x00\xff", id="a list without a length"),
        pytest.param(b"\x5f\x41a\xff", id="bytes in pieces"),
        pytest.param(b"\xa2\x00\x00\x00\x01", id="a key twice"),
        pytest.param(b"\xa2\x01\x00", id="a dict cut off"),
        pytest.param(
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", id="a list of an absurd length"
        ),
        pytest.param(b"\x62\xff\xff", id="text that is not UTF-8"),
        pytest.param(b"\x81" * (DEPTH_MAX + 1) + b"\x00", id="a list too deep"),
        pytest.param(b"\x81" * 100_000 + b"\x00", id="a list absurdly deep"),
        pytest.param(b"\xff", id="an end without a beginning"),
    ],
)
def test_what_is_not_strict_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_the_deepest_allowed_value_is_decoded() -> None:
    assert decode(b"\x81" * (DEPTH_MAX - 1) + b"\x00") == [[[[[[[0]]]]]]]
