"""What changes of the tree are called."""

from __future__ import annotations

from enum import IntEnum

import attrs

from .acl import OPEN_ACL_UNSAFE, Acl
from .operations import Cause

__all__ = ["EventType", "TreeEvent"]


class EventType(IntEnum):
    """The kinds of change, with the numbers of ``Watcher.Event.EventType``."""

    # Not a change: the tree was replaced by a snapshot, or the reader was too
    # slow. Changes at or below the watched path may have gone by; read again.
    RESYNC = -1
    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    # Of a parent, for every creation or deletion of a direct child.
    CHILDREN_CHANGED = 4


@attrs.frozen
class TreeEvent:
    """One znode was created or deleted, or its data was set.

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
