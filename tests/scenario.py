"""Runs the transcripts in ``tests/scenarios`` (after etcd raft's datadriven tests).

A transcript is a list of steps: comments, a command, a line of dashes, the
output that we expect, a blank line. ``pytest --rewrite`` writes what really
came out, so that a change of behaviour shows in review as a diff of plain text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

__all__ = ["Step", "read_steps", "run_scenario"]

STEP = re.compile(
    r"(?P<comment>(?:#.*\n|\n)*)(?P<command>[^\s#].*)\n----\n(?P<output>(?:.+\n)*)"
)


@attrs.frozen
class Step:
    """One command and the output it should give."""

    comment: str
    command: str
    output: str

    def __str__(self) -> str:
        """Return the step as it stands in the file."""
        return f"{self.comment}{self.command}\n----\n{self.output}"


def read_steps(text: str) -> Iterator[Step]:
    """Split a transcript into its steps.

    Raises:
      ValueError: Part of it is not a step, and would not be checked.

    """
    at = 0
    while at < len(text):
        match = STEP.match(text, at)
        if match is None:
            raise ValueError(f"not a step: {text[at:].strip()[:80]!r}")
        yield Step(**match.groupdict())
        at = match.end()


def run_scenario(path: Path, perform: Callable[[str], str], *, rewrite: bool) -> None:
    """Check every step of the transcript at ``path``, or rewrite it."""
    steps = list(read_steps(path.read_text()))
    actual = [attrs.evolve(s, output=perform(s.command)) for s in steps]
    if rewrite:
        path.write_text("".join(map(str, actual)))
    else:
        assert "".join(map(str, actual)) == "".join(map(str, steps))
