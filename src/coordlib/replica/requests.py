"""The requests made at this replica that have no outcome yet.

Exactly once, without asking anybody: this replica applies every transaction of
the ensemble, so it sees the outcome of its own requests pass by. When a new
epoch is established and everything before it is applied, a request that has
not passed by is in no history and never will be; it is sent again. The session
table drops a second one (design, section 7).

Knows neither links nor the consensus core: it says what to send, and when it
was answered.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import attrs
import trio

from coordlib.errors import BadArgumentsError, ConnectionLossError
from coordlib.ids import SessionId
from coordlib.tree import (
    Applied,
    DataTree,
    OpenSession,
    Operation,
    ResumeSession,
    encode_request,
)

from .waiter import Waiter

__all__ = ["Outstanding", "Request"]


_NEVER = -math.inf

# What one frame carries comfortably; a longer queue makes several.
_BATCH_BYTES = 1 << 20
_BATCH_REQUESTS = 4096


@attrs.define(eq=False)
class Request:
    """One operation on its way.

    Attributes:
      session: Who asks; 0 for the replica itself.
      cxid: Its number; rises within a session.
      operation: What is asked.
      body: The same, encoded once for all of its travels.
      waiter: Who waits for the outcome, if anybody does.
      under_way: Whether it is with the leader of the present epoch, as far as
        is known here.
      sent: When it was first sent to the leader of the present epoch, in trio's
        time: it was applied no earlier.
      then: Called with the outcome when it is known, from the apply loop.

    """

    session: SessionId
    cxid: int
    operation: Operation
    body: bytes
    waiter: Waiter[Applied] | None
    under_way: bool = False
    sent: float = _NEVER
    then: list[Callable[[Applied], None]] = attrs.field(factory=list)

    def finish(self, applied: Applied) -> None:
        """Tell everybody the outcome."""
        if self.waiter is not None:
            self.waiter.resolve(applied)
        for tell in self.then:
            tell(applied)

    def fail(self, error: Exception) -> None:
        """Tell who waits that there will be no outcome."""
        if self.waiter is not None:
            self.waiter.fail(error)


@attrs.define
class Outstanding:
    """All requests of one replica, in the order in which they were made.

    Invariant: within a session, ``cxid`` rises in that order, and what is
    unsent comes after what is sent.

    Attributes:
      transaction_bytes_max: How large a request may be.
      requests_max: How many there may be; see :attr:`is_full`.
      requests_bytes_max: How large they may be together.
      shares: How many replicas share the leader's room for what is under way.
      emptied: Where to park until nothing is without an outcome.

    """

    transaction_bytes_max: int
    requests_max: int
    requests_bytes_max: int
    shares: int
    emptied: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _by_key: dict[tuple[int, int], Request] = attrs.field(factory=dict)
    _cxids: dict[SessionId, dict[int, Request]] = attrs.field(factory=dict)
    _unsent: deque[Request] = attrs.field(factory=deque)
    # Of all, and of those under way: sums of their sizes, and a count.
    _bytes: int = 0
    _under_way: int = 0
    _under_way_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether sessions should be refused more.

        Not :meth:`add`'s business: to close a session, or to delete what an
        operation left behind, is asked for all the same.
        """
        too_many = len(self._by_key) >= self.requests_max
        return too_many or self._bytes >= self.requests_bytes_max

    @property
    def size(self) -> int:
        """How many bytes all of them are together."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, session: SessionId) -> int:
        """Return how many requests of ``session`` have no outcome."""
        return len(self._cxids.get(session, ()))

    def last_of(self, session: SessionId) -> Request | None:
        """Return the newest request of ``session`` without an outcome."""
        requests = self._cxids.get(session)
        return next(reversed(requests.values())) if requests else None

    def add(
        self,
        session: SessionId,
        cxid: int,
        operation: Operation,
        waiter: Waiter[Applied] | None,
    ) -> Request:
        """Take a request; it waits to be sent.

        Raises:
          BadArgumentsError: It is too large for one transaction. Checked here,
            since what is proposed every member must be able to read
            (ZOOKEEPER-2101).

        """
        # Everything below the oldest one without an outcome has been answered.
        acked = next(iter(self._cxids.get(session, ())), cxid)
        body = encode_request(session, cxid, acked, operation)
        if len(body) > self.transaction_bytes_max:
            most = self.transaction_bytes_max
            raise BadArgumentsError("", f"{len(body)} bytes at once; {most} at most")
        requests = self._cxids.setdefault(session, {})
        request = Request(session, cxid, operation, body, waiter)
        self._by_key[session, cxid] = requests[cxid] = request
        self._bytes += len(body)
        self._unsent.append(request)
        return request

    def take_unsent(self, now: float) -> list[bytes]:
        """Return the bodies to send next, as many as make a good batch.

        None while this replica's share of what the leader has room for is under
        way: each outcome makes room.
        """
        bodies: list[bytes] = []
        bytes_max = _BATCH_BYTES
        while (
            self._unsent
            and bytes_max > 0
            and len(bodies) < _BATCH_REQUESTS
            and self._has_room
        ):
            request = self._unsent.popleft()
            if request.sent == _NEVER:
                request.sent = now
            # It may have been answered meanwhile, or its session have ended.
            if (request.session, request.cxid) in self._by_key:
                bodies.append(request.body)
                bytes_max -= len(request.body)
                request.under_way = True
                self._under_way += 1
                self._under_way_bytes += len(request.body)
        return bodies

    @property
    def _has_room(self) -> bool:
        return (
            self._under_way * self.shares < self.requests_max
            and self._under_way_bytes * self.shares < self.requests_bytes_max
        )

    @property
    def has_unsent(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._unsent)

    def send_all_again(self, *, new_epoch: bool = True) -> None:
        """Everything without an outcome has to be sent, in the old order.

        Args:
          new_epoch: What was sent before will never be applied. Else it may be,
            and it is unknown which of the two will.

        """
        self._unsent = deque(self._by_key.values())
        self._under_way = self._under_way_bytes = 0
        for request in self._unsent:
            request.under_way = False
        if new_epoch:
            for request in self._unsent:
                request.sent = _NEVER

    def withdraw(self, request: Request) -> bool:
        """Take back, for a caller who has gone, what was never sent to anybody.

        Returns:
          Whether it was so, and nothing will come of it.

        """
        unsent = request in self._unsent and request.sent == _NEVER
        if unsent:
            self._unsent.remove(request)
            self._pop(request.session, request.cxid)
        return unsent

    def applied(self, applied: Applied) -> None:
        """Note a transaction's outcome; most are of other replicas' requests."""
        request = self._pop(applied.session, applied.cxid)
        if request is not None:
            request.finish(applied)

    def restored(self, tree: DataTree) -> None:
        """Look for outcomes in a tree that was replaced by a snapshot.

        A session that is over took its outcomes along.
        """
        for request in list(self._by_key.values()):
            outcome = _outcome_in(tree, request)
            if outcome is not None:
                self.applied(outcome)
            elif request.session and tree.session(request.session) is None:
                self._pop(request.session, request.cxid)
                request.fail(ConnectionLossError("the session ended meanwhile"))

    def end_session(self, session: SessionId, error: Callable[[], Exception]) -> None:
        """Fail what ``session`` still asks for."""
        for request in list(self._cxids.get(session, {}).values()):
            self._pop(session, request.cxid)
            request.fail(error())

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Fail everything: the replica ends."""
        for request in list(self._by_key.values()):
            self._pop(request.session, request.cxid)
            request.fail(error())

    def _pop(self, session: SessionId, cxid: int) -> Request | None:
        request = self._by_key.pop((session, cxid), None)
        if request is not None:
            self._bytes -= len(request.body)
            if request.under_way:
                self._under_way -= 1
                self._under_way_bytes -= len(request.body)
            requests = self._cxids[session]
            del requests[cxid]
            if not requests:
                del self._cxids[session]
            if not self._by_key:
                self.emptied.unpark_all()
        return request


def _outcome_in(tree: DataTree, request: Request) -> Applied | None:
    """Return a request's outcome if the tree shows that it was applied."""
    if request.session:
        record = tree.session(request.session)
        if record is None or request.cxid > record.last_cxid:
            return None
        result = record.outcome_of(request.cxid)
        return Applied(tree.zxid, request.session, request.cxid, result)
    if isinstance(request.operation, OpenSession):
        found = tree.session_by_nonce(request.operation.nonce)
        if found is not None:
            return Applied(found.id, request.session, request.cxid, found.opened())
    if isinstance(request.operation, ResumeSession):
        found = tree.session(request.operation.session)
        if found is not None and found.owner == request.operation.owner:
            return Applied(tree.zxid, request.session, request.cxid, found.opened())
    return None
