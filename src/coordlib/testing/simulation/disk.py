"""A disk in memory that does to a crashing program what disks do.

Implements :class:`coordlib.storage.directory.System`. Every file has the bytes
that are durable and the bytes that are seen; writes and truncations between
the two are pending, as are changes of names until the directory is synced. A
power loss decides about each pending one separately. It knows no format.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from random import Random

import attrs

from .kernel import chance

__all__ = ["Disk", "File", "PowerCut"]

# What a disk writes as a whole.
_SECTOR = 512


class PowerCut(Exception):  # noqa: N818 - unwinds the program under test
    """The program ends between two calls."""


@attrs.define(eq=False)
class File:
    """One file, whatever its name.

    Attributes:
      durable: What the disk holds.
      seen: What a read returns.
      pending: Offset and bytes of each write, or size and ``None`` of each
        truncation, that is not synced.

    """

    durable: bytearray = attrs.field(factory=bytearray)
    seen: bytearray = attrs.field(factory=bytearray)
    pending: list[tuple[int, bytes | None]] = attrs.field(factory=list)

    def flip(self, offset: int, bit: int) -> None:
        """Turn over one bit of what is durable, and of what is seen of it."""
        self.durable[offset] ^= 1 << bit
        self.seen[offset] = self.durable[offset]

    def settle(self) -> None:
        """Make everything pending durable."""
        for offset, data in self.pending:
            _carry_out(self.durable, offset, data)
        self.pending.clear()


def _carry_out(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    if offset > len(content):
        # What should be here was lost: a hole.
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _merged(
    pending: list[tuple[int, bytes | None]],
) -> list[tuple[int, bytes | None]]:
    """Return the same with adjacent writes as one: disks know only sectors."""
    merged: list[tuple[int, bytes | None]] = []
    for offset, data in pending:
        if data is not None and merged:
            before_at, before = merged[-1]
            if before is not None and before_at + len(before) == offset:
                merged[-1] = (before_at, before + data)
                continue
        merged.append((offset, data))
    return merged


_Change = tuple[str, File | None, str]
"""A name, the file it gets or ``None`` to remove it, and the name it had before."""


@attrs.define(eq=False)
class Disk:
    """One member's disk; outlives its processes.

    Attributes:
      names: The directory as programs see it.
      durable_names: The directory as the disk holds it.
      version: Grows whenever something becomes durable.
      rewritten: Grows whenever durable content changes otherwise than by
        growing: after a power loss, a repair, a wipe.
      calls_left: After so many changing calls the program ends; ``None``: never.
      fail: The call that fails next, and how; removed when it did.
      full: Every write fails for want of space.
      takes_less: Asked before a write, whether it takes only a beginning.

    """

    _random: Random
    takes_less: Callable[[], bool]
    names: dict[str, File] = attrs.field(factory=dict, init=False)
    durable_names: dict[str, File] = attrs.field(factory=dict, init=False)
    version: int = attrs.field(default=0, init=False)
    rewritten: int = attrs.field(default=0, init=False)
    calls_left: int | None = attrs.field(default=None, init=False)
    fail: tuple[str, int] | None = attrs.field(default=None, init=False)
    full: bool = attrs.field(default=False, init=False)
    _changes: list[_Change] = attrs.field(factory=list, init=False)
    _open: dict[int, File] = attrs.field(factory=dict, init=False)
    _last_fd: int = attrs.field(default=10, init=False)

    # --- the calls of ``System`` ---

    def open(self, name: str, flags: int, *, dir_fd: int) -> int:  # noqa: ARG002 - there is one directory
        """See ``System``."""
        file = self.names.get(name)
        if file is None or flags & os.O_TRUNC:
            if file is None and not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "no such file", name)
            self._call("open")
            if file is None:
                file = File()
                self._rename(name, file, "")
            elif file.seen:
                file.seen.clear()
                file.pending.append((0, None))
        self._last_fd += 1
        self._open[self._last_fd] = file
        return self._last_fd

    def close(self, fd: int) -> None:
        """See ``System``."""
        del self._open[fd]

    def list_names(self, fd: int) -> list[str]:  # noqa: ARG002 - there is one directory
        """See ``System``."""
        return list(self.names)

    def size(self, name: str, *, dir_fd: int) -> int:  # noqa: ARG002 - there is one directory
        """See ``System``."""
        return len(self.names[name].seen)

    def read(self, fd: int) -> bytes:
        """See ``System``."""
        self._fail("read")
        return bytes(self._open[fd].seen)

    def read_at(self, fd: int, offset: int, size: int) -> bytes:
        """See ``System``."""
        self._fail("read")
        return bytes(self._open[fd].seen[offset : offset + size])

    def forget(self, fd: int) -> None:
        """See ``System``."""
        file = self._open[fd]
        if not file.pending:
            file.seen = bytearray(file.durable)

    def write(self, fd: int, data: memoryview) -> int:
        """See ``System``."""
        self._call("write")
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on the simulated disk")
        count = len(data)
        if count > 1 and self.takes_less():
            count = self._random.randrange(1, count)
        file = self._open[fd]
        content = bytes(data[:count])
        file.pending.append((len(file.seen), content))
        file.seen += content
        return count

    def truncate(self, fd: int, size: int) -> None:
        """See ``System``."""
        self._call("truncate")
        file = self._open[fd]
        _carry_out(file.seen, size, None)
        file.pending.append((size, None))

    def sync(self, fd: int) -> None:
        """See ``System``."""
        file = self._open[fd]
        try:
            self._call("sync")
        except OSError:
            # The pages count as clean from now on, though they never got there.
            file.pending.clear()
            raise
        if file.pending:
            cut = any(data is None for _, data in file.pending)
            file.settle()
            self.version += 1
            self.rewritten += cut

    def sync_directory(self, fd: int) -> None:  # noqa: ARG002 - there is one directory
        """See ``System``."""
        self._call("sync_directory")
        self.durable_names = dict(self.names)
        self._changes.clear()
        self.version += 1

    def rename(self, old: str, new: str, *, dir_fd: int) -> None:  # noqa: ARG002 - there is one directory
        """See ``System``."""
        self._call("rename")
        self._rename(new, self.names[old], old)

    def unlink(self, name: str, *, dir_fd: int) -> None:  # noqa: ARG002 - there is one directory
        """See ``System``."""
        self._call("unlink")
        self._rename(name, None, name)

    # --- faults ---

    def end_of_program(self) -> None:
        """Close everything; what was written stays, as after ``kill -9``."""
        self._open.clear()
        self.calls_left = None

    def lose_power(self) -> list[str]:
        """Forget what the disk had not got, each piece by chance.

        Returns:
          What that did: names and bytes may be lost, bytes torn.

        """
        self.end_of_program()
        # Mostly of one kind, since the interesting cases are the extreme ones.
        kept = self._random.choice([0.0, 0.5, 0.5, 1.0])
        names = dict(self.durable_names)
        done: list[str] = []
        for change in self._changes:
            if chance(self._random, kept):
                _change(names, change)
            else:
                done.append("lost-a-name")
        self._changes.clear()
        self.names, self.durable_names = names, dict(names)
        for file in names.values():
            done += self._settle_by_chance(file, kept)
        self.version += 1
        self.rewritten += 1
        return done

    def wipe(self) -> None:
        """Be a new disk."""
        self.end_of_program()
        self.names, self.durable_names = {}, {}
        self._changes.clear()
        self.version += 1
        self.rewritten += 1

    def become(self, other: Disk) -> None:
        """Hold what another disk holds, all of it durable."""
        self.wipe()
        self.names = other.copy().names
        self.durable_names = dict(self.names)

    def copy(self) -> Disk:
        """Return a disk with the same content and no faults."""
        other = Disk(Random(0), lambda: False)
        for name, file in self.names.items():
            other.names[name] = File(bytearray(file.seen), bytearray(file.seen))
        other.durable_names = dict(other.names)
        return other

    def _settle_by_chance(self, file: File, kept: float) -> list[str]:
        done: list[str] = []
        for offset, data in _merged(file.pending):
            if chance(self._random, kept):
                _carry_out(file.durable, offset, data)
            elif data is not None and chance(self._random, 0.5):
                done.append("tore-bytes")
                _carry_out(file.durable, offset, self._torn(offset, data))
            else:
                done.append("lost-bytes")
        file.pending.clear()
        file.seen = bytearray(file.durable)
        return done

    def _torn(self, offset: int, data: bytes) -> bytes:
        """Return what may be left of writes: a beginning, or some sectors."""
        if chance(self._random, 0.3):
            return self._some_sectors(offset, data)
        at = self._random.randrange(len(data) + 1)
        rest = len(data) - at
        garbage = self._random.randbytes(rest)
        # The second: the size reached the disk and the content did not.
        kinds = (data[:at], data[:at] + bytes(rest), data[:at] + garbage)
        return self._random.choice(kinds)

    def _some_sectors(self, offset: int, data: bytes) -> bytes:
        """Return ``data`` with zeros for each sector that did not get there."""
        left = bytearray(data)
        begin = 0
        while begin < len(data):
            end = min(len(data), begin + _SECTOR - (offset + begin) % _SECTOR)
            if chance(self._random, 0.5):
                left[begin:end] = bytes(end - begin)
            begin = end
        return bytes(left)

    # --- inside ---

    def _rename(self, name: str, file: File | None, old: str) -> None:
        change = (name, file, old)
        _change(self.names, change)
        self._changes.append(change)

    def _call(self, name: str) -> None:
        """Note a call that changes something."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise PowerCut
        self._fail(name)

    def _fail(self, name: str) -> None:
        if self.fail is not None and self.fail[0] == name:
            number = self.fail[1]
            self.fail = None
            raise OSError(number, f"simulated failure of {name}")


def _change(names: dict[str, File], change: _Change) -> None:
    name, file, old = change
    if old and names.pop(old, None) is None:
        # What made the old name was lost, so there was nothing to rename.
        return
    if file is not None:
        names[name] = file
