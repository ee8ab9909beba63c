"""What a leader's replica does for all: answers touches, expires, cleans, notes.

One object for each epoch that this replica leads, from when it serves to the
end of its role; so nothing of an earlier epoch can be carried out in a later
one. Its proposals are not among the outstanding requests: those are sent again
in the next epoch, and only the leader of that one may say who is overdue in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from coordlib.consensus import Confirmed
from coordlib.ids import SessionId
from coordlib.tree import (
    CONFIG_PATH,
    NO_SESSION,
    Cause,
    CloseSession,
    Configure,
    Operation,
    SessionOpened,
    config_data,
    encode_request,
)

from .cleaner import Cleaner
from .expiry import Expiry
from .links import ReplicaLink
from .wire import Confirm, Touch

if TYPE_CHECKING:
    from .replica import Replica

__all__ = ["Reign"]


@attrs.define
class Reign:
    """The duties of one epoch's leader."""

    _replica: Replica
    _expiry: Expiry = attrs.field(init=False)
    _cleaner: Cleaner = attrs.field(init=False)
    # Barriers under way: who is told, and the number of its touch.
    _barriers: dict[int, tuple[ReplicaLink | None, int]] = attrs.field(
        factory=dict, init=False
    )

    def __attrs_post_init__(self) -> None:
        """Begin to count everybody's silence."""
        now, config = trio.current_time(), self._replica.config
        self._expiry = Expiry(now, 5 * config.heartbeat_interval)
        self._cleaner = Cleaner(
            now,
            interval=config.clean_interval,
            per_minute_max=config.cleaned_per_minute_max,
        )

    # --- touches ---

    def touched(self, link: ReplicaLink | None, touch: Touch) -> None:
        """These sessions live; answer once a quorum says that we lead.

        Args:
          link: Who is to be answered; ``None`` for this replica.
          touch: What it said.

        """
        self._expiry.touch(touch.owner, trio.current_time())
        cookie = self._replica.next_cxid()
        self._barriers[cookie] = (link, touch.number)
        self._replica.driver.barrier([cookie])

    def confirmed(self, confirmed: Confirmed) -> None:
        """Answer touches."""
        replica = self._replica
        for cookie in confirmed.cookies:
            link, number = self._barriers.pop(cookie, (None, 0))
            answer = Confirm(number, confirmed.zxid)
            if link is not None:
                replica.driver.links.send((link.id,), answer)
            elif number:
                replica.touch_confirmed(answer)

    # --- sessions ---

    def session_opened(self, opened: SessionOpened) -> None:
        """Count its silence from now."""
        self._expiry.opened(opened.session, opened.owner, trio.current_time())

    def session_closed(self, session: SessionId) -> None:
        """Note that an expiry, or something else, has ended a session."""
        self._expiry.closed(session)

    def expire(self, now: float) -> None:
        """Propose to end the sessions that were silent for too long."""
        tree = self._replica.tree
        overdue = self._expiry.expired(tree.sessions_by_id(), now)
        self._propose(
            [
                CloseSession(record.id, Cause.EXPIRED, record.owner)
                for record in map(tree.session, overdue)
                if record is not None
            ]
        )

    # --- znodes ---

    def clean(self, now: float) -> None:
        """Propose to delete what nobody needs; refused where that has changed."""
        count = self._cleaner.allowance(now)
        if count:
            deletions = self._replica.tree.overdue(count, self._replica.wall_ms())
            self._cleaner.cleaned(len(deletions), now)
            self._propose(deletions)

    def configure(self, members: str) -> None:
        """Have it noted who the members are, if the tree says otherwise.

        If it is lost, the next leader looks again.
        """
        data, stat = self._replica.tree.get(CONFIG_PATH)
        if data != config_data(members, stat.mzxid):
            self._propose([Configure(members)])

    def _propose(self, operations: Sequence[Operation]) -> None:
        replica = self._replica
        replica.propose(
            [
                encode_request(NO_SESSION, replica.next_cxid(), 0, operation)
                for operation in operations
            ]
        )
