"""Waits for room on a full disk, and then goes on as if nothing had been.

A call that is refused for want of room did nothing: no byte of a ``write``, no
name of an ``open`` or a ``rename``; a partial ``write`` returned how much it
took. So the log's thread makes the very same call again until there is room,
and to everybody else the disk only seems to stall. The same goes for want of
file descriptors. Any other failure is final, and so is that of a sync, whatever
its reason: after it the pages count as clean (ATC'20, "Can applications recover
from fsync failures?").
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs

from .directory import System

__all__ = ["PatientSystem", "is_want_of_room"]

T = TypeVar("T")

_WANTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})

# Seconds between two attempts.
_PAUSE_MIN = 0.1
_PAUSE_MAX = 1.0


def is_want_of_room(error: OSError) -> bool:
    """Tell whether the same call may succeed when somebody makes room."""
    return error.errno in _WANTS


@attrs.define(eq=False)
class PatientSystem:
    """A ``System`` for one thread, which waits while there is no room.

    Attributes:
      no_room: Why it waits; empty as long as it does not. Any thread may look.

    """

    _system: System
    # Nobody waits while this is set: a call fails at once.
    _stopped: threading.Event
    no_room: str = attrs.field(default="", init=False)

    def open(self, name: str, flags: int, *, dir_fd: int) -> int:
        """See ``System``."""
        return self._until_room(partial(self._system.open, name, flags, dir_fd=dir_fd))

    def close(self, fd: int) -> None:
        """See ``System``."""
        self._system.close(fd)

    def list_names(self, fd: int) -> list[str]:
        """See ``System``."""
        return self._system.list_names(fd)

    def size(self, name: str, *, dir_fd: int) -> int:
        """See ``System``."""
        return self._system.size(name, dir_fd=dir_fd)

    def read(self, fd: int) -> bytes:
        """See ``System``."""
        return self._system.read(fd)

    def read_at(self, fd: int, offset: int, size: int) -> bytes:
        """See ``System``."""
        return self._system.read_at(fd, offset, size)

    def forget(self, fd: int) -> None:
        """See ``System``."""
        self._system.forget(fd)

    def write(self, fd: int, data: memoryview) -> int:
        """See ``System``."""
        return self._until_room(partial(self._system.write, fd, data))

    def truncate(self, fd: int, size: int) -> None:
        """See ``System``."""
        self._until_room(partial(self._system.truncate, fd, size))

    def sync(self, fd: int) -> None:
        """See ``System``; never tried again."""
        self._system.sync(fd)

    def sync_directory(self, fd: int) -> None:
        """See ``System``; never tried again."""
        self._system.sync_directory(fd)

    def rename(self, old: str, new: str, *, dir_fd: int) -> None:
        """See ``System``."""
        self._until_room(partial(self._system.rename, old, new, dir_fd=dir_fd))

    def unlink(self, name: str, *, dir_fd: int) -> None:
        """See ``System``; a copy-on-write file system needs room for it, too."""
        self._until_room(partial(self._system.unlink, name, dir_fd=dir_fd))

    def _until_room(self, call: Callable[[], T]) -> T:
        pause = _PAUSE_MIN
        try:
            while True:
                try:
                    return call()
                except OSError as error:
                    if not is_want_of_room(error) or self._stopped.is_set():
                        raise
                    self.no_room = os.strerror(error.errno or 0)
                    if self._stopped.wait(pause):
                        raise
                    pause = min(2 * pause, _PAUSE_MAX)
        finally:
            self.no_room = ""
