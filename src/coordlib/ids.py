"""The numbers that name things: members, sessions, epochs and transactions.

``NewType`` costs nothing at run time and stops mix-ups. No logic beyond
taking a zxid apart lives here.
"""

from __future__ import annotations

from typing import NewType

__all__ = [
    "COUNTER_MAX",
    "EPOCH_MAX",
    "MEMBER_ID_MAX",
    "NO_EPOCH",
    "NO_MEMBER",
    "NO_ZXID",
    "Epoch",
    "MemberId",
    "SessionId",
    "Zxid",
    "counter_of",
    "epoch_of",
    "format_zxid",
    "make_zxid",
]

MemberId = NewType("MemberId", int)
"""One seat in the ensemble: 1 to :data:`MEMBER_ID_MAX`."""

SessionId = NewType("SessionId", int)
"""The zxid of the transaction that opened the session; so never used twice."""

Epoch = NewType("Epoch", int)
"""The reign of one leader, from 1 on; 0 is before the first."""

Zxid = NewType("Zxid", int)
"""A transaction's place in the total order: epoch in the high 32 bits, counter
in the low 32 (ZooKeeper Internals, "Guarantees, Properties, and Definitions")."""

NO_MEMBER = MemberId(0)
NO_EPOCH = Epoch(0)
NO_ZXID = Zxid(0)

MEMBER_ID_MAX = 254
COUNTER_MAX = 0xFFFFFFFF
# The sign bit stays clear, so that a zxid fits a signed 64-bit field.
EPOCH_MAX = 0x7FFFFFFF


def make_zxid(epoch: int, counter: int) -> Zxid:
    """Return the zxid of the ``counter``-th transaction of ``epoch``."""
    return Zxid(epoch << 32 | counter)


def epoch_of(zxid: int) -> Epoch:
    """Return the epoch in which the transaction was proposed."""
    return Epoch(zxid >> 32)


def counter_of(zxid: int) -> int:
    """Return the transaction's number within its epoch, from 1 on."""
    return zxid & COUNTER_MAX


def format_zxid(zxid: int) -> str:
    """Return ``epoch:counter``, as logs and transcripts show it."""
    return f"{zxid >> 32}:{zxid & COUNTER_MAX}"
