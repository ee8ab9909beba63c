"""What clients asked for and were told in one seed, and the verdict on it.

The other oracles look at members from outside, and know what a member should
do. This one knows nothing of members: it takes what the clients noted, and the
agreed transactions as the witness; see :mod:`coordlib.testing.witness`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coordlib.consensus import Transaction
from coordlib.testing.history import ClientResult, History, Refusal
from coordlib.testing.witness import check_history
from coordlib.tree import (
    Applied,
    Created,
    MultiRefused,
    Refused,
    Stat,
    decode_transaction,
)

from .kernel import Violation

if TYPE_CHECKING:
    from coordlib.tree import Result

__all__ = ["judge", "told"]


def told(applied: Applied) -> ClientResult:
    """Return what a session's method makes of an outcome, for its caller."""
    match applied.result:
        case Refused(code):
            return Refusal(code)
        case MultiRefused(refusals, failed_at):
            return Refusal(refusals[failed_at].code, failed_at)
        case list(parts):
            return [_told_of_one(part) for part in parts]
        case result:
            return _told_of_one(result)


def _told_of_one(result: Result) -> str | Stat | None:
    if isinstance(result, Created):
        return result.path
    assert result is None or isinstance(result, Stat)
    return result


def judge(history: History, agreed: Sequence[Transaction]) -> None:
    """Compare what clients were told with what was agreed upon.

    Raises:
      Violation: They were told what is not true.

    """
    log = [(zxid, decode_transaction(payload)) for zxid, payload in agreed]
    found = check_history(history.calls, log)
    if found:
        more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
        raise Violation("witness", f"{found[0]}{more}")
