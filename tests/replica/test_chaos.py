"""Seeded stories: faults of all kinds, and no promise broken."""

from __future__ import annotations

import pytest

from coordlib import Config
from replica.chaos import Chaos, Faults
from transport.seat import in_virtual_time

# Snapshots everywhere: of the own tree, and instead of a log that is too long.
SNAPSHOTS = Config(history_records_max=8, snapshot_interval=20)


@pytest.mark.parametrize("seed", range(6))
@in_virtual_time
async def test_faults_of_all_kinds_break_no_promise(seed: int) -> None:
    chaos = Chaos(seed)
    await chaos.run()

    chaos.check()
    assert chaos.created.done
    assert chaos.counted.done
    assert chaos.held
    assert chaos.synced


@pytest.mark.parametrize("seed", range(6))
@in_virtual_time
async def test_snapshots_hide_no_outcome(seed: int) -> None:
    chaos = Chaos(seed, config=SNAPSHOTS)
    await chaos.run()

    chaos.check()
    assert chaos.created.done


@pytest.mark.parametrize("seed", range(4))
@in_virtual_time
async def test_five_members_survive_crashes(seed: int) -> None:
    faults = Faults(stall=0, resume=0, cut=0)
    chaos = Chaos(seed, size=5, seconds=3, faults=faults)
    await chaos.run()

    chaos.check()
