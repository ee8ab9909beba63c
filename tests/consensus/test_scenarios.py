"""Known bugs of other implementations, replayed: one transcript for each.

``World`` checks prefix consistency, durable copies on a quorum and one leader
per epoch after every step of a transcript, besides what the transcript says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus_stage import Stage
from scenario import read_steps, run_scenario

SCENARIOS = sorted((Path(__file__).parents[1] / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_story_goes_as_it_should(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rewrite = bool(request.config.getoption("--rewrite"))

    run_scenario(path, Stage(tmp_path).perform, rewrite=rewrite)


def test_what_is_not_a_step_is_not_passed_over_in_silence() -> None:
    for text in ("status\nok\n", "status\n----\nok\n\nstatus\n", "# no command\n"):
        with pytest.raises(ValueError, match="not a step"):
            list(read_steps(text))
