"""Who called what when, and what came of it: the histories that checkers judge.

A :class:`Recorder` stands before a session and notes each call in a
:class:`History`. What a history must be like is said elsewhere: in
:mod:`.witness`, which compares it with the committed log, and in
:mod:`.linearizability`, which trusts nothing but calls and answers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import attrs

from coordlib.errors import ErrorCode, MultiError, OperationError, SessionError
from coordlib.ids import SessionId
from coordlib.session import Session
from coordlib.session.arguments import to_ttl_ms
from coordlib.tree import (
    ANY_VERSION,
    OPEN_ACL_UNSAFE,
    Acl,
    AddIdentities,
    Create,
    Delete,
    Get,
    GetChildren,
    Multi,
    Set,
    SetAcl,
    Stat,
    SubOperation,
    TreeReader,
)

__all__ = [
    "Call",
    "ClientOperation",
    "ClientResult",
    "Exists",
    "Get",
    "GetChildren",
    "History",
    "Read",
    "Recorder",
    "Refusal",
    "Sync",
    "Write",
]


@attrs.frozen
class Exists:
    """:meth:`.Session.exists` of this path."""

    path: str


@attrs.frozen
class Sync:
    """:meth:`.Session.sync`."""


@attrs.frozen
class Refusal:
    """An answer too: the call raised an error after which nothing has changed.

    Attributes:
      code: Which. ``SESSION_EXPIRED`` stands for the end of the session,
        whoever ended it.
      failed_at: Which operation of a multi was the wrong one; otherwise 0.

    """

    code: ErrorCode
    failed_at: int = 0


Write = Create | Set | Delete | Multi | SetAcl | AddIdentities
Read = Get | Exists | GetChildren
ClientOperation = Write | Read | Sync

ClientResult = (
    str
    | Stat
    | tuple[bytes, Stat]
    | list[str]
    | list[str | Stat | None]
    | Refusal
    | None
)
"""What the session's method returned, or how it was refused."""


@attrs.define(eq=False)
class Call:
    """One call of one client.

    Attributes:
      session: The client.
      operation: What it asked for.
      called: When. Times are comparable numbers of one clock, and only their
        order counts; calls that touch at one moment count as overlapping.
      cxid: Of a write, its number in the session: the committed log names a
        request by session and cxid. A call that was refused before it was sent
        used no number, so the next one may have the same.
      returned: When it was answered; infinite if it never was: then its outcome
        is unknown, and a write was done once or not at all.
      result: The answer.
      zxid: The last transaction in the tree of the client's member when the
        answer came: of a read, the state it has read.

    """

    session: SessionId
    operation: ClientOperation
    called: float
    cxid: int = 0
    returned: float = math.inf
    result: ClientResult = None
    zxid: int = 0

    @property
    def answered(self) -> bool:
        """Whether its outcome is known."""
        return self.returned < math.inf


class History:
    """The calls of all clients, in the order in which they began.

    Args:
      clock: Gives the times. The default counts calls and answers, so that no
        two are at one moment, even in virtual time: right for clients of one
        process. For several processes of one machine give
        ``time.monotonic`` to each.
      note: Told of each call when it begins, before anything is asked of the
        ensemble, and again when it is answered: writes them where they outlive
        the process.

    Attributes:
      calls: All so far.

    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] | None = None,
        note: Callable[[Call], None] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self._clock = clock or itertools.count(1).__next__
        self._tell = note or _tell_nobody

    def begin(
        self, session: SessionId, operation: ClientOperation, cxid: int = 0
    ) -> Call:
        """Note a call. Its outcome is unknown until :meth:`end`."""
        call = Call(session, operation, self._clock(), cxid)
        self.calls.append(call)
        self._tell(call)
        return call

    def end(self, call: Call, result: ClientResult, zxid: int) -> None:
        """Note the answer to ``call``."""
        # The caller may change the list that it gets.
        call.result = list(result) if isinstance(result, list) else result
        call.zxid = zxid
        call.returned = self._clock()
        self._tell(call)


def _tell_nobody(_call: Call) -> None:
    pass


T = TypeVar("T", bound=ClientResult)


class Recorder:
    """A session's reads, writes and syncs, each noted in a history.

    Methods are the session's own, and may be called from several tasks. Use
    the session through one recorder alone, but for :meth:`.Session.add_auth`: a
    write that it does not know of is one that nobody asked for, to the checkers.

    Args:
      history: Where calls are noted.
      session: Who carries them out.
      tree: That of the session's member, ``ensemble.tree``: tells the zxid that
        an answer shows.

    """

    def __init__(self, history: History, session: Session, tree: TreeReader) -> None:
        self._history = history
        self._session = session
        self._tree = tree

    async def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        acl: tuple[Acl, ...] = OPEN_ACL_UNSAFE,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl: float | None = None,
    ) -> str:
        """See :meth:`.Session.create`."""
        operation = Create(
            path,
            data,
            acl=acl,
            ephemeral=ephemeral,
            sequential=sequential,
            container=container,
            ttl_ms=to_ttl_ms(path, ttl),
        )
        created = self._session.create(
            path,
            data,
            acl=acl,
            ephemeral=ephemeral,
            sequential=sequential,
            container=container,
            ttl=ttl,
        )
        return await self._note(operation, created)

    async def set(
        self, path: str, data: bytes | None, *, version: int = ANY_VERSION
    ) -> Stat:
        """See :meth:`.Session.set`."""
        return await self._note(
            Set(path, data, version), self._session.set(path, data, version=version)
        )

    async def delete(
        self, path: str, *, version: int = ANY_VERSION, czxid: int = 0
    ) -> None:
        """See :meth:`.Session.delete`."""
        await self._note(
            Delete(path, version, czxid),
            self._session.delete(path, version=version, czxid=czxid),
        )

    async def multi(
        self, operations: Sequence[SubOperation]
    ) -> list[str | Stat | None]:
        """See :meth:`.Session.multi`."""
        return await self._note(
            Multi(tuple(operations)), self._session.multi(operations)
        )

    async def set_acl(
        self, path: str, acl: tuple[Acl, ...], *, version: int = ANY_VERSION
    ) -> Stat:
        """See :meth:`.Session.set_acl`."""
        return await self._note(
            SetAcl(path, acl, version),
            self._session.set_acl(path, acl, version=version),
        )

    async def get(self, path: str) -> tuple[bytes, Stat]:
        """See :meth:`.Session.get`."""
        return await self._note(Get(path), self._session.get(path))

    async def exists(self, path: str) -> Stat | None:
        """See :meth:`.Session.exists`."""
        return await self._note(Exists(path), self._session.exists(path))

    async def get_children(self, path: str) -> list[str]:
        """See :meth:`.Session.get_children`."""
        return await self._note(GetChildren(path), self._session.get_children(path))

    async def sync(self) -> None:
        """See :meth:`.Session.sync`."""
        await self._note(Sync(), self._session.sync())

    async def _note(self, operation: ClientOperation, asking: Awaitable[T]) -> T:
        # ``asking`` has not begun. When it does, a write takes the next number
        # before the first checkpoint, and a read is answered after the last.
        cxid = self._session.cxid + 1 if isinstance(operation, Write) else 0
        call = self._history.begin(self._session.id, operation, cxid)
        try:
            result = await asking
        except (OperationError, MultiError, SessionError) as error:
            refusal = _refusal_of(error)
            # A session that has ended shows a reader nothing.
            if (
                isinstance(operation, Write)
                or refusal.code is not ErrorCode.SESSION_EXPIRED
            ):
                self._history.end(call, refusal, self._tree.zxid)
            raise
        self._history.end(call, result, self._tree.zxid)
        return result


def _refusal_of(error: OperationError | MultiError | SessionError) -> Refusal:
    match error:
        case MultiError():
            return Refusal(error.error.code, error.failed_at)
        case OperationError():
            return Refusal(error.code)
        case _:
            return Refusal(ErrorCode.SESSION_EXPIRED)
