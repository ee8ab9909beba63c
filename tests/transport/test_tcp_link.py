"""A link on a socket pair: what ``send`` does at once, and what the writer does."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio

from coordlib.transport.framing import FrameParser, encode_frames
from coordlib.transport.tcp_link import TcpLink
from transport.seat import TWO

Pair = tuple[TcpLink, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.0)
        theirs.settimeout(0.0)
        yield (
            TcpLink(TWO, ours, FrameParser(1 << 20), lambda _member, _error: None),
            theirs,
        )


async def test_a_lone_frame_leaves_within_send(pair: Pair) -> None:
    link, theirs = pair

    assert link.send(b"lone")

    assert theirs.recv(4096) == encode_frames([b"lone"])


async def test_a_burst_leaves_in_one_piece_and_in_order(pair: Pair) -> None:
    link, theirs = pair
    # As if a frame had left just now, however slow this machine is.
    link._sent_at = float("inf")
    for frame in (b"1", b"2", b"3"):
        link.send(frame)
        link._sent_at = float("inf")
    with pytest.raises(BlockingIOError):
        theirs.recv(4096)

    # Long after the burst, but what is queued goes first.
    link._sent_at = 0.0
    link.send(b"4")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.write)
        await trio.lowlevel.wait_readable(theirs)
        assert theirs.recv(4096) == encode_frames([b"1", b"2", b"3", b"4"])
        link.close()


async def test_a_frame_that_finds_no_room_is_finished_by_the_writer(
    pair: Pair,
) -> None:
    link, theirs = pair
    big = bytes(range(256)) * 4096
    link.send(big)
    link._sent_at = 0.0
    link.send(b"after it")

    parser = FrameParser(1 << 20)
    received: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.write)
        while len(received) < 2:
            await trio.lowlevel.wait_readable(theirs)
            received += parser.feed(theirs.recv(65536))
        link.close()
    assert received == [big, b"after it"]
