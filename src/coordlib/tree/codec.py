"""The bytes of requests and transactions.

A request is a fixed header and an operation; a transaction is a time and the
request's own bytes, so a request is encoded once and goes unchanged to the log,
the wire and every replica. Nothing here looks at a tree: a decoded operation
has the right types and ranges, but its path may be no path.

Kinds of operation have ZooKeeper's numbers (``ZooDefs.OpCode``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import assert_never

import attrs

from coordlib import encoding
from coordlib.errors import ProtocolError
from coordlib.ids import SessionId

from . import fields as read
from .acl_codec import acl_fields, identity_fields, read_acl, read_identities
from .lifetimes import TTL_MS_MAX
from .operations import (
    AddIdentities,
    Cause,
    Check,
    CloseSession,
    Configure,
    Create,
    CreateMode,
    Delete,
    DeleteContainer,
    Multi,
    OpenSession,
    Operation,
    ResumeSession,
    Set,
    SetAcl,
    SubOperation,
)

__all__ = [
    "Transaction",
    "decode_transaction",
    "encode_request",
    "identity_of",
    "stamp",
]

# Session, cxid, acked.
_REQUEST = struct.Struct(">QQQ")
# Milliseconds since 1970, then the request's header.
_TRANSACTION = struct.Struct(">QQQQ")
_TIME = struct.Struct(">Q")
_IDENTITY = struct.Struct(">QQ")

_CREATE = 1
_DELETE = 2
_SET = 5
_SET_ACL = 7
_CHECK = 13
_MULTI = 14
_DELETE_CONTAINER = 20
_CONFIGURE = 16
_ADD_IDENTITIES = 100
_OPEN_SESSION = -10
_CLOSE_SESSION = -11
# ZooKeeper reopens a session without a transaction, so this number is ours.
_RESUME_SESSION = -12

_EPHEMERAL = {CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL}
_WITH_TTL = {
    CreateMode.PERSISTENT_WITH_TTL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
}
_SEQUENTIAL = {
    CreateMode.PERSISTENT_SEQUENTIAL,
    CreateMode.EPHEMERAL_SEQUENTIAL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
}


@attrs.define
class Transaction:
    """A request as the log holds it. The hot path makes one for each.

    Attributes:
      time_ms: The leader's clock when it was proposed: milliseconds since 1970.
      session: Who asks; 0 is the ensemble itself.
      cxid: The request's number in its session, from 1 on; any for session 0.
      acked: Every cxid below it has been answered to the caller.
      operation: What is asked.

    """

    time_ms: int
    session: SessionId
    cxid: int
    acked: int
    operation: Operation


def encode_request(session: int, cxid: int, acked: int, operation: Operation) -> bytes:
    """Return the bytes of a request; the numbers are unsigned, of 64 bits.

    Paths must have passed :func:`.validate_path`: not every ``str`` is UTF-8.

    Raises:
      BadArgumentsError: A :class:`Create` contradicts itself.

    """
    body = encoding.encode(_operation_fields(operation))
    return _REQUEST.pack(session, cxid, acked) + body


def stamp(request: bytes, time_ms: int) -> bytes:
    """Return the payload of a transaction: the request with the leader's time."""
    return _TIME.pack(time_ms) + request


def identity_of(payload: bytes) -> tuple[int, int]:
    """Return the session and cxid of a transaction; zeros if it is too short."""
    if len(payload) < _TRANSACTION.size:
        return 0, 0
    session, cxid = _IDENTITY.unpack_from(payload, _TIME.size)
    return session, cxid


def decode_transaction(payload: bytes) -> Transaction:
    """Return what :func:`stamp` was given.

    Raises:
      ProtocolError: ``payload`` is malformed. No other error is possible,
        whatever its bytes.

    """
    if len(payload) < _TRANSACTION.size:
        raise ProtocolError(f"a transaction of {len(payload)} bytes")
    time_ms, session, cxid, acked = _TRANSACTION.unpack_from(payload)
    fields = encoding.decode(payload[_TRANSACTION.size :])
    operation = _decode_operation(fields)
    return Transaction(time_ms, SessionId(session), cxid, acked, operation)


def _operation_fields(operation: Operation) -> list[object]:
    match operation:
        case Multi(operations):
            return [_MULTI, [_part_fields(part) for part in operations]]
        case SetAcl(path, acl, version):
            return [_SET_ACL, path, acl_fields(acl), version]
        case AddIdentities(identities):
            return [_ADD_IDENTITIES, [identity_fields(i) for i in identities]]
        case DeleteContainer(path, mzxid):
            return [_DELETE_CONTAINER, path, mzxid]
        case OpenSession(nonce, owner, member, timeout_ms, identities):
            who = [identity_fields(i) for i in identities]
            return [_OPEN_SESSION, nonce, owner, member, timeout_ms, who]
        case ResumeSession(session, nonce, owner, member):
            return [_RESUME_SESSION, session, nonce, owner, member]
        case CloseSession(session, cause, owner):
            return [_CLOSE_SESSION, session, int(cause), owner]
        case Configure(members):
            return [_CONFIGURE, members]
        case _:
            return _part_fields(operation)


def _part_fields(operation: SubOperation) -> list[object]:
    match operation:
        case Create(path, data):
            mode, acl = int(operation.mode), acl_fields(operation.acl)
            return [_CREATE, path, data, mode, operation.ttl_ms, acl]
        case Delete(path, version, czxid):
            return [_DELETE, path, version, czxid]
        case Set(path, data, version):
            return [_SET, path, data, version]
        case Check(path, version, czxid):
            return [_CHECK, path, version, czxid]
        case _:
            assert_never(operation)


def _decode_operation(value: object) -> Operation:
    kind, fields = read.tagged(value)
    if (decode_part := _PARTS.get(kind)) is not None:
        return decode_part(fields)
    if (decode_whole := _WHOLES.get(kind)) is not None:
        return decode_whole(fields)
    raise ProtocolError(f"unknown operation {kind}")


def _decode_part(value: object) -> SubOperation:
    """Decode an operation that a multi may hold; so multis do not nest."""
    kind, fields = read.tagged(value)
    decode = _PARTS.get(kind)
    if decode is None:
        raise ProtocolError(f"operation {kind} in a multi")
    return decode(fields)


def _decode_create(fields: list[object]) -> Create:
    _, path, data, mode, ttl, acl = read.exactly(6, fields)
    number = read.integer(mode, 0, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL)
    ttl_range = (1, TTL_MS_MAX) if number in _WITH_TTL else (0, 0)
    return Create(
        read.text(path),
        read.data(data),
        acl=read_acl(acl),
        ephemeral=number in _EPHEMERAL,
        sequential=number in _SEQUENTIAL,
        container=number == CreateMode.CONTAINER,
        ttl_ms=read.integer(ttl, *ttl_range),
    )


def _decode_delete(fields: list[object]) -> Delete:
    _, path, version, czxid = read.exactly(4, fields)
    return Delete(read.text(path), read.version(version), read.unsigned(czxid))


def _decode_set(fields: list[object]) -> Set:
    _, path, data, version = read.exactly(4, fields)
    return Set(read.text(path), read.data(data), read.version(version))


def _decode_check(fields: list[object]) -> Check:
    _, path, version, czxid = read.exactly(4, fields)
    return Check(read.text(path), read.version(version), read.unsigned(czxid))


def _decode_multi(fields: list[object]) -> Multi:
    _, parts = read.exactly(2, fields)
    return Multi(tuple([_decode_part(part) for part in read.items(parts)]))


def _decode_delete_container(fields: list[object]) -> DeleteContainer:
    _, path, mzxid = read.exactly(3, fields)
    return DeleteContainer(read.text(path), read.unsigned(mzxid))


def _decode_set_acl(fields: list[object]) -> SetAcl:
    _, path, acl, version = read.exactly(4, fields)
    return SetAcl(read.text(path), read_acl(acl), read.version(version))


def _decode_add_identities(fields: list[object]) -> AddIdentities:
    _, identities = read.exactly(2, fields)
    return AddIdentities(read_identities(identities))


def _decode_open(fields: list[object]) -> OpenSession:
    _, nonce, owner, member, timeout_ms, identities = read.exactly(6, fields)
    return OpenSession(
        read.nonce(nonce),
        read.owner(owner),
        read.member(member),
        read.integer(timeout_ms, 1, read.INT32_MAX),
        read_identities(identities),
    )


def _decode_resume(fields: list[object]) -> ResumeSession:
    _, session, nonce, owner, member = read.exactly(5, fields)
    return ResumeSession(
        SessionId(read.unsigned(session)),
        read.nonce(nonce),
        read.owner(owner),
        read.member(member),
    )


def _decode_close(fields: list[object]) -> CloseSession:
    _, session, cause, owner = read.exactly(4, fields)
    return CloseSession(
        SessionId(read.unsigned(session)),
        Cause(read.integer(cause, Cause.CLOSED, Cause.EXPIRED)),
        read.owner(owner),
    )


def _decode_configure(fields: list[object]) -> Configure:
    _, members = read.exactly(2, fields)
    return Configure(read.text(members))


_PARTS: dict[int, Callable[[list[object]], SubOperation]] = {
    _CREATE: _decode_create,
    _DELETE: _decode_delete,
    _SET: _decode_set,
    _CHECK: _decode_check,
}
_WHOLES: dict[int, Callable[[list[object]], Operation]] = {
    _MULTI: _decode_multi,
    _DELETE_CONTAINER: _decode_delete_container,
    _SET_ACL: _decode_set_acl,
    _ADD_IDENTITIES: _decode_add_identities,
    _OPEN_SESSION: _decode_open,
    _RESUME_SESSION: _decode_resume,
    _CLOSE_SESSION: _decode_close,
    _CONFIGURE: _decode_configure,
}
