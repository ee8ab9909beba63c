"""Makes snapshots, and trees of them, in steps so short that nothing else is late.

On the loop, not in a thread: a thread of pure Python would keep the interpreter
from the loop for five milliseconds at a time. What is a snapshot's content is
the tree's business, who gets it the caller's.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import trio

from coordlib.consensus import Snapshot
from coordlib.errors import ProtocolError, StorageError
from coordlib.ids import format_zxid
from coordlib.storage.interface import StoredSnapshot
from coordlib.tree import Capture, DataTree, Restoration

__all__ = ["SnapshotMaker", "load", "load_received", "many_znodes", "release"]

logger = logging.getLogger("coordlib.replica")

# Entries of a step: a millisecond or two.
_STEP = 250

# Bytes of a received snapshot that are taken at a time: a piece or two.
_PART = 1 << 16

# So many times as long as a step everybody else has the loop to themselves. Writes
# save old rows meanwhile; with that, four fifths of their throughput are left.
_REST = 14

# The size of a snapshot from which on the garbage collector is looked after: some
# 100,000 znodes. Below, it stops for less than 20 ms.
_LARGE_BYTES = 16 << 20


class SnapshotMaker:
    """All snapshots under way at one replica; they take turns."""

    def __init__(self) -> None:
        self._turn = trio.Lock()

    async def finish(
        self, captured: Capture, tell: Callable[[int], None]
    ) -> list[bytes]:
        """Return a snapshot's pieces, or close it when cancelled.

        Args:
          captured: The snapshot.
          tell: Is told how many znodes are done.

        """
        try:
            while True:
                async with self._turn:
                    began = trio.current_time()
                    has_more = captured.step(_STEP)
                    # In virtual time a step takes none.
                    await trio.sleep(_REST * (trio.current_time() - began))
                tell(captured.done)
                if not has_more:
                    return captured.pieces()
        finally:
            captured.close()


async def load(
    tree: DataTree,
    snapshot: StoredSnapshot,
    tell: Callable[[int], None],
    *,
    freeze: bool,
) -> None:
    """Make ``tree`` what the own snapshot says; only a chunk of it is in memory.

    Args:
      tree: Is replaced at the end.
      snapshot: Good, as far as the store can tell.
      tell: Is told how many bytes are done.
      freeze: See :func:`many_znodes`.

    Raises:
      StorageError: It cannot be read, or is not what a member writes.

    """
    try:
        with many_znodes(snapshot.size, freeze=freeze):
            await _restore(tree, snapshot.pieces, tell)
    except ProtocolError as error:
        zxid = format_zxid(snapshot.zxid)
        raise StorageError(f"the snapshot at {zxid} is no tree: {error}") from error


async def load_received(
    snapshot: Snapshot, tell: Callable[[int], None], *, freeze: bool
) -> DataTree:
    """Return the tree that another member sent.

    Args:
      snapshot: Perhaps anything.
      tell: Is told how many bytes are done.
      freeze: See :func:`many_znodes`.

    Raises:
      ProtocolError: It is malformed, or of another zxid than announced.

    """
    tree, body = DataTree(), snapshot.body
    pieces = (body[at : at + _PART] for at in range(0, len(body), _PART))
    with many_znodes(len(body), freeze=freeze):
        await _restore(tree, pieces, tell)
    if tree.zxid != snapshot.zxid:
        raise ProtocolError("a snapshot of another zxid than announced")
    return tree


async def _restore(
    tree: DataTree, pieces: Iterable[bytes], tell: Callable[[int], None]
) -> None:
    restoration, done = Restoration(), 0
    for piece in pieces:
        restoration.add(piece)
        done += len(piece)
        tell(done)
        await trio.lowlevel.checkpoint()
    for _ in restoration.finish():
        await trio.lowlevel.checkpoint()
    restoration.install(tree)


async def release(old: DataTree) -> None:
    """Let go of a tree that nobody uses any more.

    All at once, it would take half a second for a million znodes.
    """
    while old.dismantle(_STEP):
        await trio.lowlevel.checkpoint()


@contextmanager
def many_znodes(size: int, *, freeze: bool) -> Iterator[None]:
    """Spare the garbage collector the znodes that the block makes, if they are many.

    It looks at all objects of a process at one go: with a million znodes that
    stops everything for a third of a second, some twelve times while they are
    made, and again whenever the process has made a quarter more. It can never
    find any of them, because no znode is part of a cycle: they go when nobody
    refers to them any more. So it rests while they are made, and does not look
    at them afterwards.

    Neither can be had for some objects alone. What else the process makes during
    the block, a few seconds, is looked at later; and what it holds at the end of
    it is never looked at again: cycles among these objects stay when they become
    garbage later. Hence only when the tree is large, only when it comes as a
    whole, which is mostly at start, when little of what there is will go; and
    never when ``freeze`` is false.

    Args:
      size: The bytes of the snapshot.
      freeze: Whether it may be kept from looking at them afterwards.

    """
    was_enabled = gc.isenabled()
    if size < _LARGE_BYTES:
        yield
        return
    gc.disable()
    try:
        yield
        if freeze:
            gc.freeze()
            logger.info("the garbage collector looks at nothing that is there now")
    finally:
        if was_enabled:
            gc.enable()
