"""Real processes, sockets and disks; the leader dies by ``kill -9``."""

from __future__ import annotations

from pathlib import Path

from processes.kill_leader import kill_leaders


def test_killed_leaders_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    report = kill_leaders(4, tmp_path)

    assert len(report.outages) == 4
    assert report.created
    assert report.counted
