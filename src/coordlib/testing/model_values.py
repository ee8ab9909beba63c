"""What the model of the tree is made of: its state, and questions about values.

See :mod:`.model`, which has the rules.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import attrs

from coordlib.errors import BadArgumentsError, ErrorCode
from coordlib.ids import SessionId
from coordlib.tree import (
    ANY_VERSION,
    CONFIG_PATH,
    NO_SESSION,
    OPEN_ACL_UNSAFE,
    QUOTA_PATH,
    READ_ACL_UNSAFE,
    SYSTEM_PATHS,
    Acl,
    Identity,
    Stat,
    parent_of,
    validate_path,
)

__all__ = [
    "ModelSession",
    "ModelZnode",
    "NotAllowed",
    "check",
    "governed_by",
    "has_shape",
    "is_meant",
    "is_path",
    "is_within",
    "new_znodes",
    "require",
]


@attrs.frozen
class ModelZnode:
    """One znode; see :class:`.Stat` for most attributes.

    Attributes:
      created: How many children were ever created here.
      deleted: How many of them were deleted.

    """

    data: bytes | None
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    owner: SessionId = NO_SESSION
    container: bool = False
    ttl_ms: int = 0
    acl: tuple[Acl, ...] = OPEN_ACL_UNSAFE
    version: int = 0
    aversion: int = 0
    created: int = 0
    deleted: int = 0

    @property
    def stat(self) -> Stat:
        """What a client sees of it."""
        return Stat(
            czxid=self.czxid,
            mzxid=self.mzxid,
            pzxid=self.pzxid,
            ctime=self.ctime,
            mtime=self.mtime,
            version=self.version,
            cversion=self.created + self.deleted,
            aversion=self.aversion,
            ephemeral_owner=self.owner,
            data_length=len(self.data or b""),
            num_children=self.created - self.deleted,
        )


@attrs.frozen
class ModelSession:
    """One session: what named it, who keeps it and where, and who it is."""

    nonce: bytes
    owner: bytes
    member: int
    identities: tuple[Identity, ...]
    last_cxid: int = 0


class NotAllowed(Exception):  # noqa: N818 - what happens to an operation
    """An operation is refused.

    Attributes:
      code: Why.
      at: Which operation of a multi.

    """

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code)
        self.code = code
        self.at = 0


def new_znodes() -> dict[str, ModelZnode]:
    """Return what a new tree holds."""
    znodes = {path: ModelZnode(b"", 0, 0, 0, 0, 0) for path in SYSTEM_PATHS}
    for path in SYSTEM_PATHS[1:]:
        # As in ZooKeeper: children that were never created.
        parent = znodes[parent_of(path)]
        znodes[parent_of(path)] = attrs.evolve(parent, deleted=parent.deleted - 1)
    znodes[CONFIG_PATH] = attrs.evolve(
        znodes[CONFIG_PATH], acl=READ_ACL_UNSAFE, aversion=-1
    )
    return znodes


def require(fact: object, code: ErrorCode) -> None:
    """Refuse with ``code`` unless ``fact`` holds."""
    if not fact:
        raise NotAllowed(code)


def check(znode: ModelZnode, version: int, czxid: int = 0) -> None:
    """Require that a znode is the expected one."""
    is_expected = czxid in (0, znode.czxid) and version in (ANY_VERSION, znode.version)
    require(is_expected, ErrorCode.BAD_VERSION)


def has_shape(path: str) -> bool:
    """Tell what is looked at before anything else, of what is to come or go."""
    return "/" in path and "\0" not in path


def is_path(path: str) -> bool:
    """Tell whether there may be a znode."""
    try:
        validate_path(path)
    except BadArgumentsError:
        return False
    return True


def is_within(path: str, top: str) -> bool:
    """Tell whether a path is ``top``, which is not the root, or below it."""
    return path == top or path.startswith(f"{top}/")


def governed_by(path: str) -> str:
    """Return what the quota is on whose limits are at ``path``; empty for none."""
    top, _, name = path.removeprefix(QUOTA_PATH).rpartition("/")
    if not path.startswith(f"{QUOTA_PATH}/") or name != "zookeeper_limits":
        return ""
    return "" if is_within(top, "/zookeeper") else top


def is_meant(identity: Identity, entry: Identity) -> bool:
    """Tell whether an entry of an ACL stands for somebody."""
    if identity.scheme == entry.scheme == "ip":
        return ip_address(identity.id) in ip_network(entry.id, strict=False)
    return identity == entry
