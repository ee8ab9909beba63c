"""Programs on both servers, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, islice
from random import Random

import attrs
import trio
from trio.testing import MockClock

from coordlib import Config, Ensemble
from coordlib.replica.lifetime import inline
from coordlib.replica.replica import Surroundings

from .answers import Answer
from .comparison import compare, explain, shrink
from .conduct import conduct_all
from .embedded import EmbeddedServer
from .program import SUPERUSER, Program
from .server import Ports
from .zookeeper import ZooKeeperServer

__all__ = ["Report", "ask_coordlib", "ask_zookeeper", "compare_live"]

# One after the other on one ensemble, and on one connection.
_BATCH = 25
# Of how many differences are told in full.
_TOLD_MAX = 5


_CLEANING = Config(superuser=SUPERUSER)
_QUIET = attrs.evolve(_CLEANING, clean_interval=1e6)


def _ensemble(config: Config) -> Ensemble:
    """Return an ensemble that does the same again, and whose clock always moves."""
    surroundings = Surroundings(
        entropy=Random(0).randbytes,
        wall_clock=partial(next, count(1_700_000_000, 0.01)),
        blocking=inline,
    )
    return Ensemble(config=config, surroundings=surroundings)


@attrs.define
class Report:
    """What became of some programs.

    Attributes:
      programs: How many ran.
      operations: How many operations those asked for, a multi's one by one.
      differing: How many programs showed a difference that is not meant.
      deliberate: How often each difference that is meant was seen.
      told: The first few programs that differ, cut down, with both answers.

    """

    programs: int = 0
    operations: int = 0
    differing: int = 0
    deliberate: Counter[str] = attrs.field(factory=Counter)
    told: list[str] = attrs.field(factory=list)


def ask_coordlib(programs: Sequence[Program]) -> list[list[Answer]]:
    """Return coordlib's answers, from new ensembles in memory."""

    async def ask() -> list[list[Answer]]:
        async with _ensemble(_QUIET) as quiet, _ensemble(_CLEANING) as cleaning:
            servers = EmbeddedServer(quiet), EmbeddedServer(cleaning)
            return await conduct_all(programs, *servers)

    return trio.run(ask, clock=MockClock(autojump_threshold=0))


def ask_zookeeper(ports: Ports, programs: Sequence[Program]) -> list[list[Answer]]:
    """Return the answers of real servers; blocks for as long as it takes."""
    servers = ZooKeeperServer(ports.quiet), ZooKeeperServer(ports.cleaning)
    try:
        return trio.run(conduct_all, programs, *servers)
    finally:
        for server in servers:
            server.close()


def compare_live(
    programs: Iterable[Program],
    ports: Ports,
    *,
    jobs: int = 3,
    progress: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Carry out programs on both servers.

    Args:
      programs: With names that the server has not seen.
      ports: The real servers'.
      jobs: How many programs are on the real server at the same time.
      progress: Called now and then.

    """
    report = Report()
    with ThreadPoolExecutor(jobs) as pool:
        remaining = iter(programs)
        batches = list(iter(lambda: list(islice(remaining, _BATCH)), []))
        asked = pool.map(lambda batch: ask_zookeeper(ports, batch), batches)
        for batch, theirs in zip(batches, asked, strict=True):
            for program, their, our in zip(
                batch, theirs, ask_coordlib(batch), strict=True
            ):
                _judge(report, ports, program, their, our)
            progress(report)
    return report


def _judge(
    report: Report,
    ports: Ports,
    program: Program,
    theirs: Sequence[Answer],
    ours: Sequence[Answer],
) -> None:
    report.programs += 1
    report.operations += sum(max(1, len(step.parts)) for step in program.steps)
    finding, deliberate = compare(program, theirs, ours)
    report.deliberate.update(deliberate)
    if finding is not None:
        report.differing += 1
        if len(report.told) < _TOLD_MAX:
            report.told.append(_cut_down(ports, program))


def _cut_down(ports: Ports, program: Program) -> str:
    """Return the shortest version of a program that still differs, and how."""
    names = (f"{program.name}-{number}" for number in count())
    story = f"{program.name} differed once, and not again"

    def differs(candidate: Program) -> bool:
        nonlocal story
        renamed = attrs.evolve(candidate, name=next(names))
        [theirs], [ours] = ask_zookeeper(ports, [renamed]), ask_coordlib([renamed])
        finding, _ = compare(renamed, theirs, ours)
        if finding is not None:
            story = explain(renamed, finding, theirs, ours)
        return finding is not None

    if differs(program):
        shrink(program, differs)
    return story
