"""Making, changing and removing quotas: what the znodes of one have to be.

Decides only; :class:`.Session` reads, writes and tries again. What a quota does
is in :mod:`coordlib.tree`.

Source:
  ``SetQuotaCommand``, ``DelQuotaCommand``, of ZooKeeper's command line.

"""

from __future__ import annotations

import attrs

from coordlib.errors import BadArgumentsError, NoNodeError
from coordlib.tree import (
    NO_LIMITS,
    QUOTA_PATH,
    Create,
    DataTree,
    Delete,
    Multi,
    Quota,
    QuotaLimits,
    Set,
    SubOperation,
    encode_limits,
    limits_path,
    parent_of,
    stats_path,
)

__all__ = ["QuotaStatus", "checked_limit", "plan_quota", "plan_removal", "status_of"]

_NUMBER_MAX = (1 << 63) - 1


@attrs.frozen
class QuotaStatus:
    """A quota: what is allowed at and below a znode, and what is there.

    Attributes:
      limits: What is allowed.
      count: How many znodes there are, the znode itself included.
      bytes: How many bytes of data they have.

    """

    limits: QuotaLimits
    count: int
    bytes: int


def status_of(quota: Quota | None) -> QuotaStatus | None:
    """Return what users see of a quota."""
    if quota is None:
        return None
    return QuotaStatus(quota.limits, quota.count, quota.size)


def checked_limit(path: str, name: str, limit: int | None) -> int | None:
    """Return ``limit`` if it is one.

    Raises:
      BadArgumentsError: It is less than -1, or more than 64 bits hold.
      TypeError: It is no int.

    """
    if limit is None:
        return None
    if type(limit) is not int:
        raise TypeError(f"{name} is an int, not {type(limit).__name__}")
    if not -1 <= limit <= _NUMBER_MAX:
        raise BadArgumentsError(path, f"{name} is -1 or more, not {limit}")
    return limit


def plan_quota(tree: DataTree, path: str, changes: dict[str, int]) -> Multi:
    """Return what makes or changes the quota on ``path``.

    Args:
      tree: As it is now.
      path: A well-formed path.
      changes: The new limits by name; -1 for none.

    Raises:
      BadArgumentsError: There can be no quota on this path, or there is one
        above or below it.
      NoNodeError: There is no such znode.

    """
    if path in {"/", "/zookeeper"} or path.startswith("/zookeeper/"):
        raise BadArgumentsError(path, "there is no quota on the root or /zookeeper")
    if tree.exists(path) is None:
        raise NoNodeError(path)
    for other in tree.quotas():
        if other.startswith(f"{path}/") or path.startswith(f"{other}/"):
            raise BadArgumentsError(path, f"there is a quota on {other} already")
    quota = tree.quotas().get(path)
    limits = attrs.evolve(
        NO_LIMITS if quota is None else quota.limits,
        **{name: None if limit < 0 else limit for name, limit in changes.items()},
    )
    data = encode_limits(limits)
    stat = tree.exists(limits_path(path))
    if stat is not None:
        return Multi((Set(limits_path(path), data, stat.version),))
    operations: list[SubOperation] = [
        Create(place) for place in _places(path) if tree.exists(place) is None
    ]
    operations.append(Create(limits_path(path), data))
    if tree.exists(stats_path(path)) is None:
        operations.append(Create(stats_path(path)))
    return Multi(tuple(operations))


def plan_removal(tree: DataTree, path: str) -> Multi:
    """Return what removes the quota on ``path``, and the places for it.

    Raises:
      NoNodeError: There is none.

    """
    if path not in tree.quotas():
        raise NoNodeError(path, "it has no quota")
    operations = [Delete(limits_path(path))]
    if tree.exists(stats_path(path)) is not None:
        operations.append(Delete(stats_path(path)))
    gone = len(operations)
    for place in reversed(_places(path)):
        if len(tree.get_children(place)) > gone:
            break
        operations.append(Delete(place))
        gone = 1
    return Multi(tuple(operations))


def _places(path: str) -> list[str]:
    """Return the znodes on the way to a quota, those above first."""
    places = [parent_of(limits_path(path))]
    while (above := parent_of(places[-1])) != QUOTA_PATH:
        places.append(above)
    return places[::-1]
