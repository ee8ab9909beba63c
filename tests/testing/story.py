"""A history by hand: real transactions, and the calls that were made of them."""

from __future__ import annotations

import math

from coordlib.errors import OperationError
from coordlib.ids import SessionId
from coordlib.testing import Call, Exists, Get, GetChildren, History, Refusal, Sync
from coordlib.testing.history import ClientResult, Read, Write
from coordlib.tree import (
    Created,
    DataTree,
    MultiRefused,
    Refused,
    Result,
    SessionOpened,
    Transaction,
    decode_transaction,
)
from tree_world import TreeWorld

__all__ = ["Story", "read_tree", "told", "unanswer"]


class Story:
    """One member, a few sessions, and what they were told; all of it right."""

    def __init__(self) -> None:
        self.world = TreeWorld()
        self.history = History()
        self._cxids: dict[SessionId, int] = {}

    @property
    def calls(self) -> list[Call]:
        return self.history.calls

    @property
    def log(self) -> list[tuple[int, Transaction]]:
        return [(zxid, decode_transaction(p)) for zxid, p in self.world.log]

    def open(self, nonce: bytes) -> SessionId:
        session = self.world.open(nonce)
        self._cxids[session] = 0
        return session

    def begin(self, session: SessionId, operation: Write) -> Call:
        """Send a write, which is not done yet."""
        self._cxids[session] += 1
        return self.history.begin(session, operation, self._cxids[session])

    def do(self, call: Call) -> Result:
        """Have a write done that was begun."""
        assert isinstance(call.operation, Write)
        applied = self.world.apply(call.operation, call.session, cxid=call.cxid)
        return applied.result

    def write(self, session: SessionId, operation: Write) -> Call:
        """Send a write, have it done and answered."""
        call = self.begin(session, operation)
        self.history.end(call, told(self.do(call)), self.world.tree.zxid)
        return call

    def refuse(self, session: SessionId, operation: Write, result: Refusal) -> Call:
        """Refuse a write unsent: it takes no number."""
        call = self.history.begin(session, operation, self._cxids[session] + 1)
        self.history.end(call, result, self.world.tree.zxid)
        return call

    def read(self, session: SessionId, operation: Read) -> Call:
        call = self.history.begin(session, operation)
        tree = self.world.tree
        self.history.end(call, read_tree(tree, operation), tree.zxid)
        return call

    def sync(self, session: SessionId) -> Call:
        call = self.history.begin(session, Sync())
        self.history.end(call, None, self.world.tree.zxid)
        return call


def read_tree(tree: DataTree, read: Read) -> ClientResult:
    """Return what a session reads in a tree."""
    try:
        match read:
            case Get(path):
                return tree.get(path)
            case Exists(path):
                return tree.exists(path)
            case GetChildren(path):
                return tree.get_children(path)
    except OperationError as error:
        return Refusal(error.code)


def told(result: Result) -> ClientResult:
    """Return what a session makes of an outcome."""
    match result:
        case Created(path):
            return path
        case Refused(code):
            return Refusal(code)
        case MultiRefused(refusals, failed_at):
            return Refusal(refusals[failed_at].code, failed_at)
        case list():
            return [part.path if isinstance(part, Created) else part for part in result]
        case SessionOpened():
            raise AssertionError("no session asks for this")
        case _:
            return result


def unanswer(call: Call) -> None:
    """Take the answer away: the outcome is unknown."""
    call.returned, call.result, call.zxid = math.inf, None, 0
