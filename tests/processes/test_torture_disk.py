"""A few of the kills of ``make torture-disk``."""

from __future__ import annotations

from pathlib import Path

import pytest

from processes.torture_disk import DiskTorture, Fault, why_not


def test_a_process_killed_at_a_system_call_has_lost_nothing(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    torture = DiskTorture(tmp_path)
    torture.prepare()
    assert torture.strike(Fault(0, "write", "", 4))
    assert torture.strike(Fault(1, "fdatasync", "", 2))
    assert torture.strike(Fault(1, "write", "ENOSPC", 2))
    assert torture.ended.total() == 3
