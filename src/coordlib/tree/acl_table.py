"""One copy of each ACL, however many znodes have it.

Nearly all znodes of a large tree share a few ACLs. So a znode holds a reference,
a snapshot writes each ACL once, and comparing two is comparing references.
"""

from __future__ import annotations

import attrs

from .acl import OPEN_ACL_UNSAFE, Acl

__all__ = ["AclTable"]


@attrs.define
class AclTable:
    """The ACLs of one tree, with the number of their znodes.

    Source:
      ``ReferenceCountedACLCache``.

    """

    # The copy and the number of its znodes. The open ACL is not in it.
    _shared: dict[tuple[Acl, ...], tuple[tuple[Acl, ...], int]] = attrs.field(
        factory=dict, init=False
    )

    def __len__(self) -> int:
        return len(self._shared)

    def share(self, acl: tuple[Acl, ...]) -> tuple[Acl, ...]:
        """Count one more znode with this ACL and return the copy it gets."""
        if acl == OPEN_ACL_UNSAFE:
            return OPEN_ACL_UNSAFE
        copy, znodes = self._shared.get(acl, (acl, 0))
        self._shared[copy] = (copy, znodes + 1)
        return copy

    def release(self, acl: tuple[Acl, ...]) -> None:
        """Count one znode less with this ACL, which must have been shared."""
        if acl is OPEN_ACL_UNSAFE:
            return
        copy, znodes = self._shared[acl]
        if znodes == 1:
            del self._shared[copy]
        else:
            self._shared[copy] = (copy, znodes - 1)
