"""What changes of the tree are called, and what a watch says besides."""

from __future__ import annotations

from enum import Enum, IntEnum, auto

import attrs

from .acl import OPEN_ACL_UNSAFE, Acl
from .operations import Cause

__all__ = ["EventType", "Gap", "TreeEvent"]


class EventType(IntEnum):
    """What an event tells, with the numbers of ``Watcher.Event.EventType``."""

    # Not a change: some at or below the watched path may not be told. Read again.
    RESYNC = -1
    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    # Of a parent, for every creation or deletion of a direct child.
    CHILDREN_CHANGED = 4
    # Not a change: the watch was removed by remove_watches(), and ends.
    DATA_WATCH_REMOVED = 5
    CHILD_WATCH_REMOVED = 6
    PERSISTENT_WATCH_REMOVED = 7


class Gap(Enum):
    """Why a watch cannot tell all: the reason of a ``RESYNC``."""

    # The member was brought level by a snapshot, which has no changes in it.
    SNAPSHOT = auto()
    # The reader was more than Limits.events_max events behind.
    OVERRUN = auto()
    # The session may not read what changed; of watches that are told once, which
    # this has consumed.
    DENIED = auto()


@attrs.define
class TreeEvent:
    """One znode was created or deleted, or its data was set. One for each write.

    Attributes:
      kind: What happened; creation, deletion or new data; the other types
        follow from these.
      path: To which znode.
      zxid: In which transaction. Events of one multi share it.
      cause: Why it was deleted; ``None`` for the other kinds.
      acl: Who may know: the znode's ACL, the last one if it was deleted.
      parent_acl: Who may know that children of the parent changed: the parent's.

    """

    kind: EventType
    path: str
    zxid: int
    cause: Cause | None = None
    acl: tuple[Acl, ...] = OPEN_ACL_UNSAFE
    parent_acl: tuple[Acl, ...] = OPEN_ACL_UNSAFE
