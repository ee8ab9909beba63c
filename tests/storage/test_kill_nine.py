"""A real process, a real disk and ``kill -9``: what was reported is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random, SystemRandom

from coordlib.storage.file import FileStore
from storage.stored import in_memory

WRITER = """
import os, sys, trio
from pathlib import Path
from coordlib.storage.file import FileStore
from coordlib.storage.interface import EntryKind, Write

async def main():
    store = FileStore(
        Path(sys.argv[1]), member=1, name="test", segment_bytes_max=5000
    )
    recovered = store.recover()
    last = recovered.records[-1][0] if recovered.records else recovered.base
    acknowledged = trio.Event()

    def on_durable(io):
        nonlocal acknowledged
        os.write(1, b"%d\\n" % (last + io))
        acknowledged.set()
        acknowledged = trio.Event()

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run, on_durable)
        io = 0
        while True:
            for _ in range(io % 5 + 1):
                io += 1
                zxid = last + io
                store.submit(Write(io, [(EntryKind.TRANSACTION, zxid, b"%d" % zxid)]))
            await acknowledged.wait()
            if io % 20 < 5:
                await store.save_snapshot(last + 1, [b"state at %d" % (last + 1)])

trio.run(main)
"""


def write_until_killed(path: Path, *, reports: int) -> int:
    """Let a process write; kill it after so many reports; return the last one."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(reports)]
        process.kill()
        # What it reported before the kill, but we had not read.
        lines += process.stdout.readlines()
    return max(int(line) for line in lines)


def test_what_was_reported_before_kill_9_is_recovered(tmp_path: Path) -> None:
    seed = SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    random = Random(seed)
    for _ in range(5):
        reported = write_until_killed(tmp_path / "state", reports=random.randint(1, 80))

        store = FileStore(tmp_path / "state", member=1, name="test")
        recovered = store.recover()
        snapshot = in_memory(recovered).snapshot
        store.close()
        zxids = [zxid for zxid, _ in recovered.records]
        assert zxids == list(range(recovered.base + 1, recovered.base + len(zxids) + 1))
        assert [recovered.base, *zxids][-1] >= reported > 0
        assert all(payload == b"%d" % zxid for zxid, payload in recovered.records)
        if snapshot is not None:
            assert list(snapshot.pieces) == [b"state at %d" % snapshot.zxid]
