"""A ``System`` that fails on demand and knows what a power loss would leave.

It changes real files, but never waits for a disk. Beside them it keeps a model
of what is durable: a file's content since its last sync, a directory's names
since its last sync.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import attrs

from coordlib.storage.directory import OS

Image = tuple[tuple[str, bytes], ...]
"""Names and contents, sorted: all that a crash may leave."""


@attrs.define(eq=False)
class File:
    content: bytes = b""
    durable: bytes = b""

    def after_crash(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Return what a crash may leave: all, the synced part, half, zeros."""
        if not self.content.startswith(self.durable):  # truncated since
            return self.content, self.durable, self.content, self.durable
        unsynced = len(self.content) - len(self.durable)
        half = self.content[: len(self.durable) + unsynced // 2]
        # The size reached the disk and the data did not.
        return self.content, self.durable, half, self.durable + bytes(unsynced)


def do_nothing(operation: str, name: str) -> None:
    pass


@attrs.define(eq=False)
class FakeSystem:
    """Implements ``System``.

    Attributes:
      before: Called with the operation and the file's name before each change;
        may raise ``OSError``.
      after: The same, after each change.
      write_bytes_max: How much a single write takes.

    """

    before: Callable[[str, str], None] = do_nothing
    after: Callable[[str, str], None] = do_nothing
    write_bytes_max: int = 1 << 30
    names: dict[str, File] = attrs.Factory(dict)
    durable_names: dict[str, File] = attrs.Factory(dict)
    _name_of_fd: dict[int, str] = attrs.Factory(dict)
    _file_of_fd: dict[int, File] = attrs.Factory(dict)

    def open(self, name: str, flags: int, *, dir_fd: int) -> int:
        self.before("open", name)
        fd = os.open(name, flags, mode=0o600, dir_fd=dir_fd)
        if flags & os.O_CREAT and name not in self.names:
            self.names[name] = File()
        if flags & os.O_TRUNC:
            self.names[name].content = b""
        self._name_of_fd[fd] = name
        self._file_of_fd[fd] = self.names[name]
        self.after("open", name)
        return fd

    def close(self, fd: int) -> None:
        OS.close(fd)

    def list_names(self, fd: int) -> list[str]:
        return OS.list_names(fd)

    def size(self, name: str, *, dir_fd: int) -> int:
        return OS.size(name, dir_fd=dir_fd)

    def read(self, fd: int) -> bytes:
        return OS.read(fd)

    def read_at(self, fd: int, offset: int, size: int) -> bytes:
        return OS.read_at(fd, offset, size)

    def forget(self, fd: int) -> None:
        # What is not synced for real would be written now, and waited for.
        pass

    def write(self, fd: int, data: memoryview) -> int:
        self.before("write", self._name_of_fd[fd])
        written = os.write(fd, data[: self.write_bytes_max])
        self._file_of_fd[fd].content += data[:written]
        self.after("write", self._name_of_fd[fd])
        return written

    def truncate(self, fd: int, size: int) -> None:
        self.before("truncate", self._name_of_fd[fd])
        os.ftruncate(fd, size)
        file = self._file_of_fd[fd]
        file.content = file.content[:size]
        self.after("truncate", self._name_of_fd[fd])

    def sync(self, fd: int) -> None:
        self.before("sync", self._name_of_fd[fd])
        self._file_of_fd[fd].durable = self._file_of_fd[fd].content
        self.after("sync", self._name_of_fd[fd])

    def sync_directory(self, fd: int) -> None:  # noqa: ARG002 - there is only one
        self.before("sync_directory", "")
        self.durable_names = dict(self.names)
        self.after("sync_directory", "")

    def rename(self, old: str, new: str, *, dir_fd: int) -> None:
        self.before("rename", new)
        os.rename(old, new, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        self.names[new] = self.names.pop(old)
        self.after("rename", new)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        self.before("unlink", name)
        os.unlink(name, dir_fd=dir_fd)
        del self.names[name]
        self.after("unlink", name)

    def adopt(self, directory: Path) -> None:
        """Take what is in ``directory`` for durable."""
        for path in sorted(directory.iterdir()):
            content = path.read_bytes()
            self.names[path.name] = File(content, content)
        self.durable_names = dict(self.names)

    def images(self) -> Iterator[Image]:
        """Yield what a crash right now may leave.

        Each name that changed since the directory was synced may be old or
        new; contents are all as written, all as synced, or all torn.
        """
        everything = sorted(self.names.keys() | self.durable_names.keys())
        choices = [
            dict.fromkeys((self.names.get(name), self.durable_names.get(name)))
            for name in everything
        ]
        for files in product(*choices):
            for which in range(4):
                yield tuple(
                    (name, file.after_crash()[which])
                    for name, file in zip(everything, files, strict=True)
                    if file is not None
                )


def write_image(image: Image, directory: Path) -> None:
    """Make ``directory`` hold exactly the files of ``image``."""
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    for name, content in image:
        (directory / name).write_bytes(content)


def read_image(directory: Path) -> Image:
    """Return what ``directory`` holds, the lock file left out."""
    return tuple(
        (path.name, path.read_bytes())
        for path in sorted(directory.iterdir())
        if path.name != "LOCK"
    )
