"""What may be asked: arguments are checked before anything is sent.

The tree checks again when it applies, for it trusts nobody; here the caller
gets a typed error at once, and nothing has changed.
"""

from __future__ import annotations

from math import isfinite

from coordlib.config import Limits
from coordlib.errors import BadArgumentsError
from coordlib.tree import (
    Check,
    Create,
    Delete,
    Multi,
    Operation,
    Set,
    validate_path,
    validate_sequential,
)

__all__ = ["check_path", "checked_path", "to_ttl_ms"]


def checked_path(operation: Operation, limits: Limits) -> str:
    """Check the arguments of an operation and return its path, for errors.

    Raises:
      BadArgumentsError: A path is malformed, data is too long, the kinds of
        znode contradict each other, or there are too many operations.
      TypeError: An argument is of a wrong type.

    """
    match operation:
        case Multi(operations):
            paths = [checked_path(part, limits) for part in operations]
            if len(paths) > limits.operations_max:
                most = limits.operations_max
                raise BadArgumentsError(paths[0], f"a multi of more than {most}")
            return paths[0]
        case Create(path=path, data=data):
            check_path(path, limits.path_chars_max, sequential=operation.sequential)
            _check_data(path, data, limits.data_bytes_max)
            _check_mode(operation)
        case Set(path=path, data=data, version=version):
            check_path(path, limits.path_chars_max)
            _check_data(path, data, limits.data_bytes_max)
            _check_version(path, version)
        case Delete(path, version, czxid) | Check(path, version, czxid):
            check_path(path, limits.path_chars_max)
            _check_version(path, version)
            _check_czxid(path, czxid)
        case _:
            raise TypeError(f"not an operation for a session: {operation!r}")
    return path


def check_path(path: str, chars_max: int, *, sequential: bool = False) -> None:
    """Check that ``path`` can be a znode's; with ``sequential``, its beginning.

    Raises:
      BadArgumentsError: It is malformed.
      TypeError: It is no text.

    """
    if not isinstance(path, str):
        raise TypeError(f"a path is a str, not {type(path).__name__}")
    if sequential:
        validate_sequential(path, chars_max)
    else:
        validate_path(path, chars_max)


def to_ttl_ms(path: str, ttl: float | None) -> int:
    """Return a time to live in milliseconds; 0 for ``None``.

    Raises:
      BadArgumentsError: It rounds to none, or is not finite.
      TypeError: It is no number.

    """
    if ttl is None:
        return 0
    if not isinstance(ttl, int | float):
        raise TypeError(f"a ttl is a number of seconds, not {type(ttl).__name__}")
    # Not every int is a float.
    ttl_ms = round(ttl * 1000) if isinstance(ttl, int) or isfinite(ttl) else 0
    if not ttl_ms:
        raise BadArgumentsError(path, f"a ttl is at least a millisecond, not {ttl} s")
    return ttl_ms


def _check_mode(operation: Create) -> None:
    ttl_ms = operation.ttl_ms
    if not isinstance(ttl_ms, int):
        raise TypeError(f"ttl_ms is an int, not {type(ttl_ms).__name__}")
    # It raises if the choices contradict each other.
    _ = operation.mode


def _check_data(path: str, data: bytes | None, bytes_max: int) -> None:
    if data is None:
        return
    if not isinstance(data, bytes):
        raise TypeError(f"data is bytes, not {type(data).__name__}")
    if len(data) > bytes_max:
        raise BadArgumentsError(path, f"{len(data)} bytes of data; {bytes_max} at most")


def _check_version(path: str, version: int) -> None:
    if not isinstance(version, int):
        raise TypeError(f"a version is an int, not {type(version).__name__}")
    if not -(1 << 31) <= version < 1 << 31:
        raise BadArgumentsError(path, f"version {version} is not a 32-bit number")


def _check_czxid(path: str, czxid: int) -> None:
    if not isinstance(czxid, int):
        raise TypeError(f"a czxid is an int, not {type(czxid).__name__}")
    if not 0 <= czxid < 1 << 64:
        raise BadArgumentsError(path, f"czxid {czxid} is not a number of a transaction")
