"""Holds coordlib against a real ZooKeeper: ``python -m tests.conformance``.

Needs Java and Debian's package ``zookeeper``. Fails if there is a difference
that is not in the table of :mod:`.differences`; prints what differs.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from .generate import STEPS, generate
from .live import Report, compare_live
from .new_tree import NEW_TREE
from .record import record
from .server import is_installed, running_servers


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write what came out")
    arguments = parser.parse_args()
    if not is_installed():
        print("there is no ZooKeeper here: apt-get install zookeeper", file=sys.stderr)
        return 2
    # It warns of quotas that are exceeded, which is what some programs are for.
    logging.getLogger("coordlib").setLevel(logging.ERROR)
    numbers = range(arguments.programs)
    programs = [generate(arguments.seed, n, steps=arguments.steps) for n in numbers]
    began = time.monotonic()

    def progress(report: Report) -> None:
        # Where nobody looks, a line now and then.
        if not sys.stderr.isatty() and report.programs % 500:
            return
        rate = report.programs / (time.monotonic() - began)
        text = f"{report.programs} of {len(programs)} programs, {rate:.0f}/s"
        end = "\r" if sys.stderr.isatty() else "\n"
        print(f"{text}, {report.differing} differ ", end=end, file=sys.stderr)

    with running_servers() as ports:
        if arguments.record:
            record([NEW_TREE, *programs], ports)
            return 0
        report = compare_live(programs, ports, jobs=arguments.jobs, progress=progress)
    print(file=sys.stderr)
    for story in report.told:
        print(story, end="\n\n")
    for name, times in sorted(report.deliberate.items()):
        print(f"meant, {times} times: {name}")
    print(
        f"{report.programs} programs of seed {arguments.seed}, "
        f"{report.operations} operations, {report.differing} differences, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if report.differing else 0


if __name__ == "__main__":
    sys.exit(main())
