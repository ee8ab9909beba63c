"""Makes snapshots in steps so short that nothing else is late.

On the loop, not in a thread: a thread of pure Python would keep the interpreter
from the loop for five milliseconds at a time. What is a snapshot's content is
the tree's business, who gets it the caller's.
"""

from __future__ import annotations

import trio

from coordlib.tree import Capture

__all__ = ["SnapshotMaker"]

# Entries of a step: a millisecond or two.
_STEP = 250

# So many times as long as a step everybody else has the loop to themselves, so
# that four fifths of their throughput are left.
_REST = 4


class SnapshotMaker:
    """All snapshots under way at one replica; they take turns."""

    def __init__(self) -> None:
        self._turn = trio.Lock()

    async def finish(self, captured: Capture) -> list[bytes]:
        """Return a snapshot's pieces, or close it when cancelled."""
        try:
            while True:
                async with self._turn:
                    began = trio.current_time()
                    has_more = captured.step(_STEP)
                    # In virtual time a step takes none.
                    await trio.sleep(_REST * (trio.current_time() - began))
                if not has_more:
                    return captured.pieces()
        finally:
            captured.close()
