"""Every error coordlib raises on purpose, sorted by what you may assume.

* :exc:`CoordError`

  * :exc:`OperationError`: refused; **nothing changed**

    * :exc:`NoNodeError`, :exc:`NodeExistsError`, :exc:`BadVersionError`,
      :exc:`NotEmptyError`, :exc:`NoChildrenForEphemeralsError`,
      :exc:`NoWatchError`, :exc:`BadArgumentsError`, :exc:`QuotaExceededError`,
      :exc:`ReadOnlyError`, :exc:`OverloadedError`
    * :exc:`NoAuthError`, :exc:`InvalidAclError`, :exc:`AuthFailedError`: who
      may do what
    * :exc:`RolledBackError`, :exc:`RuntimeInconsistencyError`: the other
      operations of a multi that failed
    * :exc:`MultiError`: which operation of a multi failed, and why

  * :exc:`ConnectionLossError`: no answer; **it may have been applied**
  * :exc:`SessionError`: what you held is over; **its ephemerals are gone**, or
    will be when the ensemble notices

    * :exc:`SessionExpiredError`, :exc:`SessionClosedError`: the whole session
    * :exc:`LockLost`, :exc:`LeadershipLost`: a grant, with or without its session
    * :exc:`BrokenBarrier`: a barrier's round went on without you

  * :exc:`LeadTransferError`: the lead was not handed over; no data is touched
  * :exc:`ProtocolError`: the other side broke the rules; its link is closed
  * :exc:`StorageError`: this member's disk cannot be trusted

    * :exc:`CorruptLogError`, :exc:`StorageLockedError`,
      :exc:`ForeignStorageError`

  * :exc:`ConfigError`: wrong configuration; nothing was started
  * :exc:`ReplicaClosedError`: the replica is not running in this process
    (closed, halted, or this is a forked child)

"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

__all__ = [
    "AuthFailedError",
    "BadArgumentsError",
    "BadVersionError",
    "BrokenBarrier",
    "ConfigError",
    "ConnectionLossError",
    "CoordError",
    "CorruptLogError",
    "ErrorCode",
    "ForeignStorageError",
    "InvalidAclError",
    "LeadTransferError",
    "LeadershipLost",
    "LockLost",
    "MultiError",
    "NoAuthError",
    "NoChildrenForEphemeralsError",
    "NoNodeError",
    "NoWatchError",
    "NodeExistsError",
    "NotEmptyError",
    "OperationError",
    "OverloadedError",
    "ProtocolError",
    "QuotaExceededError",
    "ReadOnlyError",
    "ReplicaClosedError",
    "RolledBackError",
    "RuntimeInconsistencyError",
    "SessionClosedError",
    "SessionError",
    "SessionExpiredError",
    "StorageError",
    "StorageLockedError",
    "operation_error",
]


class ErrorCode(IntEnum):
    """The numbers of ZooKeeper's ``KeeperException.Code``."""

    OK = 0
    RUNTIME_INCONSISTENCY = -2
    CONNECTION_LOSS = -4
    BAD_ARGUMENTS = -8
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NO_CHILDREN_FOR_EPHEMERALS = -108
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    INVALID_ACL = -114
    AUTH_FAILED = -115
    NOT_READ_ONLY = -119
    NO_WATCHER = -121
    QUOTA_EXCEEDED = -125
    THROTTLED = -127


class CoordError(Exception):
    """Base class; never raised itself."""


class OperationError(CoordError):
    """The ensemble refused the operation and changed nothing.

    Attributes:
      code: ZooKeeper's number for the refusal.
      path: The znode in question, as the caller named it.

    """

    code: ClassVar[ErrorCode]

    def __init__(self, path: str, reason: str = "") -> None:
        super().__init__(path, reason) if reason else super().__init__(path)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.path, self.reason)))


class NoNodeError(OperationError):
    """There is no znode at this path."""

    code = ErrorCode.NO_NODE


class BadVersionError(OperationError):
    """The znode has another version than the one you expected."""

    code = ErrorCode.BAD_VERSION


class NodeExistsError(OperationError):
    """There already is a znode at this path."""

    code = ErrorCode.NODE_EXISTS


class NotEmptyError(OperationError):
    """The znode has children, so it cannot be deleted."""

    code = ErrorCode.NOT_EMPTY


class NoChildrenForEphemeralsError(OperationError):
    """The parent is ephemeral, and ephemerals have no children."""

    code = ErrorCode.NO_CHILDREN_FOR_EPHEMERALS


class BadArgumentsError(OperationError, ValueError):
    """A malformed path, data beyond the limit, or another impossible argument."""

    code = ErrorCode.BAD_ARGUMENTS


class NoAuthError(OperationError):
    """The ACL of the znode, or of its parent, does not grant this to the session."""

    code = ErrorCode.NO_AUTH


class InvalidAclError(OperationError):
    """An empty ACL, one with a malformed entry, or ``auth`` without an identity."""

    code = ErrorCode.INVALID_ACL


class AuthFailedError(OperationError):
    """The credential was refused, or nobody here knows its scheme.

    Unlike ZooKeeper, which closes the session, this changes nothing. The
    ``path`` is empty.
    """

    code = ErrorCode.AUTH_FAILED


class QuotaExceededError(OperationError):
    """A hard quota on the znode, or above it, or its full parent has no room."""

    code = ErrorCode.QUOTA_EXCEEDED


class ReadOnlyError(OperationError):
    """This member is cut off from the quorum: it serves reads and refuses writes."""

    code = ErrorCode.NOT_READ_ONLY


class NoWatchError(OperationError):
    """The session has no such watch at this path."""

    code = ErrorCode.NO_WATCHER


class OverloadedError(OperationError):
    """Too many operations are outstanding, or too many watches are set."""

    code = ErrorCode.THROTTLED


class RolledBackError(OperationError):
    """This operation of a multi was fine, but a later one failed."""

    code = ErrorCode.OK


class RuntimeInconsistencyError(OperationError):
    """This operation of a multi was not tried, since an earlier one failed."""

    code = ErrorCode.RUNTIME_INCONSISTENCY


class MultiError(CoordError):
    """A multi failed as a whole; nothing changed.

    Attributes:
      failed_at: The index of the operation that failed.
      error: What was wrong with it.
      errors: One error for each operation, in ZooKeeper's form:
        :exc:`RolledBackError` before the failed one,
        :exc:`RuntimeInconsistencyError` after it.

    """

    def __init__(self, errors: list[OperationError], failed_at: int) -> None:
        super().__init__(errors, failed_at)
        self.errors = errors
        self.failed_at = failed_at
        self.error = errors[failed_at]

    def __str__(self) -> str:
        return f"operation {self.failed_at} failed: {self.error!r}"


class ConnectionLossError(CoordError):
    """The session was lost before the answer came.

    The operation may or may not have been applied. Read back before you retry.
    """


class SessionError(CoordError):
    """The session, or a grant that rested on it, is over."""


class SessionExpiredError(SessionError):
    """The ensemble heard nothing for a whole session timeout, or soon will have."""


class SessionClosedError(SessionError):
    """You closed the session yourself."""


class LockLost(SessionError):  # noqa: N818 - the recipe literature's word
    """The lock can no longer be proved to be held; its body was cancelled.

    Attributes:
      path: The lock.
      token: The fencing token of the lost grant.

    """

    def __init__(self, path: str, token: int) -> None:
        super().__init__(path, token)
        self.path = path
        self.token = token

    def __str__(self) -> str:
        return f"{self.path} (token {self.token})"


class LeadershipLost(LockLost):
    """The leadership can no longer be proved; the leading function was cancelled."""


class BrokenBarrier(SessionError):  # noqa: N818 - the recipe literature's word
    """The barrier's round is complete without this participant."""


class LeadTransferError(CoordError):
    """The lead was not handed over to the member that was meant.

    Whoever leads goes on leading; no request and no session is touched.
    """


class ProtocolError(CoordError):
    """A peer, a file or a frame holds something that the format forbids."""


class StorageError(CoordError):
    """The transaction log or a snapshot cannot be read or written."""


class CorruptLogError(StorageError):
    """A file of the data directory is damaged where no crash can have done it.

    Attributes:
      file: The name of the file within the data directory.
      offset: The first damaged byte.

    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(file, offset, reason)
        self.file = file
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.file}, byte {self.offset}: {self.reason}"


class StorageLockedError(StorageError):
    """Another replica, in this process or another, uses the data directory."""


class ForeignStorageError(StorageError):
    """The data directory belongs to another ensemble or another member."""


class ConfigError(CoordError, ValueError):
    """The configuration contradicts itself or the machine; nothing was started."""


class ReplicaClosedError(CoordError):
    """The replica does not run here: closed, halted, or this is a forked child."""


_BY_CODE: dict[int, type[OperationError]] = {
    cls.code: cls
    for cls in (
        NoNodeError,
        BadVersionError,
        NodeExistsError,
        NotEmptyError,
        NoChildrenForEphemeralsError,
        BadArgumentsError,
        NoAuthError,
        InvalidAclError,
        AuthFailedError,
        QuotaExceededError,
        ReadOnlyError,
        NoWatchError,
        OverloadedError,
        RolledBackError,
        RuntimeInconsistencyError,
    )
}


def operation_error(code: int, path: str, reason: str = "") -> OperationError:
    """Return the error that ``code`` stands for, about the znode at ``path``."""
    return _BY_CODE[code](path, reason)
