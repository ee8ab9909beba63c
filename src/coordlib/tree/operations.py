"""What a session may ask of the tree, and what it is answered.

Plain values. What an operation does is in :mod:`.mutations` and
:mod:`.data_tree`; its bytes are in :mod:`.codec`.
"""

from __future__ import annotations

from enum import IntEnum

import attrs

from coordlib.errors import BadArgumentsError, ErrorCode
from coordlib.ids import MemberId, SessionId

from .acl import OPEN_ACL_UNSAFE, Acl, Identity
from .lifetimes import TTL_MS_MAX
from .stat import Stat

__all__ = [
    "ANY_VERSION",
    "CHILDREN_MAX",
    "DATA_BYTES_MAX",
    "AddIdentities",
    "Cause",
    "Check",
    "CloseSession",
    "Configure",
    "Create",
    "CreateMode",
    "Created",
    "Delete",
    "DeleteContainer",
    "Multi",
    "MultiRefused",
    "OpenSession",
    "Operation",
    "Refused",
    "Result",
    "ResumeSession",
    "SessionOpened",
    "Set",
    "SetAcl",
    "SubOperation",
    "SubResult",
]

ANY_VERSION = -1
"""Matches every version of a znode. No znode ever has this version."""

DATA_BYTES_MAX = 1 << 20
"""The longest data of a znode: ZooKeeper's ``jute.maxbuffer``. Part of the
replicated rules: members with another value would apply another history."""


CHILDREN_MAX = 1 << 20
"""The most children a znode may have; a list of them is still no matter of
seconds. Part of the replicated rules, too."""


class CreateMode(IntEnum):
    """The kinds of znodes, with ZooKeeper's numbers."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    PERSISTENT_WITH_TTL = 5
    PERSISTENT_SEQUENTIAL_WITH_TTL = 6


class Cause(IntEnum):
    """Why a znode or a session is no more."""

    # Somebody deleted the znode.
    DELETED = 1
    # Its session was closed by its user.
    CLOSED = 2
    # Its session was not heard of for its timeout.
    EXPIRED = 3
    # It was a container, and its last child is gone.
    CONTAINER = 4
    # Its time to live was over.
    TTL = 5


@attrs.frozen
class Create:
    """Make a znode.

    Attributes:
      path: Where. With ``sequential``, the tree appends a number.
      data: At most :data:`DATA_BYTES_MAX` bytes; or ``None``, which is not the
        same as none at all, to ZooKeeper's clients.
      ephemeral: It is deleted with the session that creates it.
      sequential: Append the count of children ever created at this parent, in
        ten digits. Beyond 2147483647 the count goes on at -2147483648, as in
        ZooKeeper; order by ``czxid`` instead.
      container: The ensemble deletes it some time after its last child is gone.
      ttl_ms: The ensemble deletes it some time after it has had no child, and
        its data has not been set, for so many milliseconds; 0: never. At most
        :data:`.TTL_MS_MAX`.
      acl: Who may do what with it.

    """

    path: str
    data: bytes | None = b""
    acl: tuple[Acl, ...] = attrs.field(default=OPEN_ACL_UNSAFE, kw_only=True)
    ephemeral: bool = attrs.field(default=False, kw_only=True)
    sequential: bool = attrs.field(default=False, kw_only=True)
    container: bool = attrs.field(default=False, kw_only=True)
    ttl_ms: int = attrs.field(default=0, kw_only=True)

    @property
    def mode(self) -> CreateMode:
        """The same choices as ZooKeeper's number.

        Raises:
          BadArgumentsError: The choices contradict each other, or there is no
            such time to live.

        """
        if self.ttl_ms:
            if self.ephemeral or self.container:
                reason = "with a time to live it is no ephemeral and no container"
                raise BadArgumentsError(self.path, reason)
            if not 0 < self.ttl_ms <= TTL_MS_MAX:
                reason = f"a time to live is 1 to {TTL_MS_MAX} ms, not {self.ttl_ms}"
                raise BadArgumentsError(self.path, reason)
            return CreateMode(CreateMode.PERSISTENT_WITH_TTL + self.sequential)
        if self.container:
            if self.ephemeral or self.sequential:
                reason = "a container is neither ephemeral nor sequential"
                raise BadArgumentsError(self.path, reason)
            return CreateMode.CONTAINER
        return CreateMode(self.ephemeral + 2 * self.sequential)


@attrs.frozen
class Delete:
    """Delete a znode without children.

    Attributes:
      path: Which.
      version: Only if it has this :attr:`Stat.version`.
      czxid: Only if it is this incarnation of the path; 0 accepts any. A znode
        made anew begins again with version 0, so a version alone may match a
        stranger's znode.

    """

    path: str
    version: int = ANY_VERSION
    czxid: int = 0


@attrs.frozen
class Set:
    """Replace the data of a znode.

    Attributes:
      path: Which.
      data: At most :data:`DATA_BYTES_MAX` bytes, or ``None``.
      version: Only if it has this :attr:`Stat.version`.

    """

    path: str
    data: bytes | None
    version: int = ANY_VERSION


@attrs.frozen
class Check:
    """Change nothing, but be refused unless the znode is there and as expected.

    Attributes:
      path: Which.
      version: The :attr:`Stat.version` it should have.
      czxid: The incarnation it should be; 0 accepts any.

    """

    path: str
    version: int = ANY_VERSION
    czxid: int = 0


SubOperation = Create | Delete | Set | Check


@attrs.frozen
class Multi:
    """All of these, in order, each seeing the earlier ones' effects; or none."""

    operations: tuple[SubOperation, ...]


@attrs.frozen
class SetAcl:
    """Replace the ACL of a znode; not in a multi, as in ZooKeeper.

    Attributes:
      path: Which.
      acl: Who may do what with it from now on.
      version: Only if it has this :attr:`Stat.aversion`.

    """

    path: str
    acl: tuple[Acl, ...]
    version: int = ANY_VERSION


@attrs.frozen
class AddIdentities:
    """Let the session that asks be somebody more, until it ends.

    Attributes:
      identities: Who, proved to the member that proposes this. Those that the
        session has already are no more than had.

    """

    identities: tuple[Identity, ...]


@attrs.frozen
class DeleteContainer:
    """Delete a container, or what has outlived its time to live.

    The ensemble's own wish: refused to sessions. The leader has seen that the
    znode may go, but not what is on its way meanwhile. So the tree looks again
    when it applies this, and what was set, made anew or used since stays.

    Attributes:
      path: Which.
      mzxid: Its :attr:`Stat.mzxid` when the leader looked. Each incarnation of
        a path, and each change of its data, has its own.

    """

    path: str
    mzxid: int


@attrs.frozen
class OpenSession:
    """Open a session, or find it again.

    Attributes:
      nonce: 1 to 64 bytes, random, which name this wish: while the session
        lives, asking again with the same nonce answers the same session.
      owner: 16 bytes: the incarnation of the replica that keeps it.
      member: Whose replica that is; only the same member's may resume it.
      timeout_ms: The ensemble expires it after this many milliseconds' silence.
      identities: Who it is from the beginning, such as an address.

    """

    nonce: bytes
    owner: bytes
    member: MemberId
    timeout_ms: int
    identities: tuple[Identity, ...] = ()


@attrs.frozen
class ResumeSession:
    """Let the next incarnation of the same member go on with a session.

    What the earlier incarnation asked for, and is not applied by now, never will
    be. By another member it could not be resumed safely: the earlier keeper
    might still live there, cut off, and rely on it.

    Attributes:
      session: Which.
      nonce: What it was opened with: the proof that it is one's own.
      owner: Who keeps it from now on. Asking twice is asking once.
      member: Whose replica that is.

    """

    session: SessionId
    nonce: bytes
    owner: bytes
    member: MemberId


@attrs.frozen
class CloseSession:
    """End a session and delete its ephemerals.

    Attributes:
      session: Which. One that does not exist is fine: nothing happens.
      cause: :attr:`Cause.CLOSED` or :attr:`Cause.EXPIRED`.
      owner: Only while this incarnation keeps it, so that nobody is expired for
        the silence of a predecessor.

    """

    session: SessionId
    cause: Cause
    owner: bytes


@attrs.frozen
class Configure:
    """Note in ``/zookeeper/config`` who the members are. The ensemble's own.

    Attributes:
      members: ZooKeeper's form: a line for each member, such as
        ``server.1=10.0.0.1:7400:7400:participant``, each with its end of line.
        The tree adds the version: the zxid of this transaction.

    """

    members: str


Operation = (
    Create
    | Delete
    | Set
    | Check
    | Multi
    | SetAcl
    | AddIdentities
    | DeleteContainer
    | OpenSession
    | ResumeSession
    | CloseSession
    | Configure
)


@attrs.frozen
class Created:
    """A znode was made.

    Attributes:
      path: Its path, with the number if it is sequential.
      stat: Its stat at birth.

    """

    path: str
    stat: Stat


@attrs.frozen
class SessionOpened:
    """A session is open, anew or still, and this is who keeps it."""

    session: SessionId
    nonce: bytes
    owner: bytes


@attrs.frozen
class Refused:
    """The operation was refused and changed nothing.

    Attributes:
      code: Why. :attr:`ErrorCode.SESSION_EXPIRED`: its session does not exist.
      path: The znode in question, as the operation named it; may be empty.
      reason: For people.

    """

    code: ErrorCode
    path: str
    reason: str = ""


@attrs.frozen
class MultiRefused:
    """One operation of a multi was refused, so nothing changed.

    Attributes:
      refusals: One for each operation, with ZooKeeper's codes:
        :attr:`ErrorCode.OK` before the failed one (rolled back), and
        :attr:`ErrorCode.RUNTIME_INCONSISTENCY` after it (not tried).
      failed_at: The index of the failed one.

    """

    refusals: tuple[Refused, ...]
    failed_at: int


SubResult = Created | Stat | None
"""Of a :class:`Create`, of a :class:`Set`, of a :class:`Delete` or :class:`Check`."""

Result = (
    Created | Stat | list[SubResult] | SessionOpened | Refused | MultiRefused | None
)
"""What applying an operation gave. The list is a :class:`Multi`'s, the stat also a
:class:`SetAcl`'s; ``None`` also of :class:`AddIdentities` and :class:`CloseSession`."""
