"""What the operations of a session do to the znodes: checks, change, result.

The order of checks and the codes are ZooKeeper's (``PrepRequestProcessor``), for
they decide what a client is told when two things are wrong at once. A refusal
is a value, not an exception: every replica computes the same one, and it is as
much an outcome of the transaction as a success.
"""

from __future__ import annotations

from typing import assert_never

import attrs

from coordlib.errors import BadArgumentsError, ErrorCode, InvalidAclError
from coordlib.ids import SessionId

from .acl import Acl, Identity, Permission, allows, expand_acl, validate_acl
from .events import EventType, TreeEvent
from .lifetimes import CONTAINER_OWNER, NO_OWNER, ttl_of, ttl_owner
from .operations import (
    ANY_VERSION,
    CHILDREN_MAX,
    DATA_BYTES_MAX,
    Cause,
    Check,
    Configure,
    Create,
    Created,
    Delete,
    DeleteContainer,
    Multi,
    MultiRefused,
    Refused,
    Set,
    SetAcl,
    SubOperation,
    SubResult,
)
from .paths import validate_path
from .stat import Stat
from .system import CONFIG_PATH, SYSTEM_PATHS, config_data
from .znodes import Znode, ZnodeTable, size_of, to_int32

__all__ = ["Mutation"]


@attrs.define
class Mutation:
    """One transaction at work on the znodes.

    Attributes:
      znodes: What it changes.
      zxid: The transaction.
      time_ms: Its time.
      session: Who asks, known to be live; or 0.
      identities: Who that is.
      events: What it has changed so far, in order.

    """

    znodes: ZnodeTable
    zxid: int
    time_ms: int
    session: SessionId
    identities: tuple[Identity, ...]
    events: list[TreeEvent] = attrs.Factory(list)

    def perform(self, operation: SubOperation) -> SubResult | Refused:
        """Carry out one operation."""
        match operation:
            case Set():
                return self._set(operation)
            case Create():
                return self._create(operation)
            case Delete():
                return self._delete(operation)
            case Check():
                return self._check(operation)
            case _:
                assert_never(operation)

    def perform_all(self, multi: Multi) -> list[SubResult] | MultiRefused:
        """Carry out all operations of a multi or none of them.

        Source:
          ``DataTree.processTxn``, the case of ``OpCode.multi``.

        """
        self.znodes.begin()
        results: list[SubResult] = []
        for operation in multi.operations:
            result = self.perform(operation)
            if isinstance(result, Refused):
                self.znodes.rollback()
                self.events.clear()
                return _multi_refused(multi, len(results), result)
            results.append(result)
        self.znodes.commit()
        return results

    def delete_ephemerals(self, paths: list[str], cause: Cause) -> None:
        """Delete what a session leaves behind."""
        for path in paths:
            self._remove(path, cause)

    def delete_container(self, operation: DeleteContainer) -> Refused | None:
        """Delete a znode that nobody needs, if that is still so.

        Unlike ZooKeeper, which only looks for children again, because what was
        set or made anew since the leader looked must stay.

        Source:
          ``PrepRequestProcessor``, the case of ``OpCode.deleteContainer``;
          ``ContainerManager.getCandidates``.

        """
        path = operation.path
        if self.session:
            reason = "only the ensemble itself may ask for this"
            return Refused(ErrorCode.BAD_ARGUMENTS, path, reason)
        znode = self.znodes.by_path.get(path)
        if znode is None:
            return Refused(ErrorCode.NO_NODE, path)
        if znode.children:
            return Refused(ErrorCode.NOT_EMPTY, path)
        if operation.mzxid != znode.mzxid or not self._is_over(znode):
            return Refused(ErrorCode.BAD_VERSION, path, "it is needed")
        is_container = znode.ephemeral_owner == CONTAINER_OWNER
        self._remove(path, Cause.CONTAINER if is_container else Cause.TTL)
        return None

    def configure(self, operation: Configure) -> Stat | Refused:
        """Note who the members are; only the ensemble itself does."""
        data = config_data(operation.members, self.zxid)
        if self.session:
            reason = "a session cannot say who the members are"
            return Refused(ErrorCode.BAD_ARGUMENTS, CONFIG_PATH, reason)
        return self._set(Set(CONFIG_PATH, data))

    def set_acl(self, operation: SetAcl) -> Stat | Refused:
        """Replace the ACL of a znode. Nobody is told of it."""
        path = operation.path
        acl = _bad_path(path) or self._acl_of(path, operation.acl)
        if isinstance(acl, Refused):
            return acl
        znode = self.znodes.by_path.get(path)
        if znode is None:
            return Refused(ErrorCode.NO_NODE, path)
        if not allows(znode.acl, Permission.ADMIN, self.identities):
            return Refused(ErrorCode.NO_AUTH, path)
        if operation.version not in (ANY_VERSION, znode.aversion):
            reason = f"has ACL version {znode.aversion}, not {operation.version}"
            return Refused(ErrorCode.BAD_VERSION, path, reason)
        self.znodes.set_acl(path, acl, version=_next_version(znode.aversion))
        return znode.make_stat()

    def _is_over(self, znode: Znode) -> bool:
        """Tell whether a znode without children is one that goes by itself."""
        if znode.ephemeral_owner == CONTAINER_OWNER:
            return znode.creates > 0
        return 0 < ttl_of(znode.ephemeral_owner) < self.time_ms - znode.mtime

    def _acl_of(self, path: str, acl: tuple[Acl, ...]) -> tuple[Acl, ...] | Refused:
        """Return the ACL that a znode gets when this session wishes for ``acl``."""
        try:
            validate_acl(path, acl)
            return expand_acl(path, acl, self.identities)
        except InvalidAclError as error:
            return Refused(ErrorCode.INVALID_ACL, path, error.reason)

    def _create(self, operation: Create) -> Created | Refused:
        path = operation.path
        if operation.ephemeral and not self.session:
            return Refused(ErrorCode.SESSION_EXPIRED, path, "no session to own it")
        slash = path.rfind("/")
        if slash < 0 or "\0" in path:
            return _shapeless(path)
        acl = self._acl_of(path, operation.acl)
        if isinstance(acl, Refused):
            return acl
        parent = self.znodes.by_path.get(path[:slash] or "/")
        if parent is None:
            return Refused(ErrorCode.NO_NODE, path, "its parent does not exist")
        if not allows(parent.acl, Permission.CREATE, self.identities):
            return Refused(ErrorCode.NO_AUTH, path, "CREATE at its parent")
        if operation.sequential:
            path += f"{to_int32(parent.creates):010d}"
        if (refusal := _bad_path(path)) is not None:
            return attrs.evolve(refusal, path=operation.path)
        return self._create_checked(path, acl, operation, parent)

    def _create_checked(
        self, path: str, acl: tuple[Acl, ...], operation: Create, parent: Znode
    ) -> Created | Refused:
        """Go on with ``path``, the final one, whose shape is right."""
        if path in self.znodes.by_path:
            return Refused(ErrorCode.NODE_EXISTS, operation.path)
        if parent.ephemeral_owner > 0:
            return Refused(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS, operation.path)
        if operation.data and len(operation.data) > DATA_BYTES_MAX:
            return _too_long(operation.path, operation.data)
        if parent.children and len(parent.children) >= CHILDREN_MAX:
            reason = f"its parent has {CHILDREN_MAX} children already"
            return Refused(ErrorCode.QUOTA_EXCEEDED, operation.path, reason)
        if self.znodes.quotas.by_path:
            reason = self.znodes.quotas.refusal(path, 1, size_of(operation.data))
            if reason:
                return Refused(ErrorCode.QUOTA_EXCEEDED, operation.path, reason)
        znode = self.znodes.create(
            path,
            operation.data,
            acl,
            zxid=self.zxid,
            time_ms=self.time_ms,
            owner=self._owner_for(operation),
        )
        self.events.append(
            TreeEvent(EventType.CREATED, path, self.zxid, None, znode.acl, parent.acl)
        )
        return Created(path, znode.make_stat())

    def _owner_for(self, operation: Create) -> int:
        if operation.ephemeral:
            return self.session
        if operation.ttl_ms:
            return ttl_owner(operation.ttl_ms)
        return CONTAINER_OWNER if operation.container else NO_OWNER

    def _delete(self, operation: Delete) -> Refused | None:
        path = operation.path
        if "/" not in path or "\0" in path:
            return _shapeless(path)
        if path in SYSTEM_PATHS:
            return Refused(ErrorCode.BAD_ARGUMENTS, path, "this znode stays")
        # Needed at the parent, and looked at before the znode itself.
        parent = self.znodes.by_path.get(path.rpartition("/")[0] or "/")
        if parent is None:
            return _bad_path(path) or Refused(ErrorCode.NO_NODE, path)
        if not allows(parent.acl, Permission.DELETE, self.identities):
            return Refused(ErrorCode.NO_AUTH, path, "DELETE at its parent")
        znode = self._expect(path, operation.version, operation.czxid)
        if isinstance(znode, Refused):
            return znode
        if znode.children:
            return Refused(ErrorCode.NOT_EMPTY, path)
        self._remove(path, Cause.DELETED)
        return None

    def _set(self, operation: Set) -> Stat | Refused:
        path, data = operation.path, operation.data
        if data and len(data) > DATA_BYTES_MAX:
            return _too_long(path, data)
        znode = self._find(path, Permission.WRITE)
        if isinstance(znode, Refused):
            return znode
        if self.znodes.quotas.by_path:
            grown = size_of(data) - size_of(znode.data)
            reason = self.znodes.quotas.refusal(path, 0, grown)
            if reason:
                return Refused(ErrorCode.QUOTA_EXCEEDED, path, reason)
        if (refusal := _mismatch(path, znode, operation.version, 0)) is not None:
            return refusal
        version = _next_version(znode.version)
        self.znodes.set_data(
            path, data, version=version, zxid=self.zxid, time_ms=self.time_ms
        )
        self.events.append(
            TreeEvent(EventType.DATA_CHANGED, path, self.zxid, None, znode.acl)
        )
        return znode.make_stat()

    def _check(self, operation: Check) -> Refused | None:
        version, czxid = operation.version, operation.czxid
        found = self._expect(operation.path, version, czxid, Permission.READ)
        return found if isinstance(found, Refused) else None

    def _expect(
        self,
        path: str,
        version: int,
        czxid: int,
        permission: Permission | None = None,
    ) -> Znode | Refused:
        """Return the znode if it is there, may be used and is the expected one."""
        znode = self._find(path, permission)
        if isinstance(znode, Refused):
            return znode
        return _mismatch(path, znode, version, czxid) or znode

    def _find(self, path: str, permission: Permission | None) -> Znode | Refused:
        """Return the znode if it is there and may be used."""
        znode = self.znodes.by_path.get(path)
        if znode is None:
            return _bad_path(path) or Refused(ErrorCode.NO_NODE, path)
        if permission and not allows(znode.acl, permission, self.identities):
            return Refused(ErrorCode.NO_AUTH, path, str(permission.name))
        return znode

    def _remove(self, path: str, cause: Cause) -> None:
        znode, parent = self.znodes.delete(path, zxid=self.zxid)
        self.events.append(
            TreeEvent(EventType.DELETED, path, self.zxid, cause, znode.acl, parent.acl)
        )


def _next_version(version: int) -> int:
    """Return the version after this one; of the data or of the ACL."""
    following = to_int32(version + 1)
    # Nobody could ask for version -1: it means "any" (ZOOKEEPER-4743).
    return 0 if following == ANY_VERSION else following


def _mismatch(path: str, znode: Znode, version: int, czxid: int) -> Refused | None:
    """Return the refusal of a znode that is not the expected one."""
    if czxid not in (0, znode.czxid):
        reason = f"created by {znode.czxid}, not by {czxid}"
        return Refused(ErrorCode.BAD_VERSION, path, reason)
    if version not in (ANY_VERSION, znode.version):
        reason = f"has version {znode.version}, not {version}"
        return Refused(ErrorCode.BAD_VERSION, path, reason)
    return None


def _shapeless(path: str) -> Refused:
    """Return the refusal of what is checked before anything else of a path."""
    return Refused(ErrorCode.BAD_ARGUMENTS, path, "no '/' in it, or a NUL")


def _bad_path(path: str) -> Refused | None:
    """Return the refusal of a malformed path."""
    try:
        validate_path(path)
    except BadArgumentsError as error:
        return Refused(ErrorCode.BAD_ARGUMENTS, path, error.reason)
    return None


def _too_long(path: str, data: bytes) -> Refused:
    reason = f"{len(data)} bytes of data, more than {DATA_BYTES_MAX}"
    return Refused(ErrorCode.BAD_ARGUMENTS, path, reason)


def _multi_refused(multi: Multi, failed_at: int, refusal: Refused) -> MultiRefused:
    before = [Refused(ErrorCode.OK, part.path) for part in multi.operations[:failed_at]]
    after = [
        Refused(ErrorCode.RUNTIME_INCONSISTENCY, part.path)
        for part in multi.operations[failed_at + 1 :]
    ]
    return MultiRefused((*before, refusal, *after), failed_at)
