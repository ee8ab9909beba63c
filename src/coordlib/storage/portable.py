"""A tree's state in a file of its own, which no member and no ensemble owns.

It has the format of a snapshot, with zeros for member and ensemble; so no store
takes it for its own. A file gets its name when it is whole, durable and has been
read back; whoever is stopped before that leaves nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coordlib.errors import StorageError

from .record import Identity
from .snapshot import encode_snapshot, read_snapshot, zxid_in

__all__ = ["read_portable", "save_portable"]

_NOBODY = Identity(0, "(none)", digest=bytes(16))
_STEP_BYTES = 1 << 20
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def save_portable(
    target: Path, zxid: int, pieces: Iterable[bytes]
) -> Generator[int, None, None]:
    """Write a new file in steps; closing the generator before its end undoes it.

    Args:
      target: Its name; there must be nothing yet.
      zxid: Of which state.
      pieces: The tree, as its snapshot has it.

    Yields:
      The bytes written or read back since the step before.

    Raises:
      StorageError: There is something with this name.
      OSError: The operating system refused. Nothing is left of it.

    """
    _refuse_existing(target)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    try:
        unreported = 0
        for block in encode_snapshot(zxid, pieces, _NOBODY):
            _write(fd, block)
            unreported += len(block)
            if unreported >= _STEP_BYTES:
                yield unreported
                unreported = 0
        os.fsync(fd)
        for _ in read_snapshot(aside.name, zxid, _reader(fd), _NOBODY):
            pass
        yield unreported
        _refuse_existing(target)
        aside.rename(target)
    except BaseException:
        with suppress(FileNotFoundError):
            aside.unlink()
        raise
    finally:
        os.close(fd)
    directory = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def read_portable(source: Path) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Open what :func:`save_portable` made.

    Yields:
      The zxid of the state, and its pieces. They are good as they come; whether
      they are all shows at the end.

    Raises:
      CorruptLogError: It is damaged, or something else; also from the pieces.
      ForeignStorageError: It is a snapshot that belongs to a member.
      StorageError: It has a format of a version that is unknown here.
      OSError: The operating system refused.

    """
    fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)
    try:
        read = _reader(fd)
        zxid = zxid_in(read)
        yield zxid, read_snapshot(str(source), zxid, read, _NOBODY)
    finally:
        os.close(fd)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise StorageError(f"{target} exists; name a new file")


def _write(fd: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _reader(fd: int) -> Callable[[int, int], bytes]:
    def read(offset: int, size: int) -> bytes:
        content = os.pread(fd, size, offset)
        # A beginning is not yet the end.
        while len(content) < size and (
            rest := os.pread(fd, size - len(content), offset + len(content))
        ):
            content += rest
        return content

    return read
