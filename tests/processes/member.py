"""One member in a process of its own, driven by its parent over pipes.

Run as ``python member.py ID ADDRESSES DATA_DIR PAUSE KEEP``, with the addresses as
``1=host:port,2=host:port``, and KEEP ``everything`` of the log, or ``little``. It
writes numbered znodes, PAUSE seconds apart, and counts, and says a line for each
answer; see ``fleet.py``.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from pathlib import Path

import trio

from coordlib import (
    BadVersionError,
    Check,
    Config,
    ConnectionLossError,
    Create,
    Ensemble,
    MultiError,
    NodeExistsError,
    OperationError,
    Session,
    SessionError,
    Set,
)
from coordlib.replica.replica import Surroundings
from coordlib.storage.file import FileStore
from coordlib.testing import Call, History, Recorder

# As a script it has its own directory in the path, in tests their root.
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from processes.journal import write_call

LOG, COUNTER = "/log", "/counter"

# What those who note everything work at.
PARTS = ("/part-1", "/part-2", "/part-3")


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


def journal() -> History:
    """Return a history that says each call when it begins, and when it is answered."""
    numbers: dict[int, int] = {}

    def note(call: Call) -> None:
        number = numbers.setdefault(id(call), len(numbers))
        say("call", write_call(call, number))

    return History(clock=time.monotonic, note=note)


async def work_and_note(ensemble: Ensemble, history: History, pause: float) -> None:
    """Read, write and sync for ever, and note it all."""
    while True:
        try:
            async with ensemble.session(timeout=5) as session:
                client = Recorder(history, session, ensemble.tree)
                while True:
                    try:
                        await _do_something(client)
                    except (OperationError, MultiError):
                        await trio.sleep(pause)
                    await trio.sleep(pause)
        except (SessionError, ConnectionLossError, OperationError):
            await trio.sleep(0.05)


async def _do_something(client: Recorder) -> None:
    path, data = random.choice(PARTS), random.randbytes(4)
    match random.randrange(8):
        case 0:
            await client.create(path, data)
        case 1:
            await client.create(f"{path}/e-", data, ephemeral=True, sequential=True)
        case 2:
            await client.multi([Check(path), Set(path, data), Create(f"{path}/m")])
        case 3:
            for name in (await client.get_children(path))[:2]:
                stat = await client.exists(f"{path}/{name}")
                if stat is not None:
                    await client.delete(f"{path}/{name}", czxid=stat.czxid)
        case 4 | 5:
            _, stat = await client.get(path)
            await client.set(path, data, version=stat.version)
        case _:
            await client.sync()
            await client.get(path)


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


# By how much of the log is kept: files so small that there is something to purge.
SEGMENT_BYTES = {"everything": 64 << 20, "little": 50_000}
SNAPSHOTS_KEPT = {"everything": 1_000_000, "little": 2}
INTERVALS = {"everything": 20_000, "little": 300}


async def main(
    member: int, addresses: dict[int, str], data_dir: str, pause: float, keep: str
) -> None:
    """Be the member until standard input ends."""
    # As with ``data_dir`` otherwise.
    store = FileStore(
        Path(data_dir),
        member=member,
        name="coordlib",
        segment_bytes_max=SEGMENT_BYTES[keep],
        snapshots_kept=SNAPSHOTS_KEPT[keep],
    )
    surroundings = Surroundings(
        entropy=secrets.token_bytes,
        wall_clock=time.time,
        blocking=trio.to_thread.run_sync,
    )
    async with Ensemble(
        member,
        addresses,
        store=store,
        surroundings=surroundings,
        config=Config(snapshot_interval=INTERVALS[keep]),
    ) as ensemble:
        await ensemble.wait_ready()
        say("ready")
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as writers:
                writing = writers.cancel_scope
                nursery.start_soon(answer, ensemble, writing, nursery.cancel_scope)
                history = journal()
                for _ in range(2):
                    writers.start_soon(work_and_note, ensemble, history, pause)
                await write(ensemble, f"m{member}p{os.getpid()}", pause)
            await trio.sleep_forever()


if __name__ == "__main__":
    seats = dict(seat.split("=") for seat in sys.argv[2].split(","))
    where = {int(m): a for m, a in seats.items()}
    pause, keep = float(sys.argv[4]), sys.argv[5]
    trio.run(main, int(sys.argv[1]), where, sys.argv[3], pause, keep)
