"""What may be asked: arguments are checked before anything is sent.

The tree checks again when it applies, for it trusts nobody; here the caller
gets a typed error at once, and nothing has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from coordlib.config import Limits
from coordlib.errors import BadArgumentsError, InvalidAclError
from coordlib.tree import (
    IDENTITIES_MAX,
    OPEN_ACL_UNSAFE,
    Acl,
    AddIdentities,
    Check,
    Create,
    Delete,
    Get,
    GetChildren,
    Identity,
    Multi,
    Operation,
    Permission,
    Set,
    SetAcl,
    SubOperation,
    is_identity,
    validate_acl,
    validate_path,
    validate_sequential,
)

__all__ = [
    "check_czxid",
    "check_flag",
    "check_path",
    "check_reads",
    "check_text",
    "checked_path",
    "to_acl",
    "to_credential",
    "to_ttl_ms",
]


def checked_path(operation: Operation, limits: Limits) -> str:
    """Check the arguments of an operation and return its path, for errors.

    Raises:
      BadArgumentsError: A path is malformed, data is too long, the kinds of
        znode contradict each other, or there are too many operations.
      InvalidAclError: An ACL is empty or malformed.
      TypeError: An argument is of a wrong type.

    """
    match operation:
        case Multi(operations):
            return _checked_parts(operations, limits)
        case Create(path=path, data=data):
            check_flag("sequential", operation.sequential)
            check_path(path, limits.path_chars_max, sequential=operation.sequential)
            _check_mode(operation)
            _check_data(path, data, limits.data_bytes_max)
            _check_acl(path, operation.acl)
        case Set(path=path, data=data, version=version):
            check_path(path, limits.path_chars_max)
            _check_data(path, data, limits.data_bytes_max)
            _check_version(path, version)
        case Delete(path, version, czxid) | Check(path, version, czxid):
            check_path(path, limits.path_chars_max)
            _check_version(path, version)
            check_czxid(path, czxid)
        case SetAcl(path, acl, version):
            check_path(path, limits.path_chars_max)
            _check_acl(path, acl)
            _check_version(path, version)
        case AddIdentities(identities):
            _check_identities(identities)
            return ""
        case _:
            raise TypeError(f"not an operation for a session: {operation!r}")
    return path


def _checked_parts(parts: tuple[SubOperation, ...], limits: Limits) -> str:
    """Check the operations of a multi, at least one; return the first's path."""
    for part in parts:
        if not isinstance(part, Create | Set | Delete | Check):
            raise TypeError(f"operations hold {part!r}, which cannot be in a multi")
        checked_path(part, limits)
    if len(parts) > limits.operations_max:
        reason = f"{len(parts)} operations; {limits.operations_max} at most"
        raise BadArgumentsError(parts[0].path, reason)
    return parts[0].path


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


def check_text(name: str, text: str) -> None:
    """Check that an argument is text.

    Raises:
      TypeError: It is not.

    """
    if not isinstance(text, str):
        raise TypeError(f"{name} is a str, not {type(text).__name__}")


def check_reads(reads: Sequence[Get | GetChildren], limits: Limits) -> None:
    """Check the arguments of a multi_read.

    Raises:
      BadArgumentsError: A path is malformed, or there are too many.
      TypeError: One of them is no read.

    """
    for read in reads:
        if not isinstance(read, Get | GetChildren):
            raise TypeError(f"not a Get or GetChildren: {read!r}")
        check_path(read.path, limits.path_chars_max)
    if len(reads) > limits.operations_max:
        most = limits.operations_max
        raise BadArgumentsError(reads[0].path, f"a multi_read of more than {most}")


def to_ttl_ms(path: str, ttl: float | None) -> int:
    """Return a time to live in milliseconds; 0 for ``None``.

    Raises:
      BadArgumentsError: It rounds to none, or is not finite.
      TypeError: It is no number.

    """
    if ttl is None:
        return 0
    if type(ttl) not in {int, float}:
        raise TypeError(f"a ttl is a number of seconds, not {type(ttl).__name__}")
    # Not every int is a float.
    ttl_ms = round(ttl * 1000) if isinstance(ttl, int) or isfinite(ttl) else 0
    if not ttl_ms:
        raise BadArgumentsError(path, f"a ttl is at least a millisecond, not {ttl} s")
    return ttl_ms


def to_acl(acl: Sequence[Acl]) -> tuple[Acl, ...]:
    """Return an ACL as operations hold it.

    Raises:
      TypeError: It is no sequence.

    """
    if not isinstance(acl, Sequence):
        raise TypeError(f"an acl is a sequence of Acl, not {type(acl).__name__}")
    return tuple(acl)


def to_credential(scheme: str, credential: bytes | str) -> bytes:
    """Return a credential as bytes, and look at its scheme.

    Raises:
      BadArgumentsError: It is text that is not Unicode.
      TypeError: One of them is of a wrong type.

    """
    if not isinstance(scheme, str):
        raise TypeError(f"a scheme is a str, not {type(scheme).__name__}")
    if isinstance(credential, bytes):
        return credential
    if not isinstance(credential, str):
        raise TypeError(f"a credential is bytes, not {type(credential).__name__}")
    if not _is_unicode(credential):
        raise BadArgumentsError("", "a credential that is not Unicode")
    return credential.encode()


def _check_acl(path: str, acl: tuple[Acl, ...]) -> None:
    if acl is OPEN_ACL_UNSAFE:
        return
    if not isinstance(acl, tuple):
        raise TypeError(f"an acl is a tuple of Acl, not {type(acl).__name__}")
    for entry in acl:
        if not isinstance(entry, Acl):
            raise TypeError(f"an acl holds Acl, not {type(entry).__name__}")
        if not isinstance(entry.permissions, Permission):
            raise TypeError(f"no Permission in an acl: {entry.permissions!r}")
        if not _is_text(entry.identity):
            raise InvalidAclError(path, "an identity in the acl is not Unicode")
    validate_acl(path, acl)


def _check_identities(identities: tuple[Identity, ...]) -> None:
    if len(identities) > IDENTITIES_MAX:
        reason = f"{len(identities)} identities; {IDENTITIES_MAX} at most"
        raise BadArgumentsError("", reason)
    for identity in identities:
        if not _is_text(identity) or not is_identity(identity):
            raise BadArgumentsError("", "an identity that is too long or not Unicode")


def _is_text(identity: Identity) -> bool:
    """Tell whether both of its parts are Unicode.

    Raises:
      TypeError: One of them is no text, or it is no identity.

    """
    if not isinstance(identity, Identity):
        raise TypeError(f"not an Identity but {type(identity).__name__}")
    for part in (identity.scheme, identity.id):
        if not isinstance(part, str):
            raise TypeError(f"an identity is text, not {type(part).__name__}")
    return _is_unicode(identity.scheme) and _is_unicode(identity.id)


def _is_unicode(text: str) -> bool:
    """Tell whether ``text`` has an encoding: not every ``str`` has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_flag(name: str, flag: bool) -> None:  # noqa: FBT001 - it is the subject
    """Check that an argument is true or false.

    Raises:
      TypeError: It is neither.

    """
    if not isinstance(flag, bool):
        raise TypeError(f"{name} is a bool, not {type(flag).__name__}")


def _check_mode(operation: Create) -> None:
    check_flag("ephemeral", operation.ephemeral)
    check_flag("container", operation.container)
    ttl_ms = operation.ttl_ms
    if type(ttl_ms) is not int:
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
    # A bool is another thing to the log.
    if type(version) is not int:
        raise TypeError(f"a version is an int, not {type(version).__name__}")
    if not -(1 << 31) <= version < 1 << 31:
        raise BadArgumentsError(path, f"version {version} is not a 32-bit number")


def check_czxid(path: str, czxid: int) -> None:
    """Check that ``czxid`` can be a transaction's number.

    Raises:
      BadArgumentsError: It has more than 64 bits, or is negative.
      TypeError: It is no int.

    """
    if type(czxid) is not int:
        raise TypeError(f"a czxid is an int, not {type(czxid).__name__}")
    if not 0 <= czxid < 1 << 64:
        raise BadArgumentsError(path, f"czxid {czxid} is not a number of a transaction")
