"""Handing the lead over to a chosen successor, without a wait (Raft thesis, 3.10).

The leader takes no proposals until the successor holds everything and all of it
is committed; then it tells everybody, and its role ends. Elections prefer the
successor to its equals, and discovery verifies it like any other choice, so
nothing depends on the message that names it. A successor that does not get
level in time keeps nobody waiting: the leader goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from coordlib.errors import LeadTransferError
from coordlib.ids import MemberId

from .core import Core
from .followers import Follower

__all__ = ["Transfer", "choose_successor"]


@attrs.frozen
class Transfer:
    """One attempt.

    Attributes:
      successor: Who is to lead.
      deadline: When it is given up.

    """

    successor: MemberId
    deadline: float


def choose_successor(
    core: Core, followers: Mapping[MemberId, Follower], to: MemberId | None
) -> MemberId:
    """Return who may lead next: ``to``, or the one that holds most.

    Raises:
      LeadTransferError: There is nobody, or ``to`` is not fit.

    """
    fit = {
        member: follower.acked
        for member, follower in followers.items()
        if follower.synchronized and member in core.quorum.voters
    }
    if to is None:
        if not fit:
            raise LeadTransferError("no other voter is synchronised")
        return max(fit, key=lambda member: (fit[member], member))
    if to == core.me:
        raise LeadTransferError(f"member {to} leads already")
    if to not in core.quorum.voters:
        raise LeadTransferError(f"member {to} is not a voter")
    if to not in fit:
        raise LeadTransferError(f"member {to} is not synchronised")
    return to
