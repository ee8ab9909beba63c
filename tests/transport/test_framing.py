"""Frames survive any cut of the stream; nothing else gets through."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from coordlib.errors import ProtocolError
from coordlib.transport.framing import FrameParser, encode_frames

LIMIT = 64

bodies = st.lists(st.binary(min_size=1, max_size=LIMIT), max_size=8)


def feed_in_chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Parse ``stream``, cut at the given places."""
    parser = FrameParser(LIMIT)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    frames: list[bytes] = []
    for start, stop in pairwise(places):
        frames += parser.feed(stream[start:stop])
    return frames


@given(bodies, st.lists(st.integers(0, 600), max_size=12))
def test_any_chunking_gives_the_same_frames(sent: list[bytes], cuts: list[int]) -> None:
    assert feed_in_chunks(encode_frames(sent), cuts) == sent


@given(bodies)
def test_one_byte_at_a_time_gives_the_same_frames(sent: list[bytes]) -> None:
    stream = encode_frames(sent)

    assert feed_in_chunks(stream, list(range(len(stream)))) == sent


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=12))
def test_garbage_waits_or_is_a_protocol_error(stream: bytes, cuts: list[int]) -> None:
    try:
        frames = feed_in_chunks(stream, cuts)
    except ProtocolError:
        return
    assert stream.startswith(encode_frames(frames))


@given(bodies.filter(bool), st.data())
def test_a_flipped_bit_never_yields_another_frame(
    sent: list[bytes], data: st.DataObject
) -> None:
    stream = bytearray(encode_frames(sent))
    bit = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[bit // 8] ^= 1 << bit % 8
    cuts = data.draw(st.lists(st.integers(0, 600), max_size=12))

    try:
        received = feed_in_chunks(bytes(stream), cuts)
    except ProtocolError:
        return
    # A longer length may just wait for more.
    assert received == sent[: len(received)]
    assert len(received) < len(sent)


@pytest.mark.parametrize("length", [0, LIMIT + 1, 1 << 31, (1 << 32) - 1])
def test_a_forbidden_length_is_refused_from_the_header_alone(length: int) -> None:
    header = struct.pack(">II", length, 0)
    parser = FrameParser(LIMIT)

    assert parser.feed(header[:-1]) == []
    with pytest.raises(ProtocolError, match=f"a frame of {length} bytes"):
        parser.feed(header[-1:])


def test_the_largest_allowed_frame_passes() -> None:
    body = bytes(LIMIT)

    assert FrameParser(LIMIT).feed(encode_frames([body])) == [body]


def test_a_wrong_checksum_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="checksum"):
        FrameParser(LIMIT).feed(encode_frames([b"abc"])[:-1] + b"d")
