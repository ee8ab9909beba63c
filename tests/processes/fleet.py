"""Members in processes of their own, and what they must hold in the end.

What a member said to be done must be in every tree exactly once, whatever was
done to the processes; and the log must bear out what clients were told. Shared
by ``kill_leader`` and ``torture``.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, Queue

import attrs

from coordlib.storage.directory import segment_name
from coordlib.storage.file import FileStore
from coordlib.storage.interface import Recovered
from coordlib.testing import Call, check_history, decode_log
from coordlib.tree import Transaction
from processes.journal import read_calls

__all__ = ["Fleet", "Process", "free_addresses", "wait_for_leader"]

_MEMBER = Path(__file__).with_name("member.py")

# Seconds. Far more than anything takes, even on a busy machine.
_PATIENCE = 30.0


class Process:
    """One member's process and what it says."""

    def __init__(
        self,
        member: int,
        addresses: Mapping[int, str],
        state: Path,
        pause: float,
        keep: str,
    ) -> None:
        seats = ",".join(f"{m}={a}" for m, a in addresses.items())
        self.member = member
        self.created: list[str] = []
        self.counted: list[str] = []
        self.noted: list[str] = []
        self._answers: Queue[list[str]] = Queue()
        self._ready = threading.Event()
        self._popen = subprocess.Popen(
            [
                *(sys.executable, str(_MEMBER)),
                *(str(member), seats, str(state), str(pause), keep),
            ],
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
                case ["call", noted]:
                    self.noted.append(noted)
                case ["ready"]:
                    self._ready.set()
                case words:
                    self._answers.put(words)

    def wait_ready(self) -> None:
        """Wait until it has caught up for the first time, and takes commands."""
        if not self._ready.wait(_PATIENCE):
            raise TimeoutError(f"member {self.member} is not ready")

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

    def stop(self) -> None:
        """Freeze the process, as a debugger or a suspended machine does."""
        os.kill(self._popen.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self._popen.pid, signal.SIGCONT)


@attrs.define
class Fleet:
    """All members, and what those that were killed had been told.

    Attributes:
      directory: Where the data directories are made.
      addresses: Of all members.
      pause: Seconds between two writes of one writer.
      purges: Members keep little of their logs, so that these cannot be compared
        with what clients were told.
      created: Tokens whose creation was acknowledged, of killed processes.
      counted: Tokens whose counting was acknowledged, likewise.
      calls: What clients asked for and were told, likewise.
      running: The processes that are not killed.

    """

    directory: Path
    addresses: dict[int, str]
    pause: float = 0.0
    purges: bool = False
    created: list[str] = attrs.field(factory=list)
    counted: list[str] = attrs.field(factory=list)
    calls: list[Call] = attrs.field(factory=list)
    running: dict[int, Process] = attrs.field(factory=dict)

    def start(self, member: int) -> None:
        """Start a member that does not run."""
        state = self.directory / str(member)
        keep = "little" if self.purges else "everything"
        self.running[member] = Process(member, self.addresses, state, self.pause, keep)

    def kill(self, member: int) -> None:
        """Kill a member, and keep what it had been told."""
        process = self.running.pop(member)
        process.kill()
        self.created += process.created
        self.counted += process.counted
        self.calls += read_calls(process.noted)

    def kill_all(self) -> None:
        """Kill whoever runs."""
        for member in list(self.running):
            self.kill(member)

    def wait_ready(self) -> None:
        """Wait until all that run take commands."""
        for process in self.running.values():
            process.wait_ready()

    def check(self) -> None:
        """End the load and check what all members hold; all are running."""
        for process in self.running.values():
            process.ask("stop", "stopped")
        last = _wait_until_equal(self.running)
        final = [_contents(process) for process in self.running.values()]
        assert all(contents == final[0] for contents in final)
        self.kill_all()
        names, tokens = final[0]
        _check(self.created, [name[:-10] for name in names])
        _check(self.counted, tokens)
        if self.purges:
            self._check_purged()
            return
        found = check_history(self.calls, self._log(last))
        assert not found, "\n".join(map(str, found[:10]))

    def _check_purged(self) -> None:
        """Look whether each member got rid of the beginning of its log."""
        for member in self.addresses:
            state = self.directory / str(member)
            names = sorted(path.name for path in state.glob("log.*"))
            assert names[0] != segment_name(1), f"member {member} has not purged"
            assert len(list(state.glob("snapshot.*"))) <= 3, f"member {member}"

    def _log(self, last: int) -> list[tuple[int, Transaction]]:
        """Return everything that was agreed upon, from a member that has it all."""
        logs: list[Recovered] = []
        for member in self.addresses:
            store = FileStore(
                self.directory / str(member), member=member, name="coordlib"
            )
            logs.append(store.recover())
            store.close()
        return decode_log(min(logs, key=lambda recovered: recovered.base), last)


def wait_for_leader(running: Mapping[int, Process], former: int) -> int:
    """Wait until all running members name the same leader, another one."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        leaders = {int(p.ask("leader", "leader")[0]) for p in running.values()}
        if len(leaders) == 1 and not leaders & {0, former}:
            return leaders.pop()
        time.sleep(0.01)
    raise TimeoutError("no leader")


def _wait_until_equal(running: Mapping[int, Process]) -> int:
    """Wait until all trees are at one zxid, with the same digest; return it."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        states = {tuple(p.ask("state", "state")) for p in running.values()}
        if len(states) == 1:
            return int(states.pop()[0])
        time.sleep(0.1)
    raise TimeoutError("the members differ")


def _contents(process: Process) -> tuple[list[str], list[str]]:
    return process.ask("list", "names"), process.expect("tokens")


def _check(acknowledged: Iterable[str], found: list[str]) -> None:
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
