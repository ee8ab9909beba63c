"""What a leader's disk can give to learners that lag: sizes and ends, no content.

A value that the driver tells the core; the reading itself is the driver's.
"""

from __future__ import annotations

import attrs

from coordlib.ids import NO_ZXID, Zxid

__all__ = ["Stored"]


@attrs.frozen
class Stored:
    """What the leader's disk can give, as its driver last heard.

    It may be overtaken: what is purged meanwhile is found out when it is read.

    Attributes:
      base: The zxid after which the log on the disk begins.
      parts: The log's, in order: the zxid after which each begins, and its bytes.
      snapshot: Zxid and bytes of the newest one that is kept and good. What it
        holds was delivered.

    """

    base: Zxid = NO_ZXID
    parts: tuple[tuple[int, int], ...] = ()
    snapshot: tuple[Zxid, int] | None = None

    def bytes_between(self, after: Zxid, upto: Zxid) -> int:
        """Return about how much log lies there: whole parts, the first included."""
        if after >= upto:
            return 0
        first = max((base for base, _ in self.parts if base <= after), default=NO_ZXID)
        return sum(size for base, size in self.parts if first <= base < upto)
