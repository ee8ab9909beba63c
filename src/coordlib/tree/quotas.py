"""How much a part of the tree may hold, and how much it does.

A quota on ``/app`` is two znodes, as in ZooKeeper: the limits in
``/zookeeper/quota/app/zookeeper_limits`` are its user's, and the tree writes
beside them, into ``zookeeper_stats``, how many znodes and bytes of data there
are at and below ``/app``. Here is an index of both, so that a change costs one
step for each name in its path, and nothing at all where there are no quotas.
It is derived from the znodes: neither digest nor snapshot hold it.

Unlike ZooKeeper, every quota on the way to a znode counts and binds, not only
the lowest; hard limits bind without being switched on; and what takes no more
room than before is never refused.

Source:
  ``StatsTrack``, ``Quotas``, ``PathTrie``, ``DataTree.updateQuotaStat``,
  ``ZooKeeperServer.checkQuota``.

"""

from __future__ import annotations

import re

import attrs

from .system import QUOTA_PATH

__all__ = [
    "NO_LIMITS",
    "Quota",
    "QuotaLimits",
    "Quotas",
    "decode_limits",
    "encode_limits",
    "limits_path",
    "quota_of_limits",
    "quota_of_stats",
    "stats_path",
]

_LIMITS_NAME = "/zookeeper_limits"
_STATS_NAME = "/zookeeper_stats"

# A Java long; what is no such number is no limit.
_PAIR = re.compile(r"(?:^|[,;])([A-Za-z]+)=(-?[0-9]{1,19})(?![0-9])")


@attrs.frozen
class QuotaLimits:
    """How much may be at and below a znode, itself included; ``None``: any amount.

    Attributes:
      count: Znodes; beyond it there is a warning.
      bytes: Bytes of data; beyond it there is a warning.
      count_hard: Znodes; what would lead beyond it is refused.
      bytes_hard: Bytes of data; what would lead beyond it is refused.

    """

    count: int | None = None
    bytes: int | None = None
    count_hard: int | None = None
    bytes_hard: int | None = None


NO_LIMITS = QuotaLimits()

_KEYS = {
    "count": "count",
    "bytes": "bytes",
    "countHardLimit": "count_hard",
    "byteHardLimit": "bytes_hard",
}


def decode_limits(data: bytes | None) -> QuotaLimits:
    """Return the limits that are the data of a ``zookeeper_limits``.

    Total: what is malformed, missing or negative is no limit.
    """
    pairs = _PAIR.findall((data or b"").decode("latin-1"))
    found = {_KEYS[key]: int(number) for key, number in pairs if key in _KEYS}
    return QuotaLimits(**{key: number for key, number in found.items() if number >= 0})


def encode_limits(limits: QuotaLimits) -> bytes:
    """Return the data of a ``zookeeper_limits``.

    Source:
      ``StatsTrack.toString``, the odd ``=;`` included: old versions read it.

    """
    text = f"count={_number(limits.count)},bytes={_number(limits.bytes)}"
    hard = [
        f";{key}={number}"
        for key, number in (
            ("byteHardLimit", limits.bytes_hard),
            ("countHardLimit", limits.count_hard),
        )
        if number is not None
    ]
    return (text + ("=" + "".join(hard) if hard else "")).encode()


def _number(limit: int | None) -> int:
    return -1 if limit is None else limit


def limits_path(path: str) -> str:
    """Return where the limits of the quota on ``path`` are."""
    return f"{QUOTA_PATH}{path}{_LIMITS_NAME}"


def stats_path(path: str) -> str:
    """Return where the use of the quota on ``path`` is."""
    return f"{QUOTA_PATH}{path}{_STATS_NAME}"


def quota_of_limits(path: str) -> str:
    """Return the znode whose limits ``path`` holds; empty if it is no such place."""
    return _quota_of(path, _LIMITS_NAME)


def quota_of_stats(path: str) -> str:
    """Return the znode whose use ``path`` holds; empty if it is no such place."""
    return _quota_of(path, _STATS_NAME)


def _quota_of(path: str, name: str) -> str:
    if not path.startswith(QUOTA_PATH) or not path.endswith(name):
        return ""
    governed = path[len(QUOTA_PATH) : -len(name)]
    # ZooKeeper has none on the root. One that holds its own use would never
    # be right.
    is_own = governed == "/zookeeper" or governed.startswith("/zookeeper/")
    return "" if is_own or not governed.startswith("/") else governed


@attrs.define(eq=False)
class Quota:
    """One quota: its limits and its use.

    Attributes:
      path: The znode that it is on.
      limits: How much may be there.
      count: How many znodes are there, ``path`` included.
      size: How many bytes of data they have.

    """

    path: str
    limits: QuotaLimits
    count: int
    size: int

    def stats(self) -> bytes:
        """Return the data of its ``zookeeper_stats``."""
        return b"count=%d,bytes=%d" % (self.count, self.size)

    @property
    def exceeded(self) -> bool:
        """Whether it holds more than a soft limit allows."""
        count, size = self.limits.count, self.limits.bytes
        return (count is not None and self.count > count) or (
            size is not None and self.size > size
        )

    def refusal(self, count: int, size: int) -> str:
        """Say which hard limit forbids so much more; empty if none does."""
        limits = self.limits
        most = limits.count_hard
        if most is not None and count > 0 and self.count + count > most:
            return f"the quota on {self.path} is {most} znodes"
        most = limits.bytes_hard
        if most is not None and size > 0 and self.size + size > most:
            return f"the quota on {self.path} is {most} bytes"
        return ""


@attrs.define(eq=False)
class _Step:
    """One name on the way to quotas."""

    below: dict[str, _Step] = attrs.Factory(dict)
    quota: Quota | None = None


class Quotas:
    """The quotas of one tree.

    Attributes:
      by_path: Each by the znode that it is on.
      exceeded: Those of them that are beyond a soft limit.

    """

    __slots__ = ("_root", "by_path", "exceeded")

    def __init__(self) -> None:
        self.by_path: dict[str, Quota] = {}
        # The same as a trie, to find those on the way to a path.
        self._root = _Step()
        self.exceeded: dict[str, Quota] = {}

    def holding(self, path: str) -> list[Quota]:
        """Return the quotas on ``path`` and on what is above it, from the top."""
        step: _Step | None = self._root
        found: list[Quota] = []
        for name in path.split("/")[1:]:
            step = step.below.get(name) if step is not None else None
            if step is None:
                break
            if step.quota is not None:
                found.append(step.quota)
        return found

    def put(self, quota: Quota) -> None:
        """Add a quota, or replace the one on the same path."""
        step = self._root
        for name in quota.path.split("/")[1:]:
            step = step.below.setdefault(name, _Step())
        step.quota = quota
        self.by_path[quota.path] = quota
        self._judge(quota)

    def remove(self, path: str) -> None:
        """Forget the quota on ``path``, which is there."""
        del self.by_path[path]
        self.exceeded.pop(path, None)
        steps = [self._root]
        names = path.split("/")[1:]
        for name in names:
            steps.append(steps[-1].below[name])
        steps[-1].quota = None
        for name, step in zip(reversed(names), reversed(steps[:-1]), strict=True):
            below = step.below[name]
            if below.below or below.quota is not None:
                break
            del step.below[name]

    def count(self, quota: Quota, count: int, size: int) -> None:
        """Note that there are so many more znodes and bytes."""
        quota.count += count
        quota.size += size
        self._judge(quota)

    def refusal(self, path: str, count: int, size: int) -> str:
        """Say which hard limit forbids so much more at ``path``; empty: none."""
        reasons = (quota.refusal(count, size) for quota in self.holding(path))
        return next(filter(None, reasons), "")

    def _judge(self, quota: Quota) -> None:
        if quota.exceeded:
            self.exceeded[quota.path] = quota
        else:
            self.exceeded.pop(quota.path, None)
