"""Where coordlib differs from ZooKeeper on purpose, and nowhere else.

Each of these stands in ``docs/guarantees.md`` with its reason, and a test shows
that it is still so. What is not in this table is a bug.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from coordlib.errors import BadArgumentsError, ErrorCode
from coordlib.tree import validate_path

from .answers import Answer
from .program import Name, Step

__all__ = ["DIFFERENCES", "Difference", "expected"]


@attrs.frozen
class Difference:
    """One thing that coordlib does in its own way.

    Attributes:
      name: As in ``docs/guarantees.md``.
      reason: Why.
      instead: Gets a step and ZooKeeper's answer. Returns coordlib's, if that is
        another because of this difference.

    """

    name: str
    reason: str
    instead: Callable[[Step, Answer], Answer | None]


def expected(step: Step, theirs: Answer) -> tuple[Answer, list[str]]:
    """Return what coordlib has to answer, and the differences that count here."""
    names: list[str] = []
    for difference in DIFFERENCES:
        answer = difference.instead(step, theirs)
        if answer is not None:
            theirs = answer
            names.append(difference.name)
    return theirs, names


# What ZooKeeper's server says of such a path, instead of refusing it.
_UNCHECKED = {
    Name.EXISTS: {ErrorCode.NO_NODE},
    Name.GET: {ErrorCode.NO_NODE},
    Name.CHILDREN: {ErrorCode.NO_NODE},
    Name.GET_ACL: {ErrorCode.NO_NODE},
    Name.COUNT: {ErrorCode.NO_NODE},
    Name.DELETE: {ErrorCode.NO_NODE},
    # It may watch for what can never be.
    Name.REMOVE_WATCHES: {ErrorCode.NO_WATCHER, ErrorCode.OK},
}


def _malformed(step: Step, theirs: Answer) -> Answer | None:
    """Find what is missing at a path at which nothing can be."""
    if step.name is Name.MULTI and theirs.parts:
        pairs = zip(step.parts, theirs.parts, strict=True)
        parts = tuple(_malformed(part, answer) or answer for part, answer in pairs)
        return None if parts == theirs.parts else attrs.evolve(theirs, parts=parts)
    if theirs.code not in _UNCHECKED.get(step.name, ()):
        return None
    try:
        validate_path(step.path.removeprefix("!"))
    except BadArgumentsError:
        return attrs.evolve(theirs, code=int(ErrorCode.BAD_ARGUMENTS))
    return None


DIFFERENCES = (
    Difference(
        "a malformed path is never merely missing",
        "the argument is wrong, and no later call can make it right",
        _malformed,
    ),
)
