"""New files and directories, each whole and durable before it gets its name.

What is copied is hashed, and read back before it counts.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import attrs

from coordlib.errors import CorruptLogError, StorageError
from coordlib.storage.directory import OS, Directory

from .terminal import Progress

__all__ = [
    "Copied",
    "copy_files",
    "hash_file",
    "new_directory",
    "sync_directory",
    "write_text",
]

_BLOCK = 1 << 20
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


@attrs.frozen
class Copied:
    """A file, as it was copied.

    Attributes:
      name: In its directory.
      size: In bytes.
      digest: BLAKE2b of its content, hexadecimal.

    """

    name: str
    size: int
    digest: str


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Make a directory aside; it gets its name when the block is done.

    Raises:
      StorageError: There is something with this name, other than an empty
        directory.

    """
    if target.is_symlink() or (
        target.exists() and not (target.is_dir() and not any(target.iterdir()))
    ):
        raise StorageError(f"{target} exists; name a new or empty directory")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    aside.mkdir(mode=0o700)
    try:
        yield aside
        sync_directory(aside)
        # Refused by the system if something has come into the old one meanwhile.
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_directory(target.parent)


def copy_files(
    source: Directory, names: Sequence[str], target: Path, what: str
) -> list[Copied]:
    """Copy these files, durably, and read the copies back.

    Raises:
      CorruptLogError: A copy does not read back as it was written.
      FileNotFoundError: A file of the source is gone.
      OSError: The operating system refused.

    """
    copied: list[Copied] = []
    with Progress(what, sum(map(source.size, names))) as progress:
        for name in names:
            path, digest, size = target / name, blake2b(), 0
            fd = os.open(path, _NEW, 0o600)
            with open(fd, "wb") as file, source.reading(name) as read:
                while block := read(size, _BLOCK):
                    file.write(block)
                    digest.update(block)
                    size += len(block)
                    progress.add(len(block))
                file.flush()
                os.fsync(fd)
                OS.forget(fd)
            if hash_file(path) != (size, digest.hexdigest()):
                raise CorruptLogError(str(path), 0, "it does not read back as written")
            copied.append(Copied(name, size, digest.hexdigest()))
    return copied


def hash_file(path: Path) -> tuple[int, str]:
    """Return the size and the digest of a file of ours."""
    digest, size = blake2b(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a small new file, durably; its name is durable with its directory's."""
    fd = os.open(path, _NEW, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
