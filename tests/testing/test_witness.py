"""The witness believes every true history, and no false one."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from coordlib.errors import ErrorCode
from coordlib.ids import SessionId
from coordlib.storage.interface import Recovered
from coordlib.testing import (
    Call,
    Exists,
    Get,
    GetChildren,
    Refusal,
    Rule,
    check_history,
    decode_log,
)
from coordlib.tree import Check, Create, Delete, Multi, Set, Transaction
from testing.story import Story, unanswer


@attrs.define(eq=False)
class Scene:
    """A true history, and those of its calls that tests falsify."""

    story: Story
    create: Call
    early: Call
    late: Call
    stale: Call
    fresh: Call
    done: Call
    undone: Call
    refused: Call
    unsent: Call
    sync: Call
    log: list[tuple[int, Transaction]]

    def rules(self) -> list[Rule]:
        return [c.rule for c in check_history(self.story.calls, self.log)]

    def place(self, call: Call) -> int:
        """Return the index of a write in the log."""
        names = [(t.session, t.cxid) for _, t in self.log]
        return names.index((call.session, call.cxid))


@pytest.fixture
def scene() -> Scene:
    story = Story()
    anna, ben = story.open(b"anna"), story.open(b"ben")
    create = story.write(anna, Create("/x", b"0"))
    early = story.write(ben, Set("/x", b"1"))
    stale = story.read(anna, Get("/x"))
    late = story.write(anna, Set("/x", b"2", 1))
    fresh = story.read(anna, Get("/x"))
    refused = story.write(ben, Delete("/x", 7))
    unsent = story.refuse(ben, Set("/x", b"3"), Refusal(ErrorCode.NOT_READ_ONLY))
    undone = story.begin(anna, Set("/x", b"4"))
    done = story.begin(ben, Set("/x", b"5"))
    story.do(done)
    sync = story.sync(anna)
    return Scene(
        story=story,
        create=create,
        early=early,
        late=late,
        stale=stale,
        fresh=fresh,
        done=done,
        undone=undone,
        refused=refused,
        unsent=unsent,
        sync=sync,
        log=story.log,
    )


def test_a_true_history_is_believed(scene: Scene) -> None:
    assert scene.rules() == []


def test_a_true_history_of_everything_a_session_can_do_is_believed() -> None:
    story = Story()
    anna, ben = story.open(b"anna"), story.open(b"ben")
    story.write(anna, Create("/jobs"))
    story.write(anna, Create("/jobs/job-", b"", sequential=True, ephemeral=True))
    story.write(ben, Create("/jobs/job-", b"", sequential=True))
    parts = (Check("/jobs"), Create("/jobs/b"), Create("/jobs/a"), Set("/jobs/b", b"x"))
    story.write(ben, Multi(parts))
    story.write(ben, Multi((Create("/y"), Delete("/nothing"), Create("/z"))))
    story.history.end(story.history.begin(ben, Multi(())), [], story.world.tree.zxid)
    story.read(ben, GetChildren("/jobs"))
    story.world.close(anna)
    story.read(ben, GetChildren("/jobs"))
    story.read(ben, Exists("/jobs"))
    story.read(ben, Exists("/jobs/job-0000000000"))
    story.refuse(anna, Create("/late"), Refusal(ErrorCode.SESSION_EXPIRED))

    assert check_history(story.calls, story.log) == []


# --- writes and the log ---


def test_two_writes_do_not_have_each_others_results(scene: Scene) -> None:
    first, second = scene.early, scene.late
    first.result, second.result = second.result, first.result

    assert scene.rules() == [Rule.OTHER_RESULT] * 2


def test_an_acknowledged_write_is_in_the_log(scene: Scene) -> None:
    del scene.log[scene.place(scene.refused)]

    # The two answers that showed it, then itself.
    assert scene.rules() == [Rule.NO_SUCH_STATE, Rule.NO_SUCH_STATE, Rule.LOST]


def test_a_write_that_was_done_twice_is_seen(scene: Scene) -> None:
    zxid, transaction = scene.log[-1]
    scene.log.append((zxid + 1, attrs.evolve(transaction, cxid=transaction.cxid + 1)))

    assert scene.rules() == [Rule.UNASKED]


def test_a_request_that_was_sent_twice_counts_once(scene: Scene) -> None:
    zxid, transaction = scene.log[-1]
    scene.log.append((zxid + 1, transaction))
    scene.story.read(scene.done.session, Get("/x")).zxid += 1

    assert scene.rules() == []


def test_a_request_that_comes_again_after_its_session_counts_once() -> None:
    """Its number is forgotten with the session; it is refused, and was done."""
    story = Story()
    anna, ben = story.open(b"anna"), story.open(b"ben")
    call = story.write(anna, Create("/x"))
    story.world.close(anna)
    story.do(call)
    story.read(ben, Exists("/x"))

    assert check_history(story.calls, story.log) == []


def test_two_answers_do_not_share_a_place_in_the_log(scene: Scene) -> None:
    twin = attrs.evolve(scene.late, called=scene.late.called + 0.1)
    scene.story.calls.append(twin)

    assert scene.rules() == [Rule.CLAIMED_TWICE]


def test_nobody_asks_for_another_operation_than_was_done(scene: Scene) -> None:
    scene.done.operation = Set("/x", b"6")

    assert scene.rules() == [Rule.CHANGED]


@pytest.mark.parametrize(
    "code", [ErrorCode.NO_NODE, ErrorCode.NOT_READ_ONLY, ErrorCode.SESSION_EXPIRED]
)
def test_what_was_refused_was_not_done(scene: Scene, code: ErrorCode) -> None:
    scene.story.history.end(scene.done, Refusal(code), scene.sync.zxid)

    assert scene.rules() == [Rule.OTHER_RESULT]


def test_what_was_done_was_not_refused(scene: Scene) -> None:
    scene.refused.result = None

    assert scene.rules() == [Rule.OTHER_RESULT]


def test_the_ensemble_alone_can_say_that_a_version_is_wrong(scene: Scene) -> None:
    refusal = Refusal(ErrorCode.BAD_VERSION)
    scene.story.history.end(scene.undone, refusal, scene.sync.zxid)

    assert scene.rules() == [Rule.LOST]


def test_an_unknown_write_may_be_done_or_not(scene: Scene) -> None:
    unanswer(scene.late)

    assert scene.rules() == []


# --- time ---


def test_a_write_comes_after_what_was_answered_before_its_call(scene: Scene) -> None:
    early = scene.early
    early.called, early.returned = scene.late.returned + 0.1, scene.late.returned + 0.2
    early.zxid = scene.late.zxid

    assert scene.rules() == [Rule.BEFORE_CALLED]


def test_an_unknown_write_comes_after_what_was_answered_before(scene: Scene) -> None:
    scene.done.called = scene.sync.returned + 1

    assert scene.rules() == [Rule.BEFORE_CALLED]


def test_overlapping_writes_may_have_any_order(scene: Scene) -> None:
    scene.early.returned = scene.late.returned
    scene.early.zxid = scene.late.zxid
    scene.late.called = scene.early.called

    assert scene.rules() == []


def test_calls_that_touch_at_one_moment_overlap(scene: Scene) -> None:
    early = scene.early
    scene.story.calls.remove(scene.stale)
    early.called, early.returned = scene.late.returned, scene.late.returned + 0.1
    early.zxid = scene.late.zxid

    assert scene.rules() == []


def test_what_a_dead_session_asked_for_is_refused_after_its_answer() -> None:
    story = Story()
    anna = story.open(b"anna")
    call = story.begin(anna, Create("/x"))
    story.world.close(anna)
    story.history.end(call, Refusal(ErrorCode.SESSION_EXPIRED), story.world.tree.zxid)
    story.do(call)

    assert check_history(story.calls, story.log) == []


def test_who_is_answered_sees_his_write(scene: Scene) -> None:
    scene.late.zxid = scene.early.zxid

    assert scene.rules() == [Rule.AFTER_ANSWERED]


# --- reads ---


def test_two_reads_do_not_have_each_others_results(scene: Scene) -> None:
    first, second = scene.stale, scene.fresh
    first.result, second.result = second.result, first.result

    assert scene.rules() == [Rule.OTHER_RESULT] * 2


def test_a_read_shows_what_was_there(scene: Scene) -> None:
    scene.fresh.operation = Exists("/y")

    assert scene.rules() == [Rule.OTHER_RESULT]


def test_nobody_sees_what_was_never_agreed_upon(scene: Scene) -> None:
    del scene.log[-1]

    assert scene.rules() == [Rule.NO_SUCH_STATE]


def test_a_session_does_not_miss_its_own_write(scene: Scene) -> None:
    scene.fresh.result, scene.fresh.zxid = scene.stale.result, scene.stale.zxid

    assert scene.rules() == [Rule.WENT_BACK]


def test_a_session_does_not_go_back_in_time(scene: Scene) -> None:
    story, anna = scene.story, scene.sync.session
    first, second = story.read(anna, Get("/x")), story.read(anna, Get("/x"))
    second.result, second.zxid = scene.fresh.result, scene.fresh.zxid

    assert first.zxid > second.zxid
    assert scene.rules() == [Rule.WENT_BACK]


def test_another_session_may_be_behind(scene: Scene) -> None:
    behind = scene.story.read(SessionId(99), Get("/x"))
    behind.result, behind.zxid = scene.stale.result, scene.stale.zxid

    assert scene.rules() == []


def test_after_a_sync_nobody_is_behind(scene: Scene) -> None:
    eve = SessionId(99)
    sync, read = scene.story.sync(eve), scene.story.read(eve, Get("/x"))
    assert scene.rules() == []

    for call in (sync, read):
        call.zxid = scene.stale.zxid
    read.result = scene.stale.result
    assert scene.rules() == [Rule.STALE_SYNC]


def test_a_read_after_a_sync_is_not_older_than_the_sync(scene: Scene) -> None:
    eve = SessionId(99)
    _, read = scene.story.sync(eve), scene.story.read(eve, Get("/x"))
    read.result, read.zxid = scene.stale.result, scene.stale.zxid

    assert scene.rules() == [Rule.WENT_BACK]


# --- where the log comes from ---


def recovered(base: int = 0) -> Recovered:
    story = Story()
    story.open(b"anna")
    story.open(b"ben")
    return Recovered(None, base, story.world.log, None)


def test_what_is_not_known_to_be_committed_is_no_witness() -> None:
    assert [zxid for zxid, _ in decode_log(recovered(), 1)] == [1]


@pytest.mark.parametrize(
    ("damaged", "last"),
    [(lambda: recovered(base=5), 2), (recovered, 3)],
    ids=["purged", "too short"],
)
def test_half_a_log_is_no_witness(damaged: Callable[[], Recovered], last: int) -> None:
    with pytest.raises(ValueError, match="the log"):
        decode_log(damaged(), last)
