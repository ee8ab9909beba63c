"""One member in a process of its own, driven by its parent over pipes.

Run as ``python member.py ID ADDRESSES DATA_DIR PAUSE``, with the addresses as
``1=host:port,2=host:port``. It writes numbered znodes, PAUSE seconds apart, and
counts, and says a line for each answer; see ``fleet.py``.
"""

from __future__ import annotations

import os
import sys

import trio

from coordlib import (
    BadVersionError,
    ConnectionLossError,
    Ensemble,
    NodeExistsError,
    OperationError,
    Session,
    SessionError,
)

LOG, COUNTER = "/log", "/counter"


def say(*words: object) -> None:
    """Say a line at once: the parent may kill us right after it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def create_numbered(session: Session, prefix: str, pause: float) -> None:
    """Create one znode after the other, and say what became of each."""
    number = 0
    while True:
        number += 1
        token = f"{prefix}-{number}-"
        try:
            await session.create(f"{LOG}/{token}", sequential=True)
        except OperationError:
            await trio.sleep(0.05)
        else:
            say("created", token)
            if pause:
                await trio.sleep(pause)


async def count(session: Session, prefix: str) -> None:
    """Add tokens to a common list by compare-and-set."""
    number = 0
    while True:
        number += 1
        token = f"{prefix}-{number}"
        try:
            data, stat = await session.get(COUNTER)
            await session.set(
                COUNTER, data + token.encode() + b" ", version=stat.version
            )
        except BadVersionError:
            await trio.sleep(0.01)
        except OperationError:
            await trio.sleep(0.05)
        else:
            say("counted", token)
            await trio.sleep(0.02)


async def write(ensemble: Ensemble, name: str, pause: float) -> None:
    """Write for ever, with a new session when one is lost."""
    start = 0
    while True:
        start += 1
        try:
            async with ensemble.session(timeout=5) as session:
                for path in (LOG, COUNTER):
                    try:
                        await session.create(path)
                    except NodeExistsError:
                        await trio.lowlevel.checkpoint()
                async with trio.open_nursery() as nursery:
                    for i in range(2):
                        nursery.start_soon(
                            create_numbered, session, f"{name}.{start}.{i}", pause
                        )
                    nursery.start_soon(count, session, f"{name}.{start}")
        except* (SessionError, ConnectionLossError, OperationError):
            await trio.sleep(0.05)


async def answer(
    ensemble: Ensemble, writing: trio.CancelScope, everything: trio.CancelScope
) -> None:
    """Do what the parent asks for, line by line, until it is gone."""
    commands = trio.wrap_file(sys.stdin)
    async for line in commands:
        match line.split():
            case ["leader"]:
                say("leader", ensemble.leader_id or 0)
            case ["stop"]:
                writing.cancel()
                say("stopped")
            case ["state"]:
                say("state", ensemble.statistics().zxid, ensemble.digest())
            case ["list"]:
                say("names", *ensemble.tree.get_children(LOG))
                say("tokens", ensemble.tree.get(COUNTER)[0].decode())
            case other:
                raise ValueError(f"not understood: {other}")
    everything.cancel()


async def main(
    member: int, addresses: dict[int, str], data_dir: str, pause: float
) -> None:
    """Be the member until standard input ends."""
    async with Ensemble(member, addresses, data_dir=data_dir) as ensemble:
        await ensemble.wait_ready()
        say("ready")
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as writing:
                nursery.start_soon(answer, ensemble, writing, nursery.cancel_scope)
                await write(ensemble, f"m{member}p{os.getpid()}", pause)
            await trio.sleep_forever()


if __name__ == "__main__":
    seats = dict(seat.split("=") for seat in sys.argv[2].split(","))
    where = {int(m): a for m, a in seats.items()}
    trio.run(main, int(sys.argv[1]), where, sys.argv[3], float(sys.argv[4]))
