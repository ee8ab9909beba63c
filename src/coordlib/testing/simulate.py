"""``python -m coordlib.testing.simulate``: play many seeds and sum them up.

Exits with 1 when an oracle was contradicted, after printing the seed, the
oracle and the end of the story; ``--replay SEED`` prints the whole of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence

import attrs

from .simulation import SECOND, Outcome, simulate

__all__ = ["Summary", "main"]

_TAIL = 40


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
      situations: How often each named one was reached.
      violations: Seed and oracle of each.

    """

    seeds: int = 0
    events: int = 0
    microseconds: int = 0
    agreed: int = 0
    acknowledged: int = 0
    faults: Counter[str] = attrs.Factory(Counter)
    situations: Counter[str] = attrs.Factory(Counter)
    violations: list[tuple[int, str]] = attrs.Factory(list)

    def add(self, outcome: Outcome) -> None:
        """Count one seed."""
        self.seeds += 1
        self.events += outcome.events
        self.microseconds += outcome.microseconds
        self.agreed += outcome.agreed
        self.acknowledged += outcome.acknowledged
        self.faults += outcome.faults
        self.situations += outcome.marks
        if outcome.violation:
            self.violations.append((outcome.seed, outcome.violation))

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
                "power_losses_of_all": self.faults["power_loss_of_all"],
                "faults": dict(sorted(self.faults.items())),
                "situations": dict(sorted(self.situations.items())),
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
            f"{self.faults.total():,} faults, among them "
            f"{self.faults['power_loss_of_all']:,} power losses of all:",
            *_counts(self.faults),
            f"{len(situations)} situations reached:",
            *_counts(situations),
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
    parser.add_argument("--json", action="store_true", help="print the sums as JSON")
    parser.add_argument("--replay", type=int, metavar="SEED", help="tell one story")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        outcome = _tell(options.replay, options.seconds, options.members, None)
        return 1 if outcome.violation else 0
    summary, began = Summary(), time.perf_counter()
    for seed in range(options.first, options.first + options.seeds):
        outcome = simulate(seed, seconds=options.seconds, members=options.members)
        summary.add(outcome)
        if outcome.violation:
            _tell(seed, options.seconds, options.members, _TAIL)
    seconds = time.perf_counter() - began
    text = summary.as_json(seconds) if options.json else summary.as_text(seconds)
    sys.stdout.write(f"{text}\n")
    return 1 if summary.violations else 0


def _tell(
    seed: int, seconds: float, members: int | None, lines_max: int | None
) -> Outcome:
    """Play a seed again and print its story, or the end of it."""
    timeline = deque[str](maxlen=lines_max)
    outcome = simulate(seed, seconds=seconds, members=members, timeline=timeline)
    # To where it does not mix with what --json prints.
    out = sys.stdout if lines_max is None else sys.stderr
    head = f"seed {seed}, {outcome.members} members"
    verdict = outcome.violation or "all is well"
    out.write("\n".join((head, *timeline, verdict, "")))
    return outcome


if __name__ == "__main__":
    sys.exit(main())
