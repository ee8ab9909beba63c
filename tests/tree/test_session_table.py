"""Sessions as replicated state: opening, closing, and applying a retry once."""

from __future__ import annotations

import pytest

from coordlib.errors import ErrorCode
from coordlib.ids import MemberId, SessionId
from coordlib.tree import (
    Applied,
    Cause,
    CloseSession,
    Create,
    Created,
    Delete,
    EventType,
    Multi,
    OpenSession,
    Refused,
    ResumeSession,
    SessionOpened,
    Set,
    Stat,
    TreeEvent,
)
from coordlib.tree.fields import UINT64_MAX
from coordlib.tree.sessions import OUTCOMES_MAX
from tree_world import MEMBER, OWNER, TreeWorld


@pytest.fixture
def world() -> TreeWorld:
    return TreeWorld()


def refusal_of(applied: Applied) -> ErrorCode:
    assert isinstance(applied.result, Refused), applied
    return applied.result.code


def test_session_is_named_by_the_zxid_that_opened_it(world: TreeWorld) -> None:
    world.create("/a")
    applied = world.apply(OpenSession(b"nonce", OWNER, MEMBER, 5000))

    assert applied.result == SessionOpened(SessionId(2), b"nonce", OWNER)
    assert not applied.duplicate
    record = world.tree.session(SessionId(2))
    assert record is not None
    assert (record.id, record.nonce, record.owner) == (2, b"nonce", OWNER)
    assert (record.timeout_ms, record.last_cxid) == (5000, 0)
    assert world.tree.session_by_nonce(b"nonce") is record
    assert world.tree.sessions() == [record]


def test_opening_with_a_known_nonce_finds_the_same_session(world: TreeWorld) -> None:
    session = world.open()
    digest = world.tree.digest()
    applied = world.apply(OpenSession(b"nonce", b"another owner   ", MEMBER, 1))

    assert applied.result == SessionOpened(session, b"nonce", OWNER)
    assert applied.duplicate
    assert world.tree.digest() == digest
    assert len(world.tree.sessions()) == 1


def test_nonce_of_a_closed_session_opens_another(world: TreeWorld) -> None:
    first = world.open()
    world.close(first)

    assert world.tree.session_by_nonce(b"nonce") is None
    assert world.open() != first


def test_sessions_are_listed_by_id(world: TreeWorld) -> None:
    opened = [world.open(nonce) for nonce in (b"z", b"a", b"m")]
    world.close(opened[1])

    assert [record.id for record in world.tree.sessions()] == [opened[0], opened[2]]


@pytest.mark.parametrize("cause", [Cause.CLOSED, Cause.EXPIRED])
def test_closing_deletes_the_ephemerals_in_order(
    world: TreeWorld, cause: Cause
) -> None:
    session, other = world.open(b"1"), world.open(b"2")
    for path in ("/z", "/a", "/m"):
        world.create(path, session=session, ephemeral=True)
    world.create("/not its own", session=other, ephemeral=True)
    world.create("/persistent", session=session)
    applied = world.close(session, cause)

    zxid = applied.zxid
    assert list(applied.events) == [
        TreeEvent(EventType.DELETED, path, zxid, cause) for path in ("/a", "/m", "/z")
    ]
    assert (applied.result, applied.closed, applied.cause) == (None, session, cause)
    assert world.tree.get_children("/")[1:] == ["not its own", "persistent"]
    assert world.tree.session(session) is None
    root = world.tree.exists("/")
    assert root is not None
    assert (root.pzxid, root.num_children) == (zxid, 3)


def test_closing_an_unknown_session_changes_nothing(world: TreeWorld) -> None:
    digest = world.tree.digest()
    applied = world.close(SessionId(7))

    assert applied == Applied(1, SessionId(0), 1, None)
    assert world.tree.digest() == digest


def test_deleted_ephemeral_is_not_deleted_again(world: TreeWorld) -> None:
    session = world.open()
    stat = world.create("/e", session=session, ephemeral=True).stat
    assert stat.ephemeral_owner == session
    world.apply(Multi((Set("/e", b""),)))
    record = world.tree.session(session)
    assert record is not None
    assert list(record.ephemerals) == ["/e"]
    world.apply(Delete("/e"))
    world.create("/e")

    assert list(record.ephemerals) == []
    assert list(world.close(session).events) == []


def test_closed_session_may_ask_nothing(world: TreeWorld) -> None:
    session = world.open()
    world.close(session)

    applied = world.apply(Create("/late", ephemeral=True), session)
    assert refusal_of(applied) is ErrorCode.SESSION_EXPIRED
    assert refusal_of(world.apply(Multi(()), session)) is ErrorCode.SESSION_EXPIRED
    assert world.tree.exists("/late") is None


def test_session_that_closes_itself_leaves_no_record(world: TreeWorld) -> None:
    session = world.open()
    closing = CloseSession(session, Cause.CLOSED, OWNER)
    first = world.apply(closing, session, cxid=1)
    again = world.apply(closing, session, cxid=1)

    assert (first.closed, first.result) == (session, None)
    assert refusal_of(again) is ErrorCode.SESSION_EXPIRED
    assert again.closed == 0


def test_retry_is_answered_and_not_applied(world: TreeWorld) -> None:
    session = world.open()
    world.create("/a")
    first = world.apply(Set("/a", b"1"), session, cxid=1)
    digest = world.tree.digest()
    again = world.apply(Set("/a", b"1"), session, cxid=1)

    assert again.duplicate
    assert again.result == first.result
    assert isinstance(again.result, Stat)
    assert list(again.events) == []
    assert world.tree.digest() == digest


def test_refusal_is_remembered_too(world: TreeWorld) -> None:
    session = world.open()
    first = world.apply(Create("/a/b"), session, cxid=1)
    world.create("/a")
    again = world.apply(Create("/a/b"), session, cxid=1)

    assert refusal_of(first) is ErrorCode.NO_NODE
    assert again.result == first.result
    assert again.duplicate
    assert world.tree.exists("/a/b") is None


def test_older_cxid_than_the_last_is_a_duplicate(world: TreeWorld) -> None:
    session = world.open()
    world.apply(Create("/a"), session, cxid=5)
    applied = world.apply(Create("/b"), session, cxid=4)

    assert applied.duplicate
    assert world.tree.exists("/b") is None


def test_acknowledged_outcomes_are_forgotten(world: TreeWorld) -> None:
    session = world.open()
    for cxid in (1, 2, 3):
        world.apply(Create(f"/{cxid}"), session, cxid=cxid)
    world.apply(Create("/4"), session, cxid=4, acked=3)
    record = world.tree.session(session)
    assert record is not None

    assert list(record.outcomes) == [3, 4]
    forgotten = world.apply(Create("/1"), session, cxid=1)
    assert forgotten.duplicate
    assert refusal_of(forgotten) is ErrorCode.RUNTIME_INCONSISTENCY
    kept = world.apply(Create("/3"), session, cxid=3)
    assert isinstance(kept.result, Created)
    zxid, result = record.outcomes[3]
    assert (zxid, result) == (kept.result.stat.czxid, kept.result)


def test_own_outcome_is_kept_whatever_is_acknowledged(world: TreeWorld) -> None:
    session = world.open()
    world.apply(Create("/a"), session, cxid=1, acked=(1 << 64) - 1)

    assert isinstance(world.apply(Create("/a"), session, cxid=1).result, Created)


def test_outcomes_are_bounded(world: TreeWorld) -> None:
    session = world.open()
    record = world.tree.session(session)
    assert record is not None
    filler = (1, None)
    record.outcomes.update((cxid, filler) for cxid in range(1, OUTCOMES_MAX + 1))
    record.last_cxid = OUTCOMES_MAX
    world.apply(Create("/a"), session, cxid=OUTCOMES_MAX + 1)

    assert len(record.outcomes) == OUTCOMES_MAX
    assert next(iter(record.outcomes)) == 2


def test_requests_of_the_ensemble_are_never_duplicates(world: TreeWorld) -> None:
    assert not world.apply(Create("/a"), 0, cxid=1).duplicate
    assert refusal_of(world.apply(Create("/a"), 0, cxid=1)) is ErrorCode.NODE_EXISTS


def test_kept_results_are_not_the_callers_list(world: TreeWorld) -> None:
    session = world.open()
    operation = Multi((Create("/a"),))
    first = world.apply(operation, session, cxid=1)
    assert isinstance(first.result, list)
    first.result.clear()
    second = world.apply(operation, session, cxid=1)
    assert isinstance(second.result, list)
    assert len(second.result) == 1
    second.result.clear()

    third = world.apply(operation, session, cxid=1)
    assert isinstance(third.result, list)
    assert len(third.result) == 1


def test_digest_covers_what_a_session_remembers(world: TreeWorld) -> None:
    session = world.open()
    seen = {world.tree.digest()}
    world.apply(Multi(()), session, cxid=1)
    seen.add(world.tree.digest())
    world.apply(Multi(()), session, cxid=2)
    seen.add(world.tree.digest())
    world.apply(Multi(()), session, cxid=3, acked=3)
    seen.add(world.tree.digest())
    world.close(session)
    seen.add(world.tree.digest())

    assert len(seen) == 5


RESUMER = b"incarnation-of-2"


def resuming(
    session: SessionId, nonce: bytes = b"nonce", member: MemberId = MEMBER
) -> ResumeSession:
    return ResumeSession(session, nonce, RESUMER, member)


def test_the_next_incarnation_of_its_member_resumes_a_session(world: TreeWorld) -> None:
    session = world.open()
    world.create("/e", session=session, ephemeral=True)
    digest = world.tree.digest()
    applied = world.apply(resuming(session))

    assert applied.result == SessionOpened(session, b"nonce", RESUMER)
    assert not applied.duplicate
    assert world.tree.exists("/e") is not None
    assert world.tree.digest() != digest


def test_requests_of_the_incarnation_that_died_are_too_late(world: TreeWorld) -> None:
    session = world.open()
    world.apply(Create("/1"), session, cxid=1)
    world.apply(resuming(session))
    late = world.apply(Create("/2"), session, cxid=2)

    assert late.duplicate
    assert world.tree.exists("/2") is None
    record = world.tree.session(session)
    assert record is not None
    world.apply(Create("/3"), session, cxid=record.last_cxid + 1)
    assert world.tree.exists("/3") is not None


def test_resuming_twice_is_resuming_once(world: TreeWorld) -> None:
    session = world.open()
    world.apply(resuming(session))
    record = world.tree.session(session)
    assert record is not None
    first = record.last_cxid
    again = world.apply(resuming(session))

    assert again.duplicate
    assert again.result == SessionOpened(session, b"nonce", RESUMER)
    assert record.last_cxid == first


def test_nobody_else_resumes_a_session(world: TreeWorld) -> None:
    session = world.open()
    digest = world.tree.digest()

    expired = ErrorCode.SESSION_EXPIRED
    assert refusal_of(world.apply(resuming(session, b"guess"))) is expired
    assert refusal_of(world.apply(resuming(SessionId(99)))) is expired
    elsewhere = world.apply(resuming(session, member=MemberId(2)))
    assert refusal_of(elsewhere) is ErrorCode.BAD_ARGUMENTS
    assert world.tree.digest() == digest


def test_a_session_without_numbers_left_is_not_resumed(world: TreeWorld) -> None:
    session = world.open()
    world.apply(Create("/a"), session, cxid=UINT64_MAX - 1)
    refused = refusal_of(world.apply(resuming(session)))

    assert refused is ErrorCode.RUNTIME_INCONSISTENCY


@pytest.mark.parametrize("cause", [Cause.EXPIRED, Cause.CLOSED])
def test_nobody_is_ended_for_a_predecessor(world: TreeWorld, cause: Cause) -> None:
    """The leader judged its silence, or it asked, before the next one was there."""
    session = world.open()
    world.apply(resuming(session))
    late = world.apply(CloseSession(session, cause, OWNER))

    assert late.closed == 0
    assert world.tree.session(session) is not None
    assert world.apply(CloseSession(session, cause, RESUMER)).closed == session
