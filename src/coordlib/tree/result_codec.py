"""The encodable form of results, for the outcomes that a snapshot keeps.

Results do not travel: every replica computes its own. So these forms appear in
snapshots and in the digest only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from coordlib.errors import ErrorCode, ProtocolError
from coordlib.ids import SessionId

from . import fields as read
from .operations import (
    Created,
    MultiRefused,
    Refused,
    Result,
    SessionOpened,
    SubResult,
)
from .stat import Stat

__all__ = ["decode_result", "result_fields"]

_NOTHING = 0
_STAT = 1
_CREATED = 2
_LIST = 3
_REFUSED = 4
_MULTI_REFUSED = 5
_SESSION_OPENED = 6

_STAT_FIELDS = len(Stat._fields)


def result_fields(result: Result) -> list[object]:
    """Return ``result`` as a list that begins with its kind."""
    match result:
        case None:
            return [_NOTHING]
        case Stat():
            return [_STAT, *result]
        case Created(path, stat):
            return [_CREATED, path, *stat]
        case Refused(code, path, reason):
            return [_REFUSED, int(code), path, reason]
        case MultiRefused(refusals, failed_at):
            return [_MULTI_REFUSED, failed_at, [result_fields(r) for r in refusals]]
        case SessionOpened(session, nonce, owner):
            return [_SESSION_OPENED, session, nonce, owner]
        case list():
            return [_LIST, [result_fields(part) for part in result]]
        case _:
            assert_never(result)


def decode_result(value: object) -> Result:
    """Return what :func:`result_fields` was given.

    Raises:
      ProtocolError: ``value`` is no such list.

    """
    kind, fields = read.tagged(value)
    decode = _DECODERS.get(kind)
    if decode is None:
        raise ProtocolError(f"unknown result {kind}")
    return decode(fields)


def _decode_nothing(fields: list[object]) -> None:
    read.exactly(1, fields)


def _decode_stat(fields: list[object]) -> Stat:
    return _stat_of(read.exactly(1 + _STAT_FIELDS, fields)[1:])


def _decode_created(fields: list[object]) -> Created:
    _, path, *stat = read.exactly(2 + _STAT_FIELDS, fields)
    return Created(read.text(path), _stat_of(stat))


def _stat_of(values: list[object]) -> Stat:
    return Stat(
        czxid=read.unsigned(values[0]),
        mzxid=read.unsigned(values[1]),
        pzxid=read.unsigned(values[2]),
        ctime=read.unsigned(values[3]),
        mtime=read.unsigned(values[4]),
        version=read.version(values[5]),
        cversion=read.version(values[6]),
        aversion=read.version(values[7]),
        ephemeral_owner=SessionId(read.unsigned(values[8])),
        data_length=read.unsigned(values[9]),
        num_children=read.unsigned(values[10]),
    )


def _decode_list(fields: list[object]) -> list[SubResult]:
    _, parts = read.exactly(2, fields)
    return [_sub_result(decode_result(part)) for part in read.items(parts)]


def _sub_result(result: Result) -> SubResult:
    if isinstance(result, Created | Stat | None):
        return result
    raise ProtocolError("a multi's results hold no such result")


def _decode_refused(fields: list[object]) -> Refused:
    _, code, path, reason = read.exactly(4, fields)
    try:
        known = ErrorCode(read.version(code))
    except ValueError as error:
        raise ProtocolError(f"unknown error code: {error}") from error
    return Refused(known, read.text(path), read.text(reason))


def _decode_multi_refused(fields: list[object]) -> MultiRefused:
    _, failed_at, parts = read.exactly(3, fields)
    refusals = tuple([_decode_refused(_refusal(part)) for part in read.items(parts)])
    return MultiRefused(refusals, read.integer(failed_at, 0, len(refusals) - 1))


def _refusal(value: object) -> list[object]:
    kind, fields = read.tagged(value)
    if kind != _REFUSED:
        raise ProtocolError("a failed multi's results are refusals")
    return fields


def _decode_session_opened(fields: list[object]) -> SessionOpened:
    _, session, nonce, owner = read.exactly(4, fields)
    return SessionOpened(
        SessionId(read.unsigned(session)), read.nonce(nonce), read.owner(owner)
    )


_DECODERS: dict[int, Callable[[list[object]], Result]] = {
    _NOTHING: _decode_nothing,
    _STAT: _decode_stat,
    _CREATED: _decode_created,
    _LIST: _decode_list,
    _REFUSED: _decode_refused,
    _MULTI_REFUSED: _decode_multi_refused,
    _SESSION_OPENED: _decode_session_opened,
}
