"""What applying a transaction costs, and what a znode costs: the tree alone.

No replica, no disk, no wire: payloads as the log holds them go into a
:class:`DataTree`. The memory is this process's, everything counted: so it is
measured in a process of its own.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from coordlib.ids import MemberId
from coordlib.tree import (
    Create,
    DataTree,
    OpenSession,
    Operation,
    SessionOpened,
    Set,
    encode_request,
    stamp,
)

__all__ = ["TREE", "measure_tree"]

TREE = "tree"

_ROUNDS = 7
_TRANSACTIONS = 20_000
_ZNODES = 200_000
_CHILDREN = 1000
_DATA = bytes(100)
# 2023, on some leader's clock.
_TIME_MS = 1_700_000_000_000
# As in the third epoch: such zxids are no small numbers.
_ZXID = 3 << 32


def measure_tree() -> dict[str, tuple[float, str]]:
    """Return the microseconds of a transaction and the bytes of a znode.

    Times are of the processor, the best of some rounds. A znode's bytes are
    measured twice: when it was made, and when it was read once.
    """
    figures: dict[str, list[float]] = {"apply_create": [], "apply_set": []}
    for _ in range(_ROUNDS):
        log = _Log()
        figures["apply_create"].append(log.apply(_creates(_TRANSACTIONS)))
        paths = [path for path in log.tree.znodes() if path.startswith("/parent-")]
        figures["apply_set"].append(log.apply(Set(path, _DATA) for path in paths))
    made, read = map(float, _run_alone().split())
    return {
        **{name: (min(found), "us") for name, found in figures.items()},
        "znode_made": (made, "bytes"),
        "znode_read": (read, "bytes"),
    }


def _run_alone() -> str:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.tree"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _creates(number: int) -> Iterator[Create]:
    for i in range(number):
        parent, name = divmod(i, _CHILDREN)
        if not name:
            yield Create(f"/parent-{parent:06d}")
        yield Create(f"/parent-{parent:06d}/child-{name:06d}", _DATA)


class _Log:
    """A tree with one session, and the numbers of its transactions."""

    def __init__(self) -> None:
        self.tree = DataTree()
        self._zxids = count(_ZXID + 1)
        self._cxids = count(1)
        opening = OpenSession(b"nonce", bytes(16), MemberId(1), 10_000)
        payload = stamp(encode_request(0, 1, 0, opening), _TIME_MS)
        opened = self.tree.apply(next(self._zxids), payload).result
        assert isinstance(opened, SessionOpened)
        self._session = opened.session

    def apply(self, operations: Iterator[Operation]) -> float:
        """Apply these and return the microseconds for each."""
        log = [(next(self._zxids), self._payload(o)) for o in operations]
        apply = self.tree.apply
        gc.collect()
        began = time.process_time()
        for zxid, payload in log:
            apply(zxid, payload)
        return (time.process_time() - began) / len(log) * 1e6

    def grow(self, operations: Iterator[Operation]) -> None:
        """Apply these, and keep nothing of them."""
        for operation in operations:
            self.tree.apply(next(self._zxids), self._payload(operation))

    def _payload(self, operation: Operation) -> bytes:
        cxid = next(self._cxids)
        # Some are under way, as with any busy session.
        acked = max(0, cxid - 64)
        return stamp(
            encode_request(self._session, cxid, acked, operation), _TIME_MS + cxid
        )


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _tell_memory() -> None:
    warm = _Log()
    warm.grow(_creates(_CHILDREN))
    warm.tree.digest()
    gc.collect()
    before = _resident()
    log = _Log()
    log.grow(_creates(_ZNODES))
    log.tree.digest()
    gc.collect()
    made = _resident()
    for path in log.tree.znodes():
        log.tree.get(path)
    gc.collect()
    print((made - before) / _ZNODES, (_resident() - before) / _ZNODES)


if __name__ == "__main__":
    _tell_memory()
