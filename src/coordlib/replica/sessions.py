"""The sessions that live at this replica: opened, resumed, confirmed, closed.

How long each can be relied on is :mod:`.kept`'s; who is expired is decided by
the leader, in :mod:`.reign`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import attrs

from coordlib.errors import (
    BadArgumentsError,
    CoordError,
    ErrorCode,
    OverloadedError,
    SessionExpiredError,
    operation_error,
)
from coordlib.ids import SessionId
from coordlib.tree import (
    NO_SESSION,
    Applied,
    Cause,
    CloseSession,
    OpenSession,
    Refused,
    ResumeSession,
    SessionOpened,
    SessionRecord,
)

from .kept import SECRET_BYTES, KeptSession, SessionState, closed_error
from .requests import Request
from .waiter import Waiter

if TYPE_CHECKING:
    from .replica import Replica

__all__ = ["LocalSessions"]


@attrs.define
class LocalSessions:
    """All sessions of one replica, from the wish to the end."""

    _replica: Replica
    _entropy: Callable[[int], bytes]
    _kept: dict[SessionId, KeptSession] = attrs.field(factory=dict, init=False)
    _opening: dict[KeptSession, Request] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._kept)

    def open(self, timeout: float) -> KeptSession:
        """Open a session, and keep it alive from the moment it is applied.

        Args:
          timeout: The session's, in seconds.

        Raises:
          OverloadedError: Too many requests are without an answer, or too many
            sessions live here already.

        """
        replica, nonce = self._replica, self._entropy(SECRET_BYTES)
        kept = KeptSession(replica, nonce, timeout)
        timeout_ms = round(timeout * 1000)
        self._ask_for(
            kept, OpenSession(nonce, replica.incarnation, replica.member, timeout_ms)
        )
        return kept

    def resume(self, id: SessionId, nonce: bytes) -> KeptSession:
        """Go on with a session of an earlier incarnation of this member.

        Raises:
          OverloadedError: Too many requests are without an answer, or too many
            sessions live here already.

        """
        replica = self._replica
        kept = KeptSession(replica, nonce, math.inf)
        self._ask_for(
            kept, ResumeSession(id, nonce, replica.incarnation, replica.member)
        )
        return kept

    def _ask_for(
        self, kept: KeptSession, operation: OpenSession | ResumeSession
    ) -> None:
        replica = self._replica
        if replica.outstanding.is_full:
            raise OverloadedError("", "too many operations of all sessions")
        most = replica.config.limits.sessions_max
        if len(self._kept) + len(self._opening) >= most:
            raise OverloadedError("", f"{most} sessions live here, Limits.sessions_max")

        def opened(applied: Applied) -> None:
            del self._opening[kept]
            if isinstance(applied.result, SessionOpened):
                record = replica.tree.session(applied.result.session)
                assert record is not None
                self._found(kept, record, request.sent)
            else:
                assert isinstance(applied.result, Refused)
                kept.refused(partial(_error_of, applied.result))

        cxid = replica.next_cxid()
        request = replica.submit(NO_SESSION, cxid, operation, None)
        request.then.append(opened)
        self._opening[kept] = request

    def _found(self, kept: KeptSession, record: SessionRecord, sent: float) -> None:
        if record.id in self._kept:
            kept.refused(_in_use)
        elif kept.state is SessionState.READ_ONLY:
            # The ensemble counts its timeout from when the leader applied it,
            # which is after we sent it.
            kept.opened(record, sent)
            self._kept[record.id] = kept
        else:
            self.close(record.id, Cause.CLOSED)

    def withdraw(self, kept: KeptSession) -> None:
        """Forget a session that is not open yet; close it if it ever will be."""
        # Without a quorum, each new try would leave one behind.
        if self._replica.outstanding.withdraw(self._opening[kept]):
            del self._opening[kept]

    def close(self, session: SessionId, cause: Cause) -> Waiter[Applied]:
        """Have a session closed, however long it takes and whoever waits."""
        self._kept.pop(session, None)
        replica, waiter = self._replica, Waiter[Applied]()
        if replica.closed:
            waiter.fail(closed_error())
        else:
            operation = CloseSession(session, cause, replica.incarnation)
            replica.submit(NO_SESSION, replica.next_cxid(), operation, waiter)
        return waiter

    # --- what the replica learns ---

    def confirmed(self, sent: float) -> None:
        """Note that the ensemble heard of us no earlier than ``sent``."""
        for kept in list(self._kept.values()):
            kept.confirmed(sent)

    def check(self, now: float) -> None:
        """Look which of them are suspended or lost by now."""
        for kept in list(self._kept.values()):
            kept.check(now)

    def opened(self, opened: SessionOpened) -> None:
        """Note that a session is open, and whether another replica has ours."""
        ours = opened.owner == self._replica.incarnation
        if not ours and opened.session in self._kept:
            self._kept.pop(opened.session).vanished()

    def closed(self, session: SessionId, cause: Cause | None) -> None:
        """Note that a transaction has ended a session."""
        kept = self._kept.pop(session, None)
        if kept is not None:
            kept.ended(cause)

    def installed(self) -> None:
        """Find out which of them a tree that was replaced no longer has."""
        replica = self._replica
        for kept in list(self._kept.values()):
            record = replica.tree.session(kept.id)
            if record is None or record.owner != replica.incarnation:
                self._kept.pop(kept.id).vanished()

    def end(self) -> None:
        """End all of them: the replica ends."""
        for kept in [*self._kept.values(), *self._opening]:
            kept.ended(None)
        self._kept.clear()
        self._opening.clear()


def _in_use() -> CoordError:
    return BadArgumentsError("", "the session is in use in this process")


def _error_of(refused: Refused) -> CoordError:
    """Return why a session was not opened."""
    if refused.code is ErrorCode.SESSION_EXPIRED:
        return SessionExpiredError("no such session, or another password")
    return operation_error(refused.code, refused.path, refused.reason)
