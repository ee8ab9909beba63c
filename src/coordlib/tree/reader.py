"""What may be read of a tree without waiting: ``ensemble.tree``."""

from __future__ import annotations

from typing import Protocol

import attrs

from .acl import Acl
from .stat import Stat

__all__ = ["Get", "GetChildren", "TreeReader"]


@attrs.frozen
class Get:
    """Read the data and the stat of this znode."""

    path: str


@attrs.frozen
class GetChildren:
    """Read the names of this znode's children, in the order of creation."""

    path: str


class TreeReader(Protocol):
    """One replica's tree as it is now; other members may be ahead or behind.

    Nothing changes between two reads without a checkpoint between them. ACLs
    are not checked: this is a process's view of what it holds itself.
    """

    @property
    def zxid(self) -> int:
        """The last transaction applied; 0 before the first."""
        ...

    def get(self, path: str) -> tuple[bytes, Stat]:
        """Return the data and stat of a znode; null data as empty.

        Raises:
          NoNodeError: There is no such znode.
          BadArgumentsError: ``path`` is malformed.

        """
        ...

    def exists(self, path: str) -> Stat | None:
        """Return the stat of a znode, or ``None`` if there is none.

        Raises:
          BadArgumentsError: ``path`` is malformed.

        """
        ...

    def get_children(self, path: str) -> list[str]:
        """Return the names of a znode's children, in the order of creation.

        Raises:
          NoNodeError: There is no such znode.
          BadArgumentsError: ``path`` is malformed.

        """
        ...

    def get_acl(self, path: str) -> tuple[tuple[Acl, ...], Stat]:
        """Return the ACL, with all hashes, and the stat of a znode.

        Raises:
          NoNodeError: There is no such znode.
          BadArgumentsError: ``path`` is malformed.

        """
        ...

    def predecessor(self, path: str, containing: str = "") -> str | None:
        """Return the path of the sibling created last before this znode.

        Only siblings with ``containing`` in their name count.

        Raises:
          NoNodeError: There is no znode at ``path``.
          BadArgumentsError: ``path`` is malformed.

        """
        ...
