"""The simulator itself: it repeats itself, and it sees what is broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque

import pytest

from coordlib.consensus import Majority, Message
from coordlib.consensus.core import Core
from coordlib.ids import MemberId, SessionId, Zxid
from coordlib.replica.expiry import Expiry
from coordlib.testing.simulate import main, play_all
from coordlib.testing.simulation import (
    SITUATIONS,
    Outcome,
    Violation,
    shrink,
    simulate,
)
from coordlib.testing.simulation.disk import Disk
from coordlib.testing.simulation.kernel import Kernel
from coordlib.testing.simulation.profile import FAULTS
from coordlib.tree import SessionRecord, TreeEvent, WatchTable

SEEDS = 190


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Play the seeds of every change: more than a minute for two processors."""
    return list(play_all(simulate, range(SEEDS), jobs=2))


def test_nothing_is_violated(outcomes: list[Outcome]) -> None:
    assert [(o.seed, o.violation) for o in outcomes if o.violation] == []


def test_much_is_agreed_and_much_goes_wrong(outcomes: list[Outcome]) -> None:
    assert sum(o.events for o in outcomes) > 3_000_000
    assert sum(o.agreed for o in outcomes) > 180_000
    assert sum(o.faults.total() for o in outcomes) > 5_000
    assert {name for o in outcomes for name in o.faults} == set(FAULTS)
    assert sum(o.oddities.total() for o in outcomes) > 50_000
    assert len({name for o in outcomes for name in o.oddities}) >= 30


def test_every_situation_has_a_name_that_is_known(outcomes: list[Outcome]) -> None:
    reached = {name for o in outcomes for name in o.marks}

    assert reached <= SITUATIONS
    assert len(SITUATIONS) >= 60
    assert len(reached) >= 60


TRACES = """
from coordlib.testing.simulation import simulate
print([simulate(seed, seconds=0.5).trace for seed in range(12)])
"""


def test_the_same_seed_is_the_same_story_in_every_process() -> None:
    traces = [
        subprocess.run(
            [sys.executable, "-c", TRACES],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert traces[0] == traces[1]
    assert len(set(json.loads(traces[0].replace("'", '"')))) == 12


def test_looking_on_changes_nothing() -> None:
    timeline = deque[str]()

    assert simulate(3, seconds=0.5, timeline=timeline).trace == (
        simulate(3, seconds=0.5).trace
    )
    assert len(timeline) > 100


def test_the_command_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "4", "--seconds", "0.5", "--json"]) == 0

    sums = json.loads(capsys.readouterr().out)
    assert sums["seeds"] == 4
    assert sums["events"] > 1000
    assert sums["agreed_writes"] > 100
    assert sums["violations"] == []


def test_two_processes_come_to_the_same_sums(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sums = []
    for jobs in ("1", "2"):
        main(["--seeds", "6", "--seconds", "0.2", "--json", "--jobs", jobs])
        found = json.loads(capsys.readouterr().out)
        del found["events_per_second"]
        sums.append(found)

    assert sums[0] == sums[1]


ENDS_AMID = """
import os, signal
from coordlib.testing.simulate import play_all
for _ in play_all(print, range(100), jobs=2):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_the_process_that_asks() -> None:
    # The workers have its standard output too, so this waits for all of them.
    play = subprocess.run(
        [sys.executable, "-c", ENDS_AMID], capture_output=True, timeout=60, check=False
    )

    assert play.returncode == -signal.SIGKILL


def test_the_command_tells_a_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", "3", "--seconds", "0.2"]) == 0

    story = capsys.readouterr().out
    assert "HEALED" in story
    assert "Proposal" in story


def test_the_command_fails_on_a_violation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    acknowledge_early(monkeypatch)

    assert main(["--seeds", "1", "--seconds", "0.5"]) == 1

    captured = capsys.readouterr()
    assert "seed 0" in captured.err
    assert "durable-claim" in captured.err
    assert "1 violations" in captured.out


def test_a_violation_is_told_with_the_faults_that_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def object_to_kills(_kernel: Kernel, name: str, text: str) -> None:
        if name == "kill":
            raise Violation("made-up", text)

    monkeypatch.setattr(Kernel, "fault", object_to_kills)
    outcomes = (simulate(seed, seconds=1.0) for seed in range(60))
    outcome = next(o for o in outcomes if o.oracle and o.strikes > 10)

    needed = shrink(outcome, seconds=1.0, members=None)

    # What killed nobody by itself may need what happened before.
    assert 1 <= len(needed) <= 2
    again = simulate(outcome.seed, seconds=1.0, only=needed)
    assert again.oracle == outcome.oracle


# --- broken on purpose: each must be found ---


def found(seeds: range) -> list[str]:
    """Return the first oracle that objects, if one does."""
    outcomes = (simulate(seed, seconds=3.0) for seed in seeds)
    return [next((o.oracle for o in outcomes if o.oracle), "")]


def acknowledge_early(monkeypatch: pytest.MonkeyPatch) -> None:
    core_send = Core.send

    def send(core: Core, member: MemberId, message: Message, after: int = 0) -> None:
        core_send(core, member, message, after * 0)

    monkeypatch.setattr(Core, "send", send)


def test_an_acknowledgement_before_the_disk_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acknowledge_early(monkeypatch)

    assert found(range(3)) in (["durable-claim"], ["durable-ack"])


def test_a_quorum_that_lacks_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(quorum: Majority, values: dict[MemberId, int]) -> int:
        highest_first = sorted((values.get(m, 0) for m in quorum.voters), reverse=True)
        return highest_first[max(0, len(highest_first) // 2 - 1)]

    monkeypatch.setattr(Majority, "reached", reached)

    assert found(range(6)) == ["durable-quorum"]


def test_a_truncation_that_never_reaches_the_disk_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut(core: Core, zxid: Zxid, _now: float) -> None:
        core.history.cut(zxid)

    monkeypatch.setattr(Core, "cut", cut)

    assert found(range(60)) != [""]


def test_a_sync_that_does_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "sync_directory", lambda _disk, _fd: None)

    assert found(range(3)) == ["durable-claim"]


def test_a_session_that_expires_early_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expired = Expiry.expired

    def early(
        expiry: Expiry, sessions: dict[SessionId, SessionRecord], now: float
    ) -> list[int]:
        some = next(iter(sessions.values()), None)
        hurry = 0.6 * some.timeout_ms / 1000 if some else 0
        return list(expired(expiry, sessions, now + hurry))

    monkeypatch.setattr(Expiry, "expired", early)

    assert found(range(40, 80)) == ["early-expiry"]


def test_a_watch_that_misses_something_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fire = WatchTable.fire

    def miss(table: WatchTable, events: list[TreeEvent]) -> list[object]:
        return [told for told in fire(table, events) if told.event.zxid % 50]

    monkeypatch.setattr(WatchTable, "fire", miss)

    assert found(range(3)) == ["watch-complete"]
