"""The search finds an order where there is one, and none where there is none."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import attrs
import pytest

from coordlib.testing import Attempt, linearize

Step = tuple[str, int]
Register = Attempt[Step, int | None]


@attrs.frozen
class RegisterModel:
    """A number that is written and read."""

    initial: int = 0

    def step(self, state: int, operation: Step) -> tuple[int, int | None]:
        kind, value = operation
        return (value, None) if kind == "write" else (state, state)


def write(value: int, called: float, returned: float = math.inf) -> Register:
    return Attempt(("write", value), called, returned)


def read(value: int, called: float, returned: float) -> Register:
    return Attempt(("read", 0), called, returned, value)


def verdict(*attempts: Register) -> bool | None:
    return linearize(attempts, RegisterModel()).linearizable


def test_no_call_at_all_is_linearizable() -> None:
    assert verdict() is True


def test_a_read_sees_the_write_before_it() -> None:
    assert verdict(write(1, 1, 2), read(1, 3, 4)) is True
    assert verdict(write(1, 1, 2), read(0, 3, 4)) is False


def test_a_read_may_see_an_overlapping_write_or_not() -> None:
    assert verdict(write(1, 1, 4), read(1, 2, 3)) is True
    assert verdict(write(1, 1, 4), read(0, 2, 3)) is True


def test_what_one_reader_saw_the_next_one_sees() -> None:
    writing = write(1, 1, 9)

    assert verdict(writing, read(0, 2, 3), read(1, 4, 5)) is True
    assert verdict(writing, read(1, 2, 3), read(0, 4, 5)) is False


def test_calls_that_touch_at_one_moment_overlap() -> None:
    assert verdict(write(1, 1, 2), read(0, 2, 3)) is True


def test_a_write_without_an_answer_takes_effect_late_or_never() -> None:
    assert verdict(write(1, 1), read(0, 2, 3), read(1, 8, 9)) is True
    assert verdict(write(1, 1), read(0, 2, 3), read(0, 8, 9)) is True


def test_a_write_without_an_answer_takes_effect_once() -> None:
    lost = write(1, 1)
    reads = [read(1, 2, 3), read(2, 6, 7), read(1, 8, 9)]

    assert verdict(lost, write(2, 4, 5), *reads) is False


def test_the_answer_that_cannot_be_explained_is_named() -> None:
    wrong = read(7, 5, 6)

    found = linearize([write(1, 1, 2), read(1, 3, 4), wrong], RegisterModel())

    assert found.stuck_at is wrong


def test_a_search_beyond_its_budget_does_not_know() -> None:
    attempts = [write(value, 1, 10) for value in range(6)]
    impossible = read(7, 11, 12)

    found = linearize([*attempts, impossible], RegisterModel(), steps_max=20)
    assert (found.linearizable, found.steps) == (None, 20)
    assert verdict(*attempts, impossible) is False


def test_what_was_tried_is_not_tried_again() -> None:
    writes = [write(1, 1, 10) for _ in range(8)]

    found = linearize([*writes, read(7, 11, 12)], RegisterModel())

    # Each set of them, and each that may be next: not each of 8! orders.
    assert found.linearizable is False
    assert found.steps <= 9 * 2**8


def explained(attempts: Sequence[Register]) -> bool:
    """Try every order of all subsets that hold the answered ones."""
    return any(
        fits(order)
        for count in range(len(attempts) + 1)
        for order in itertools.permutations(attempts, count)
        if all(a in order or a.returned == math.inf for a in attempts)
    )


def fits(order: Sequence[Register]) -> bool:
    state = 0
    for place, attempt in enumerate(order):
        if any(later.returned < attempt.called for later in order[place:]):
            return False
        state, result = RegisterModel().step(state, attempt.operation)
        if attempt.returned < math.inf and result != attempt.result:
            return False
    return True


@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_what_trying_every_order_finds(seed: int) -> None:
    rng = random.Random(seed)
    verdicts = []
    for _ in range(40):
        attempts = []
        for _ in range(rng.randrange(2, 6)):
            called, value = rng.randrange(8), rng.randrange(1, 3)
            returned = called + rng.randrange(1, 5)
            if rng.random() < 0.5:
                attempts.append(read(rng.randrange(3), called, returned))
            else:
                unknown = rng.random() < 0.3
                attempts.append(write(value, called, math.inf if unknown else returned))
        verdicts.append(verdict(*attempts))
        assert verdicts[-1] is explained(attempts)

    assert set(verdicts) == {True, False}
