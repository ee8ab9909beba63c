"""What a member's transaction log holds, as far as it is kept in memory.

The newest part of the log: zxids with their payloads, after a *base*. Pure
bookkeeping; the durable log is storage's. Two logs that both hold a zxid of an
epoch agree on everything before it, since one leader alone wrote that epoch
upon its initial history (Zab paper, claim 5); so an epoch's last zxid tells
where two logs part.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import attrs

from coordlib.ids import NO_ZXID, Zxid, epoch_of, make_zxid

__all__ = ["History", "Transaction", "follows"]

Transaction = tuple[Zxid, bytes]
"""A zxid and the payload. A tuple, because the hot path makes one per write."""


def follows(zxid: int, previous: int) -> bool:
    """Tell whether ``zxid`` may come right after ``previous`` in a log.

    The next counter of the same epoch, or the first of a later one. Every
    appended zxid is checked, the first one included (ZOOKEEPER-4925).
    """
    if epoch_of(zxid) == epoch_of(previous):
        return zxid == previous + 1
    return zxid > previous and zxid == make_zxid(epoch_of(zxid), 1)


@attrs.define
class History:
    """The log after ``base``.

    Attributes:
      base: The zxid after which the kept records begin; 0 for all of them.

    """

    base: Zxid
    # Invariant: ascending, contiguous in the sense of follows(), all > base.
    _zxids: list[Zxid] = attrs.field(factory=list)
    _payloads: list[bytes] = attrs.field(factory=list)
    _bytes: int = 0
    # The last zxid of each epoch that ended before the base, oldest first. All of
    # it is delivered, so it is never cut: exact, as far back as it goes.
    _ended: list[Zxid] = attrs.field(factory=list)

    @classmethod
    def recovered(cls, base: int, records: Iterable[tuple[int, bytes]]) -> History:
        """Return the history that a disk held."""
        history = cls(Zxid(base))
        for zxid, payload in records:
            history.append(Zxid(zxid), payload)
        return history

    @property
    def last(self) -> Zxid:
        """The newest zxid, or the base when nothing follows it."""
        return self._zxids[-1] if self._zxids else self.base

    def __len__(self) -> int:
        return len(self._zxids)

    def append(self, zxid: Zxid, payload: bytes) -> None:
        """Add the next transaction."""
        assert zxid > self.last, f"{zxid:#x} after {self.last:#x}"
        self._zxids.append(zxid)
        self._payloads.append(payload)
        self._bytes += len(payload)

    def holds(self, zxid: Zxid) -> bool:
        """Tell whether ``zxid`` is the base or one of the kept records."""
        if zxid == self.base:
            return True
        at = bisect_right(self._zxids, zxid)
        return at > 0 and self._zxids[at - 1] == zxid

    def between(self, after: Zxid, upto: Zxid) -> list[Transaction]:
        """Return the transactions with ``after < zxid <= upto``."""
        assert after >= self.base, f"{after:#x} is before the base {self.base:#x}"
        low = bisect_right(self._zxids, after)
        high = bisect_right(self._zxids, upto)
        return list(zip(self._zxids[low:high], self._payloads[low:high], strict=True))

    def cut(self, zxid: Zxid) -> None:
        """Forget everything after ``zxid``, which is held."""
        at = bisect_right(self._zxids, zxid)
        self._bytes -= sum(map(len, self._payloads[at:]))
        del self._zxids[at:], self._payloads[at:]

    def rebase(self, zxid: Zxid) -> None:
        """Forget everything; the log goes on after ``zxid``."""
        self.base = zxid
        self._ended.clear()
        self._zxids.clear()
        self._payloads.clear()
        self._bytes = 0

    def tails(self) -> list[Zxid]:
        """Return the last zxid of each epoch, oldest first, the base included."""
        return _tails(self.base, self._zxids)

    def last_of_epoch(self, epoch: int) -> Zxid | None:
        """Return the newest zxid of ``epoch``, or ``None`` if none is known.

        Also where that lies before the base, as far back as is remembered.
        """
        beyond = make_zxid(epoch + 1, 0)
        at = bisect_right(self._zxids, beyond)
        newest = self._zxids[at - 1] if at else self.base
        if newest and epoch_of(newest) > epoch:
            at = bisect_right(self._ended, beyond)
            newest = self._ended[at - 1] if at else NO_ZXID
        return newest if newest and epoch_of(newest) == epoch else None

    def forget_ended(self, zxid: Zxid) -> None:
        """Forget the epochs that ended before ``zxid``."""
        del self._ended[: bisect_left(self._ended, zxid)]

    def trim(self, upto: Zxid, *, records_max: int, bytes_max: int) -> None:
        """Forget the oldest records while there are too many, never beyond ``upto``.

        Trimming a quarter at a time keeps the cost per record constant.
        """
        if len(self._zxids) <= records_max and self._bytes <= bytes_max:
            return
        count = min(max(1, len(self._zxids) // 4), bisect_right(self._zxids, upto))
        if count:
            # The last is the new base.
            self._ended += _tails(self.base, self._zxids[:count])[:-1]
            self.base = self._zxids[count - 1]
            self._bytes -= sum(map(len, self._payloads[:count]))
            del self._zxids[:count], self._payloads[:count]


def _tails(base: Zxid, zxids: Sequence[Zxid]) -> list[Zxid]:
    """Return the last zxid of each epoch, oldest first, the base included."""
    tails: list[Zxid] = []
    end = len(zxids)
    while end:
        tails.append(zxids[end - 1])
        end = bisect_right(zxids, make_zxid(epoch_of(zxids[end - 1]), 0))
    if base and not (tails and epoch_of(tails[-1]) == epoch_of(base)):
        tails.append(base)
    return tails[::-1]
