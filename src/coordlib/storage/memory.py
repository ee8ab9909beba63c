"""The log store in memory: a disk that outlives its replica, and crashes.

For tests in virtual time and for ensembles that need not survive their
process. No threads: the writes are carried out by the task that calls ``run``,
so a crash is that task's cancellation.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from hashlib import blake2b

import attrs
import trio

from coordlib.errors import StorageError, StorageLockedError
from coordlib.ids import format_zxid

from .history import History, cut_refused, gap_refused
from .interface import EntryKind, Extent, Records, Recovered, StoredSnapshot, Write
from .reading import DIGEST_SIZE
from .snapshot import CHUNK_BYTES_MAX

__all__ = ["MemoryDisk", "MemoryStore"]

# What one step of a reading returns.
_READ_MAX = 512

# The newest, and one to fall back to: what the file store keeps by default.
_SNAPSHOTS_KEPT = 2


@attrs.define(eq=False)
class MemoryDisk:
    """What survives a crash. Lives outside the replica; used by one at a time.

    Tests call :meth:`stall`, :meth:`fill`, :meth:`resume` and :meth:`fail`; the
    rest is for :class:`MemoryStore`.

    Attributes:
      extent: See :attr:`LogStore.extent`; as of the last snapshot, cut or base.
      no_room: Why writes wait for room; empty if they do not.

    """

    extent: Extent = attrs.field(default=Extent(), init=False)
    no_room: str = attrs.field(default="", init=False)
    _history: History = attrs.field(factory=History, init=False)
    # Invariant: ascending, and the history holds each zxid.
    _snapshots: list[tuple[int, Sequence[bytes]]] = attrs.field(
        factory=list, init=False
    )
    _user: MemoryStore | None = attrs.field(default=None, init=False)
    _stalled: bool = attrs.field(default=False, init=False)
    _resumed: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )
    _error: OSError | None = attrs.field(default=None, init=False)

    def stall(self) -> None:
        """Let nothing finish from now on; nothing is lost."""
        self._stalled = True

    def fill(self) -> None:
        """Have no room from now on: writes wait, snapshots are not kept."""
        self.stall()
        self.no_room = os.strerror(errno.ENOSPC)

    def resume(self) -> None:
        """Finish what :meth:`stall` or :meth:`fill` held up, and go on."""
        self._stalled = False
        self.no_room = ""
        self._resumed.unpark_all()

    def fail(self, error: OSError) -> None:
        """Let the next write fail with ``error``, once."""
        self._error = error

    def lock(self, user: MemoryStore) -> None:
        """Let ``user`` alone use the disk.

        Raises:
          StorageLockedError: Another one does.

        """
        if self._user is not None:
            raise StorageLockedError("another replica uses this memory disk")
        self._user = user

    def unlock(self, user: MemoryStore) -> None:
        """Let others use the disk, if it was ``user`` who did."""
        if self._user is user:
            self._user = None

    async def access(self, user: MemoryStore, latency: float) -> None:
        """Pass the time of one access, however long the disk is stalled.

        Raises:
          StorageError: ``user`` has closed the disk.

        """
        await trio.sleep(latency)
        while self._stalled:
            await self._resumed.park()
        if self._user is not user:
            raise StorageError("the store is closed")

    def read(self) -> Recovered:
        """Return everything that is durable."""
        snapshot = None
        if self._snapshots:
            zxid, pieces = self._snapshots[-1]
            snapshot = StoredSnapshot(zxid, sum(map(len, pieces)), pieces)
        return Recovered(
            meta=self._history.meta,
            base=self._history.base,
            records=self._history.records.copy(),
            snapshot=snapshot,
        )

    def write(self, write: Write) -> None:
        """Make ``write`` durable.

        Raises:
          StorageError: :meth:`fail` was called, or the entries make no sense.

        """
        if self._error is not None:
            error, self._error = self._error, None
            raise StorageError(f"write failed: {error}") from error
        for kind, zxid, body in write.entries:
            if kind == EntryKind.CUT:
                self._cut_snapshots(zxid)
            elif kind == EntryKind.BASE:
                self._snapshots = [(zxid, [body])]
            self._history.apply(kind, zxid, body)
            if kind in (EntryKind.CUT, EntryKind.BASE):
                self._survey()

    def _cut_snapshots(self, zxid: int) -> None:
        kept = [snapshot for snapshot in self._snapshots if snapshot[0] <= zxid]
        if self._history.base and zxid and not kept:
            raise cut_refused(zxid)
        self._snapshots = kept

    def save(self, zxid: int, pieces: Sequence[bytes]) -> None:
        """Keep a snapshot and forget what no recovery needs any more."""
        newest = self._snapshots[-1][0] if self._snapshots else -1
        # A cut or a new base may have overtaken it: then it is no state of ours.
        if zxid <= newest or not self._history.holds(zxid):
            return
        self._snapshots.append((zxid, pieces))
        if len(self._snapshots) >= _SNAPSHOTS_KEPT:
            del self._snapshots[:-_SNAPSHOTS_KEPT]
            self._history.forget(self._snapshots[0][0])
        self._survey()

    def _survey(self) -> None:
        """Write down what can be read back."""
        newest, snapshot = self._history.base, None
        if self._snapshots:
            newest, pieces = self._snapshots[-1]
            snapshot = newest, sum(map(len, pieces))
        older = self._history.between(self._history.base, newest)
        size = sum(len(body) for _, body in older)
        parts = ((self._history.base, size), (newest, 0))
        self.extent = Extent(self._history.base, parts, snapshot)

    def snapshot(self, zxid: int) -> bytes:
        """Return the content of a kept snapshot.

        Raises:
          StorageError: It was purged.

        """
        for kept, pieces in self._snapshots:
            if kept == zxid:
                return b"".join(pieces)
        raise StorageError("the snapshot was purged meanwhile")

    def records(self, after: int, upto: int, count: int) -> list[tuple[int, bytes]]:
        """Return the first transactions with ``after < zxid <= upto``."""
        return self._history.between(after, upto, count)


@attrs.define(eq=False)
class MemoryStore:
    """One replica's use of a :class:`MemoryDisk`; implements ``LogStore``.

    Args:
      disk: What survives.
      latency: How long a batch of writes or a snapshot takes, in seconds of
        trio's clock; 0.0 is one checkpoint.

    """

    _disk: MemoryDisk
    _latency: float = attrs.field(default=0.0, kw_only=True)
    _submitted: int = attrs.field(default=0, init=False)
    _queue: list[Write] = attrs.field(factory=list, init=False)
    _arrived: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    def recover(self) -> Recovered:
        """Lock the disk and return what it holds.

        Raises:
          StorageLockedError: Another store uses it.

        """
        self._disk.lock(self)
        return self._disk.read()

    def submit(self, write: Write) -> None:
        """Queue ``write``; never blocks. Durable when :meth:`run` reports it.

        Raises:
          StorageError: Its number is not the last one's plus one.

        """
        if write.io != self._submitted + 1:
            raise gap_refused(write.io, self._submitted)
        self._submitted = write.io
        self._queue.append(write)
        self._arrived.unpark()

    async def run(
        self,
        on_durable: Callable[[int], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Carry out the writes until cancelled; what is queued then is lost.

        Raises:
          StorageError: A write failed. Nothing more will be reported.

        """
        task_status.started()
        while True:
            while not self._queue:
                await self._arrived.park()
            batch, self._queue = self._queue, []
            await self._disk.access(self, self._latency)
            for write in batch:
                self._disk.write(write)
            on_durable(batch[-1].io)

    @property
    def no_room(self) -> str:
        """Why the log waits for room on the disk; empty if it does not."""
        return self._disk.no_room

    async def save_snapshot(self, zxid: int, pieces: Sequence[bytes]) -> bool:
        """Keep the tree's state at ``zxid``, then purge what no recovery needs.

        Does nothing when the history no longer passes through ``zxid``.

        Returns:
          False if there is no room for it.

        Raises:
          StorageError: The store is closed.

        """
        if self._disk.no_room:
            await trio.lowlevel.checkpoint()
            return False
        await self._disk.access(self, self._latency)
        self._disk.save(zxid, pieces)
        return True

    @property
    def extent(self) -> Extent:
        """What can be read back."""
        return self._disk.extent

    def read_records(self, after: int, upto: int) -> _RecordReading:
        """Read the transactions with ``after < zxid <= upto``, which are durable."""
        return _RecordReading(self._disk, self, after, upto)

    def read_snapshot(self, zxid: int) -> _SnapshotReading:
        """Read a kept snapshot."""
        return _SnapshotReading(self._disk, self, zxid)

    async def access(self) -> None:
        """Pass the time of one access.

        Raises:
          StorageError: The store is closed.

        """
        await self._disk.access(self, self._latency)

    def close(self) -> None:
        """Release the disk. Idempotent."""
        self._disk.unlock(self)


@attrs.define(eq=False)
class _RecordReading:
    """Implements ``Reading``."""

    _disk: MemoryDisk
    _store: MemoryStore
    _after: int
    _upto: int

    async def next(self) -> Records | None:
        """See ``Reading``."""
        await self._store.access()
        if self._after >= self._upto:
            return None
        if self._after < self._disk.extent.base:
            raise StorageError("the log was purged meanwhile")
        records = self._disk.records(self._after, self._upto, _READ_MAX)
        if not records:
            raise StorageError(f"the log ends before {format_zxid(self._upto)}")
        self._after = records[-1][0]
        return records

    def close(self) -> None:
        """See ``Reading``."""


@attrs.define(eq=False)
class _SnapshotReading:
    """Implements ``SnapshotReading``."""

    _disk: MemoryDisk
    _store: MemoryStore
    _zxid: int
    # What is still to be read.
    _content: bytes = attrs.field(default=b"", init=False)
    _begins_at: int = attrs.field(default=0, init=False)

    async def identify(self) -> tuple[int, bytes]:
        """See ``SnapshotReading``."""
        await self._store.access()
        self._content = self._disk.snapshot(self._zxid)
        digest = blake2b(self._content, digest_size=DIGEST_SIZE).digest()
        return len(self._content), digest

    def begin_at(self, offset: int) -> None:
        """See ``SnapshotReading``."""
        self._begins_at = offset

    async def next(self) -> bytes | None:
        """See ``Reading``."""
        await self._store.access()
        content, at = self._content, self._begins_at
        self._begins_at = at + CHUNK_BYTES_MAX
        return content[at : self._begins_at] if at < len(content) else None

    def close(self) -> None:
        """See ``Reading``."""
        self._content = b""
