"""The handshake's records and rules, without a network."""

from __future__ import annotations

import struct
from zlib import crc32

import attrs
import pytest
from hypothesis import given, strategies as st

from coordlib.ids import MemberId
from coordlib.transport.handshake import (
    RECORD_BYTES,
    Greeting,
    HandshakeError,
    Refusal,
    check_greeting,
    decode_record,
    encode_greeting,
    encode_refusal,
    make_greeting,
)
from coordlib.transport.interface import UNKNOWN_ENSEMBLE, Hello
from transport.seat import ENSEMBLE_ID, ONE, THREE, TWO

OURS = make_greeting(Hello("test", ENSEMBLE_ID, ONE, bytes(16)), TWO)
THEIRS = make_greeting(Hello("test", ENSEMBLE_ID, TWO, bytes(16)), ONE)

member_ids = st.integers(1, 254).map(MemberId)
ids = st.binary(min_size=16, max_size=16)


def refusal_of(theirs: Greeting) -> Refusal | None:
    """Return why member 1 of three refuses a dialler."""
    try:
        check_greeting(theirs, OURS, [TWO, THREE])
    except HandshakeError as error:
        return error.refusal
    return None


@given(st.builds(Greeting, member_ids, member_ids, ids, ids, ids))
def test_a_greeting_survives_the_wire(greeting: Greeting) -> None:
    record = encode_greeting(greeting)

    assert len(record) == RECORD_BYTES <= 512
    assert decode_record(record) == greeting


@pytest.mark.parametrize("refusal", Refusal)
def test_a_refusal_survives_the_wire(refusal: Refusal) -> None:
    with pytest.raises(HandshakeError) as caught:
        decode_record(encode_refusal(refusal))

    assert caught.value.refusal is refusal
    assert caught.value.remote


@given(st.binary(max_size=2 * RECORD_BYTES))
def test_garbage_is_refused(record: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        decode_record(record)

    assert caught.value.refusal is Refusal.GARBAGE


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * RECORD_BYTES):
        record = bytearray(encode_greeting(THEIRS))
        record[bit // 8] ^= 1 << bit % 8
        with pytest.raises(HandshakeError):
            decode_record(bytes(record))


def test_an_unknown_reason_to_refuse_is_garbage() -> None:
    record = bytearray(encode_refusal(Refusal.BUSY))
    record[10] = 200
    record[-4:] = struct.pack(">I", crc32(record[:-4]))

    with pytest.raises(HandshakeError) as caught:
        decode_record(bytes(record))

    assert caught.value.refusal is Refusal.GARBAGE


def test_another_version_is_refused_whatever_follows_it() -> None:
    record = encode_greeting(THEIRS)

    with pytest.raises(HandshakeError) as caught:
        decode_record(record[:8] + b"\0\2" + bytes(len(record) - 10))

    assert caught.value.refusal is Refusal.VERSION


def test_a_member_of_the_ensemble_is_welcome() -> None:
    assert refusal_of(THEIRS) is None
    assert refusal_of(attrs.evolve(THEIRS, ensemble_id=UNKNOWN_ENSEMBLE)) is None


@pytest.mark.parametrize(
    ("theirs", "refusal"),
    [
        (attrs.evolve(THEIRS, name_hash=bytes(16)), Refusal.NAME),
        (attrs.evolve(THEIRS, ensemble_id=b"x" * 16), Refusal.ENSEMBLE),
        (attrs.evolve(THEIRS, member=MemberId(9)), Refusal.MEMBER),
        (attrs.evolve(THEIRS, target=THREE), Refusal.MEMBER),
        (attrs.evolve(OURS, target=ONE), Refusal.MEMBER),
        (OURS, Refusal.MEMBER),
    ],
    ids=["name", "ensemble", "unknown", "misdirected", "ourselves", "reflected"],
)
def test_a_stranger_is_refused(theirs: Greeting, refusal: Refusal) -> None:
    assert refusal_of(theirs) is refusal


def test_a_refusal_tells_nothing_about_us() -> None:
    record = encode_refusal(Refusal.NAME)

    assert ENSEMBLE_ID not in record
    assert OURS.name_hash not in record
