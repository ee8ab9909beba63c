"""The conformance suite's own parts: programs, comparison, cutting, recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import record
from conformance.answers import Answer, normalized
from conformance.comparison import Finding, compare, explain, shrink
from conformance.generate import generate
from conformance.live import ask_coordlib
from conformance.program import Name, Program, Step
from conformance.server import Ports
from coordlib.ids import SessionId
from coordlib.tree import Stat

OPEN = Step(Name.OPEN)
DELETE = Step(Name.DELETE, path="/a/")
STAT = Stat(
    czxid=70,
    mzxid=90,
    pzxid=70,
    ctime=1000,
    mtime=1005,
    version=1,
    cversion=0,
    aversion=0,
    ephemeral_owner=SessionId(55),
    data_length=0,
    num_children=0,
)


def test_a_seed_and_a_number_make_one_program() -> None:
    assert generate(1, 2) == generate(1, 2)
    assert generate(1, 2).steps != generate(2, 2).steps != generate(2, 3).steps


def test_the_programs_of_a_seed_do_everything() -> None:
    steps = [step for number in range(50) for step in generate(3, number).steps]
    assert {step.name for step in steps} == set(Name) - {Name.CHECK}
    assert {step.mode for step in steps if step.name is Name.CREATE} == set(range(7))
    multis = [step for step in steps if step.name is Name.MULTI]
    assert {part.name for step in multis for part in step.parts} == {
        Name.CREATE,
        Name.DELETE,
        Name.SET,
        Name.CHECK,
    }


def test_zxids_times_and_sessions_are_compared_by_what_they_say() -> None:
    [answer] = normalized([Answer(stat=STAT)], {55: 2})
    assert answer.stat == STAT._replace(
        czxid=0, mzxid=1, pzxid=0, ctime=0, mtime=0, ephemeral_owner=SessionId(3)
    )


@pytest.mark.parametrize("mtime", [1001, 999])
def test_a_time_that_contradicts_its_zxid_is_seen(mtime: int) -> None:
    earlier = STAT._replace(mzxid=70, mtime=1000)
    wrong = STAT._replace(mzxid=80, mtime=mtime)
    other = STAT._replace(mzxid=80, mtime=1005)
    answers = [Answer(stat=stat) for stat in (earlier, wrong, other)]
    assert any(a.stat and a.stat.mtime for a in normalized(answers, {55: 0}))


def test_an_answer_that_differs_is_found_where_it_is() -> None:
    program = Program("p", (OPEN, Step(Name.SYNC), Step(Name.CREATE, path="/a")))
    theirs = [Answer(), Answer(), Answer(path="/a"), Answer()]
    ours = [*theirs[:2], Answer(-110), Answer()]

    assert compare(program, theirs, theirs) == (None, [])
    finding, _ = compare(program, theirs, ours)
    assert finding == Finding(2, theirs[2], ours[2])
    story = explain(program, finding, theirs, ours)
    assert "ZooKeeper  code 0, path /a" in story
    assert "coordlib   code -110" in story


def test_a_program_is_cut_down_to_what_differs() -> None:
    wanted = Step(Name.DELETE, path="/a")
    multi = Step(Name.MULTI, parts=(Step(Name.CHECK, path="/b"), wanted))
    steps = (*generate(1, 1).steps, multi, *generate(1, 2).steps)

    def differs(program: Program) -> bool:
        return any(wanted in step.parts for step in program.steps)

    small = shrink(Program("p", steps), differs)
    assert small.steps == (Step(Name.MULTI, parts=(wanted,)),)


def test_a_recorded_program_is_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = [generate(5, number) for number in range(5)]
    answers = ask_coordlib(programs)
    monkeypatch.setattr(record, "SHARDS", tmp_path / "recorded")
    monkeypatch.setattr(record, "ask_zookeeper", lambda _ports, _programs: answers)
    record.record(programs, Ports(0, 0))
    [file] = record.SHARDS.iterdir()
    assert record.read_shard(file) == list(zip(programs, answers, strict=True))


def test_a_malformed_path_is_never_merely_missing() -> None:
    program = Program("p", (OPEN, Step(Name.GET, path="/a//b"), DELETE))
    theirs = [Answer(), Answer(-101), Answer(-101), Answer()]
    [ours] = ask_coordlib([program])
    assert [answer.code for answer in ours] == [0, -8, -8, 0]
    assert compare(program, theirs, ours)[0] is None
