"""Readings of the file store, each step of which is done in a thread.

What is read and how is ``reading``'s; here it is made to suit trio: it waits
beside the loop, may be cancelled at any moment, and then leaves no file open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import attrs
import trio

from coordlib.errors import CorruptLogError, StorageError

from .patience import is_want_of_room
from .reading import SnapshotReading

__all__ = ["ThreadReading", "ThreadSnapshotReading", "os_errors_about"]

S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@contextmanager
def os_errors_about(path: Path) -> Iterator[None]:
    """Translate what the operating system refuses, the one place where we do."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: {error}") from error


class _Steps(Protocol[T_co]):
    """What reads something step by step; see ``reading``."""

    def next(self) -> T_co | None: ...

    def close(self) -> None: ...


@attrs.define(eq=False)
class ThreadReading(Generic[T]):
    """Reads in threads, one step in each; implements ``Reading``."""

    _reading: _Steps[T]
    _path: Path
    # Called when what is read is damaged.
    _distrust: Callable[[], None]
    # Held by the thread that reads, and by who closes the files.
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    async def next(self) -> T | None:
        """See ``Reading``."""
        return await self.step(self._reading.next)

    async def step(self, do: Callable[[], S]) -> S:
        """Do this in a thread; one that a disk holds up is left behind."""
        try:
            step = partial(self._step, do)
            return await trio.to_thread.run_sync(step, abandon_on_cancel=True)
        except StorageError as error:
            if _is_damage(error):
                self._distrust()
            raise

    def close(self) -> None:
        """See ``Reading``."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            self._reading.close()
            self._lock.release()

    def _step(self, do: Callable[[], S]) -> S:
        try:
            with self._lock, os_errors_about(self._path):
                if self._closed:
                    raise StorageError("nobody reads any more")
                return do()
        finally:
            # Who closed it did not wait for us.
            if self._closed:
                self.close()


@attrs.define(eq=False)
class ThreadSnapshotReading:
    """Implements ``SnapshotReading``."""

    _reading: SnapshotReading
    _steps: ThreadReading[bytes]

    async def identify(self) -> tuple[int, bytes]:
        """See ``SnapshotReading``."""
        return await self._steps.step(self._reading.identify)

    def begin_at(self, offset: int) -> None:
        """See ``SnapshotReading``."""
        self._reading.begin_at(offset)

    async def next(self) -> bytes | None:
        """See ``Reading``."""
        return await self._steps.next()

    def close(self) -> None:
        """See ``Reading``."""
        self._steps.close()


def _is_damage(error: StorageError) -> bool:
    """Tell whether it will be the same again; a file may be purged meanwhile."""
    cause = error.__cause__
    refused = isinstance(cause, OSError) and not (
        isinstance(cause, FileNotFoundError) or is_want_of_room(cause)
    )
    return refused or isinstance(error, CorruptLogError)
