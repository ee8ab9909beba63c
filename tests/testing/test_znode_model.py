"""Histories of znodes are searched for an order, without a look at zxids."""

from __future__ import annotations

import pytest

from coordlib.errors import ErrorCode
from coordlib.ids import SessionId
from coordlib.testing import (
    Call,
    Exists,
    Get,
    GetChildren,
    Refusal,
    Sync,
    check_history,
    linearize_history,
)
from coordlib.testing.history import ClientResult, Write
from coordlib.tree import Create, Delete, Multi, Set
from testing.story import Story, unanswer

ANNA, BEN = SessionId(1), SessionId(2)

WRITES: list[Write] = [
    Create("/x", b"0"),
    Create("/x/y"),
    Create("/x/y"),
    Set("/x", b"1"),
    Set("/x", b"2", 1),
    Set("/x", b"never", 1),
    Delete("/x"),
    Delete("/x/y", 1),
    Delete("/x/y"),
    Delete("/x/y"),
    Create("/x/y/z"),
    Delete("/x", 2),
    Create("/x"),
    Set("/", b"root"),
]


@pytest.fixture
def story() -> Story:
    """One session writes; the other reads each time, after a sync."""
    story = Story()
    assert [story.open(b"anna"), story.open(b"ben")] == [ANNA, BEN]
    for write in WRITES:
        story.write(ANNA, write)
        for path in ("/", "/x", "/x/y"):
            for read in (Get(path), Exists(path)):
                story.sync(BEN)
                story.read(BEN, read)
    return story


def verdict(story: Story) -> bool | None:
    return linearize_history(story.calls).linearizable


def calls_of(story: Story, operation: object) -> list[Call]:
    return [call for call in story.calls if call.operation == operation]


def test_a_true_history_is_linearizable(story: Story) -> None:
    assert check_history(story.calls, story.log) == []
    assert verdict(story) is True


def test_every_answer_counts(story: Story) -> None:
    believed = []
    for call in story.calls:
        true, wrong = call.result, other_than(call.result)
        call.result = wrong
        if verdict(story) and not isinstance(call.operation, Sync):
            believed.append((call.operation, wrong))
        call.result = true

    assert believed == []


def other_than(result: ClientResult) -> ClientResult:
    refusal = Refusal(ErrorCode.NODE_EXISTS)
    return Refusal(ErrorCode.NOT_EMPTY) if result == refusal else refusal


def test_a_synced_read_is_not_stale(story: Story) -> None:
    *_, before, last = calls_of(story, Get("/"))
    last.result = before.result

    assert verdict(story) is False


def test_a_read_without_a_sync_may_be_stale(story: Story) -> None:
    *_, before, last = calls_of(story, Get("/"))
    last.result = before.result
    story.calls[story.calls.index(last) - 1].operation = GetChildren("/")

    assert verdict(story) is True


def test_a_synced_read_may_miss_what_came_after_its_sync(story: Story) -> None:
    story.sync(BEN)
    read = story.read(BEN, Get("/"))
    late = story.write(ANNA, Set("/", b"late"))
    read.called, read.returned = late.returned + 1, late.returned + 2

    assert verdict(story) is True


def test_an_overlapping_sync_does_not_make_a_read_synced(story: Story) -> None:
    *_, before, last = calls_of(story, Get("/"))
    last.result = before.result
    story.calls[story.calls.index(last) - 1].returned = last.returned

    assert verdict(story) is True


def test_two_writes_do_not_have_each_others_results(story: Story) -> None:
    [first], [second] = calls_of(story, WRITES[3]), calls_of(story, WRITES[4])
    first.result, second.result = second.result, first.result

    assert verdict(story) is False


def test_an_acknowledged_write_has_happened(story: Story) -> None:
    """The last one has, or the reads after it are wrong; so for every other."""
    for write in story.calls:
        if isinstance(write.operation, Write) and not isinstance(write.result, Refusal):
            without = [call for call in story.calls if call is not write]
            assert linearize_history(without).linearizable is False


def test_a_write_happens_once(story: Story) -> None:
    [call] = calls_of(story, WRITES[3])
    story.calls.append(call)

    assert verdict(story) is False


def test_an_unknown_write_has_happened_or_not(story: Story) -> None:
    [done] = calls_of(story, WRITES[3])
    unanswer(done)
    story.begin(ANNA, Set("/x", b"lost"))
    assert verdict(story) is True

    [wrong] = calls_of(story, WRITES[5])
    wrong.result = None
    assert verdict(story) is False


def test_what_never_reached_the_tree_is_left_out(story: Story) -> None:
    for code in (ErrorCode.NOT_READ_ONLY, ErrorCode.SESSION_EXPIRED):
        story.refuse(BEN, Delete("/x"), Refusal(code))

    assert verdict(story) is True


def test_the_budget_is_for_all_parts_together(story: Story) -> None:
    needed = linearize_history(story.calls).steps

    assert linearize_history(story.calls, steps_max=needed).linearizable is True
    assert linearize_history(story.calls, steps_max=needed - 1).linearizable is None


@pytest.mark.parametrize(
    "operation",
    [
        Create("/e", ephemeral=True),
        Create("/s", sequential=True),
        Delete("/x", czxid=3),
        Multi((Set("/x", b""),)),
    ],
    ids=["ephemeral", "sequential", "czxid", "multi"],
)
def test_what_needs_zxids_is_refused(story: Story, operation: Write) -> None:
    story.begin(ANNA, operation)

    with pytest.raises(ValueError, match="without zxids"):
        verdict(story)
