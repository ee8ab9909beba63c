"""Seeded stories: faults of all kinds, and no promise broken."""

from __future__ import annotations

import pytest

from coordlib import Config
from replica.chaos import Faults, play

# Snapshots everywhere: of the own tree, and instead of a log that is too long.
SNAPSHOTS = Config(history_records_max=8, snapshot_interval=20)

# Longer than the sessions' timeouts: a leader is deposed before it notices.
PATIENT = Config(silence_timeout=3.0)


@pytest.mark.parametrize("seed", range(4))
def test_faults_of_all_kinds_break_no_promise(seed: int) -> None:
    chaos = play(seed)

    assert chaos.created.done
    assert chaos.counted.done
    assert chaos.held
    assert chaos.synced


@pytest.mark.parametrize("seed", range(4))
def test_snapshots_hide_no_outcome(seed: int) -> None:
    chaos = play(seed, config=SNAPSHOTS)

    assert chaos.created.done


@pytest.mark.parametrize("seed", range(2))
def test_a_slow_detection_of_faults_breaks_no_promise(seed: int) -> None:
    chaos = play(seed, config=PATIENT, seconds=6)

    assert chaos.created.done


@pytest.mark.parametrize("seed", range(2))
def test_five_members_survive_crashes(seed: int) -> None:
    play(seed, size=5, seconds=1.5, faults=Faults(stall=0, resume=0, cut=0))


def test_a_seed_tells_the_same_story_again() -> None:
    first, second = play(7, seconds=1), play(7, seconds=1)

    assert first.found == second.found
    assert first.counted_data == second.counted_data
