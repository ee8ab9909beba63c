"""``python -m coordlib.testing.mutants``: break a rule, and see who objects.

A test that cannot fail proves nothing, and neither does a simulator. This
breaks one line at a time, in a copy of the package, and plays seeds until an
oracle objects. Exits with 1 if a mutant outlives all of its seeds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import attrs

import coordlib

from .mutation_list import MUTANTS, Mutant

__all__ = ["Verdict", "kill", "main"]

_PACKAGE = Path(coordlib.__file__).parent

# A mutant that runs for ever is as dead as one that an oracle objects to: so much
# time of a processor is enough for any seed, and the signal ends the process.
_SECONDS_PER_SEED = 60

# Runs in the copy: prints the number of each seed, then who objects. Ends with
# the process that waits for it, or as soon as one seed runs for ever.
_PLAY = f"""
import os, signal, sys
from coordlib.testing.simulation import simulate
parent, seeds, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for seed in range(seeds):
    if os.getppid() != parent:
        break
    print(seed + 1, flush=True)
    signal.setitimer(signal.ITIMER_VIRTUAL, {_SECONDS_PER_SEED})
    outcome = simulate(seed, seconds=seconds)
    if outcome.violation:
        print(outcome.oracle)
        break
"""


@attrs.frozen
class Verdict:
    """What became of one mutant.

    Attributes:
      mutant: Which.
      seeds: How many it took; 0 if it lives.
      oracle: Who objected.

    """

    mutant: Mutant
    seeds: int
    oracle: str


def kill(mutant: Mutant, *, seeds: int, seconds: float = 10.0) -> Verdict:
    """Break the rule in a copy of the package and play seeds until it shows.

    Args:
      mutant: What to break.
      seeds: How many to play at most, from 0 on.
      seconds: Of simulated time with faults, for each.

    Raises:
      ValueError: The line that the mutant changes does not stand there once.

    """
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, _PACKAGE.name)
        shutil.copytree(_PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        _apply(mutant, copy)
        me = str(os.getpid())
        play = subprocess.run(
            [sys.executable, "-c", _PLAY, me, str(seeds), str(seconds)],
            cwd=directory,
            env={"PYTHONPATH": directory},
            capture_output=True,
            text=True,
            check=False,
        )
    printed = play.stdout.split()
    if play.returncode == -signal.SIGVTALRM:
        return Verdict(mutant, int(printed[-1]), "endless")
    if play.returncode:
        return Verdict(mutant, 1, "does not run")
    if not printed or printed[-1].isdigit():
        return Verdict(mutant, 0, "")
    return Verdict(mutant, int(printed[-2]), printed[-1])


def _apply(mutant: Mutant, package: Path) -> None:
    file = package / mutant.file
    source = file.read_text()
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} does not hold {mutant.old!r} once")
    file.write_text(source.replace(mutant.old, mutant.new))


def _report(verdicts: Iterable[Verdict]) -> int:
    """Print each verdict as it comes; return how many mutants live."""
    alive = quick = count = 0
    for verdict in verdicts:
        count += 1
        alive += not verdict.seeds
        quick += 0 < verdict.seeds <= 20  # noqa: PLR2004 - the issue's measure of quick
        fate = f"{verdict.seeds:>4} seeds  {verdict.oracle}"
        name = verdict.mutant.name
        sys.stdout.write(f"{name:<55} {fate if verdict.seeds else 'LIVES'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{count - alive} of {count} killed, {quick} within 20 seeds\n")
    return alive


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m coordlib.testing.mutants")
    parser.add_argument("--seeds", type=int, default=100, help="for each, at most")
    parser.add_argument("--seconds", type=float, default=10.0, help="of simulated time")
    parser.add_argument("--only", default="", help="those whose name has this text")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    play = partial(kill, seeds=options.seeds, seconds=options.seconds)
    # Each is a process of its own, so threads are enough to wait for them.
    with ThreadPoolExecutor(options.jobs) as pool:
        alive = _report(pool.map(play, chosen))
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
