"""The log store in a data directory, with the one thread that waits for disks.

The thread drains the queue, so writes that arrive during a sync share the next
one. What the bytes mean, and in which order they are written, is ``log``'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import attrs
import trio

from coordlib.errors import StorageError

from .directory import OS, Directory, System
from .history import gap_refused
from .interface import Extent, Records, Recovered, Write
from .log import Bounds, Log
from .patience import PatientSystem, is_want_of_room
from .record import Identity
from .recovery import recover
from .threaded import ThreadReading, ThreadSnapshotReading, os_errors_about

__all__ = ["FileStore"]

# A disk that hangs longer than this must not keep the program from ending.
_JOIN_TIMEOUT = 10.0


@attrs.define(eq=False)
class _Publish:
    """Asks the thread to make a staged snapshot count."""

    zxid: int
    done: bool = False
    # Set when it is done, and when it never will be.
    settled: trio.Event = attrs.Factory(trio.Event)


@attrs.frozen
class _Distrust:
    """Asks the thread to count something for damaged."""

    do: Callable[[Log], None]


@attrs.define(eq=False)
class FileStore:
    """One member's durable state in a directory; implements ``LogStore``.

    Args:
      directory: Made, with its parents, if missing; readable by its owner only.
      member: The member's id. The directory remembers it.
      name: The name of the ensemble. The directory remembers it.
      segment_bytes_max: When to go on in a new file of the log.
      snapshots_kept: How many snapshots to keep, at least 1. The log is kept
        from the oldest of them on.
      kept_bytes_max: Keep fewer snapshots if they, and what the log has only for
        them, are larger than this. The newest, and the log since, always stay.
      repairable: Whether other members hold what this one does. Then a damaged
        log is set aside and recovery finds an empty disk; else it is refused.
      system: Carries out every step; another one is for tests.

    """

    _path: Path = attrs.field(alias="directory")
    _member: int = attrs.field(kw_only=True)
    _name: str = attrs.field(kw_only=True)
    _segment_bytes_max: int = attrs.field(default=64 << 20, kw_only=True)
    _snapshots_kept: int = attrs.field(default=2, kw_only=True)
    _kept_bytes_max: int = attrs.field(default=1 << 30, kw_only=True)
    _repairable: bool = attrs.field(default=False, kw_only=True)
    _system: System = attrs.field(default=OS, kw_only=True)
    _directory: Directory | None = attrs.field(default=None, init=False)
    _log: Log | None = attrs.field(default=None, init=False)
    _submitted: int = attrs.field(default=0, init=False)
    # Writes, snapshots to publish, damage; None only wakes the thread.
    _queue: SimpleQueue[Write | _Publish | _Distrust | None] = attrs.field(
        factory=SimpleQueue, init=False
    )
    _token: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    # Set before it runs and when it is to end: nobody waits for the disk then.
    _stopped: threading.Event = attrs.field(factory=threading.Event, init=False)
    _patient: PatientSystem = attrs.field(init=False)
    # What ended the run, unless it was cancelled.
    _error: BaseException | None = attrs.field(default=None, init=False)
    _saving: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _publish: _Publish | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Let a full disk be an error for now."""
        self._stopped.set()
        self._patient = PatientSystem(self._system, self._stopped)

    def recover(self) -> Recovered:
        """Lock the directory and read all of it. Blocking; once, before the rest.

        Raises:
          StorageLockedError: Another replica uses it.
          ForeignStorageError: It belongs to another ensemble or member.
          CorruptLogError: It is damaged where no crash can have done it, and not
            repairable; the directory is left as it is.
          StorageError: The operating system refused.

        """
        identity = Identity(self._member, self._name)
        bounds = Bounds(
            self._segment_bytes_max, self._snapshots_kept, self._kept_bytes_max
        )
        with os_errors_about(self._path):
            directory = Directory.open(self._path, self._system)
            try:
                recovered, position = recover(
                    directory, identity, repairable=self._repairable
                )
                own = directory.through(self._patient)
                log = Log(own, identity, bounds, position, beside=directory)
                log.open()
            except BaseException:
                directory.close()
                raise
        self._directory, self._log = directory, log
        if (found := recovered.snapshot) is None:
            return recovered
        pieces = _Translated(found.pieces, self._path)
        snapshot = attrs.evolve(found, pieces=pieces)
        return attrs.evolve(recovered, snapshot=snapshot)

    def submit(self, write: Write) -> None:
        """Queue ``write``; never blocks. Durable when :meth:`run` reports it.

        Raises:
          StorageError: Its number is not the last one's plus one.

        """
        if write.io != self._submitted + 1:
            raise gap_refused(write.io, self._submitted)
        self._submitted = write.io
        self._queue.put(write)

    async def run(
        self,
        on_durable: Callable[[int], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Carry out the writes until cancelled; what is queued then is lost.

        While there is no room on the disk, it waits: see :attr:`no_room`.

        Raises:
          StorageError: A write or a sync failed. Nothing more will be reported.

        """
        assert self._log is not None, "recover first"
        self._token = trio.lowlevel.current_trio_token()
        ended = trio.Event()

        def report(io: int) -> None:
            # What leaves a callback of trio's ends the whole program.
            try:
                if not ended.is_set():
                    on_durable(io)
            except BaseException as error:  # noqa: BLE001 - raised below
                self._error = error
                ended.set()

        thread = threading.Thread(
            target=self._main,
            args=(self._log, report, ended.set),
            name=f"coordlib log {self._path}",
            daemon=True,
        )
        self._thread = thread
        self._stopped.clear()
        thread.start()
        task_status.started()
        try:
            await ended.wait()
        finally:
            self._stopped.set()
            self._queue.put(None)
            # It finishes the batch in hand. Real time bounds the wait, since a
            # virtual clock would jump over it.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(thread.join, _JOIN_TIMEOUT)
            if self._publish is not None:
                self._publish.settled.set()
        assert self._error is not None, "only an error ends the run"
        raise self._error

    @property
    def no_room(self) -> str:
        """Why the log waits for room on the disk; empty if it does not."""
        return self._patient.no_room

    async def save_snapshot(self, zxid: int, pieces: Sequence[bytes]) -> bool:
        """Keep the tree's state at ``zxid``, then purge what no recovery needs.

        Does nothing when the history no longer passes through ``zxid``. The
        large write is done in a thread of its own and does not hold up the log.

        Returns:
          False if there is no room for it: then nothing is left of it.

        Raises:
          StorageError: The operating system refused, or the store has stopped.

        """
        async with self._saving:
            publish = self._publish = _Publish(zxid)
            if self._log is None or self._stopped.is_set():
                publish.settled.set()
            elif await trio.to_thread.run_sync(self._stage, self._log, zxid, pieces):
                self._queue.put(publish)
            else:
                return False
            await publish.settled.wait()
            if not publish.done:
                raise StorageError(f"{self._path}: the store has stopped")
            return True

    @property
    def extent(self) -> Extent:
        """What can be read back. It may be overtaken at any time."""
        return Extent() if self._log is None else self._log.extent

    def read_records(self, after: int, upto: int) -> ThreadReading[Records]:
        """Read the transactions with ``after < zxid <= upto``, which are durable."""
        assert self._log is not None, "recover first"
        reading = self._log.read_records(after, upto)

        def distrust() -> None:
            self._distrust(lambda log: log.distrust_segment(reading.segment))

        return ThreadReading(reading, self._path, distrust)

    def read_snapshot(self, zxid: int) -> ThreadSnapshotReading:
        """Read a kept snapshot."""
        assert self._log is not None, "recover first"
        reading = self._log.read_snapshot(zxid)

        def distrust() -> None:
            self._distrust(lambda log: log.distrust_snapshot(zxid))

        steps: ThreadReading[bytes] = ThreadReading(reading, self._path, distrust)
        return ThreadSnapshotReading(reading, steps)

    def _distrust(self, do: Callable[[Log], None]) -> None:
        self._queue.put(_Distrust(do))

    def close(self) -> None:
        """Release files and the lock. Idempotent."""
        if self._thread is not None and self._thread.is_alive():
            # A hanging disk: the directory is in use until the process ends.
            return
        if self._log is not None and self._directory is not None:
            # What counts is synced already.
            with suppress(OSError):
                self._log.close()
            self._directory.close()
        self._log = self._directory = None

    def _stage(self, log: Log, zxid: int, pieces: Sequence[bytes]) -> bool:
        with os_errors_about(self._path):
            try:
                log.stage_snapshot(zxid, pieces)
            except OSError as error:
                if is_want_of_room(error):
                    return False
                raise
        return True

    # From here on: the thread.

    def _main(
        self, log: Log, on_durable: Callable[[int], None], on_end: Callable[[], None]
    ) -> None:
        try:
            with os_errors_about(self._path):
                self._write_until_stopped(log, on_durable)
        except BaseException as error:  # noqa: BLE001 - run raises it
            self._error = error
        self._tell(on_end)

    def _write_until_stopped(self, log: Log, on_durable: Callable[[int], None]) -> None:
        queue = self._queue
        while True:
            batch = [queue.get()]
            while not queue.empty():
                batch.append(queue.get())
            if self._stopped.is_set():
                return
            durable = 0
            rest: list[_Publish | _Distrust] = []
            for task in batch:
                if isinstance(task, Write):
                    log.append(task.entries)
                    durable = task.io
                elif task is not None:
                    rest.append(task)
            if durable:
                log.flush()
                self._tell(partial(on_durable, durable))
            # After the writes, so that they need not wait; a cut or a base
            # among them is seen by the log.
            for other in rest:
                if isinstance(other, _Distrust):
                    other.do(log)
                    continue
                log.publish_snapshot(other.zxid)
                other.done = True
                self._tell(other.settled.set)

    def _tell(self, report: Callable[[], None]) -> None:
        """Call ``report`` on trio's thread, while :meth:`run` waits for us."""
        if self._token is not None and not self._stopped.is_set():
            self._token.run_sync_soon(report)


@attrs.frozen
class _Translated:
    """The same pieces, with the errors of :func:`os_errors_about`."""

    _pieces: Iterable[bytes]
    _path: Path

    def __iter__(self) -> Iterator[bytes]:
        with os_errors_about(self._path):
            yield from self._pieces
