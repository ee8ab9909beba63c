"""The data directory: its lock, its file names and its few ways to write.

It knows no format. Every step goes through a :class:`System`, so that tests
can stop, break or undo any single step. ``OSError`` passes through here; the
file store translates it.

Relied on, no more (ALICE, OSDI'14): a synced file keeps its content, a synced
directory keeps its names, and a rename is atomic.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import attrs

from coordlib.errors import StorageError, StorageLockedError

__all__ = [
    "OS",
    "Contents",
    "Directory",
    "System",
    "damaged_name",
    "segment_name",
    "snapshot_name",
    "temporary_name",
]

_LOCK = "LOCK"
_NAME = re.compile(
    r"(?:damaged\.(?P<generation>[0-9a-f]{8})\.)?"
    r"(?P<kind>log|snapshot|tmp\.[a-z]+)\.(?P<id>[0-9a-f]{16})"
)
# What a staged file may owe to the disk. The log's syncs wait for that: for all of
# a large snapshot, a slow disk takes seconds, and a leader loses its lead.
_UNSYNCED_BYTES_MAX = 4 << 20
# What is read at a time of a file that need not be in memory.
_BLOCK_BYTES = 1 << 18
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def segment_name(number: int) -> str:
    """Return the name of the log's segment ``number``."""
    return f"log.{number:016x}"


def snapshot_name(zxid: int) -> str:
    """Return the name of the snapshot at ``zxid``."""
    return f"snapshot.{zxid:016x}"


def temporary_name(purpose: str, number: int) -> str:
    """Return the name of a file until it is complete; removed at the next start.

    Args:
      purpose: Lower-case letters. What is written at the same time by two
        threads has two purposes.
      number: The number in its final name.

    """
    return f"tmp.{purpose}.{number:016x}"


def damaged_name(name: str, generation: int) -> str:
    """Return the name of a file that is set aside because of damage.

    Args:
      name: The name that it had.
      generation: Grows each time that something is set aside, from 1 on.

    """
    return f"damaged.{generation:08x}.{name}"


class System(Protocol):
    """The calls that read and change files; each may raise ``OSError``."""

    def open(self, name: str, flags: int, *, dir_fd: int) -> int:
        """Return a descriptor; new files are for their owner alone."""
        ...

    def close(self, fd: int) -> None:
        """Give a descriptor back."""
        ...

    def list_names(self, fd: int) -> list[str]:
        """Return the names in a directory, in any order."""
        ...

    def size(self, name: str, *, dir_fd: int) -> int:
        """Return the size of a file in bytes."""
        ...

    def read(self, fd: int) -> bytes:
        """Return all of a newly opened file."""
        ...

    def read_at(self, fd: int, offset: int, size: int) -> bytes:
        """Return so many bytes from ``offset`` on, or fewer; none: the file's end."""
        ...

    def forget(self, fd: int) -> None:
        """Let the next read of a synced file come from the disk, not from memory."""
        ...

    def write(self, fd: int, data: memoryview) -> int:
        """Write a beginning of ``data`` and return how much it was."""
        ...

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def sync(self, fd: int) -> None:
        """Make the content and size of a file durable."""
        ...

    def sync_directory(self, fd: int) -> None:
        """Make the names in a directory durable."""
        ...

    def rename(self, old: str, new: str, *, dir_fd: int) -> None:
        """Give a file another name, atomically, in place of any that had it."""
        ...

    def unlink(self, name: str, *, dir_fd: int) -> None:
        """Remove a file."""
        ...


@attrs.frozen
class _OS:
    """The operating system itself."""

    _flags: int = os.O_NONBLOCK

    def open(self, name: str, flags: int, *, dir_fd: int) -> int:
        # A pipe under one of our names must not let us wait for its other end.
        fd = os.open(name, flags | self._flags, mode=0o600, dir_fd=dir_fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return fd

    def close(self, fd: int) -> None:
        os.close(fd)

    def list_names(self, fd: int) -> list[str]:
        return os.listdir(fd)

    def size(self, name: str, *, dir_fd: int) -> int:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_size

    def read(self, fd: int) -> bytes:
        with open(fd, "rb", closefd=False) as file:
            return file.read()

    def read_at(self, fd: int, offset: int, size: int) -> bytes:
        return os.pread(fd, size, offset)

    def forget(self, fd: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd) if hasattr(os, "fdatasync") else os.fsync(fd)

    def sync_directory(self, fd: int) -> None:
        # Not fdatasync: ext4 may take a new name for mere metadata.
        os.fsync(fd)

    def rename(self, old: str, new: str, *, dir_fd: int) -> None:
        os.rename(old, new, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        os.unlink(name, dir_fd=dir_fd)


OS: System = _OS()


@attrs.frozen
class Contents:
    """Which of our files there are.

    Attributes:
      segments: Numbers, ascending.
      snapshots: Zxids, ascending.
      temporary: Names of files that never got their final name.
      damaged: Names of files that were set aside, oldest generation first.

    """

    segments: list[int] = attrs.Factory(list)
    snapshots: list[int] = attrs.Factory(list)
    temporary: list[str] = attrs.Factory(list)
    damaged: list[str] = attrs.Factory(list)

    @property
    def generation(self) -> int:
        """The newest generation of what was set aside; 0 if nothing was."""
        match = _NAME.fullmatch(self.damaged[-1]) if self.damaged else None
        return 0 if match is None else int(match["generation"], 16)


@attrs.define(eq=False)
class Directory:
    """An open, locked data directory."""

    path: Path
    _fd: int
    _lock_fd: int
    _system: System

    @staticmethod
    def open(path: Path, system: System) -> Directory:
        """Make the directory where it is missing, open it and lock it.

        Raises:
          StorageLockedError: Another replica has it.
          StorageError: It is no directory, or a symbolic link, or others than
            its owner may write to it.

        """
        _make(path)
        if path.is_symlink():
            raise StorageError(f"{path} is a symbolic link; name the directory itself")
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
        try:
            _refuse_shared(path, os.fstat(fd))
            lock_fd = _lock(path, fd, system)
        except BaseException:
            os.close(fd)
            raise
        return Directory(path, fd, lock_fd, system)

    def through(self, system: System) -> Directory:
        """Return the same directory, locked once, used by another ``System``."""
        return attrs.evolve(self, system=system)

    @staticmethod
    def look(path: Path) -> Directory:
        """Open a directory only to read it: no lock is taken, and none minded.

        A replica may be writing to it. What it has not synced may show, files
        that were listed may be gone, and the end of the log may look torn.

        Raises:
          OSError: There is no such directory, or it is a symbolic link.

        """
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
        # Only for its own files one may leave the times of access alone.
        is_own = os.geteuid() in (0, os.fstat(fd).st_uid)
        flags = os.O_NOATIME if is_own and hasattr(os, "O_NOATIME") else 0
        return Directory(path, fd, -1, _OS(os.O_NONBLOCK | flags))

    def contents(self) -> Contents:
        """List our files; other names are left alone."""
        contents = Contents()
        for name in sorted(self._system.list_names(self._fd)):
            match = _NAME.fullmatch(name)
            if match is None:
                continue
            if match["generation"] is not None:
                contents.damaged.append(name)
            elif match["kind"] == "log":
                contents.segments.append(int(match["id"], 16))
            elif match["kind"] == "snapshot":
                contents.snapshots.append(int(match["id"], 16))
            else:
                contents.temporary.append(name)
        return contents

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return self._system.size(name, dir_fd=self._fd)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        fd = self._system.open(name, os.O_RDONLY | _FLAGS, dir_fd=self._fd)
        try:
            return self._system.read(fd)
        finally:
            self._system.close(fd)

    @contextmanager
    def reading(self, name: str) -> Iterator[Callable[[int, int], bytes]]:
        """Open a file to read it a little at a time.

        Yields:
          What returns the bytes at an offset: so many, or fewer at the end.

        """
        fd = self.open_start(name)
        try:
            yield partial(self.read_at, fd)
        finally:
            self.close_file(fd)

    def settle(self, name: str) -> None:
        """Let :meth:`read` return what a power loss right now would leave.

        After ``kill -9`` the page cache holds bytes that were never synced;
        after a failed sync it holds bytes that the disk has not got and that
        count as clean (ATC'20). So: sync, and forget the clean pages.
        """
        fd = self._system.open(name, os.O_RDONLY | _FLAGS, dir_fd=self._fd)
        try:
            self._system.sync(fd)
            self._system.forget(fd)
        finally:
            self._system.close(fd)

    def stage(self, aside: str, content: Iterable[bytes]) -> None:
        """Write a file aside, durably; :meth:`publish` gives it its name.

        The content may come piece by piece: no more than one is kept.

        Raises:
          StorageError: It does not read back as it was written.

        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS
        fd = self._system.open(aside, flags, dir_fd=self._fd)
        try:
            written, unsynced = blake2b(), 0
            for block in content:
                self._write(fd, block)
                written.update(block)
                unsynced += len(block)
                if unsynced >= _UNSYNCED_BYTES_MAX:
                    self._system.sync(fd)
                    unsynced = 0
            self._system.sync(fd)
            # So that it is read back from the disk, and not from memory.
            self._system.forget(fd)
        finally:
            self.close_file(fd)
        if self._hash_of(aside) != written.digest():
            raise StorageError(f"{self.path / aside} does not read back as written")

    def _hash_of(self, name: str) -> bytes:
        found, offset = blake2b(), 0
        with self.reading(name) as read:
            while block := read(offset, _BLOCK_BYTES):
                found.update(block)
                offset += len(block)
        return found.digest()

    def publish(self, aside: str, name: str) -> None:
        """Give a staged file its name, durably."""
        self._system.rename(aside, name, dir_fd=self._fd)
        self.sync()

    def open_end(self, name: str) -> int:
        """Open a file for :meth:`append`; :meth:`close_file` closes it."""
        return self._system.open(
            name, os.O_WRONLY | os.O_APPEND | _FLAGS, dir_fd=self._fd
        )

    def open_start(self, name: str) -> int:
        """Open a file to read it; :meth:`close_file` closes it."""
        return self._system.open(name, os.O_RDONLY | _FLAGS, dir_fd=self._fd)

    def read_open(self, fd: int) -> bytes:
        """Return the content of what :meth:`open_start` opened, once."""
        return self._system.read(fd)

    def read_at(self, fd: int, offset: int, size: int) -> bytes:
        """Return the bytes at an offset: so many, or fewer at the end."""
        content = self._system.read_at(fd, offset, size)
        # A beginning is not yet the end.
        while len(content) < size and (
            rest := self._system.read_at(fd, offset + len(content), size - len(content))
        ):
            content += rest
        return content

    def close_file(self, fd: int) -> None:
        """Close what was opened."""
        self._system.close(fd)

    def append(self, fd: int, content: bytes) -> None:
        """Write at the end and wait until it is durable."""
        self._write(fd, content)
        self._system.sync(fd)

    def _write(self, fd: int, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            written = self._system.write(fd, rest)
            # Zero for ever would be a loop without end.
            if written <= 0:
                raise OSError(errno.EIO, "nothing was written")
            rest = rest[written:]

    def mend(self, name: str, size: int, end: bytes) -> None:
        """Cut a file to ``size`` bytes, then give it another end, durably."""
        fd = self.open_end(name)
        try:
            self._system.truncate(fd, size)
            # Before the end is written: what was there must not come back beside it.
            self._system.sync(fd)
            if end:
                self.append(fd, end)
        finally:
            self.close_file(fd)

    def remove(self, name: str) -> None:
        """Remove a file; durable after :meth:`sync`."""
        self._system.unlink(name, dir_fd=self._fd)

    def set_aside(self, name: str, generation: int) -> None:
        """Keep a damaged file under another name; durable after :meth:`sync`."""
        aside = damaged_name(name, generation)
        self._system.rename(name, aside, dir_fd=self._fd)

    def sync(self) -> None:
        """Make all names durable."""
        self._system.sync_directory(self._fd)

    def close(self) -> None:
        """Release the lock. Once only."""
        if self._lock_fd >= 0:
            # Closing alone would leave it to a forked child that still has the file.
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
            os.close(self._lock_fd)
        os.close(self._fd)


def _make(path: Path) -> None:
    """Make the missing ones of ``path`` and its parents, durably."""
    missing = [p for p in (path, *path.parents) if not os.path.lexists(p)]
    for directory in reversed(missing):
        directory.mkdir(0o700, exist_ok=True)
        fd = os.open(directory.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    """Refuse a directory in which others could put files in place of ours."""
    if status.st_uid not in (0, os.geteuid()):
        raise StorageError(f"{path} belongs to another user, number {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            f"{path}: others than its owner may write to it; chmod go-w takes that away"
        )


def _lock(path: Path, dir_fd: int, system: System) -> int:
    lock_fd = system.open(_LOCK, os.O_RDWR | os.O_CREAT | _FLAGS, dir_fd=dir_fd)
    try:
        # Not lockf: that lock would not keep a second replica of this process out.
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(lock_fd)
        if isinstance(error, BlockingIOError):
            raise StorageLockedError(f"another replica uses {path}") from error
        raise
    return lock_fd
