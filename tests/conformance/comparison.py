"""Two servers' answers to one program, held against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from .answers import Answer
from .differences import expected
from .program import Name, Program, Step

__all__ = ["Finding", "compare", "explain", "shrink"]

_END = Step(Name.SYNC)
"""Stands for what is asked of each session after the last step."""


@attrs.frozen
class Finding:
    """A difference that is not meant.

    Attributes:
      at: The index of the step.
      theirs: ZooKeeper's answer, but for the differences that are meant.
      ours: coordlib's.

    """

    at: int
    theirs: Answer
    ours: Answer


def compare(
    program: Program, theirs: Sequence[Answer], ours: Sequence[Answer]
) -> tuple[Finding | None, list[str]]:
    """Return the first difference that is not meant, and the names of all that are."""
    names: list[str] = []
    steps = [*program.steps, *[_END] * (len(theirs) - len(program.steps))]
    assert len(theirs) == len(ours) == len(steps)
    for at, (step, their, our) in enumerate(zip(steps, theirs, ours, strict=True)):
        should, deliberate = expected(step, their)
        names += deliberate
        if should != our:
            return Finding(at, should, our), names
    return None, names


def shrink(program: Program, differs: Callable[[Program], bool]) -> Program:
    """Leave out steps, and parts of multis, for as long as it still differs."""
    smaller: Program | None = program
    while smaller is not None:
        program = smaller
        smaller = next(filter(differs, _smaller(program)), None)
    return program


def _smaller(program: Program) -> Iterator[Program]:
    steps = program.steps
    length = len(steps) // 2
    while length:
        # The last first: what comes after the difference does not matter.
        for start in range(len(steps) - length, -1, -length):
            kept = steps[:start] + steps[start + length :]
            yield attrs.evolve(program, steps=kept)
        length //= 2
    for at, step in enumerate(steps):
        for index in range(len(step.parts) if len(step.parts) > 1 else 0):
            parts = step.parts[:index] + step.parts[index + 1 :]
            changed = attrs.evolve(step, parts=parts)
            kept = (*steps[:at], changed, *steps[at + 1 :])
            yield attrs.evolve(program, steps=kept)


def explain(
    program: Program,
    finding: Finding,
    theirs: Sequence[Answer],
    ours: Sequence[Answer],
) -> str:
    """Tell a program and both answers to it, for people."""
    lines = [f"program {program.name}"]
    for at, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        if at < len(program.steps):
            step = program.steps[at]
            lines.append(f"{at:3}  session {step.session}: {step}")
        else:
            lines.append(f"{at:3}  at the end")
        if at == finding.at:
            lines += [f"     ZooKeeper  {finding.theirs}", f"     coordlib   {our}"]
        else:
            lines.append(f"     {their}")
    return "\n".join(lines)
