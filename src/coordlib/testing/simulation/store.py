"""The real log on a simulated disk, one batch at a time in simulated time.

Does what the thread of ``coordlib.storage.file`` does: takes what has piled up,
appends it, syncs once and reports it. The calls themselves happen at once when
the batch's time is over; a crash before that carries out some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set as AbstractSet
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

import attrs

from coordlib.ids import MemberId
from coordlib.storage.directory import Directory
from coordlib.storage.interface import Entry, EntryKind, Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.patience import is_want_of_room
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover

from .disk import Disk, PowerCut
from .kernel import Kernel, Owner

__all__ = ["Store", "StoreUser"]

# Microseconds between two attempts to write to a full disk.
_PAUSE = 100_000

# How many more calls a program makes that is ended while it writes. The first
# two are mostly a write and its sync; few batches or snapshots make twelve.
_DOING: dict[int, str] = {
    EntryKind.TRANSACTION: "appending",
    EntryKind.CUT: "cutting",
    EntryKind.META: "saving-epochs",
    EntryKind.BASE: "installing",
}
_CALLS_LEFT = (0, 1, 1, 1, 2, 3, 4, 6, 8, 12)


@attrs.define
class _Staged:
    """A snapshot to be written aside, then published."""

    zxid: int
    pieces: Sequence[bytes]
    is_aside: bool = False


class StoreUser(Owner, Protocol):
    """The process whose disk it is."""

    def persisted(self, io: int) -> None:
        """Every write up to ``io`` is durable."""

    def writing(self, kinds: AbstractSet[int]) -> bool:
        """Writes of these kinds are about to be made durable; whether to go on."""

    def disk_full(self) -> None:
        """There is no room: nothing is reported until there is."""

    def disk_failed(self, error: OSError) -> None:
        """A call failed: nothing more will be reported."""

    def snapshot_saved(self) -> None:
        """The snapshot that was to be kept is kept, overtaken, or given up."""


@attrs.define(eq=False)
class Store:
    """One process's log.

    Attributes:
      latency: Microseconds that the next batch will take.
      log: What is written, and read back.

    """

    kernel: Kernel
    disk: Disk
    latency: Callable[[], int]
    _user: StoreUser
    _random: Random
    log: Log
    _queue: list[tuple[int, list[Entry]]] = attrs.field(factory=list, init=False)
    # What the disk is busy with.
    _batch: list[tuple[int, list[Entry]]] = attrs.field(factory=list, init=False)
    _staged: _Staged | None = attrs.field(default=None, init=False)
    _busy: bool = attrs.field(default=False, init=False)
    # The last write that is durable and not reported yet; 0 if none.
    _written: int = attrs.field(default=0, init=False)
    # Counts what the disk was busy with.
    _turn: int = attrs.field(default=0, init=False)
    # What a failed call left is known after the next recovery only.
    _failed: bool = attrs.field(default=False, init=False)

    @staticmethod
    def open(
        disk: Disk, member: MemberId, name: str, bounds: Bounds, *, repairable: bool
    ) -> tuple[Recovered, Log]:
        """Recover what the disk holds and get ready to append.

        Raises:
          StorageError: The disk is damaged, and not repairable.
          OSError: The disk refused.
          PowerCut: The program ended in the middle of it.

        """
        identity = Identity(member, name)
        directory = Directory(Path(f"member-{member}"), 0, 0, disk)
        recovered, position = recover(directory, identity, repairable=repairable)
        log = Log(directory, identity, bounds, position)
        log.open()
        return recovered, log

    def submit(self, io: int, entries: list[Entry]) -> None:
        """Queue a write."""
        self._queue.append((io, entries))
        self._begin()

    def save_snapshot(self, zxid: int, pieces: Sequence[bytes]) -> None:
        """Write a snapshot aside, beside the log; then publish it."""
        staged = self._staged = _Staged(zxid, pieces)
        delay = 5 * self.latency()
        if self.kernel.oddly("disk.slow-snapshot"):
            delay *= 100
        self.kernel.after(delay, self._user, partial(self._stage, staged))

    def _stage(self, staged: _Staged) -> None:
        try:
            self.log.stage_snapshot(staged.zxid, staged.pieces)
        except OSError as error:
            if not is_want_of_room(error):
                self._fail(error)
                return
            self.kernel.mark("disk.no-room-for-a-snapshot")
            self._staged = None
            self._user.snapshot_saved()
            return
        staged.is_aside = True
        self._begin()

    def _begin(self) -> None:
        if not self._busy:
            self._busy = True
            count = len(self._queue)
            if self.kernel.oddly("disk.small-batch"):
                count = 1
            self._batch, self._queue = self._queue[:count], self._queue[count:]
            self._wait()

    def _wait(self) -> None:
        self._turn += 1
        finish = partial(self._finish, self._turn)
        self.kernel.after(self.latency(), self._user, finish)

    def hurry(self) -> None:
        """Let what the disk is busy with take only as long as a new batch would."""
        if self._busy and not self._failed:
            self._wait()

    def _finish(self, turn: int) -> None:
        if turn != self._turn:
            return
        if self.disk.full and (self._batch or self._staged is not None):
            # The real one makes the same call again: a stall, to everybody else.
            self.kernel.mark("disk.waited-for-room")
            self.kernel.after(_PAUSE, self._user, partial(self._finish, turn))
            self._user.disk_full()
            return
        try:
            if self._batch:
                if not self._user.writing(_kinds(self._batch)):
                    return
                self._carry_out(self._batch)
                self._written = self._batch[-1][0]
                self._batch = []
                if self.kernel.oddly("disk.late-report"):
                    self._wait()
                    return
            self._report()
        except OSError as error:
            self._fail(error)
            return
        self._busy = False
        if self._queue or (self._staged is not None and self._staged.is_aside):
            self._begin()

    def _report(self) -> None:
        """Tell what is durable, then publish what was written aside."""
        written, self._written = self._written, 0
        if written:
            self._user.persisted(written)
        if self._staged is not None and self._staged.is_aside:
            self.log.publish_snapshot(self._staged.zxid)
            self._staged = None
            self._user.snapshot_saved()

    def _fail(self, error: OSError) -> None:
        self._failed = True
        self._user.disk_failed(error)

    def _carry_out(self, batch: list[tuple[int, list[Entry]]]) -> None:
        for _, entries in batch:
            self.log.append(entries)
        self.log.flush()
        if batch and self.kernel.oddly("disk.early-roll", 0.05):
            self.log.roll()

    def crash(self) -> list[str]:
        """End the process in the middle of what its disk is busy with.

        Returns:
          What that was.

        """
        if self._failed:
            self.disk.end_of_program()
            return []
        self.disk.calls_left = self._random.choice(_CALLS_LEFT)
        doing = [_DOING[kind] for kind in sorted(_kinds(self._batch))]
        if self._staged is not None:
            is_aside = self._staged.is_aside
            doing.append("publishing" if is_aside else "staging")
        try:
            if self._staged is not None and not self._staged.is_aside:
                self.log.stage_snapshot(self._staged.zxid, self._staged.pieces)
            self._carry_out(self._batch)
            if self._staged is not None and self._staged.is_aside:
                self.log.publish_snapshot(self._staged.zxid)
        except (PowerCut, OSError):
            pass
        self.disk.end_of_program()
        return doing


def _kinds(batch: list[tuple[int, list[Entry]]]) -> AbstractSet[int]:
    return {kind for _, entries in batch for kind, _, _ in entries}
