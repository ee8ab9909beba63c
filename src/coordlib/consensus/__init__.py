"""Zab: who leads, and in which order transactions happen. Pure.

No clock, no randomness, no I/O; a transaction is opaque bytes. One
:class:`Peer` per member takes inputs and yields effects::

    link_up  receive  persisted  on_deadline  propose  barrier  transfer_lead
                          |
        Looking --choice--> Leader  or  Learner --ended--> Looking
        (phase 0)            (phases 1, 2, 3)
                          |
    Send  Append  Cut  SaveMetadata  InstallSnapshot  Deliver  RoleChanged ...

* ``peer``: routes inputs, changes roles
* ``looking``: phase 0, the election
* ``learner``: phases 1 to 3 on the following side
* ``leader``, ``followers``: phases 1 and 2 on the leading side
* ``broadcast``: phase 3 on the leading side
* ``transfer``: the end of a lead that is handed over
* ``synchronization``, ``stored``: DIFF, TRUNC or SNAP, as pure functions
* ``barrier``: proofs of leadership, for linearizable reads
* ``core``: what roles share: the durable stream, the links
* ``history``: the log in memory
* ``levels``: what members remember of each other's disks
* ``quorum``: who may decide
* ``messages``, ``effects``: the vocabulary
"""

from .core import Settings
from .effects import (
    Append,
    Close,
    Confirmed,
    Cut,
    Deliver,
    Distrust,
    Effect,
    Halt,
    InstallSnapshot,
    KeepSnapshot,
    LeadKept,
    LinkId,
    Metadata,
    RoleChanged,
    SaveMetadata,
    Send,
    SendRecords,
    SendSnapshot,
    Undecided,
)
from .history import History, Transaction
from .messages import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Commit,
    FollowerInfo,
    HandOver,
    LeaderInfo,
    Message,
    NewLeader,
    Notification,
    Ping,
    Pong,
    Proposal,
    Role,
    Snapshot,
    Truncate,
    UpToDate,
    Vote,
)
from .peer import Peer, PeerStatistics
from .quorum import Majority
from .stored import Stored
from .synchronization import pack_proposals

__all__ = [
    "Ack",
    "AckEpoch",
    "AckNewLeader",
    "Append",
    "Close",
    "Commit",
    "Confirmed",
    "Cut",
    "Deliver",
    "Distrust",
    "Effect",
    "FollowerInfo",
    "Halt",
    "HandOver",
    "History",
    "InstallSnapshot",
    "KeepSnapshot",
    "LeadKept",
    "LeaderInfo",
    "LinkId",
    "Majority",
    "Message",
    "Metadata",
    "NewLeader",
    "Notification",
    "Peer",
    "PeerStatistics",
    "Ping",
    "Pong",
    "Proposal",
    "Role",
    "RoleChanged",
    "SaveMetadata",
    "Send",
    "SendRecords",
    "SendSnapshot",
    "Settings",
    "Snapshot",
    "Stored",
    "Transaction",
    "Truncate",
    "Undecided",
    "UpToDate",
    "Vote",
    "pack_proposals",
]
