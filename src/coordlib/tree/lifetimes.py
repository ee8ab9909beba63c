"""What ends a znode's life, in one number: its owner, as ZooKeeper stores it.

* 0: nothing but a deletion;
* above 0: the end of the session with this id;
* :data:`CONTAINER_OWNER`: that its last child was deleted;
* other negative numbers: that its time to live is over.

Clients never see the negative numbers: a stat shows 0 in their place.

Source: ``EphemeralType``; the numbers are as Java's ``long`` holds them.
"""

from __future__ import annotations

__all__ = [
    "CONTAINER_OWNER",
    "NO_OWNER",
    "OWNER_MAX",
    "TTL_MS_MAX",
    "is_owner",
    "ttl_of",
    "ttl_owner",
]

NO_OWNER = 0

CONTAINER_OWNER = -(1 << 63)
"""``EphemeralType.CONTAINER_EPHEMERAL_OWNER``."""

TTL_MS_MAX = (1 << 40) - 1
"""The longest time to live: 34 years."""

# Zxids, and so ids of sessions, fit a signed number.
OWNER_MAX = (1 << 63) - 1

# The byte 0xff, two bytes for the kind of extension, 0 for this one; and in the
# lower five bytes the milliseconds.
_TTL_BASE = -(1 << 56)


def ttl_owner(ttl_ms: int) -> int:
    """Return the owner of a znode that lives for 1 to :data:`TTL_MS_MAX` ms."""
    return _TTL_BASE + ttl_ms


def ttl_of(owner: int) -> int:
    """Return the time to live in ms; 0 if the owner means something else."""
    return owner - _TTL_BASE if _TTL_BASE < owner < 0 else 0


def is_owner(number: int) -> bool:
    """Tell whether a znode can have this owner."""
    return (
        0 <= number <= OWNER_MAX
        or number == CONTAINER_OWNER
        or 0 < ttl_of(number) <= TTL_MS_MAX
    )
