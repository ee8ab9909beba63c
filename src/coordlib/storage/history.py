"""What the durable stream amounts to: metadata, a base and the records after it.

:class:`History` is the whole of it, for those that recover; :class:`Course`
only tells which zxids it passes through, for those that write. Pure; no file
and no snapshot's bytes are known here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import attrs

from coordlib.errors import StorageError
from coordlib.ids import format_zxid

from .interface import EntryKind

__all__ = ["Course", "History", "cut_refused", "gap_refused", "order_refused"]


def _zxid_of(record: tuple[int, bytes]) -> int:
    return record[0]


def gap_refused(io: int, last: int) -> StorageError:
    """Return the error for a write whose number does not follow the last one's."""
    return StorageError(f"write {io} does not come next after write {last}")


def order_refused(zxid: int, last: int) -> StorageError:
    """Return the error for a transaction that does not follow the last one."""
    return StorageError(
        f"transaction {format_zxid(zxid)} does not come after {format_zxid(last)}"
    )


def cut_refused(zxid: int) -> StorageError:
    """Return the error for a cut that would leave records without a beginning."""
    return StorageError(
        f"cannot cut to {format_zxid(zxid)}: what came before it is purged"
    )


@attrs.define
class History:
    """The state that a prefix of the stream leads to.

    Attributes:
      meta: The last metadata, or ``None`` before the first.
      base: The zxid after which ``records`` begin.
      records: Zxid and payload, ascending, each greater than ``base``.

    """

    meta: bytes | None = None
    base: int = 0
    records: list[tuple[int, bytes]] = attrs.Factory(list)

    @property
    def last(self) -> int:
        """The zxid of the last transaction; ``base`` when there is none."""
        return self.records[-1][0] if self.records else self.base

    def apply(self, kind: int, zxid: int, body: bytes) -> None:
        """Take the next entry of the stream; a BASE's ``body`` is not kept.

        Raises:
          StorageError: A transaction does not come after the last one.

        """
        if kind == EntryKind.TRANSACTION:
            if zxid <= self.last:
                raise order_refused(zxid, self.last)
            self.records.append((zxid, body))
        elif kind == EntryKind.META:
            self.meta = body
        elif kind == EntryKind.CUT:
            del self.records[bisect_right(self.records, zxid, key=_zxid_of) :]
            # Possible when what lay before the base was purged.
            self.base = min(self.base, zxid)
        else:
            self.base = zxid
            self.records.clear()

    def holds(self, zxid: int) -> bool:
        """Tell whether the history passes through ``zxid``."""
        if zxid == self.base:
            return True
        place = bisect_left(self.records, zxid, key=_zxid_of)
        return place < len(self.records) and self.records[place][0] == zxid

    def between(
        self, after: int, upto: int, count: int | None = None
    ) -> list[tuple[int, bytes]]:
        """Return the records with ``after < zxid <= upto``, or the first of them."""
        low = bisect_right(self.records, after, key=_zxid_of)
        high = bisect_right(self.records, upto, key=_zxid_of)
        return self.records[low : high if count is None else min(high, low + count)]

    def forget(self, zxid: int) -> None:
        """Let the history begin after ``zxid``, which it holds."""
        del self.records[: bisect_right(self.records, zxid, key=_zxid_of)]
        self.base = zxid


@attrs.define
class Course:
    """The zxids of a history, in little space: they mostly count up by one.

    Attributes:
      base: The zxid after which the others begin.

    """

    base: int
    # Invariant: ascending and apart; first and last zxid of each run.
    _firsts: list[int] = attrs.field(factory=list, init=False)
    _lasts: list[int] = attrs.field(factory=list, init=False)

    @property
    def last(self) -> int:
        """The last zxid; ``base`` when there is no other."""
        return self._lasts[-1] if self._lasts else self.base

    def append(self, zxid: int) -> None:
        """Go on to ``zxid``.

        Raises:
          StorageError: It does not come after the last one.

        """
        lasts = self._lasts
        # Nearly always: every record of a log comes along here.
        if lasts and zxid == lasts[-1] + 1:
            lasts[-1] = zxid
            return
        if zxid <= self.last:
            raise order_refused(zxid, self.last)
        self._firsts.append(zxid)
        lasts.append(zxid)

    def cut(self, zxid: int) -> None:
        """Forget what lies beyond ``zxid``."""
        runs = bisect_right(self._firsts, zxid)
        del self._firsts[runs:], self._lasts[runs:]
        if runs:
            self._lasts[-1] = min(self._lasts[-1], zxid)
        self.base = min(self.base, zxid)

    def join(self, following: Course) -> None:
        """Go on as ``following`` did, which began where this one is."""
        self.cut(following.base)
        self._firsts += following._firsts
        self._lasts += following._lasts

    def holds(self, zxid: int) -> bool:
        """Tell whether the history passes through ``zxid``."""
        if zxid == self.base:
            return True
        runs = bisect_right(self._firsts, zxid)
        return runs > 0 and zxid <= self._lasts[runs - 1]
