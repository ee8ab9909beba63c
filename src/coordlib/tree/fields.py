"""Checked reading of decoded CBOR: each function returns its type or refuses.

A value that comes from the log, the wire or a snapshot is an ``object`` until
one of these has looked at it. ``bool`` is no integer here.
"""

from __future__ import annotations

from coordlib.errors import ProtocolError
from coordlib.ids import MEMBER_ID_MAX, MemberId

__all__ = [
    "INT32_MAX",
    "INT32_MIN",
    "NONCE_BYTES_MAX",
    "OWNER_BYTES",
    "UINT64_MAX",
    "data",
    "exactly",
    "integer",
    "items",
    "member",
    "nonce",
    "octets",
    "owner",
    "tagged",
    "text",
    "unsigned",
    "version",
]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
UINT64_MAX = (1 << 64) - 1
NONCE_BYTES_MAX = 64
OWNER_BYTES = 16


def integer(value: object, low: int, high: int) -> int:
    """Return ``value`` if it is an integer from ``low`` to ``high``."""
    if type(value) is not int or not low <= value <= high:
        raise ProtocolError(f"not an integer from {low} to {high}")
    return value


def unsigned(value: object) -> int:
    """Return a zxid, a time, a count or an id: 0 to 2^64 - 1."""
    if type(value) is not int or not 0 <= value <= UINT64_MAX:
        raise ProtocolError("not an unsigned integer of 64 bits")
    return value


def version(value: object) -> int:
    """Return a version: a signed number of 32 bits."""
    if type(value) is not int or not INT32_MIN <= value <= INT32_MAX:
        raise ProtocolError("not a signed integer of 32 bits")
    return value


def text(value: object) -> str:
    """Return ``value`` if it is text."""
    if type(value) is not str:
        raise ProtocolError("not text")
    return value


def octets(value: object) -> bytes:
    """Return ``value`` if it is bytes."""
    if type(value) is not bytes:
        raise ProtocolError("not bytes")
    return value


def data(value: object) -> bytes | None:
    """Return a znode's data, which may be null."""
    if value is not None and type(value) is not bytes:
        raise ProtocolError("neither bytes nor null")
    return value


def nonce(value: object) -> bytes:
    """Return what names the wish to open a session."""
    name = octets(value)
    if not 1 <= len(name) <= NONCE_BYTES_MAX:
        raise ProtocolError(f"a nonce of {len(name)} bytes")
    return name


def owner(value: object) -> bytes:
    """Return the incarnation of a replica."""
    incarnation = octets(value)
    if len(incarnation) != OWNER_BYTES:
        raise ProtocolError(f"an owner of {len(incarnation)} bytes")
    return incarnation


def member(value: object) -> MemberId:
    """Return a seat in the ensemble."""
    return MemberId(integer(value, 1, MEMBER_ID_MAX))


def items(value: object) -> list[object]:
    """Return ``value`` if it is a list, of any length."""
    if type(value) is not list:
        raise ProtocolError("not a list")
    return value


def exactly(length: int, value: object) -> list[object]:
    """Return ``value`` if it is a list of this length."""
    if type(value) is not list or len(value) != length:
        raise ProtocolError(f"not a list of {length}")
    return value


def tagged(value: object) -> tuple[int, list[object]]:
    """Return the kind in front of a list, and the list with the kind."""
    if type(value) is not list or not value or type(value[0]) is not int:
        raise ProtocolError("not a list that begins with its kind")
    return value[0], value
