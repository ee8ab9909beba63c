"""The choice of DIFF, TRUNC or SNAP, held against the logs themselves."""

from __future__ import annotations

from hypothesis import given, strategies as st

from coordlib.consensus import History, Settings
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


@given(two_logs(), st.integers(0, 4))
def test_the_plan_makes_the_learners_log_the_leaders(
    logs: tuple[Log, Log], trimmed: int
) -> None:
    leader_log, learner_log = logs
    trimmed = min(trimmed, len(leader_log))
    base = leader_log[trimmed - 1] if trimmed else NO_ZXID
    leader = History.recovered(base, [(z, b"") for z in leader_log[trimmed:]])
    learner = History.recovered(0, [(z, b"") for z in learner_log])

    plan = plan_synchronization(leader, learner.tails())

    if isinstance(plan, Snap):
        # Only when the point where the logs part is not kept any more.
        shared = [z for z in leader_log if z in learner_log]
        assert trimmed
        assert not shared or shared[-1] < base
    else:
        assert learner.holds(plan.common)
        learner.cut(plan.common)
        for zxid, payload in leader.between(plan.common, leader.last):
            assert follows(zxid, learner.last)
            learner.append(zxid, payload)
        synchronised = [z for z, _ in learner.between(NO_ZXID, learner.last)]
        assert synchronised == leader_log


def test_a_learner_that_is_level_gets_an_empty_diff() -> None:
    log = History.recovered(0, [(make_zxid(1, 1), b"")])

    assert plan_synchronization(log, log.tails()) == Diff(log.last)


def test_an_empty_learner_gets_everything_or_a_snapshot() -> None:
    whole = History.recovered(0, [(make_zxid(1, 1), b"")])
    trimmed = History.recovered(make_zxid(1, 1), [(make_zxid(1, 2), b"")])

    assert plan_synchronization(whole, []) == Diff(NO_ZXID)
    assert plan_synchronization(trimmed, []) == Snap()


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
