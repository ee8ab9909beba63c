"""A forked child has a copy of the replica and must not use it."""

from __future__ import annotations

import subprocess
import sys

FORKING = """
import os, sys, trio
from coordlib import Create, Ensemble, ReplicaClosedError

def refused(use):
    try:
        result = use()
        if hasattr(result, "send"):
            result.send(None)
    except ReplicaClosedError as error:
        return "forked" in str(error)
    return False

async def main():
    async with Ensemble() as ensemble:
        async with ensemble.session() as session:
            await session.create("/a")
            scope = trio.CancelScope()
            uses = {
                "tree": lambda: ensemble.tree,
                "role": lambda: ensemble.role,
                "leader_id": lambda: ensemble.leader_id,
                "read_only": lambda: ensemble.read_only,
                "statistics": lambda: ensemble.statistics(),
                "digest": lambda: ensemble.digest(),
                "wait_ready": lambda: ensemble.wait_ready(),
                "abort": lambda: ensemble.abort(),
                "session": lambda: ensemble.session().__aenter__(),
                "check": lambda: session.check(),
                "create": lambda: session.create("/b"),
                "set": lambda: session.set("/a", b""),
                "delete": lambda: session.delete("/a"),
                "multi": lambda: session.multi([Create("/c")]),
                "empty multi": lambda: session.multi([]),
                "get": lambda: session.get("/a"),
                "exists": lambda: session.exists("/a"),
                "get_children": lambda: session.get_children("/"),
                "predecessor": lambda: session.predecessor("/a"),
                "sync": lambda: session.sync(),
                "watch": lambda: session.watch("/a"),
                "wait_for": lambda: session.wait_for("/a", lambda znode: True),
                "wait_deleted": lambda: session.wait_deleted("/b"),
                "bind": lambda: session.bind(scope, "/a", 1),
                "aclose": lambda: session.aclose(),
            }
            pid = os.fork()
            if not pid:
                os.write(1, " ".join(n for n in uses if not refused(uses[n])).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            await session.create("/parent-goes-on")
            assert (await session.get_children("/"))[1:] == ["a", "parent-goes-on"]
    os.write(1, b" done")

trio.run(main)
"""


def test_every_use_in_a_forked_child_is_refused() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    # What the child could use, and then the parent.
    assert result.stdout == " done"
