"""The choice of DIFF, TRUNC or SNAP, held against the logs themselves."""

from __future__ import annotations

from hypothesis import given, strategies as st

from coordlib.consensus import History, Settings, Stored
from coordlib.consensus.history import follows
from coordlib.consensus.synchronization import (
    Diff,
    Snap,
    pack_proposals,
    plan_synchronization,
)
from coordlib.ids import NO_ZXID, Epoch, Zxid, make_zxid

Log = list[Zxid]


@st.composite
def two_logs(draw: st.DrawFn) -> tuple[Log, Log]:
    """Two logs that one history of leaders can have left.

    Every epoch is written by one leader upon one initial log, and each member
    holds a beginning of what was written.
    """
    logs: list[Log] = [[], []]
    for epoch in range(1, draw(st.integers(1, 5))):
        initial = list(logs[draw(st.integers(0, 1))])
        written = [make_zxid(epoch, i + 1) for i in range(draw(st.integers(0, 3)))]
        for member in (0, 1):
            if draw(st.booleans()):
                logs[member] = initial + written[: draw(st.integers(0, 3))]
    return logs[0], logs[1]


@given(two_logs(), st.integers(0, 4), st.integers(0, 4), st.sampled_from([10, 1000]))
def test_the_plan_makes_the_learners_log_the_leaders(
    logs: tuple[Log, Log], trimmed: int, kept: int, size: int
) -> None:
    leader_log, learner_log = logs
    trimmed = min(trimmed, len(leader_log))
    base = leader_log[trimmed - 1] if trimmed else NO_ZXID
    kept = min(kept, trimmed)
    disk_base = leader_log[kept - 1] if kept else NO_ZXID
    leader = History.recovered(0, [(z, b"") for z in leader_log])
    leader.trim(base, records_max=0, bytes_max=0)
    while leader.base < base:
        leader.trim(base, records_max=0, bytes_max=0)
    learner = History.recovered(0, [(z, b"") for z in learner_log])
    stored = Stored(disk_base, ((disk_base, 100), (base, 0)), (base, size))

    plan = plan_synchronization(leader, learner.tails(), stored)

    shared = [NO_ZXID, *(z for z in leader_log if z in learner_log)][-1]
    if isinstance(plan, Snap):
        # Only when the point where the logs part is not kept any more, or that
        # much log is larger.
        assert plan.zxid == base
        assert trimmed
        assert shared < disk_base or (shared < base and size < 100)
        learner.rebase(plan.zxid)
    else:
        assert isinstance(plan, Diff)
        assert shared >= disk_base
        assert learner.holds(plan.common)
        learner.cut(plan.common)
    for zxid in leader_log:
        if zxid > learner.last:
            assert follows(zxid, learner.last)
            learner.append(zxid, b"")
    synchronised = [z for z, _ in learner.between(learner.base, learner.last)]
    assert synchronised == [z for z in leader_log if z > learner.base]


def test_a_learner_that_is_level_gets_an_empty_diff() -> None:
    log = History.recovered(0, [(make_zxid(1, 1), b"")])

    assert plan_synchronization(log, log.tails(), Stored()) == Diff(log.last)


def test_an_empty_learner_gets_everything_or_the_snapshot_and_the_rest() -> None:
    first, second = make_zxid(1, 1), make_zxid(1, 2)
    whole = History.recovered(0, [(first, b"")])
    trimmed = History.recovered(first, [(second, b"")])
    purged = Stored(first, (), (first, 100))

    assert plan_synchronization(whole, [], Stored()) == Diff(NO_ZXID)
    assert plan_synchronization(trimmed, [], Stored()) == Diff(NO_ZXID)
    assert plan_synchronization(trimmed, [], purged) == Snap(first)


def test_without_a_good_snapshot_a_purged_log_is_of_no_use() -> None:
    base = make_zxid(1, 5)
    trimmed = History.recovered(base, [])

    assert plan_synchronization(trimmed, [], Stored(base)) is None
    assert plan_synchronization(trimmed, [base], Stored(base)) == Diff(base)


def test_a_snapshot_needs_what_follows_it() -> None:
    """After damage the log may be good from a later zxid on than the snapshot."""
    snapshot, good = make_zxid(1, 5), make_zxid(1, 7)
    history = History.recovered(make_zxid(1, 9), [])

    stored = Stored(good, (), (snapshot, 100))

    assert plan_synchronization(history, [], stored) is None


def test_what_is_less_is_sent() -> None:
    early, middle, late = (make_zxid(1, i) for i in (10, 20, 30))
    history = History.recovered(make_zxid(1, 40), [])
    parts = ((Zxid(0), 1000), (middle, 300), (late, 50))

    def plan(tail: Zxid, size: int) -> object:
        stored = Stored(NO_ZXID, parts, (late, size))
        return plan_synchronization(history, [tail], stored)

    assert plan(early, 1299) == Snap(late)
    assert plan(early, 1300) == Diff(early)
    assert plan(middle, 299) == Snap(late)
    assert plan(middle, 300) == Diff(middle)
    # The rest is sent in any case.
    assert plan(late, 0) == Diff(late)


def test_proposals_hold_runs_of_one_epoch_and_a_bounded_size() -> None:
    zxids = [make_zxid(1, 1), make_zxid(1, 2), make_zxid(1, 3), make_zxid(3, 1)]
    settings = Settings(batch_records_max=2, batch_bytes_max=100)

    proposals = pack_proposals(
        Epoch(3), NO_ZXID, [(z, b"x" * 10) for z in zxids], settings
    )

    assert [(p.previous, p.first, len(p.payloads)) for p in proposals] == [
        (NO_ZXID, zxids[0], 2),
        (zxids[1], zxids[2], 1),
        (zxids[2], zxids[3], 1),
    ]


def test_a_large_payload_gets_a_proposal_of_its_own() -> None:
    transactions = [(make_zxid(1, i), b"x" * 60) for i in (1, 2, 3)]

    proposals = pack_proposals(
        Epoch(1), NO_ZXID, transactions, Settings(batch_bytes_max=100)
    )

    assert [len(p.payloads) for p in proposals] == [1, 1, 1]
