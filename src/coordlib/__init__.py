"""ZooKeeper in a ``pip install``: an embeddable coordination service for trio.

* :class:`Ensemble`: this process becomes a member
* :class:`Session`: read, write, watch
* :mod:`coordlib.recipes`: locks, elections, barriers
* :mod:`coordlib.testing`: whole ensembles in one process, in virtual time
* :mod:`coordlib.errors`: what may go wrong, by what you may assume then
"""

from coordlib.config import Config, Limits
from coordlib.consensus import Role
from coordlib.ensemble import Ensemble, EnsembleStatistics
from coordlib.errors import (
    BadArgumentsError,
    BadVersionError,
    BrokenBarrier,
    ConfigError,
    ConnectionLossError,
    CoordError,
    CorruptLogError,
    ErrorCode,
    ForeignStorageError,
    LeadershipLost,
    LockLost,
    MultiError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OperationError,
    OverloadedError,
    ProtocolError,
    ReadOnlyError,
    ReplicaClosedError,
    RolledBackError,
    RuntimeInconsistencyError,
    SessionClosedError,
    SessionError,
    SessionExpiredError,
    StorageError,
    StorageLockedError,
)
from coordlib.ids import Epoch, MemberId, SessionId, Zxid
from coordlib.replica.kept import Binding, SessionState
from coordlib.session import EventStream, Session, Znode
from coordlib.tree import (
    ANY_VERSION,
    Cause,
    Check,
    Create,
    CreateMode,
    Delete,
    EventType,
    Set,
    Stat,
    TreeReader,
    WatchedEvent,
)

__all__ = [
    "ANY_VERSION",
    "BadArgumentsError",
    "BadVersionError",
    "Binding",
    "BrokenBarrier",
    "Cause",
    "Check",
    "Config",
    "ConfigError",
    "ConnectionLossError",
    "CoordError",
    "CorruptLogError",
    "Create",
    "CreateMode",
    "Delete",
    "Ensemble",
    "EnsembleStatistics",
    "Epoch",
    "ErrorCode",
    "EventStream",
    "EventType",
    "ForeignStorageError",
    "LeadershipLost",
    "Limits",
    "LockLost",
    "MemberId",
    "MultiError",
    "NoChildrenForEphemeralsError",
    "NoNodeError",
    "NodeExistsError",
    "NotEmptyError",
    "OperationError",
    "OverloadedError",
    "ProtocolError",
    "ReadOnlyError",
    "ReplicaClosedError",
    "Role",
    "RolledBackError",
    "RuntimeInconsistencyError",
    "Session",
    "SessionClosedError",
    "SessionError",
    "SessionExpiredError",
    "SessionId",
    "SessionState",
    "Set",
    "Stat",
    "StorageError",
    "StorageLockedError",
    "TreeReader",
    "WatchedEvent",
    "Znode",
    "Zxid",
]
