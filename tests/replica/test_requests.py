"""What has no outcome yet: sent in order, answered once, sent again when in doubt."""

from __future__ import annotations

import pytest

from coordlib import Cause, Create
from coordlib.errors import BadArgumentsError, ConnectionLossError, ErrorCode
from coordlib.ids import MemberId, SessionId
from coordlib.replica.requests import Outstanding
from coordlib.replica.waiter import Waiter
from coordlib.tree import (
    NO_SESSION,
    Applied,
    CloseSession,
    Created,
    DataTree,
    OpenSession,
    Refused,
    SessionOpened,
    capture,
    encode_snapshot,
    restore,
    stamp,
)

A, B = SessionId(1), SessionId(2)
OWNER = b"o" * 16
MEMBER = MemberId(1)


def new_outstanding(bytes_max: int = 4 << 20) -> Outstanding:
    return Outstanding(bytes_max, 30_000, 30 << 20, shares=1)


def add(outstanding: Outstanding, session: SessionId, cxid: int) -> Waiter[Applied]:
    waiter: Waiter[Applied] = Waiter()
    outstanding.add(session, cxid, Create(f"/{cxid}"), waiter)
    return waiter


def applied(session: SessionId, cxid: int, zxid: int = 9) -> Applied:
    return Applied(zxid, session, cxid, None)


def is_answered(waiter: Waiter[Applied]) -> bool:
    return waiter._filled


def test_requests_are_sent_once_and_in_order() -> None:
    outstanding = new_outstanding()
    bodies = [
        outstanding.add(session, cxid, Create("/a"), None).body
        for session, cxid in [(A, 1), (B, 1), (A, 2), (B, 2)]
    ]

    assert outstanding.take_unsent(1.0) == bodies
    assert outstanding.take_unsent(1.0) == []
    assert len(outstanding) == 4


def test_a_long_queue_makes_several_batches() -> None:
    outstanding = new_outstanding()
    for cxid in range(1, 10):
        outstanding.add(A, cxid, Create("/a", bytes(300_000)), None)
    batches = []
    while batch := outstanding.take_unsent(1.0):
        batches.append(len(batch))

    assert batches == [4, 4, 1]


async def test_an_outcome_is_given_once_and_to_its_request_alone() -> None:
    outstanding = new_outstanding()
    one, two = add(outstanding, A, 1), add(outstanding, B, 1)
    outstanding.applied(applied(A, 1))
    outstanding.applied(applied(A, 1, zxid=10))
    outstanding.applied(applied(SessionId(77), 1))

    assert (await one.wait()).zxid == 9
    assert not is_answered(two)
    assert len(outstanding) == 1
    assert (outstanding.of(A), outstanding.of(B)) == (0, 1)


def test_what_has_no_outcome_is_sent_again_in_the_old_order() -> None:
    outstanding = new_outstanding()
    bodies = [
        outstanding.add(A, cxid, Create("/a"), None).body for cxid in (1, 2, 3, 4)
    ]
    outstanding.take_unsent(1.0)
    outstanding.applied(applied(A, 2))
    late = outstanding.add(A, 5, Create("/a"), None).body
    outstanding.send_all_again()

    assert outstanding.take_unsent(2.0) == [bodies[0], bodies[2], bodies[3], late]


def test_what_was_answered_meanwhile_is_not_sent() -> None:
    outstanding = new_outstanding()
    add(outstanding, A, 1)
    outstanding.take_unsent(1.0)
    outstanding.send_all_again()
    outstanding.applied(applied(A, 1))

    assert outstanding.take_unsent(2.0) == []


async def test_the_end_of_a_session_fails_its_requests_alone() -> None:
    outstanding = new_outstanding()
    one, two = add(outstanding, A, 1), add(outstanding, B, 1)
    outstanding.end_session(A, KeyError)

    with pytest.raises(KeyError):
        await one.wait()
    assert not is_answered(two)
    assert len(outstanding.take_unsent(1.0)) == 1


def test_too_large_a_request_leaves_nothing_behind() -> None:
    outstanding = new_outstanding(1000)
    with pytest.raises(BadArgumentsError, match="1000 at most"):
        outstanding.add(A, 1, Create("/a", bytes(1001)), None)

    assert len(outstanding) == outstanding.of(A) == 0
    assert outstanding.last_of(A) is None


def test_acknowledged_is_what_is_below_the_oldest_without_an_outcome() -> None:
    # The session table forgets outcomes below it; so never one that is awaited.
    outstanding, tree = new_outstanding(), DataTree()
    tree.apply(1, stamp(_opening(b"n"), 0))
    for cxid in range(1, 6):
        add(outstanding, A, cxid)
    bodies = outstanding.take_unsent(1.0)
    for zxid, body in enumerate(bodies, 2):
        tree.apply(zxid, stamp(body, 0))
    # The outcomes of these pass by; those of the others are hidden.
    for cxid in (1, 2):
        outstanding.applied(applied(A, cxid))
    add(outstanding, A, 6)
    tree.apply(50, stamp(outstanding.take_unsent(2.0)[0], 0))

    record = tree.session(A)
    assert record is not None
    assert list(record.outcomes) == [3, 4, 5, 6]


def opening(nonce: bytes) -> OpenSession:
    return OpenSession(nonce, OWNER, MEMBER, 1000)


def _opening(nonce: bytes) -> bytes:
    outstanding = new_outstanding()
    return outstanding.add(
        NO_SESSION, 1, OpenSession(nonce, OWNER, MEMBER, 1000), None
    ).body


async def test_a_snapshot_hides_no_outcome() -> None:
    outstanding, tree = new_outstanding(), DataTree()
    opened: Waiter[Applied] = Waiter()
    not_opened: Waiter[Applied] = Waiter()
    closing: Waiter[Applied] = Waiter()
    outstanding.add(NO_SESSION, 1, opening(b"known"), opened)
    outstanding.add(NO_SESSION, 2, opening(b"unknown"), not_opened)
    outstanding.add(NO_SESSION, 3, CloseSession(B, Cause.CLOSED, OWNER), closing)
    refused: Waiter[Applied] = Waiter()
    made = add(outstanding, A, 1)
    outstanding.add(A, 2, Create("/1"), refused)
    lost = add(outstanding, A, 3)
    bodies = outstanding.take_unsent(1.0)
    tree.apply(1, stamp(bodies[0], 0))
    tree.apply(2, stamp(bodies[3], 0))
    tree.apply(3, stamp(bodies[4], 0))
    elsewhere = DataTree()
    restore(elsewhere, encode_snapshot(capture(tree)))
    outstanding.restored(elsewhere)

    assert (await opened.wait()).result == SessionOpened(A, b"known", OWNER)
    result = (await made.wait()).result
    assert isinstance(result, Created)
    assert result.path == "/1"
    result = (await refused.wait()).result
    assert isinstance(result, Refused)
    assert result.code is ErrorCode.NODE_EXISTS
    for waiter in (not_opened, closing, lost):
        assert not is_answered(waiter)
    outstanding.send_all_again()
    assert outstanding.take_unsent(2.0) == [bodies[1], bodies[2], bodies[5]]


async def test_what_follows_an_outcome_is_called_with_it() -> None:
    outstanding = new_outstanding()
    add(outstanding, A, 1)
    add(outstanding, A, 2)
    told: list[int] = []
    last = outstanding.last_of(A)
    assert last is not None
    last.then.append(lambda outcome: told.append(outcome.cxid))
    outstanding.applied(applied(A, 1))
    assert told == []
    outstanding.applied(applied(A, 2))

    assert told == [2]
    assert outstanding.last_of(A) is None


def test_within_an_epoch_what_counts_is_the_first_time_a_request_was_sent() -> None:
    """The first one may be what is applied, long before the second is sent."""
    outstanding = new_outstanding()
    request = outstanding.add(NO_SESSION, 1, opening(b"n" * 16), None)
    outstanding.take_unsent(1.0)
    outstanding.send_all_again(new_epoch=False)
    outstanding.take_unsent(5.0)
    assert request.sent == 1.0

    outstanding.send_all_again()
    outstanding.take_unsent(8.0)
    assert request.sent == 8.0


def test_what_was_never_sent_can_be_withdrawn() -> None:
    outstanding = new_outstanding()
    sent = outstanding.add(A, 1, Create("/a"), None)
    outstanding.take_unsent(1.0)
    unsent = outstanding.add(A, 2, Create("/a"), None)

    outstanding.withdraw(sent)
    outstanding.withdraw(unsent)

    assert len(outstanding) == 1
    assert outstanding.take_unsent(1.0) == []
    assert not outstanding.has_unsent


async def test_a_snapshot_without_the_session_does_not_say_that_nothing_changed() -> (
    None
):
    """Sent again, it was refused: the session is over. It may have been applied."""
    outstanding, tree = new_outstanding(), DataTree()
    written = add(outstanding, A, 1)
    outstanding.take_unsent(1.0)

    outstanding.restored(tree)

    assert is_answered(written)
    with pytest.raises(ConnectionLossError):
        await written.wait()
    assert len(outstanding) == 0


def test_no_more_is_under_way_than_this_replicas_share() -> None:
    outstanding = Outstanding(4 << 20, 6, 6000, shares=3)
    for cxid in range(1, 8):
        add(outstanding, A, cxid)

    assert outstanding.is_full
    assert len(outstanding.take_unsent(1.0)) == 2
    assert outstanding.take_unsent(1.0) == []

    outstanding.applied(applied(A, 1))
    assert len(outstanding.take_unsent(1.0)) == 1
    # Nothing is under way any more: the leader is another one.
    outstanding.send_all_again()
    assert len(outstanding.take_unsent(2.0)) == 2
    outstanding.end_session(A, lambda: ConnectionLossError("over"))
    assert (len(outstanding), outstanding.size) == (0, 0)
    assert not outstanding.is_full


def test_a_request_larger_than_the_share_goes_alone() -> None:
    outstanding = Outstanding(4 << 20, 100, 3000, shares=3)
    for cxid in (1, 2):
        outstanding.add(A, cxid, Create("/a", bytes(2000)), None)

    assert len(outstanding.take_unsent(1.0)) == 1
    assert outstanding.take_unsent(1.0) == []
    outstanding.applied(applied(A, 1))
    assert len(outstanding.take_unsent(1.0)) == 1
