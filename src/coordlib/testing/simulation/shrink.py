"""Makes the story of a violation short: which faults does it really need?

Every fault draws from its own random numbers, so one can be left out without
changing the others. Halves of the faults are left out, then quarters, and so
on (ddmin, TSE 2002); what still contradicts the same oracle goes on.
"""

from __future__ import annotations

from .simulation import Outcome, simulate

__all__ = ["shrink"]


def shrink(
    outcome: Outcome, *, seconds: float, members: int | None, attempts: int = 200
) -> frozenset[int]:
    """Return the numbers of the faults that the violation needs, or few more.

    Args:
      outcome: The violation.
      seconds: As it was played.
      members: As it was played.
      attempts: How many times to play the seed again at most.

    """
    needed = list(range(outcome.strikes))
    size = len(needed)
    while size and attempts:
        at = 0
        while at < len(needed) and attempts:
            attempts -= 1
            fewer = needed[:at] + needed[at + size :]
            again = simulate(
                outcome.seed, seconds=seconds, members=members, only=frozenset(fewer)
            )
            if again.oracle == outcome.oracle:
                needed = fewer
            else:
                at += size
        size //= 2
    return frozenset(needed)
