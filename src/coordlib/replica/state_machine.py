"""What the driver asks of whoever keeps znodes and sessions: the replica.

Only the contract; see :mod:`.replica` for what is done.
"""

from __future__ import annotations

from typing import Protocol

from coordlib.consensus import Confirmed, RoleChanged, Snapshot, Transaction
from coordlib.tree import DataTree

from .links import ReplicaLink
from .wire import Confirm, Forward, Touch

__all__ = ["StateMachine"]


class StateMachine(Protocol):
    """What the driver hands over, in the order in which it counts."""

    def deliver(self, transactions: list[Transaction]) -> None:
        """Apply these, now or soon, before anything delivered later."""
        ...

    async def load(self, snapshot: Snapshot) -> DataTree:
        """Return the tree that a received snapshot holds.

        Raises:
          ProtocolError: It is malformed, or of another zxid than announced.

        """
        ...

    def install(self, staged: DataTree) -> None:
        """Be what a received snapshot says."""
        ...

    def keep_snapshot(self) -> None:
        """Save a snapshot now, unless one is being made."""
        ...

    def role_changed(self, change: RoleChanged) -> None:
        """Note what this member does now."""
        ...

    def confirmed(self, confirmed: Confirmed) -> None:
        """Take the answer to ``Driver.barrier``."""
        ...

    def lead_kept(self) -> None:
        """Propose again: the lead is not handed over after all."""
        ...

    def hear(self, link: ReplicaLink, body: Forward | Touch | Confirm) -> None:
        """Take what another replica said."""
        ...
