"""What a replica asks of its disk, whatever the disk is.

One ordered stream of entries carries everything durable: transactions, cuts,
the consensus core's metadata and received snapshots. Order of submission is
order of durability; there is no second file whose order could differ (the
hazard of ZOOKEEPER-4643 and -4269). Storage knows neither Zab nor znodes:
a transaction is a number and bytes, metadata is bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Protocol, TypeVar

import attrs
import trio

__all__ = [
    "Damage",
    "Entry",
    "EntryKind",
    "Extent",
    "LogStore",
    "Reading",
    "Records",
    "Recovered",
    "SnapshotReading",
    "StoredSnapshot",
    "Write",
]

T_co = TypeVar("T_co", covariant=True)


class EntryKind(IntEnum):
    """What one entry of the stream does to the recovered state."""

    # (TRANSACTION, zxid, payload): the log grows by one.
    TRANSACTION = 1
    # (CUT, zxid, b""): every transaction and snapshot beyond zxid is gone.
    CUT = 2
    # (META, 0, blob): replaces the metadata.
    META = 3
    # (BASE, zxid, snapshot): the log starts anew after this received snapshot.
    BASE = 4


Entry = tuple[int, int, bytes]
"""Kind, zxid, bytes. A tuple, because the hot path makes one per transaction."""


@attrs.define
class Write:
    """Entries that are reported durable together.

    After a crash before the report, any beginning of them may be there; what
    must not come apart belongs into one entry.

    Attributes:
      io: Names the write in :meth:`LogStore.run`'s reports; one more than the
        previous write's, from 1 on. A gap is an older role's write: refused.
      entries: In the order in which they count.

    """

    io: int
    entries: list[Entry]


@attrs.frozen
class Damage:
    """A file that was found damaged, where no crash can have done it.

    Attributes:
      file: The name that it had.
      offset: The first damaged byte.
      reason: What is wrong there.

    """

    file: str
    offset: int
    reason: str

    def __str__(self) -> str:
        """Return all of it, for people."""
        return f"{self.file}, byte {self.offset}: {self.reason}"


@attrs.frozen
class StoredSnapshot:
    """A good snapshot in the store.

    Attributes:
      zxid: Of which state.
      size: How many bytes it has.
      pieces: The bytes, to be joined. Each iteration reads them anew, a little
        at a time and blocking, so that no more than that is in memory; until
        :meth:`LogStore.run` begins, which may purge it. Raises
        :exc:`StorageError` if they cannot be read any more.

    """

    zxid: int
    size: int
    pieces: Iterable[bytes]


@attrs.frozen
class Recovered:
    """What the disk holds at start.

    Attributes:
      meta: The last metadata, or ``None`` on an empty disk.
      base: The zxid after which ``records`` begin; 0 for a whole history.
      records: Zxid and payload of each transaction in the log, ascending. May
        begin before ``snapshot``: older records help learners to catch up.
      snapshot: The newest good one, if there is one. Its zxid is ``base`` or
        that of one of ``records``.
      damage: What was found damaged at this start, and set aside.
      damaged: The log was set aside, at this start or an earlier one, and nothing
        has taken its place: what the member acknowledged is not here any more.

    """

    meta: bytes | None
    base: int
    records: list[tuple[int, bytes]]
    snapshot: StoredSnapshot | None
    damage: tuple[Damage, ...] = ()
    damaged: bool = False


@attrs.frozen
class Extent:
    """What can be read back, for members that are behind.

    Attributes:
      base: The zxid after which the log's transactions begin.
      parts: The log's, in order: the zxid after which each begins, and its bytes.
        The history after a zxid begins in the last part that begins before it.
      snapshot: Zxid and bytes of the newest one, if it is good.

    """

    base: int = 0
    parts: tuple[tuple[int, int], ...] = ()
    snapshot: tuple[int, int] | None = None


Records = Sequence[tuple[int, bytes]]
"""Zxid and payload of some transactions, ascending."""


class Reading(Protocol[T_co]):
    """Something of the store, read a little at a time."""

    async def next(self) -> T_co | None:
        """Return the next of it, perhaps nothing yet; ``None`` after the last.

        Raises:
          StorageError: It is damaged, gone or cannot be read. If it is damaged,
            :attr:`LogStore.extent` does not contain it any longer, soon.

        """
        ...

    def close(self) -> None:
        """Stop; let go of what is held for it."""
        ...


class SnapshotReading(Reading[bytes], Protocol):
    """The content of a kept snapshot."""

    async def identify(self) -> tuple[int, bytes]:
        """Check all of it; return its size, and a digest of sixteen bytes. First.

        Who holds the same content at the same zxid has the same digest.

        Raises:
          StorageError: As :meth:`Reading.next`.

        """
        ...

    def begin_at(self, offset: int) -> None:
        """Leave out so many bytes at the beginning."""
        ...


class LogStore(Protocol):
    """One member's durable state. Used by one replica at a time."""

    def recover(self) -> Recovered:
        """Lock the store and read all of it. Blocking; once, before the rest.

        Raises:
          StorageLockedError: Another replica uses it.
          ForeignStorageError: It belongs to another ensemble or member.
          CorruptLogError: It is damaged where no crash can have done it, and no
            other member can repair it.
          StorageError: The operating system refused.

        """
        ...

    def submit(self, write: Write) -> None:
        """Queue ``write``; never blocks. Durable when :meth:`run` reports it.

        Raises:
          StorageError: Its number is not the last one's plus one.

        """
        ...

    async def run(
        self,
        on_durable: Callable[[int], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Carry out the writes until cancelled; what is queued then is lost.

        While there is no room on the disk it waits, however long, and goes on
        when there is: see :attr:`no_room`.

        ``on_durable(io)`` is called on trio's thread: every write up to and
        including ``io`` is durable. Calls may skip numbers, never go back.

        Raises:
          StorageError: A write or a sync failed, a transaction does not come
            after the last one, or a cut goes to before the oldest snapshot of
            a purged log. It is final: nothing queued then will ever be
            reported (after a failed fsync the pages count as clean although
            they are lost: ATC'20, "Can applications recover from fsync
            failures?").

        """
        ...

    @property
    def no_room(self) -> str:
        """Why the log waits for room on the disk; empty if it does not."""
        ...

    async def save_snapshot(self, zxid: int, pieces: Sequence[bytes]) -> bool:
        """Keep the tree's state at ``zxid``, then purge what no recovery needs.

        It comes in pieces because joining them would take long.

        The transaction ``zxid`` is already durable. Does nothing if a cut or a
        new base has overtaken it, or a newer snapshot is kept.

        Returns:
          False if there is no room for it on the disk: then nothing is left of
          it, and the store goes on.

        Raises:
          StorageError: The operating system refused, or the store has stopped.

        """
        ...

    @property
    def extent(self) -> Extent:
        """What can be read back. It may be overtaken at any time."""
        ...

    def read_records(self, after: int, upto: int) -> Reading[Records]:
        """Read the transactions with ``after < zxid <= upto``, which are durable.

        The log goes on being written and purged; what was cut is no part of it.
        """
        ...

    def read_snapshot(self, zxid: int) -> SnapshotReading:
        """Read a kept snapshot. It may be purged meanwhile."""
        ...

    def close(self) -> None:
        """Release files and the lock. Idempotent."""
        ...
