"""Three child processes of one role: started, talked to, killed.

Knows nothing of what they do; :mod:`.child` is the other end.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory

import attrs
import trio

from .load import Figures

__all__ = ["Child", "Fleet", "open_fleet"]

_SIZE = 3
_ROOT = Path(__file__).parents[2]
# Seconds for an answer, beyond those that the command itself takes.
_PATIENCE = 30.0
# Ports below those that systems give to dialling sockets: or dialling a dead
# member could take the port that it needs when it comes back.
_PORTS = range(20000, 32000)


@attrs.define(eq=False)
class Child:
    """One process."""

    process: trio.Process
    _received: bytes = attrs.field(default=b"", init=False)

    async def ask(self, command: str, count: int = 0, seconds: float = 0.0) -> Figures:
        """Give a command and wait for its answer."""
        await self.tell(command, count, seconds)
        return await self.hear(seconds)

    async def tell(self, command: str, count: int = 0, seconds: float = 0.0) -> None:
        """Give a command; :meth:`hear` returns its answer."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{command} {count} {seconds}\n".encode())

    async def hear(self, seconds: float = 0.0) -> Figures:
        """Wait for an answer.

        Raises:
          trio.TooSlowError: None came.
          RuntimeError: The process has ended.

        """
        assert self.process.stdout is not None
        with trio.fail_after(seconds + _PATIENCE):
            while b"\n" not in self._received:
                chunk = await self.process.stdout.receive_some()
                if not chunk:
                    raise RuntimeError("a child has ended; see its error above")
                self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        answer: object = json.loads(line)
        assert isinstance(answer, dict)
        return {str(name): float(value) for name, value in answer.items()}

    async def kill(self) -> None:
        """End it by SIGKILL, whatever it does, and wait until it is gone."""
        self.process.kill()
        with trio.CancelScope(shield=True):
            await self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                await trio.aclose_forcefully(pipe)


@attrs.define(eq=False)
class Fleet:
    """The processes by their numbers, from 1 on.

    Attributes:
      children: Those that were started and not killed since.

    """

    _role: str
    _directory: Path
    _addresses: list[str]
    children: dict[int, Child] = attrs.field(factory=dict, init=False)

    async def start(self, number: int) -> None:
        """Start a process on its directory, which may be a killed one's."""
        process = await trio.lowlevel.open_process(
            [
                *(sys.executable, "-m", f"{__package__}.child", self._role),
                *(str(number), str(self._directory / str(number))),
                ",".join(self._addresses),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            # Control-C is for the parent; it kills the children.
            start_new_session=True,
        )
        self.children[number] = Child(process)

    async def kill(self, number: int) -> None:
        """Kill a process."""
        await self.children.pop(number).kill()

    async def lead(self) -> tuple[int, int]:
        """Return who leads, and its epoch."""
        _, child = min(self.children.items())
        status = await child.ask("status")
        return int(status["leader"]), int(status["epoch"])

    async def ask_leader(
        self, command: str, count: int = 0, seconds: float = 0.0
    ) -> Figures:
        """Give the leader a command; again if the lead changed meanwhile."""
        return await self._ask(lambda leader: leader, command, count, seconds)

    async def ask_follower(
        self, command: str, count: int = 0, seconds: float = 0.0
    ) -> Figures:
        """Give the first follower a command; again if the lead changed meanwhile."""
        return await self._ask(
            lambda leader: min(self.children.keys() - {leader}), command, count, seconds
        )

    async def _ask(
        self, choose: Callable[[int], int], command: str, count: int, seconds: float
    ) -> Figures:
        while True:
            lead = await self.lead()
            figures = await self.children[choose(lead[0])].ask(command, count, seconds)
            if await self.lead() == lead:
                return figures
            print("  the lead has changed; once more", file=sys.stderr)


@asynccontextmanager
async def open_fleet(role: str) -> AsyncIterator[Fleet]:
    """Start three processes and wait until they are ready."""
    with TemporaryDirectory(prefix="coordlib-benchmark-") as directory:
        fleet = Fleet(role, Path(directory), _free_addresses())
        try:
            for number in range(1, _SIZE + 1):
                await fleet.start(number)
            for child in fleet.children.values():
                await child.ask("status")
            yield fleet
        finally:
            for child in fleet.children.values():
                await child.kill()


def _free_addresses() -> list[str]:
    """Return loopback addresses on which nobody listens."""
    addresses: list[str] = []
    with ExitStack() as stack:
        for port in SystemRandom().sample(_PORTS, len(_PORTS)):
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            addresses.append(f"127.0.0.1:{port}")
            if len(addresses) == _SIZE:
                return addresses
    raise RuntimeError("no free ports")
