"""What is known about a znode beside its data."""

from __future__ import annotations

from typing import NamedTuple

from coordlib.ids import SessionId

__all__ = ["NO_SESSION", "Stat"]

NO_SESSION = SessionId(0)
"""The owner of what no session owns, and the asker when the ensemble asks."""


# Not of attrs: a tuple is frozen as well, and made in a third of the time, which
# every write at every member takes.
class Stat(NamedTuple):
    """A znode's metadata at one moment, by ZooKeeper's rules.

    Attributes:
      czxid: The zxid of the transaction that created the znode. All znodes
        which one multi creates share it.
      mzxid: The zxid of the last change of data; ``czxid`` before the first.
        Children do not change it.
      pzxid: The zxid of the last creation or deletion of a direct child;
        ``czxid`` before the first.
      ctime: When it was created: milliseconds since 1970 on the leader's
        clock. Equal on all members; may go back when the leader changes.
      mtime: When its data last changed; ``ctime`` before the first change.
      version: How often its data has changed, identical data included. A
        signed 32-bit number that wraps, and skips -1, which would mean "any".
      cversion: How often children were created or deleted, which is twice the
        creations less ``num_children``. A signed 32-bit number that wraps.
      aversion: How often its ACL has changed, counted like ``version``. That of
        ``/zookeeper/config`` begins at -1, as in ZooKeeper.
      ephemeral_owner: The session whose end deletes the znode; 0 if none, and
        0 for a container or a znode with a time to live.
      data_length: The size of its data in bytes; 0 if there is none.
      num_children: The number of direct children.

    Source:
      ``DataNode.copyStat``, ``DataTree.createNode``,
      ``PrepRequestProcessor.checkAndIncVersion`` (ZOOKEEPER-4743),
      ``DataNode.getClientEphemeralOwner``.

    """

    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: SessionId
    data_length: int
    num_children: int
