"""``python -m coordlib.testing.simulate``: play many seeds and sum them up.

Exits with 1 when an oracle was contradicted, after printing the seed, the
oracle and the end of the story; ``--replay SEED`` prints the whole of it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TextIO

import attrs

from .simulation import SECOND, SITUATIONS, Outcome, shrink, simulate

__all__ = ["Summary", "main", "play_all"]

# Lines of a story that is told because of a violation, before and at its end.
_TAIL = 40
_WIDTH = 200

# In seconds: how often a long run tells how far it is.
_TELLS_EVERY = 30

# So many seeds must reach every situation.
_LONG = 1000


@attrs.define
class Summary:
    """What many seeds came to.

    Attributes:
      seeds: How many.
      events: In all of them.
      microseconds: Of simulated time.
      agreed: Transactions that were committed.
      acknowledged: Answers that clients got.
      faults: How often each class happened.
      elections: Microseconds from a leader's end to the next epoch, where
        everything else was well.
      situations: How often each named one was reached.
      oddities: How often each site of rare behaviour did something.
      violations: Seed and oracle of each.

    """

    seeds: int = 0
    events: int = 0
    microseconds: int = 0
    agreed: int = 0
    acknowledged: int = 0
    elections: list[int] = attrs.Factory(list)
    faults: Counter[str] = attrs.Factory(Counter)
    situations: Counter[str] = attrs.Factory(Counter)
    oddities: Counter[str] = attrs.Factory(Counter)
    violations: list[tuple[int, str]] = attrs.Factory(list)

    def add(self, outcome: Outcome) -> None:
        """Count one seed."""
        self.seeds += 1
        self.events += outcome.events
        self.microseconds += outcome.microseconds
        self.agreed += outcome.agreed
        self.acknowledged += outcome.acknowledged
        self.faults += outcome.faults
        self.elections += outcome.elections
        self.situations += outcome.marks
        self.oddities += outcome.oddities
        if outcome.violation:
            self.violations.append((outcome.seed, outcome.violation))

    @property
    def missed(self) -> list[str]:
        """The situations that were not reached."""
        return sorted(SITUATIONS - self.situations.keys())

    @property
    def is_long_and_blind(self) -> bool:
        """Whether so many seeds should have reached every situation."""
        return self.seeds >= _LONG and bool(self.missed)

    def election_ms(self, share: float) -> float:
        """Return how long that share of the elections took at most; 0 if none."""
        ordered = sorted(self.elections)
        return ordered[int(share * (len(ordered) - 1))] / 1000 if ordered else 0.0

    def as_progress(self, seeds: int) -> str:
        """Return a line for who waits; ``seeds``: how many there will be."""
        return (
            f"{self.seeds:,} of {seeds:,} seeds, {self.events:,} events, "
            f"{len(self.violations)} violations"
        )

    def as_json(self, seconds: float) -> str:
        """Return everything for programs; ``seconds`` is what it took."""
        return json.dumps(
            {
                "seeds": self.seeds,
                "simulated_hours": self.microseconds / SECOND / 3600,
                "events": self.events,
                "events_per_second": self.events / seconds,
                "agreed_writes": self.agreed,
                "acknowledged_writes": self.acknowledged,
                "elections": self.situations["epoch.established"],
                "leaders_replaced": len(self.elections),
                "replaced_in_ms": [self.election_ms(0.5), self.election_ms(0.95)],
                "power_losses_of_all": self.faults["power_loss_of_all"],
                "faults": dict(sorted(self.faults.items())),
                "situations": dict(sorted(self.situations.items())),
                "situations_missed": self.missed,
                "oddities": dict(sorted(self.oddities.items())),
                "violations": self.violations,
            },
            indent=2,
        )

    def as_text(self, seconds: float) -> str:
        """Return everything for people; ``seconds`` is what it took."""
        situations = self.situations
        hours = self.microseconds / SECOND / 3600
        lines = [
            f"{self.seeds:,} seeds, {hours:.2f} simulated hours, {self.events:,} "
            f"events, {self.events / seconds:,.0f} events/s",
            f"{self.agreed:,} agreed writes, {self.acknowledged:,} answered",
            f"{situations['epoch.established']:,} elections, "
            f"{situations['sync.diff']:,} DIFF, {situations['sync.trunc']:,} TRUNC, "
            f"{situations['sync.snap']:,} SNAP",
            f"{len(self.elections):,} leaders killed while all else was well: the next "
            f"one after {self.election_ms(0.5):.1f} ms (50 %), "
            f"{self.election_ms(0.95):.1f} ms (95 %)",
            f"{self.faults.total():,} faults, among them "
            f"{self.faults['power_loss_of_all']:,} power losses of all:",
            *_counts(self.faults),
            f"{len(self.oddities)} rare behaviours, {self.oddities.total():,} times:",
            *_counts(self.oddities),
            f"{len(situations)} situations reached:",
            *_counts(situations),
            f"{len(self.missed)} situations missed: {', '.join(self.missed) or 'none'}",
            f"{len(self.violations)} violations",
        ]
        return "\n".join(lines)


def _counts(counter: Counter[str]) -> list[str]:
    return [f"  {count:>9,}  {name}" for name, count in sorted(counter.items())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m coordlib.testing.simulate")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--members", type=int, help="how many; else the seed decides")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="simulated time with faults"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes to share them")
    parser.add_argument("--json", action="store_true", help="print the sums as JSON")
    parser.add_argument("--replay", type=int, metavar="SEED", help="tell one story")
    options = parser.parse_args(arguments)
    play = partial(simulate, seconds=options.seconds, members=options.members)
    if options.replay is not None:
        timeline = deque[str]()
        outcome = play(options.replay, timeline=timeline)
        _tell(outcome, timeline, sys.stdout)
        return 1 if outcome.violation else 0
    summary, began = Summary(), time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    told = began
    for outcome in play_all(play, seeds, options.jobs):
        summary.add(outcome)
        if time.perf_counter() - told > _TELLS_EVERY:
            told = time.perf_counter()
            sys.stderr.write(f"{summary.as_progress(len(seeds))}\n")
        if outcome.violation:
            needed = shrink(outcome, seconds=options.seconds, members=options.members)
            timeline = deque()
            story = play(outcome.seed, timeline=timeline, only=needed)
            # To where it does not mix with what --json prints.
            _tell(story, _shortened(timeline), sys.stderr)
    seconds = time.perf_counter() - began
    text = summary.as_json(seconds) if options.json else summary.as_text(seconds)
    sys.stdout.write(f"{text}\n")
    return 1 if summary.violations or summary.is_long_and_blind else 0


def play_all(
    play: Callable[[int], Outcome], seeds: range, jobs: int
) -> Iterator[Outcome]:
    """Yield the outcome of every seed, in order, from so many processes."""
    if jobs == 1:
        yield from map(play, seeds)
    else:
        # Forked ones would inherit whatever threads the caller has.
        spawn = get_context("spawn")
        with ProcessPoolExecutor(jobs, spawn, _begin_to_work) as pool:
            yield from pool.map(play, seeds, chunksize=4)


def _begin_to_work() -> None:
    """End at once when the process that asks is interrupted or killed.

    By itself a worker plays on then, and at last waits for more for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "this is no worker"
    parent.join()
    os._exit(1)


def _shortened(timeline: Iterable[str]) -> list[str]:
    """Return every fault, start and end, and the end of the story."""
    lines = list(timeline)
    landmarks = ("FAULT", " starts, ", " ends: ", "HEALED", "OUTSIDE")
    early = [line for line in lines[:-_TAIL] if any(mark in line for mark in landmarks)]
    return early[-_TAIL:] + lines[-_TAIL:]


def _tell(outcome: Outcome, timeline: Iterable[str], out: TextIO) -> None:
    head = f"seed {outcome.seed}, {outcome.members} members"
    verdict = outcome.violation or "all is well"
    out.write("\n".join((head, *(line[:_WIDTH] for line in timeline), verdict, "")))


if __name__ == "__main__":
    sys.exit(main())
