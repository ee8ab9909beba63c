"""Twenty thousand crashes, of scripts at random: each opens, in a state that may be.

As ``test_crash_images``, but in memory, with more ways to tear what was written,
and payloads beyond a sector.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import attrs
import pytest

from coordlib.storage.directory import Directory
from coordlib.storage.interface import Entry, EntryKind
from coordlib.storage.log import Bounds, Log
from coordlib.storage.recovery import recover
from storage.fake_system import Image
from storage.memory_disk import disk_of, recover_disk
from storage.recorder import Recorder
from storage.script import IDENTITY, Step, body, is_state, states_of
from storage.test_crash_images import random_script

# Some 400 crashes each; more by ``make crashes``.
SEEDS = int(os.environ.get("CRASH_SEEDS", "60"))
EACH_AT_LEAST = 200


def enlarged(script: list[Step], random: Random) -> list[Step]:
    """Give some transactions of a script payloads that fill sectors."""
    larger: list[Step] = []
    for step in script:
        if isinstance(step, list):
            batch: list[Entry] = []
            for kind, zxid, payload in step:
                is_large = kind == EntryKind.TRANSACTION and random.random() < 0.5
                batch.append((kind, zxid, payload * (400 if is_large else 1)))
            larger.append(batch)
        else:
            larger.append(step)
    return larger


@attrs.define
class Player:
    """Plays a script and checks what each crash on the way would leave."""

    script: list[Step]
    bounds: Bounds
    system: Recorder = attrs.Factory(Recorder)
    submitted: int = 0
    acknowledged: int = 0
    seen: set[tuple[Image, int]] = attrs.Factory(set)

    def play(self) -> int:
        """Return how many crashes there were."""
        states = states_of(self.script)

        def check() -> None:
            possible = states[self.acknowledged : self.submitted + 1]
            for image in self.system.images():
                if (image, self.acknowledged) not in self.seen:
                    self.seen.add((image, self.acknowledged))
                    recovered = recover_disk(disk_of(image), IDENTITY)
                    assert any(is_state(recovered, state) for state in possible), (
                        recovered,
                        self.acknowledged,
                        self.submitted,
                    )

        self.system.after = check
        log = self.start()
        for step in self.script:
            if step is None:
                log.close()
                log = self.start()
            else:
                self.perform(step, log)
        return len(self.seen)

    def start(self) -> Log:
        directory = Directory(Path("memory"), 0, 0, self.system)
        _, position = recover(directory, IDENTITY)
        log = Log(directory, IDENTITY, self.bounds, position)
        log.open()
        return log

    def perform(self, step: list[Entry] | int, log: Log) -> None:
        if isinstance(step, int):
            log.stage_snapshot(step, [body(step)])
            log.publish_snapshot(step)
        else:
            self.submitted += len(step)
            log.append(step)
            log.flush()
            self.acknowledged = self.submitted


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_crash_opens_in_a_state_that_may_be(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    random = Random(seed)
    kept = 1 + seed % 2
    script = enlarged(random_script(random, kept=kept), random)
    segment_bytes_max = random.choice([250, 2000, 1 << 20])
    bounds = Bounds(segment_bytes_max, 2)
    if kept == 1:
        bounds = Bounds(segment_bytes_max, 2, random.choice([1, 500, 5000]))

    crashes = Player(script, bounds).play()

    record_property("crashes", crashes)
    assert crashes >= EACH_AT_LEAST
