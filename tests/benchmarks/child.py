"""One of three processes: ``python -m tests.benchmarks.child ROLE ...``.

Reads commands on standard input, one a line, and answers each with one line of
JSON on standard output. Ends with its input, so no child outlives its parent.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import trio

from .bare import run_bare
from .behind import run_behind
from .load import Figures
from .member import run_member

Command = Callable[[int, float], Awaitable[Figures]]
"""Takes a count and a duration in seconds, each of which it may ignore."""

Role = Callable[
    [int, dict[int, str], Path], AbstractAsyncContextManager[Mapping[str, Command]]
]
"""Takes the own number, everybody's address and the data directory."""

_ROLES: dict[str, Role] = {
    "bare": run_bare,
    "member": run_member,
    "behind-records": partial(run_behind, "records"),
    "behind-znodes": partial(run_behind, "znodes"),
}


async def _main(role: str, number: str, directory: str, addresses: str) -> None:
    everybody = dict(enumerate(addresses.split(","), start=1))
    async with (
        _ROLES[role](int(number), everybody, Path(directory)) as commands,
        trio.lowlevel.FdStream(os.dup(0)) as stream,
        trio.open_nursery() as nursery,
    ):
        received = b""
        async for chunk in stream:
            *lines, received = (received + chunk).split(b"\n")
            for line in lines:
                name, count, seconds = line.decode().split()
                nursery.start_soon(_answer, commands[name], int(count), float(seconds))
        nursery.cancel_scope.cancel()


async def _answer(command: Command, count: int, seconds: float) -> None:
    figures = await command(count, seconds)
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    # Links that break are what some benchmarks are about.
    logging.getLogger("coordlib").setLevel(logging.ERROR)
    _, role, number, directory, addresses = sys.argv
    trio.run(_main, role, number, directory, addresses)
