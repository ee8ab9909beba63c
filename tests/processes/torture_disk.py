"""``kill -9`` and errors at every system call that a real store makes.

Debian's ``strace`` does it to a process that plays ``storage.player``'s script:
the N-th write, sync, rename ... of any of its threads is not carried out, and
the process is killed there; or the call fails. Then the directory is opened
again: acknowledged is in recovered, and recovered in issued. ``make
torture-disk`` does it at every call, a test at few.

strace counts for each thread by itself, and each start of a store has threads of
its own; so the script is played start by start, in processes of their own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import attrs
import trio

# As a script it has its own directory in the path, in tests their root.
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from coordlib.errors import StorageError
from coordlib.storage.directory import OS
from coordlib.storage.file import FileStore
from storage.player import SCRIPT, Player
from storage.script import Step, is_state, states_of
from storage.stored import in_memory

__all__ = ["DiskTorture", "why_not"]

# The calls, and whether strace has to be told of the directory: a process opens
# much else while it starts.
_KILLS = {
    "write": False,
    "fdatasync": False,
    "fsync": False,
    "ftruncate": False,
    "openat": True,
    "renameat,rename,renameat2": True,
    "unlinkat,unlink": True,
}
_ERRORS = {
    "write": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "fdatasync": ("EIO", "ENOSPC"),
    "fsync": ("EIO", "ENOSPC"),
    "openat": ("EIO", "ENOSPC", "EMFILE"),
    "renameat,rename,renameat2": ("EIO", "ENOSPC"),
    "unlinkat,unlink": ("EIO",),
}

# What a process ends with, besides being killed.
_DONE, _REFUSED = 0, 3

# Seconds. Far more than a run takes, even on a busy machine.
_PATIENCE = 60.0


def why_not() -> str:
    """Return why it cannot be done on this machine; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is missing; on Debian: apt-get install strace"
    tried = subprocess.run(
        ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=none", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"strace may not trace: {tried.stderr.strip()}" if tried.returncode else ""


def parts() -> list[list[Step]]:
    """Return the script, start by start."""
    found: list[list[Step]] = [[]]
    for step in SCRIPT:
        found[-1].append(step)
        if step is None:
            found.append([])
    return found[:-1]


def entries_in(steps: list[Step]) -> int:
    """Return how many entries are written."""
    return sum(len(step) for step in steps if isinstance(step, list))


@attrs.frozen
class Fault:
    """What is done to one process.

    Attributes:
      part: Which start of the script it plays.
      calls: Names of a system call, with commas.
      error: What the call fails with; empty: the process is killed.
      at: Which of these calls of a thread, from 1 on.

    """

    part: int
    calls: str
    error: str
    at: int


@attrs.define
class DiskTorture:
    """All faults of one run.

    Attributes:
      directory: For data directories.
      ended: How often processes ended how.

    """

    directory: Path
    ended: Counter[str] = attrs.Factory(Counter)
    _starts: list[Path] = attrs.Factory(list)

    def prepare(self) -> None:
        """Make the directories with which each part of the script begins."""
        empty = self.directory / "start-0"
        empty.mkdir(0o700)
        self._starts = [empty]
        for part, steps in enumerate(parts()[:-1], 1):
            start = self.directory / f"start-{part}"
            shutil.copytree(self._starts[-1], start)
            trio.run(Player(start, OS, steps).play)
            self._starts.append(start)

    def run(self, *, most: int | None = None, jobs: int = 1) -> None:
        """Do it at every call, or at the first ``most`` of each kind."""
        with ThreadPoolExecutor(jobs) as pool:
            for _ in pool.map(lambda fault: self._all(fault, most), _kinds()):
                pass

    def _all(self, kind: Fault, most: int | None) -> None:
        """Let it happen at one call after the other until there are no more."""
        for at in islice(count(1), most):
            if not self.strike(attrs.evolve(kind, at=at)):
                return

    def strike(self, fault: Fault) -> bool:
        """Do it once; return whether there was such a call.

        Raises:
          AssertionError: Something acknowledged is lost, or something is there
            that was never written.

        """
        name = f"{fault.part}-{fault.calls}-{fault.error}-{fault.at}"
        state, traced = self.directory / name, self.directory / f"{name}.strace"
        shutil.copytree(self._starts[fault.part], state)
        what = f"error={fault.error}" if fault.error else "signal=SIGKILL"
        command = [
            "strace",
            "-f",
            "-qq",
            "-o",
            str(traced),
            "-e",
            f"trace={fault.calls}",
        ]
        if _KILLS[fault.calls]:
            command += ["-P", str(state)]
        command += ["-e", f"inject={fault.calls}:{what}:when={fault.at}"]
        process = subprocess.run(
            [*command, sys.executable, __file__, "--play", str(fault.part), str(state)],
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        happened = b"(INJECTED)" in traced.read_bytes() or process.returncode < 0
        self._check(fault, state, process)
        shutil.rmtree(state)
        traced.unlink()
        return happened

    def _check(
        self,
        fault: Fault,
        state: Path,
        process: subprocess.CompletedProcess[bytes],
    ) -> None:
        ending = {_DONE: "finished", _REFUSED: "refused", -9: "killed"}.get(
            process.returncode
        )
        assert ending, f"{fault}: {process.returncode} {process.stderr.decode()}"
        assert (ending == "killed") <= (not fault.error), fault
        self.ended[f"{fault.calls.split(',')[0]} {fault.error or 'kill'} {ending}"] += 1
        before = sum(map(entries_in, parts()[: fault.part]))
        told = [int(line) for line in process.stdout.split(b"\n")[:-1]]
        acknowledged = max([before, *told])
        # Each batch is written after the one before it was acknowledged.
        submitted = before
        for step in parts()[fault.part]:
            if submitted > acknowledged:
                break
            submitted += entries_in([step])
        store = FileStore(state, member=1, name="test")
        recovered = in_memory(store.recover())
        store.close()
        possible = states_of(SCRIPT)[acknowledged : submitted + 1]
        assert any(is_state(recovered, one) for one in possible), (
            f"{fault}: acknowledged {acknowledged}, submitted {submitted}, {recovered}"
        )


def _kinds() -> Iterator[Fault]:
    for part in range(len(parts())):
        for calls in _KILLS:
            yield Fault(part, calls, "", 0)
        for calls, errors in _ERRORS.items():
            for error in errors:
                yield Fault(part, calls, error, 0)


def play(part: int, path: Path) -> int:
    """Play one start of the script, and say what is acknowledged."""
    before = sum(map(entries_in, parts()[:part]))

    def tell(acknowledged: int) -> None:
        # Not write(), which may be what fails.
        os.writev(1, [b"%d\n" % acknowledged])

    player = Player(path, OS, parts()[part], before, before, tell)
    ending = _DONE
    try:
        trio.run(player.play)
    except* StorageError:
        ending = _REFUSED
    return ending


def main() -> None:
    """Run it, or be the process to which it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--play", nargs=2, metavar=("PART", "DIRECTORY"))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.play:
        part, path = options.play
        sys.exit(play(int(part), Path(path)))
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as directory:
        torture = DiskTorture(Path(directory))
        torture.prepare()
        torture.run(jobs=options.jobs)
    for how, times in sorted(torture.ended.items()):
        sys.stdout.write(f"{times:6} {how}\n")
    kills = sum(n for how, n in torture.ended.items() if how.endswith("killed"))
    sys.stdout.write(
        f"{kills} processes killed, {torture.ended.total()} in all; every directory "
        "opened, with all that was acknowledged and nothing that was never written\n"
    )


if __name__ == "__main__":
    main()
