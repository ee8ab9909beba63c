"""Looks for an order that explains a history, and trusts no zxid.

A history is linearizable if each call can be given one moment between its call
and its answer, so that all answers are right when the calls take effect in the
order of these moments. The search is Wing and Gong's (1993), with Lowe's memory
of what was tried (2017): go through the calls that may be next, try one, and go
back when an answer comes before its call has a place. It is exponential at
worst, so it has a budget; and histories have to be small.

:func:`linearize` takes any sequential specification, so also one of your own
service; :mod:`.znode_model` has that of znodes. For large histories of sessions
there is :mod:`.witness`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import attrs

__all__ = ["STEPS_MAX", "Attempt", "Model", "Verdict", "linearize"]

STEPS_MAX = 1_000_000
"""How many times a search asks its model before it gives up: some seconds."""

S = TypeVar("S", bound=Hashable)
O = TypeVar("O")  # noqa: E741 - an operation
R = TypeVar("R")
O_contra = TypeVar("O_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


@attrs.define(eq=False)
class Attempt(Generic[O, R]):
    """One call, as somebody outside sees it.

    Attributes:
      operation: What was asked for.
      called: When. Times are comparable numbers, and only their order counts;
        what touches at one moment overlaps.
      returned: When it was answered; infinite for never: then it took effect
        once, or will, or never does.
      result: The answer, if there was one.

    """

    operation: O
    called: float
    returned: float = math.inf
    result: R | None = None


class Model(Protocol[S, O_contra, R_co]):
    """A sequential specification: what calls do one after the other."""

    @property
    def initial(self) -> S:
        """The state before the first call."""
        ...

    def step(self, state: S, operation: O_contra) -> tuple[S, R_co]:
        """Return the next state and what the caller is answered."""
        ...


@attrs.frozen
class Verdict(Generic[O, R]):
    """What a search has found.

    Attributes:
      linearizable: Whether there is an order; ``None`` if the budget ended the
        search before that was known.
      steps: How many times the model was asked.
      stuck_at: Of a search without success, the answer that the longest order
        it found could not explain.

    """

    linearizable: bool | None
    steps: int
    stuck_at: Attempt[O, R] | None = None


def linearize(
    attempts: Iterable[Attempt[O, R]],
    model: Model[S, O, R],
    *,
    steps_max: int = STEPS_MAX,
) -> Verdict[O, R]:
    """Look for an order of the attempts that explains all answers.

    Args:
      attempts: In any order.
      model: What they would be answered one after the other.
      steps_max: The budget.

    """
    search = _Search(sorted(attempts, key=lambda a: a.called), model, steps_max)
    return search.run()


# Stands before the first event and behind the last.
_HEAD = 0


class _Search(Generic[S, O, R]):
    """One search at work.

    Events, the calls and the answers, are numbered from 1 on by time. A linked
    list holds those of the attempts that have no place in the order yet.
    """

    def __init__(
        self, attempts: Sequence[Attempt[O, R]], model: Model[S, O, R], steps_max: int
    ) -> None:
        self._attempts = attempts
        self._model = model
        self._steps_max = steps_max
        self._unexplained = sum(a.returned < math.inf for a in attempts)
        # By event: which attempt, and whether it is the answer.
        self._events = [(0.0, True, -1), *_events(attempts)]
        # By attempt: its events; the call first.
        self._of: list[list[int]] = [[] for _ in attempts]
        for event, (_, _, index) in enumerate(self._events[1:], start=1):
            self._of[index].append(event)
        count = len(self._events)
        self._next = [(event + 1) % count for event in range(count)]
        self._before = [(event - 1) % count for event in range(count)]

    def run(self) -> Verdict[O, R]:
        """Search, depth first."""
        state, placed, steps = self._model.initial, 0, 0
        # The attempts that have a place, with the state before each; and every
        # set of them that was reached, with the state after it.
        order: list[tuple[int, S]] = []
        tried: set[tuple[int, S]] = set()
        longest = -1
        stuck_at: Attempt[O, R] | None = None
        event = self._next[_HEAD]
        while self._unexplained:
            _, is_answer, index = self._events[event]
            attempt = self._attempts[index]
            if is_answer:
                # It should have had its place by now.
                if len(order) > longest:
                    longest, stuck_at = len(order), attempt
                if not order:
                    return Verdict(linearizable=False, steps=steps, stuck_at=stuck_at)
                index, state = order.pop()
                placed ^= 1 << index
                self._put_back(index)
                event = self._next[self._of[index][0]]
                continue
            if steps == self._steps_max:
                return Verdict(linearizable=None, steps=steps, stuck_at=stuck_at)
            steps += 1
            after, result = self._model.step(state, attempt.operation)
            reached = placed | 1 << index, after
            fits = attempt.returned == math.inf or result == attempt.result
            if not fits or reached in tried:
                event = self._next[event]
                continue
            tried.add(reached)
            order.append((index, state))
            placed, state = reached
            self._take_out(index)
            event = self._next[_HEAD]
        return Verdict(linearizable=True, steps=steps)

    def _take_out(self, index: int) -> None:
        for event in self._of[index]:
            before, after = self._before[event], self._next[event]
            self._next[before], self._before[after] = after, before
        self._unexplained -= len(self._of[index]) - 1

    def _put_back(self, index: int) -> None:
        """Undo the last :meth:`_take_out`; an event still knows its neighbours."""
        for event in reversed(self._of[index]):
            self._next[self._before[event]] = self._before[self._next[event]] = event
        self._unexplained += len(self._of[index]) - 1


def _events(attempts: Sequence[Attempt[O, R]]) -> list[tuple[float, bool, int]]:
    """Return time, whether it is an answer, and attempt; calls first at one moment."""
    calls = [(a.called, False, index) for index, a in enumerate(attempts)]
    answers = [
        (a.returned, True, index)
        for index, a in enumerate(attempts)
        if a.returned < math.inf
    ]
    return sorted(calls + answers)
