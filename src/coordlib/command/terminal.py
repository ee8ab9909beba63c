"""What the command says: lines, and how far long work has come.

Whatever comes out of files passes through :func:`escaped` first, so that no
hostile name or datum can steer a terminal. It decides nothing.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

__all__ = ["Progress", "escaped", "megabytes", "note", "say"]

_UPDATE_INTERVAL = 0.1


def say(line: str) -> None:
    """Write a line of the result."""
    sys.stdout.write(f"{_harmless(line, sys.stdout.encoding)}\n")


def note(line: str) -> None:
    """Write a line about the result, or an error."""
    sys.stderr.write(f"{_harmless(line, sys.stderr.encoding)}\n")


def _harmless(line: str, encoding: str) -> str:
    """Return what a terminal only shows, and the stream can take."""
    if not line.isprintable():
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line.encode(encoding, "backslashreplace").decode(encoding)


def escaped(text: str) -> str:
    """Return ``text`` with backslashes for all that is not plainly printable."""
    return "".join(c if c.isprintable() and c != "\\" else ascii(c)[1:-1] for c in text)


def megabytes(size: float) -> str:
    """Return a number of bytes for people."""
    return f"{size / 1e6:,.1f} MB"


class Progress:
    """A line on a terminal's standard error; nothing where that is no terminal.

    A context manager, which leaves no trace on the line.
    """

    def __init__(self, what: str, total: int) -> None:
        """Begin; ``total`` is the number of bytes that there are to do."""
        self._what = what
        self._total = max(total, 1)
        self._done = 0
        self._began = self._shown = time.monotonic()
        self._is_shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def add(self, size: int) -> None:
        """Note that so many bytes more are done."""
        self._done += size
        now = time.monotonic()
        if not self._is_shown or now - self._shown < _UPDATE_INTERVAL:
            return
        self._shown = now
        rate = self._done / (now - self._began)
        left = max(0, self._total - self._done) / max(rate, 1)
        part = min(1.0, self._done / self._total)
        bar = "#" * int(20 * part)
        sys.stderr.write(
            f"\r\x1b[K{self._what} [{bar:20}] {megabytes(self._done)} of "
            f"{megabytes(self._total)}, {megabytes(rate)}/s, {left:.0f} s left"
        )
        sys.stderr.flush()
