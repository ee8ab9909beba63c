"""Calls as lines of text, so that a history outlives the process that made it.

A call is written when it begins, before its request can reach anybody, and
again when it is answered. A process that is killed in between has written the
first line only: the outcome is unknown, which is what it is.
"""

from __future__ import annotations

import math
from typing import cast

from coordlib.encoding import decode, encode
from coordlib.errors import ErrorCode
from coordlib.ids import SessionId
from coordlib.testing import Call, Exists, Get, GetChildren, Refusal, Sync
from coordlib.testing.history import ClientOperation, ClientResult, Write
from coordlib.tree import Stat, decode_transaction, encode_request, stamp

__all__ = ["read_calls", "write_call"]


def write_call(call: Call, number: int) -> str:
    """Return the line for ``call``, the process's so many-th."""
    fields = [
        number,
        call.session,
        _operation_fields(call),
        call.called,
        call.returned,
        _result_fields(call.result),
        call.zxid,
    ]
    return encode(fields).hex()


def read_calls(lines: list[str]) -> list[Call]:
    """Return the calls of one process; of two lines about one the later counts."""
    calls: dict[int, Call] = {}
    for line in lines:
        match decode(bytes.fromhex(line)):
            case [int(number), int(session), asked, called, returned, told, int(zxid)]:
                operation, cxid = _operation(asked)
                call = Call(SessionId(session), operation, _time(called), cxid)
                call.returned, call.zxid = _time(returned), zxid
                call.result = _result(told)
                calls[number] = call
            case other:
                raise ValueError(f"no call: {other}")
    return list(calls.values())


def _time(value: object) -> float:
    assert isinstance(value, float | int)
    return math.inf if value == math.inf else float(value)


def _operation_fields(call: Call) -> list[object]:
    match call.operation:
        case Get(path):
            return ["get", path]
        case Exists(path):
            return ["exists", path]
        case GetChildren(path):
            return ["children", path]
        case Sync():
            return ["sync"]
        case write:
            return ["write", encode_request(call.session, call.cxid, 0, write)]


def _operation(fields: object) -> tuple[ClientOperation, int]:
    match fields:
        case ["sync"]:
            return Sync(), 0
        case ["write", bytes(request)]:
            transaction = decode_transaction(stamp(request, 0))
            assert isinstance(transaction.operation, Write)
            return transaction.operation, transaction.cxid
        case ["get", str(path)]:
            return Get(path), 0
        case ["exists", str(path)]:
            return Exists(path), 0
        case ["children", str(path)]:
            return GetChildren(path), 0
        case other:
            raise ValueError(f"no operation: {other}")


def _result_fields(result: ClientResult) -> object:
    match result:
        case Stat():
            return ["stat", *result]
        case Refusal(code, failed_at):
            return ["refusal", int(code), failed_at]
        case (data, Stat() as stat):
            return ["data", data, *stat]
        case list(parts):
            return ["list", *map(_result_fields, parts)]
        case _:
            return result


def _result(fields: object) -> ClientResult:
    match fields:
        case ["stat", *numbers]:
            return _stat(numbers)
        case ["refusal", int(code), int(failed_at)]:
            return Refusal(ErrorCode(code), failed_at)
        case ["data", bytes(data), *numbers]:
            return data, _stat(numbers)
        case ["list", *parts]:
            return cast("list[str]", [_result(part) for part in parts])
        case None | str():
            return fields
        case other:
            raise ValueError(f"no result: {other}")


def _stat(fields: list[object]) -> Stat:
    numbers = dict(zip(Stat._fields, cast("list[int]", fields), strict=True))
    owner = SessionId(numbers.pop("ephemeral_owner"))
    return Stat(ephemeral_owner=owner, **numbers)
