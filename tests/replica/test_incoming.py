"""What is here of a snapshot is not sent again; nothing counts before it is whole."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from coordlib.consensus import Snapshot
from coordlib.errors import ProtocolError
from coordlib.ids import Zxid
from coordlib.replica.incoming import Incoming
from coordlib.replica.wire import SnapshotOffer, SnapshotPiece

CONTENT = b"0123456789"


def offer(zxid: int = 7, content: bytes = CONTENT) -> SnapshotOffer:
    digest = blake2b(content, digest_size=16).digest()
    return SnapshotOffer(Zxid(zxid), len(content), digest)


def piece(offset: int, part: bytes, zxid: int = 7) -> SnapshotPiece:
    return SnapshotPiece(Zxid(zxid), offset, part)


def test_pieces_make_a_whole() -> None:
    incoming = Incoming()

    assert incoming.offered(offer()) == 0
    incoming.take(piece(0, b"0123"))
    assert incoming.complete() is None
    incoming.take(piece(4, b"456789"))

    assert incoming.complete() == Snapshot(Zxid(7), CONTENT)


def test_the_same_offer_goes_on_where_the_link_broke() -> None:
    incoming = Incoming()
    incoming.offered(offer())
    incoming.take(piece(0, b"0123"))

    assert incoming.offered(offer()) == 4
    incoming.take(piece(4, b"456789"))

    assert incoming.complete() == Snapshot(Zxid(7), CONTENT)
    assert incoming.resumed == 4


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(offer(8), id="of another state"),
        pytest.param(offer(7, b"9876543210"), id="of other bytes"),
    ],
)
def test_another_offer_begins_anew(other: SnapshotOffer) -> None:
    incoming = Incoming()
    incoming.offered(offer())
    incoming.take(piece(0, b"0123"))

    assert incoming.offered(other) == 0
    assert incoming.complete() is None


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(piece(0, b"0123", zxid=8), id="of another snapshot"),
        pytest.param(piece(5, b"5"), id="a gap"),
        pytest.param(piece(3, b"3"), id="once more"),
        pytest.param(piece(4, b"4567890"), id="too long"),
    ],
)
def test_a_piece_that_does_not_fit_is_refused(bad: SnapshotPiece) -> None:
    incoming = Incoming()
    incoming.offered(offer())
    incoming.take(piece(0, b"0123"))

    with pytest.raises(ProtocolError):
        incoming.take(bad)
    # What was here is good all the same.
    assert incoming.offered(offer()) == 4


def test_without_an_offer_nothing_is_taken() -> None:
    incoming = Incoming()

    with pytest.raises(ProtocolError):
        incoming.take(piece(0, b"0"))
    assert incoming.complete() is None


def test_what_is_not_what_was_offered_is_dropped() -> None:
    incoming = Incoming()
    incoming.offered(offer())
    incoming.take(piece(0, b"012345678x"))

    with pytest.raises(ProtocolError):
        incoming.complete()
    assert incoming.is_empty
    assert incoming.offered(offer()) == 0
