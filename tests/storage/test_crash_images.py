"""After any prefix of the I/O, with any loss of what was not synced, it opens.

And what it then holds is a state between the last one acknowledged and the last
one submitted (ALICE, OSDI'14: enumerate the crash states of your own trace).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

import attrs
import pytest

from coordlib.storage.directory import Directory
from coordlib.storage.interface import Entry, Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.recovery import recover
from storage.fake_system import FakeSystem, Image, do_nothing, write_image
from storage.script import (
    IDENTITY,
    Step,
    base,
    body,
    cut,
    is_state,
    meta,
    states_of,
    transactions,
)
from storage.stored import in_memory

# A few records fill a segment.
BOUNDS = Bounds(segment_bytes_max=250, snapshots_kept=2)


SCRIPTS: dict[str, list[Step]] = {
    "segments fill up": [
        [meta(b"m1")],
        transactions(1, 2, 3),
        transactions(4),
        [*transactions(5), meta(b"m2"), *transactions(6, 7, 8, 9)],
        None,
        transactions(10, 11),
    ],
    "snapshots and purges": [
        [meta(b"m1"), *transactions(1, 2, 3)],
        2,
        transactions(4, 5),
        5,
        5,
        transactions(6),
        6,
        [meta(b"m2")],
        None,
        transactions(7, 8),
        8,
        None,
        7,
    ],
    "a cut takes snapshots along": [
        [meta(b"m1"), *transactions(1, 2, 3, 4)],
        2,
        4,
        [meta(b"m2"), cut(2), *transactions(7, 8)],
        4,
        7,
        None,
        [*transactions(9), cut(7), *transactions(12)],
        12,
    ],
    "everything is cut": [
        [meta(b"m1"), *transactions(1, 2)],
        [cut(0), *transactions(5)],
        5,
    ],
    "a received snapshot replaces all": [
        [meta(b"m1"), *transactions(1, 2, 30)],
        2,
        [*transactions(31), meta(b"m2"), base(20), *transactions(21)],
        30,
        21,
        None,
        [base(25)],
        transactions(40),
        40,
        [base(40), *transactions(41)],
    ],
}


@attrs.define
class Player:
    """Plays a script and notes what each crash on the way would leave."""

    path: Path
    system: FakeSystem = attrs.Factory(FakeSystem)
    submitted: int = 0
    acknowledged: int = 0
    # Each with what was acknowledged when it was first, or again, possible.
    seen: dict[tuple[Image, int], int] = attrs.Factory(dict)

    def note(self, operation: str, name: str) -> None:  # noqa: ARG002 - a hook
        for image in self.system.images():
            self.seen[image, self.acknowledged] = self.submitted

    def play(self, script: list[Step]) -> None:
        script = [None, *script]
        while script:
            with self.started() as (_, log):
                script.pop(0)
                while script and (step := script[0]) is not None:
                    self.perform(step, log)
                    script.pop(0)

    def perform(self, step: list[Entry] | int, log: Log) -> None:
        if isinstance(step, int):
            log.stage_snapshot(step, [body(step)])
            log.publish_snapshot(step)
        else:
            self.submitted += len(step)
            log.append(step)
            log.flush()
            self.acknowledged = self.submitted

    @contextmanager
    def started(self) -> Iterator[tuple[Recovered, Log]]:
        directory = Directory.open(self.path, self.system)
        try:
            recovered, position = recover(directory, IDENTITY)
            log = Log(directory, IDENTITY, BOUNDS, position)
            try:
                log.open()
                yield recovered, log
            finally:
                log.close()
        finally:
            directory.close()


def recover_image(image: Image, path: Path) -> tuple[Recovered, FakeSystem]:
    write_image(image, path)
    system = FakeSystem()
    system.adopt(path)
    directory = Directory.open(path, system)
    try:
        recovered, _ = recover(directory, IDENTITY)
        recovered = in_memory(recovered)
    finally:
        directory.close()
    return recovered, system


def crashes(script: list[Step], path: Path) -> Iterator[tuple[Image, int, int]]:
    player = Player(path)
    player.system.after = player.note
    player.play(script)
    for (image, acknowledged), submitted in player.seen.items():
        yield image, acknowledged, submitted


def check_crashes(script: list[Step], path: Path) -> int:
    """Recover from every crash of the script; return how many there were."""
    states = states_of(script)
    number = 0
    for image, acknowledged, submitted in crashes(script, path / "played"):
        recovered, _ = recover_image(image, path / "image")

        possible = states[acknowledged : submitted + 1]
        assert any(is_state(recovered, state) for state in possible), (
            recovered,
            [file for file, _ in image],
        )
        number += 1
    return number


def random_script(random: Random, *, kept: int = 2) -> list[Step]:
    """Return a script that keeps to the rules: no cut beyond ``kept`` snapshots."""
    script: list[Step] = []
    last, snapshots, zxids = 0, [0], [0]
    for _ in range(12):
        batch: list[Entry] = []
        for kind in random.choices(
            "ttttttmcb", [1] * 8 + [0.3], k=random.randint(1, 4)
        ):
            if kind == "t":
                last += random.choice([1, 1, 1, 5])
                batch += transactions(last)
                zxids.append(last)
            elif kind == "m":
                batch.append(meta(b"m%d" % random.randint(0, 99)))
            elif kind == "c":
                last = random.choice([z for z in zxids if z >= snapshots[0]])
                batch.append(cut(last))
                zxids = [z for z in zxids if z <= last]
                snapshots = [z for z in snapshots if z <= last]
                last += 7  # what is cut does not come again
            else:
                last = max(1, last + random.randint(-3, 3))
                batch.append(base(last))
                snapshots, zxids = [last], [last]
        script.append(batch)
        if random.random() < 0.5:
            zxid = random.choice(zxids)
            script.append(zxid)
            if zxid > snapshots[-1]:
                snapshots = [*snapshots, zxid][-kept:]
        if random.random() < 0.1:
            script.append(None)
    return script


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_crash_leaves_a_state_that_may_be(name: str, tmp_path: Path) -> None:
    assert check_crashes(SCRIPTS[name], tmp_path) > 20


@pytest.mark.parametrize("seed", range(10))
def test_every_crash_of_a_random_script_leaves_a_state_that_may_be(
    seed: int, tmp_path: Path
) -> None:
    assert check_crashes(random_script(Random(seed)), tmp_path) > 20


@pytest.mark.parametrize("name", SCRIPTS)
def test_recovery_itself_may_be_interrupted(name: str, tmp_path: Path) -> None:
    script = SCRIPTS[name]
    for image, _, _ in list(crashes(script, tmp_path / "played"))[::7]:
        wanted, _ = recover_image(image, tmp_path / "image")
        images: list[Image] = []
        write_image(image, tmp_path / "image")
        system = FakeSystem()
        system.adopt(tmp_path / "image")
        system.after = lambda *_, system=system, images=images: images.extend(
            system.images()
        )
        directory = Directory.open(tmp_path / "image", system)
        recover(directory, IDENTITY)
        directory.close()

        for interrupted in dict.fromkeys(images):
            assert recover_image(interrupted, tmp_path / "image")[0] == wanted


class Killed(BaseException):
    """Stands for ``kill -9``: what was written stays, synced or not."""


def play_until_killed(script: list[Step], path: Path, *, after: int) -> Player | None:
    """Play until so many steps of I/O are done; ``None`` if there are fewer."""
    # Small writes, so that records are torn.
    player = Player(path, FakeSystem(write_bytes_max=40))
    steps = count(1)

    def kill(operation: str, name: str) -> None:  # noqa: ARG001 - a hook
        if next(steps) == after:
            raise Killed

    player.system.after = kill
    try:
        player.play(script)
    except Killed:
        player.system.after = do_nothing
        return player
    return None


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_kill_left_unsynced_is_durable_after_the_next_start(
    name: str, tmp_path: Path
) -> None:
    for after in count(1):
        path = tmp_path / str(after)
        player = play_until_killed(SCRIPTS[name], path, after=after)
        if player is None:
            assert after > 20
            return
        with player.started() as (before, log):
            images = set(player.system.images())
            # Goes on in a new segment, so this one may be torn no more.
            player.perform(before.records[-1][0] if before.records else 0, log)
            images |= set(player.system.images())
        for image in images:
            recovered, _ = recover_image(image, tmp_path / "image")
            assert recovered.meta == before.meta
            assert recovered.records == before.records[-len(recovered.records) :]
