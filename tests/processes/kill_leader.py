"""Three real processes under load, whose leader is killed again and again.

A test runs it with few kills; by hand: ``python tests/processes/kill_leader.py
--kills 20``. What a member said to be done must be in every tree exactly once.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, Queue

import attrs

__all__ = ["Report", "kill_leaders"]

_MEMBER = Path(__file__).with_name("member.py")

# Seconds. Far more than anything takes, even on a busy machine.
_PATIENCE = 30.0
# How long the load runs between two kills.
_BETWEEN = 0.7


@attrs.define
class Report:
    """What happened.

    Attributes:
      created: Tokens whose creation was acknowledged.
      counted: Tokens whose counting was acknowledged.
      outages: Seconds from each kill to the next leader that a member names.

    """

    created: list[str] = attrs.field(factory=list)
    counted: list[str] = attrs.field(factory=list)
    outages: list[float] = attrs.field(factory=list)


class Process:
    """One member's process and what it says."""

    def __init__(self, member: int, addresses: Mapping[int, str], state: Path) -> None:
        seats = ",".join(f"{m}={a}" for m, a in addresses.items())
        self.member = member
        self.created: list[str] = []
        self.counted: list[str] = []
        self._answers: Queue[list[str]] = Queue()
        self._popen = subprocess.Popen(
            [sys.executable, str(_MEMBER), str(member), seats, str(state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            # What was cut off by a kill was not said.
            if not line.endswith("\n"):
                break
            match line.split():
                case ["created", token]:
                    self.created.append(token)
                case ["counted", token]:
                    self.counted.append(token)
                case words:
                    self._answers.put(words)

    def expect(self, word: str, patience: float = _PATIENCE) -> list[str]:
        """Return the rest of the next answer, which begins with ``word``."""
        try:
            answer = self._answers.get(timeout=patience)
        except Empty:
            raise TimeoutError(f"member {self.member}: no {word!r}") from None
        assert answer[0] == word, f"member {self.member} says {answer}, not {word}"
        return answer[1:]

    def ask(self, command: str, word: str) -> list[str]:
        """Ask for something and wait for the answer."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(command + "\n")
        self._popen.stdin.flush()
        return self.expect(word)

    def kill(self) -> None:
        """End the process with SIGKILL; what it has said before is read."""
        self._popen.kill()
        self._popen.wait()
        self._reader.join(_PATIENCE)
        for pipe in (self._popen.stdin, self._popen.stdout):
            assert pipe is not None
            pipe.close()


def kill_leaders(kills: int, directory: Path) -> Report:
    """Run the load, kill leaders, and check what all members hold in the end."""
    report, addresses = Report(), free_addresses(3)
    running: dict[int, Process] = {}

    def start(member: int) -> None:
        running[member] = Process(member, addresses, directory / str(member))

    def kill(member: int) -> None:
        process = running.pop(member)
        process.kill()
        report.created += process.created
        report.counted += process.counted

    try:
        for member in addresses:
            start(member)
        for process in running.values():
            process.expect("ready")
        for _ in range(kills):
            time.sleep(_BETWEEN)
            leader = _wait_for_leader(running, former=0)
            kill(leader)
            began = time.monotonic()
            _wait_for_leader(running, former=leader)
            report.outages.append(time.monotonic() - began)
            start(leader)
            running[leader].expect("ready")
        time.sleep(_BETWEEN)
        for process in running.values():
            process.ask("stop", "stopped")
        _wait_until_equal(running)
        final = [_contents(process) for process in running.values()]
        assert final[0] == final[1] == final[2]
    finally:
        for member in list(running):
            kill(member)
    names, tokens = final[0]
    _check(report.created, [name[:-10] for name in names])
    _check(report.counted, tokens)
    return report


def _wait_for_leader(running: Mapping[int, Process], former: int) -> int:
    """Wait until all running members name the same leader, another one."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        leaders = {int(p.ask("leader", "leader")[0]) for p in running.values()}
        if len(leaders) == 1 and not leaders & {0, former}:
            return leaders.pop()
        time.sleep(0.01)
    raise TimeoutError("no leader")


def _wait_until_equal(running: Mapping[int, Process]) -> None:
    """Wait until all trees are at the same zxid, with the same digest."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        states = {tuple(p.ask("state", "state")) for p in running.values()}
        if len(states) == 1:
            return
        time.sleep(0.1)
    raise TimeoutError("the members differ")


def _contents(process: Process) -> tuple[list[str], list[str]]:
    return process.ask("list", "names"), process.expect("tokens")


def _check(acknowledged: list[str], found: list[str]) -> None:
    times = Counter(found)
    lost = [token for token in acknowledged if token not in times]
    twice = [token for token, count in times.items() if count > 1]
    assert not lost, f"acknowledged and lost: {lost}"
    assert not twice, f"there twice: {twice}"


def free_addresses(count: int) -> dict[int, str]:
    """Return addresses on loopback at which nobody listens, from member 1 on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in probes]
    return {member: f"127.0.0.1:{port}" for member, port in enumerate(ports, 1)}


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
