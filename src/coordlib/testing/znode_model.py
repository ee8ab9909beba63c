"""Histories of znodes for the search in :mod:`.linearizability`.

The promise is that writes, and reads right after a sync, are linearizable. So
these are what is searched; what other reads show needs a zxid to be judged.
Results are reduced to what is known without one: data and versions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import attrs

from coordlib.errors import ErrorCode
from coordlib.ids import SessionId
from coordlib.tree import ANY_VERSION, Create, Delete, Set, Stat, parent_of

from .history import (
    Call,
    ClientOperation,
    ClientResult,
    Exists,
    Get,
    GetChildren,
    Refusal,
    Sync,
)
from .linearizability import STEPS_MAX, Attempt, Verdict, linearize

__all__ = ["ZnodeOperation", "ZnodeResult", "linearize_history"]

ZnodeOperation = Create | Set | Delete | Get | Exists

ZnodeResult = tuple[bytes, int] | int | ErrorCode | None
"""Data and version of a ``Get``, the version of a ``Set`` or ``Exists``, a
refusal's code; ``None`` where there is nothing to tell."""

_Attempt = Attempt[ZnodeOperation, ZnodeResult]

# Path, data, version of each znode; sorted.
_State = tuple[tuple[str, bytes, int], ...]

# Refusals that say nothing about the tree.
_OF_NO_STATE = {
    ErrorCode.BAD_ARGUMENTS,
    ErrorCode.NOT_READ_ONLY,
    ErrorCode.THROTTLED,
    ErrorCode.SESSION_EXPIRED,
}


def linearize_history(
    calls: Iterable[Call], *, steps_max: int = STEPS_MAX
) -> Verdict[ZnodeOperation, ZnodeResult]:
    """Look for an order of writes and synced reads that explains all answers.

    A read counts if it is its session's next call after a sync; it is then
    taken to have begun with the sync. Znodes below different children of the
    root have nothing to do with each other, so each such part is searched for
    itself: what is linearizable in parts is so as a whole. Keep to some 200
    calls and 8 clients for each.

    Args:
      calls: From an empty tree on, with all writes.
      steps_max: The budget for all parts together.

    Raises:
      ValueError: There are multis, ACLs, deletions by czxid, or znodes that are
        sequential or deleted by others than clients: these need zxids or
        sessions, so :func:`.check_history`.

    """
    steps, unknown = 0, False
    for root, attempts in sorted(_parts(calls).items()):
        model = _ZnodeModel((("/", b"", 0),) if root == "/" else ())
        verdict = linearize(attempts, model, steps_max=steps_max - steps)
        steps += verdict.steps
        if verdict.linearizable is False:
            return attrs.evolve(verdict, steps=steps)
        unknown = unknown or verdict.linearizable is None
    return Verdict(linearizable=None if unknown else True, steps=steps)


def _parts(calls: Iterable[Call]) -> dict[str, list[_Attempt]]:
    """Return the attempts by the child of the root that they are at or below."""
    parts: defaultdict[str, list[_Attempt]] = defaultdict(list)
    last: dict[SessionId, Call] = {}
    for call in sorted(calls, key=lambda call: call.called):
        previous, last[call.session] = last.get(call.session), call
        called = call.called
        if isinstance(call.operation, Get | Exists):
            if not call.answered or previous is None or not _syncs(previous, call):
                continue
            called = previous.called
        if (operation := _plain(call.operation)) is None or _says_nothing(call):
            continue
        root = "/" + operation.path.split("/", 2)[1]
        parts[root].append(
            Attempt(operation, called, call.returned, _reduced(call.result))
        )
    return parts


def _syncs(previous: Call, read: Call) -> bool:
    return isinstance(previous.operation, Sync) and previous.returned < read.called


def _says_nothing(call: Call) -> bool:
    """Tell whether a call was refused without a look at the tree."""
    return isinstance(call.result, Refusal) and call.result.code in _OF_NO_STATE


def _plain(operation: ClientOperation) -> ZnodeOperation | None:
    """Return an operation that can be searched; ``None`` for one to leave out.

    Raises:
      ValueError: It changes the tree in a way that the model does not know.

    """
    match operation:
        case Sync() | GetChildren():
            return None
        case Create() if operation == Create(operation.path, operation.data):
            return operation
        case Delete(czxid=0):
            return operation
        case Set() | Get() | Exists():
            return operation
        case _:
            raise ValueError(f"cannot be searched without zxids: {operation}")


def _reduced(result: ClientResult) -> ZnodeResult:
    if isinstance(result, Stat):
        return result.version
    if isinstance(result, tuple):
        data, stat = result
        return data, stat.version
    return result.code if isinstance(result, Refusal) else None


@attrs.frozen
class _ZnodeModel:
    """A few znodes. ``initial`` holds the root in the part that is the root."""

    initial: _State

    def step(
        self, state: _State, operation: ZnodeOperation
    ) -> tuple[_State, ZnodeResult]:
        """See :meth:`.Model.step`."""
        path = operation.path
        if isinstance(operation, Create):
            return _create(state, operation)
        znode = next((znode for znode in state if znode[0] == path), None)
        if znode is None:
            return state, None if isinstance(operation, Exists) else ErrorCode.NO_NODE
        _, data, version = znode
        match operation:
            case Get():
                return state, (data, version)
            case Exists():
                return state, version
            case Delete() | Set():
                if operation.version not in (ANY_VERSION, version):
                    return state, ErrorCode.BAD_VERSION
        others = tuple([other for other in state if other is not znode])
        if isinstance(operation, Set):
            version += 1
            written = (path, operation.data or b"", version)
            return tuple(sorted((*others, written))), version
        if any(parent_of(other) == path for other, _, _ in others):
            return state, ErrorCode.NOT_EMPTY
        return others, None


def _create(state: _State, operation: Create) -> tuple[_State, ZnodeResult]:
    paths = [path for path, _, _ in state]
    parent = parent_of(operation.path)
    if parent != "/" and parent not in paths:
        return state, ErrorCode.NO_NODE
    if operation.path in paths:
        return state, ErrorCode.NODE_EXISTS
    created = (operation.path, operation.data or b"", 0)
    return tuple(sorted((*state, created))), None
