"""A short run of ``make torture``."""

from __future__ import annotations

from pathlib import Path

from processes.torture import Torture


def test_killed_and_frozen_processes_lose_nothing_and_double_nothing(
    tmp_path: Path,
) -> None:
    torture = Torture.of(3, tmp_path, seed=5)
    torture.run(kills=8)

    assert torture.stops
    assert torture.fleet.created
    assert len({call.session for call in torture.fleet.calls}) > 8
    assert sum(call.answered for call in torture.fleet.calls) > 200
    assert torture.fleet.counted
