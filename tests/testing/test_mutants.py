"""Rules that are broken on purpose are noticed; all of them by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

import coordlib
from coordlib.testing.mutants import kill, main
from coordlib.testing.mutation_list import MUTANTS, Mutant

PACKAGE = Path(coordlib.__file__).parent

# A sample that dies of one or two seeds; ``make mutants`` tries all.
QUICK = [
    "acknowledge a proposal before it is durable",
    "acknowledge the leader before its history is durable",
    "promise an epoch before the promise is durable",
    "forget what was promised",
    "deliver all that was logged when an epoch begins",
    "deliver nothing that is committed later",
    "commit with one disk less than a quorum",
    "count the own disk before it has written",
    "use an epoch twice",
    "write nothing",
    "answer a sync without asking anybody",
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutants_line_stands_there_once(mutant: Mutant) -> None:
    assert (PACKAGE / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old


@pytest.mark.parametrize("name", QUICK)
def test_a_sample_is_killed_within_some_seeds(name: str) -> None:
    (mutant,) = (m for m in MUTANTS if m.name == name)

    verdict = kill(mutant, seeds=5, seconds=5)

    assert verdict.seeds
    assert verdict.oracle not in {"", "does not run"}


def test_what_changes_nothing_lives() -> None:
    comment = Mutant("nothing", "ids.py", "MEMBER_ID_MAX = 254", "MEMBER_ID_MAX = 253")

    assert not kill(comment, seeds=1, seconds=1).seeds


def test_a_mutant_of_a_line_that_is_gone_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"ids\.py does not hold"):
        kill(Mutant("gone", "ids.py", "no such line", ""), seeds=1)


def test_the_command_says_who_lives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nobody has this name"]) == 0
    assert "0 of 0 killed" in capsys.readouterr().out
