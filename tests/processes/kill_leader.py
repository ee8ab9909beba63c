"""Three real processes under load, whose leader is killed again and again.

A test runs it with few kills; by hand: ``python tests/processes/kill_leader.py
--kills 20``. What a member said to be done must be in every tree exactly once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import attrs

# As a script it has its own directory in the path, in tests their root.
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from processes.fleet import Fleet, free_addresses, wait_for_leader

__all__ = ["Report", "kill_leaders"]

# How long the load runs between two kills, in seconds.
_BETWEEN = 0.7


@attrs.define
class Report:
    """What happened.

    Attributes:
      created: Tokens whose creation was acknowledged.
      counted: Tokens whose counting was acknowledged.
      outages: Seconds from each kill to the next leader that a member names.

    """

    created: list[str]
    counted: list[str]
    outages: list[float]


def kill_leaders(kills: int, directory: Path) -> Report:
    """Run the load, kill leaders, and check what all members hold in the end."""
    fleet = Fleet(directory, free_addresses(3))
    outages: list[float] = []
    try:
        for member in fleet.addresses:
            fleet.start(member)
        fleet.wait_ready()
        for _ in range(kills):
            time.sleep(_BETWEEN)
            leader = wait_for_leader(fleet.running, former=0)
            fleet.kill(leader)
            began = time.monotonic()
            wait_for_leader(fleet.running, former=leader)
            outages.append(time.monotonic() - began)
            fleet.start(leader)
            fleet.wait_ready()
        time.sleep(_BETWEEN)
        fleet.check()
    finally:
        fleet.kill_all()
    return Report(fleet.created, fleet.counted, outages)


def main() -> None:
    """Run as long as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as directory:
        report = kill_leaders(kills, Path(directory))
    outages = " ".join(f"{outage:.2f}" for outage in sorted(report.outages))
    sys.stdout.write(
        f"{len(report.created)} created, {len(report.counted)} counted\n"
        f"seconds to the next leader: {outages}\n"
    )


if __name__ == "__main__":
    main()
