"""Real processes that are killed, frozen and restarted at random, under load.

``make torture`` runs it for long, a test for a short time. What a member said
to be done must be in every tree exactly once, with equal digests; and what
clients were told, reads and syncs included, is compared with the log.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import attrs

# As a script it has its own directory in the path, in tests their root.
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from processes.fleet import Fleet, free_addresses

__all__ = ["Torture"]

# Seconds between two writes of one of a member's two writers: enough load to
# have writes under way at every fault, few enough znodes to compare them all.
_PAUSE = 0.01


@attrs.define
class Torture:
    """One run.

    Attributes:
      fleet: The members.
      random: Chooses what happens.
      kills: How many processes were killed.
      stops: How many were frozen.
      power_losses: How often all were killed at once.

    """

    fleet: Fleet
    random: random.Random
    kills: int = 0
    stops: int = 0
    power_losses: int = 0

    @classmethod
    def of(
        cls, members: int, directory: Path, seed: int, *, purges: bool = False
    ) -> Torture:
        """Return a run with so many members."""
        fleet = Fleet(directory, free_addresses(members), _PAUSE, purges)
        return cls(fleet, random.Random(seed))

    def run(self, kills: int, *, report: bool = False) -> None:
        """Make trouble until so many processes were killed, then check."""
        fleet = self.fleet
        try:
            for member in fleet.addresses:
                fleet.start(member)
            fleet.wait_ready()
            while self.kills < kills:
                time.sleep(self.random.uniform(0.05, 0.8))
                trouble = self.random.choices(
                    [self.kill_some, self.freeze_one, self.kill_all], [8, 3, 1]
                )[0]
                trouble()
                if report:
                    self.show(kills)
            fleet.wait_ready()
            time.sleep(1)
            fleet.check()
        finally:
            fleet.kill_all()

    def kill_some(self) -> None:
        """Kill a minority, with or without the leader, and start it again."""
        fleet = self.fleet
        most = (len(fleet.addresses) - 1) // 2
        victims = self.random.sample(
            sorted(fleet.running), self.random.randint(1, most)
        )
        for victim in victims:
            fleet.kill(victim)
            self.kills += 1
        time.sleep(self.random.uniform(0, 0.6))
        for victim in victims:
            fleet.start(victim)

    def freeze_one(self) -> None:
        """Freeze a member: for a moment, or for longer than its session lives."""
        victim = self.fleet.running[self.random.choice(sorted(self.fleet.running))]
        victim.stop()
        self.stops += 1
        time.sleep(self.random.choice([0.1, 0.5, 1.5, 6.0]))
        victim.resume()

    def kill_all(self) -> None:
        """Kill everybody at once, and start them again."""
        self.kills += len(self.fleet.running)
        self.power_losses += 1
        self.fleet.kill_all()
        for member in self.fleet.addresses:
            self.fleet.start(member)

    def show(self, kills: int) -> None:
        """Show how far it has come, on standard error."""
        sys.stderr.write(f"\r{self.kills}/{kills} killed, {self.stops} frozen ")
        sys.stderr.flush()


def main() -> None:
    """Run as long as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=150, help="for each size")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    for members, purges in product((3, 5), (False, True)):
        keep = "purged logs" if purges else "whole logs"
        sys.stdout.write(f"{members} members, {keep}, seed {options.seed}\n")
        with tempfile.TemporaryDirectory() as directory:
            torture = Torture.of(members, Path(directory), options.seed, purges=purges)
            torture.run(options.kills // 2, report=True)
        fleet = torture.fleet
        sys.stdout.write(
            f"\n{torture.kills} killed, {torture.stops} frozen, "
            f"{torture.power_losses} times all at once; "
            f"{len(fleet.created) + len(fleet.counted)} acknowledged writes, "
            "each in every tree exactly once; "
            f"{len(fleet.calls)} calls{'' if purges else ' that the log bears out'}\n"
        )


if __name__ == "__main__":
    main()
