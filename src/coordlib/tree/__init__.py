"""The replicated tree of znodes and sessions. Pure: no clock, no I/O, no tasks.

How a write passes through::

    operations ── codec ──> payload ··· agreed elsewhere ··· payload
                                                                │
         watches <── events ── data_tree ── mutations ── znodes, sessions

* ``paths``: which strings are paths
* ``stat``, ``operations``, ``events``: the values: metadata, questions and
  answers, changes
* ``codec``, ``result_codec``, ``fields``: their bytes, and how those are checked
* ``acl``, ``acl_table``, ``acl_codec``: who may do what, kept once, and its bytes
* ``znodes``, ``sessions``, ``digest``: the state, and the number that sums it up
* ``lifetimes``, ``candidates``: what ends a znode's life; containers and znodes
  with a time to live that the ensemble may delete
* ``quotas``: how much a part of the tree may hold, and does
* ``system``: the znodes that are there from the start
* ``mutations``: what an operation does to the znodes, by ZooKeeper's rules
* ``data_tree``: :class:`DataTree`, which applies transactions and is read
* ``reader``: the part of it that users see
* ``frozen``: its znodes as they were at one zxid
* ``snapshot``: its whole state as bytes
* ``watches``: who is to be told of which change

Nothing here knows how transactions come to be committed.
"""

from __future__ import annotations

from .acl import (
    CREATOR_ALL_ACL,
    IDENTITIES_MAX,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    SUPERUSER,
    Acl,
    Identity,
    Permission,
    allows,
    is_identity,
    masked,
    shown,
    validate_acl,
)
from .codec import (
    Transaction,
    decode_transaction,
    encode_request,
    identity_of,
    stamp,
)
from .data_tree import Applied, DataTree
from .events import EventType, Gap, TreeEvent
from .lifetimes import TTL_MS_MAX
from .operations import (
    ANY_VERSION,
    CHILDREN_MAX,
    DATA_BYTES_MAX,
    AddIdentities,
    Cause,
    Check,
    CloseSession,
    Configure,
    Create,
    Created,
    CreateMode,
    Delete,
    DeleteContainer,
    Multi,
    MultiRefused,
    OpenSession,
    Operation,
    Refused,
    Result,
    ResumeSession,
    SessionOpened,
    Set,
    SetAcl,
    SubOperation,
    SubResult,
)
from .paths import name_of, parent_of, validate_path, validate_sequential
from .quotas import (
    NO_LIMITS,
    Quota,
    QuotaLimits,
    decode_limits,
    encode_limits,
    limits_path,
    stats_path,
)
from .reader import Get, GetChildren, TreeReader
from .restoration import Restoration, restore
from .sessions import CXIDS_AHEAD, SessionRecord
from .snapshot import Capture, capture, encode_snapshot
from .stat import NO_SESSION, Stat
from .system import CONFIG_PATH, QUOTA_PATH, SYSTEM_PATHS, config_data
from .watches import Told, Watch, WatchedEvent, WatchKind, WatchTable

__all__ = [
    "ANY_VERSION",
    "CHILDREN_MAX",
    "CONFIG_PATH",
    "CREATOR_ALL_ACL",
    "CXIDS_AHEAD",
    "DATA_BYTES_MAX",
    "IDENTITIES_MAX",
    "NO_LIMITS",
    "NO_SESSION",
    "OPEN_ACL_UNSAFE",
    "QUOTA_PATH",
    "READ_ACL_UNSAFE",
    "SUPERUSER",
    "SYSTEM_PATHS",
    "TTL_MS_MAX",
    "Acl",
    "AddIdentities",
    "Applied",
    "Capture",
    "Cause",
    "Check",
    "CloseSession",
    "Configure",
    "Create",
    "CreateMode",
    "Created",
    "DataTree",
    "Delete",
    "DeleteContainer",
    "EventType",
    "Gap",
    "Get",
    "GetChildren",
    "Identity",
    "Multi",
    "MultiRefused",
    "OpenSession",
    "Operation",
    "Permission",
    "Quota",
    "QuotaLimits",
    "Refused",
    "Restoration",
    "Result",
    "ResumeSession",
    "SessionOpened",
    "SessionRecord",
    "Set",
    "SetAcl",
    "Stat",
    "SubOperation",
    "SubResult",
    "Told",
    "Transaction",
    "TreeEvent",
    "TreeReader",
    "Watch",
    "WatchKind",
    "WatchTable",
    "WatchedEvent",
    "allows",
    "capture",
    "config_data",
    "decode_limits",
    "decode_transaction",
    "encode_limits",
    "encode_request",
    "encode_snapshot",
    "identity_of",
    "is_identity",
    "limits_path",
    "masked",
    "name_of",
    "parent_of",
    "restore",
    "shown",
    "stamp",
    "stats_path",
    "validate_acl",
    "validate_path",
    "validate_sequential",
]
