"""Which sessions are overdue: never early, whatever the leader's clock did."""

from __future__ import annotations

import random

from hypothesis import given, strategies as st

from coordlib.ids import MemberId, SessionId
from coordlib.replica.expiry import Expiry
from coordlib.tree import SessionRecord

A, B = b"a" * 16, b"b" * 16


def session(id: int, owner: bytes, timeout_ms: int) -> SessionRecord:
    return SessionRecord(SessionId(id), b"%d" % id, owner, MemberId(1), timeout_ms)


def look(expiry: Expiry, sessions: list[SessionRecord], now: float) -> list[int]:
    return list(expiry.expired({s.id: s for s in sessions}, now))


def look_often(expiry: Expiry, sessions: list[SessionRecord], until: float) -> float:
    """Look ten times a second; return when the first session was overdue."""
    now = expiry.began
    while now < until:
        now += 0.1
        if look(expiry, sessions, now):
            return now
    return until


def test_a_session_is_overdue_after_its_timeout_and_not_before() -> None:
    expiry = Expiry(100.0, 0.5)

    assert 102.0 <= look_often(expiry, [session(1, A, 2000)], until=200) < 102.2


def test_a_touch_counts_for_all_sessions_of_its_owner_alone() -> None:
    expiry = Expiry(0.0, 100.0)
    sessions = [session(1, A, 2000), session(2, B, 2000), session(3, A, 1000)]
    look(expiry, sessions, 0.5)
    expiry.touch(A, 1.5)

    assert look(expiry, sessions, 2.4) == [2]
    assert look(expiry, sessions, 2.6) == [3]
    assert look(expiry, sessions, 3.6) == [1]


def test_a_new_reign_gives_the_full_timeout() -> None:
    old = Expiry(0.0, 100.0)
    assert look(old, [session(1, A, 2000)], 5.0) == [1]

    assert 7.0 <= look_often(Expiry(5.0, 0.5), [session(1, A, 2000)], until=99) < 7.2


def test_a_stopped_process_gives_the_full_timeout_again() -> None:
    expiry, sessions = Expiry(0.0, 0.5), [session(1, A, 2000)]
    for now in (0.1, 0.2):
        assert look(expiry, sessions, now) == []
    # It was stopped for an hour; those who called meanwhile are still unheard.
    assert look(expiry, sessions, 3600.0) == []
    assert expiry.began == 3600.0

    assert 3602.0 <= look_often(expiry, sessions, until=9999) < 3602.2


@given(
    st.lists(
        st.tuples(st.sampled_from(["touch", "look"]), st.floats(0.001, 3.0)),
        max_size=60,
    ),
    st.integers(500, 5000),
)
def test_nobody_is_overdue_within_the_timeout_of_a_touch(
    steps: list[tuple[str, float]], timeout_ms: int
) -> None:
    expiry, now, touched = Expiry(0.0, 0.5), 0.0, 0.0
    for step, pause in steps:
        now += pause
        if step == "touch":
            expiry.touch(A, now)
            touched = now
        elif look(expiry, [session(1, A, timeout_ms)], now):
            assert now - touched >= timeout_ms / 1000


def test_keepers_without_sessions_are_forgotten() -> None:
    expiry = Expiry(0.0, 0.5)
    for i in range(1000):
        expiry.touch(i.to_bytes(16, "big"), 0.1)
        expiry.touch(A, 0.1)
        look(expiry, [session(1, A, 1000)], 0.2)
        assert len(expiry._heard) < 70

    assert A in expiry._heard


def test_a_session_is_told_to_end_once_unless_it_is_resumed_meanwhile() -> None:
    expiry, sessions = Expiry(0.0, 100.0), [session(1, A, 1000)]
    assert look(expiry, sessions, 1.0) == [1]
    assert look(expiry, sessions, 1.1) == []

    sessions[0].owner = B
    expiry.opened(SessionId(1), B, 1.2)

    assert look(expiry, sessions, 2.1) == []
    assert look(expiry, sessions, 2.2) == [1]


@given(st.integers(0, 1 << 32))
def test_the_queue_finds_whom_a_search_finds(seed: int) -> None:
    rng = random.Random(seed)
    expiry, began, now = Expiry(0.0, 2.0), 0.0, 0.0
    owners = [bytes([i]) * 16 for i in range(4)]
    heard: dict[bytes, float] = {}
    sessions: dict[SessionId, SessionRecord] = {}
    looked = 0.0
    for number in range(1, 80):
        now += rng.choice([0.0, 0.1, 0.3, 1.0, 2.5])
        match rng.randrange(6):
            case 0 | 1:
                record = session(number, rng.choice(owners), rng.randrange(500, 4000))
                sessions[record.id] = record
                expiry.touch(record.owner, now)
                heard[record.owner] = now
            case 2 if sessions:
                sessions.pop(rng.choice(list(sessions)))
            case 3 if sessions:
                # It is resumed by another keeper.
                record = rng.choice(list(sessions.values()))
                record.owner = rng.choice(owners)
                expiry.touch(record.owner, now)
                heard[record.owner] = now
            case 4:
                owner = rng.choice(owners)
                expiry.touch(owner, now)
                heard[owner] = now
            case _:
                if now - looked > 2.0:
                    began = now
                looked = now
                found = expiry.expired(sessions, now)
                assert found == [
                    record.id
                    for record in sessions.values()
                    if now - max(began, heard.get(record.owner, began))
                    >= record.timeout_ms / 1000
                ]
                # So that they are found anew, as long as they are there.
                for ended in found:
                    expiry.closed(ended)


def test_a_look_is_at_those_that_are_due() -> None:
    sessions = {SessionId(i): session(i, A, 10_000) for i in range(1, 1001)}
    expiry, looks = Expiry(0.0, 100.0), 0
    for tenth in range(500):
        now = tenth / 10
        expiry.touch(A, now)
        looks += sum(1 for at, _ in expiry._due if at <= now)
        assert expiry.expired(sessions, now) == []

    # In 50 seconds, once in 10 of them.
    assert looks <= 5 * len(sessions)
