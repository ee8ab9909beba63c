"""A ``System`` in memory that can tell all that a power cut right now may leave.

What ALICE (OSDI'14) does with a trace: names and contents since the last sync are
each there or not, in any order; of contents any sectors, or a beginning and then
nothing, zeros or garbage. Where that is too much it is a sample.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import product
from random import Random

import attrs

from storage.fake_system import Image

SECTOR = 512


@attrs.define(eq=False)
class Content:
    seen: bytes = b""
    durable: bytes = b""
    # Since the last sync, in order; a truncation has no bytes.
    pending: list[tuple[int, bytes | None]] = attrs.Factory(list)

    def change(self, offset: int, data: bytes | None) -> None:
        self.pending.append((offset, data))
        self.seen = changed(self.seen, offset, data)


def changed(content: bytes, offset: int, data: bytes | None) -> bytes:
    if data is None:
        return content[:offset]
    return content[:offset].ljust(offset, b"\0") + data


def torn(offset: int, data: bytes, random: Random) -> Iterator[bytes]:
    """Yield what may be there of a write that was interrupted."""
    middle = random.randrange(len(data))
    for at in {0, 1, middle, len(data) - 1}:
        yield data[:at]
        yield data[:at] + bytes(len(data) - at)
    yield data[:middle] + random.randbytes(len(data) - middle)
    ends = range(SECTOR - offset % SECTOR, len(data), SECTOR)
    sectors = list(zip((0, *ends), (*ends, len(data)), strict=True))
    subsets = list(product((False, True), repeat=min(len(sectors), 4)))
    for kept in subsets[1:-1]:
        left = bytearray(data)
        for number, (begin, end) in enumerate(sectors):
            if not kept[number % len(kept)]:
                left[begin:end] = bytes(end - begin)
        yield bytes(left)


def left_of(content: Content) -> list[bytes]:
    """Return what a power cut may leave of one file."""
    left = [content.seen, content.durable]
    if content.pending:
        *done, (offset, data) = content.pending
        before = content.durable
        for change in done:
            before = changed(before, *change)
        left.append(before)
        if data:
            # The same each time, so that an image is seen only once.
            random = Random(len(data) + offset)
            left += [changed(before, offset, d) for d in torn(offset, data, random)]
    return list(dict.fromkeys(left))


def do_nothing() -> None:
    pass


@attrs.define(eq=False)
class Recorder:
    """Implements ``System``; ``after`` is called after each change."""

    after: Callable[[], None] = do_nothing
    names: dict[str, Content] = attrs.Factory(dict)
    durable_names: dict[str, Content] = attrs.Factory(dict)
    _open: dict[int, Content] = attrs.Factory(dict)

    def open(self, name: str, flags: int, *, dir_fd: int) -> int:  # noqa: ARG002 - there is one directory
        if flags & os.O_CREAT:
            self.names.setdefault(name, Content())
        content = self.names[name]
        if flags & os.O_TRUNC and content.seen:
            content.change(0, None)
        fd = len(self._open)
        self._open[fd] = content
        if flags & os.O_CREAT:
            self.after()
        return fd

    def close(self, fd: int) -> None:
        pass

    def list_names(self, fd: int) -> list[str]:  # noqa: ARG002 - there is one directory
        return list(self.names)

    def size(self, name: str, *, dir_fd: int) -> int:  # noqa: ARG002 - there is one directory
        return len(self.names[name].seen)

    def read(self, fd: int) -> bytes:
        return self._open[fd].seen

    def read_at(self, fd: int, offset: int, size: int) -> bytes:
        return self._open[fd].seen[offset : offset + size]

    def forget(self, fd: int) -> None:
        pass

    def write(self, fd: int, data: memoryview) -> int:
        content = self._open[fd]
        content.change(len(content.seen), bytes(data))
        self.after()
        return len(data)

    def truncate(self, fd: int, size: int) -> None:
        self._open[fd].change(size, None)
        self.after()

    def sync(self, fd: int) -> None:
        content = self._open[fd]
        content.durable, content.pending = content.seen, []
        self.after()

    def sync_directory(self, fd: int) -> None:  # noqa: ARG002 - there is one directory
        self.durable_names = dict(self.names)
        self.after()

    def rename(self, old: str, new: str, *, dir_fd: int) -> None:  # noqa: ARG002 - there is one directory
        self.names[new] = self.names.pop(old)
        self.after()

    def unlink(self, name: str, *, dir_fd: int) -> None:  # noqa: ARG002 - there is one directory
        del self.names[name]
        self.after()

    def images(self) -> Iterator[Image]:
        """Yield what a power cut right now may leave."""
        everything = sorted(self.names.keys() | self.durable_names.keys())
        choices = [
            list(dict.fromkeys((self.names.get(name), self.durable_names.get(name))))
            for name in everything
        ]
        for files in product(*choices):
            present = [
                (name, content)
                for name, content in zip(everything, files, strict=True)
                if content is not None
            ]
            # Few files are not synced at the same time: all in step will do.
            lefts = [left_of(content) for _, content in present]
            for which in range(max(map(len, lefts), default=1)):
                yield tuple(
                    (name, left[min(which, len(left) - 1)])
                    for (name, _), left in zip(present, lefts, strict=True)
                )
