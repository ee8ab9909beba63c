"""A session that lives at this replica: how long it can be relied on.

With a timeout T the ensemble ends a session T after it last heard of it. Here
it is *suspended* when no heartbeat was answered for T/3 and *lost* at 2T/3,
counted from the sending of the last answered one. So on clocks of nearly the
same rate, whoever relies on the session stops before anybody else may begin.
The scopes of grants have that moment as their deadline: no timer, no task, and
nothing that could hang, stands between the loss and the cancellation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Self

import attrs
import trio

from coordlib.errors import (
    BadArgumentsError,
    ConnectionLossError,
    CoordError,
    OverloadedError,
    ReadOnlyError,
    ReplicaClosedError,
    SessionClosedError,
    SessionExpiredError,
)
from coordlib.ids import SessionId
from coordlib.tree import (
    NO_SESSION,
    Applied,
    Cause,
    EventType,
    Operation,
    SessionRecord,
    Watch,
    WatchedEvent,
    WatchKind,
)

from .waiter import Waiter

if TYPE_CHECKING:
    from .replica import Replica
    from .requests import Request

__all__ = [
    "SECRET_BYTES",
    "Binding",
    "KeptSession",
    "SessionState",
    "SessionTicket",
    "closed_error",
]


_ID_END = 1 << 64
SECRET_BYTES = 16


class SessionState(Enum):
    """The life of a session; LOST and CLOSED are final."""

    # The ensemble has not opened it yet: this member serves reads meanwhile.
    READ_ONLY = auto()
    CONNECTED = auto()
    # No heartbeat was answered for a third of the timeout: writes are refused.
    SUSPENDED = auto()
    # It can no longer be relied on; the ensemble ends it, or has done so.
    LOST = auto()
    # Its user closed it, or the replica ended.
    CLOSED = auto()


@attrs.frozen
class SessionTicket:
    """What the next process of the same member can resume a session with.

    Attributes:
      id: Which session.
      password: A secret: 16 random bytes. Whoever has it can take the session.

    """

    id: SessionId
    password: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        """Refuse what no session has.

        Raises:
          BadArgumentsError: The id or the password is impossible.

        """
        if type(self.id) is not int or not 0 < self.id < _ID_END:
            raise BadArgumentsError("", f"no session has the id {self.id!r}")
        if type(self.password) is not bytes or len(self.password) != SECRET_BYTES:
            raise BadArgumentsError("", f"a password is {SECRET_BYTES} bytes")


class KeptSession:
    """One session of this process; dies with the replica at the latest.

    Attributes:
      id: 0 until the ensemble has opened it.
      nonce: What proves that it is one's own.
      timeout: Seconds of silence after which the ensemble ends it.
      state: As of the last look at the clock.
      moved: Where to park for a change of the state.

    """

    def __init__(self, replica: Replica, nonce: bytes, timeout: float) -> None:
        self.replica = replica
        self.id = NO_SESSION
        self.nonce = nonce
        self.timeout = timeout
        self.state = SessionState.READ_ONLY
        self.moved = trio.lowlevel.ParkingLot()
        self._heard = math.inf
        self._cxid = 0
        self._bindings: dict[Binding, None] = {}
        # What waits for something else than a request's outcome.
        self._listeners: dict[Callable[[Exception], None], None] = {}
        # Makes the error that every use raises once it is over.
        self._error: Callable[[], CoordError] | None = None

    @property
    def deadline(self) -> float:
        """When it is lost unless a heartbeat is answered, in trio's time."""
        return self._heard + self.timeout * 2 / 3

    @property
    def cxid(self) -> int:
        """The number of the newest request; 0 before the first."""
        return self._cxid

    # --- from the replica ---

    def opened(self, record: SessionRecord, sent: float) -> None:
        """Note that the ensemble has opened it, asked no earlier than ``sent``."""
        self.id, self.timeout = record.id, record.timeout_ms / 1000
        self._heard, self._cxid = sent, record.last_cxid
        self._become(SessionState.CONNECTED)

    def refused(self, error: Callable[[], CoordError]) -> None:
        """Note that the ensemble will not open it."""
        self._finish(SessionState.LOST, error, requests=None)

    def confirmed(self, sent: float) -> None:
        """Note that the ensemble heard of it no earlier than ``sent``."""
        # A late answer does not revive it: its bindings' scopes have ended.
        self.check(trio.current_time())
        if self._error is not None:
            return
        self._heard = max(self._heard, sent)
        if self.state is SessionState.SUSPENDED:
            self._become(SessionState.CONNECTED)
        for binding in self._bindings:
            binding.scope.deadline = self.deadline

    def check(self, now: float) -> None:
        """Look whether it is suspended or lost by now."""
        if self._error is None and now >= self.deadline:
            self.replica.sessions.close(self.id, Cause.EXPIRED)
            self._finish(SessionState.LOST, _lost, requests=_unanswered)
        elif self._error is None and now >= self._heard + self.timeout / 3:
            self._become(SessionState.SUSPENDED)

    def ended(self, cause: Cause | None) -> None:
        """Note that it is over: by a transaction, or with the replica."""
        # What was asked for and not applied before this will never be applied.
        if cause is Cause.EXPIRED:
            self._finish(SessionState.LOST, _expired, requests=_expired)
        elif cause is Cause.CLOSED:
            self._finish(SessionState.CLOSED, _closed, requests=_closed)
        else:
            self._finish(SessionState.CLOSED, closed_error, requests=closed_error)

    def vanished(self) -> None:
        """Note that it ended, and perhaps after requests whose outcomes it took."""
        self._finish(SessionState.LOST, _expired, requests=_unanswered)

    def _become(self, state: SessionState) -> None:
        if state is not self.state:
            self.state = state
            self.moved.unpark_all()

    def _finish(
        self,
        state: SessionState,
        error: Callable[[], CoordError],
        *,
        requests: Callable[[], CoordError] | None,
    ) -> None:
        if self._error is not None:
            return
        self._error = error
        self._become(state)
        for binding in list(self._bindings):
            binding.lose()
        if requests is not None:
            self.replica.outstanding.end_session(self.id, requests)
        for tell in list(self._listeners):
            tell(error())
        self._listeners.clear()

    # --- from its user ---

    def leave(self) -> Waiter[Applied]:
        """Close it: nobody relies on it any more, what was asked for goes on.

        Call :meth:`left` in the end.
        """
        self._finish(SessionState.CLOSED, _closed, requests=None)
        return self.replica.sessions.close(self.id, Cause.CLOSED)

    def abandon(self) -> None:
        """Give it up before it is open."""
        self._finish(SessionState.CLOSED, _closed, requests=None)
        self.replica.sessions.withdraw(self)

    def left(self, *, confirmed: bool) -> None:
        """Fail what has no outcome; once confirmed, it will not be applied."""
        error = _closed if confirmed else _unanswered
        self.replica.outstanding.end_session(self.id, error)

    def require(self) -> None:
        """Check that the session can be relied on at this moment.

        Raises:
          SessionError: It is over.
          ReplicaClosedError: The replica does not run in this process.

        """
        self.check(trio.current_time())
        if self._error is not None:
            raise self._error()

    def submit(self, operation: Operation, path: str) -> Waiter[Applied]:
        """Ask for a change.

        Returns:
          What waits for the outcome; or raises :exc:`OverloadedError` when too
          many requests are without one already, of this session or of all at
          this replica: nothing changes then, and the wait lets others run.

        Raises:
          ReadOnlyError: The session is suspended, or not open yet. Nothing
            changes.
          SessionError: It is over.

        """
        self.require()
        if self.state is not SessionState.CONNECTED:
            raise ReadOnlyError(path, "no quorum answers; this member serves reads")
        # Not Waiter[Applied](): the subscript costs more than all the rest of it.
        waiter: Waiter[Applied] = Waiter()
        outstanding = self.replica.outstanding
        if outstanding.of(self.id) >= self.replica.config.limits.outstanding_max:
            waiter.fail(OverloadedError(path, "too many operations of this session"))
        elif outstanding.is_full:
            waiter.fail(OverloadedError(path, "too many operations of all sessions"))
        else:
            self._submit(operation, waiter)
        return waiter

    def _submit(
        self, operation: Operation, waiter: Waiter[Applied] | None = None
    ) -> Request:
        self._cxid += 1
        return self.replica.submit(self.id, self._cxid, operation, waiter)

    def submit_unattended(self, operation: Operation) -> None:
        """Ask for a change that is carried on until done or the session is over."""
        if self._error is None:
            self._submit(operation)

    def after_outstanding(self, act: Callable[[], None]) -> None:
        """Call ``act`` when all requests made so far have an outcome."""
        last = self.replica.outstanding.last_of(self.id)
        if last is None:
            act()
        else:
            last.then.append(lambda _applied: act())

    def listen(self, tell: Callable[[Exception], None]) -> None:
        """Have ``tell`` called with the error when the session ends."""
        if self._error is not None:
            tell(self._error())
        else:
            self._listeners[tell] = None

    def unlisten(self, tell: Callable[[Exception], None]) -> None:
        """Undo :meth:`listen`. Harmless when repeated."""
        self._listeners.pop(tell, None)

    def attach(self, binding: Binding) -> None:
        """Let a binding's scope end when the session is lost."""
        binding.scope.deadline = self.deadline
        if self._error is not None:
            binding.lose()
        else:
            self._bindings[binding] = None

    def detach(self, binding: Binding) -> None:
        """Undo :meth:`attach`."""
        self._bindings.pop(binding, None)


def _lost() -> CoordError:
    return SessionExpiredError("no heartbeat was answered for 2/3 of the timeout")


def _expired() -> CoordError:
    return SessionExpiredError("the ensemble has expired the session")


def _closed() -> CoordError:
    return SessionClosedError("the session is closed")


def _unanswered() -> CoordError:
    return ConnectionLossError("the session ended before the answer came")


def closed_error() -> CoordError:
    """Return what every use of a replica that has ended raises."""
    return ReplicaClosedError("the replica is closed")


@attrs.define(eq=False)
class Binding:
    """Ties a cancel scope to a session and to one of its znodes.

    A context manager. While it is entered, the scope's deadline is the
    session's, and the scope is cancelled when the session ends or the znode is
    deleted, whoever does it.
    """

    kept: KeptSession
    scope: trio.CancelScope
    path: str
    czxid: int
    _lost: bool = attrs.field(default=False, init=False)
    _watch: Watch | None = attrs.field(default=None, init=False)

    @property
    def lost(self) -> bool:
        """Whether the hold can no longer be proved, at this moment."""
        if not self._lost and trio.current_time() >= self.kept.deadline:
            self.lose()
        return self._lost

    def lose(self) -> None:
        """End the hold."""
        self._lost = True
        self.scope.cancel()

    def __enter__(self) -> Self:
        self._watch = self.kept.replica.subscriptions.add(
            self.path, WatchKind.PERSISTENT, self._see
        )
        self.kept.attach(self)
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        self.kept.detach(self)
        if self._watch is not None:
            self.kept.replica.subscriptions.remove(self._watch)

    def _see(self, event: WatchedEvent) -> None:
        if event.type in {EventType.DELETED, EventType.RESYNC}:
            self._look()

    def _look(self) -> None:
        stat = self.kept.replica.tree.exists(self.path)
        if stat is None or stat.czxid != self.czxid:
            self.lose()
