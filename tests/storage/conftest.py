"""Says at the end of a run how many crashes there were."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    crashes = [
        int(str(value))
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "crashes"
    ]
    if crashes:
        terminalreporter.write_line(
            f"{sum(crashes):,} crashes of {len(crashes):,} scripts, all good"
        )
