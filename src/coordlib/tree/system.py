"""The znodes that every tree has from the start and nobody can delete.

Names and arithmetic only; who may write below them is decided elsewhere. No
transaction made these znodes, so all numbers in their stats begin at 0, and
``cversion`` at minus the number of their children, as in ZooKeeper.

Source:
  ``DataTree()``, ``DataTree.addConfigNode``, ``ZooDefs``, ``Quotas``.

"""

from __future__ import annotations

__all__ = ["CONFIG_PATH", "QUOTA_PATH", "SYSTEM_PATHS", "born_children", "config_data"]

_ZOOKEEPER = "/zookeeper"

QUOTA_PATH = "/zookeeper/quota"
"""Below it are the quotas; see :mod:`.quotas`."""

CONFIG_PATH = "/zookeeper/config"
"""Who the members are, see :class:`~.operations.Configure`."""

SYSTEM_PATHS = ("/", _ZOOKEEPER, CONFIG_PATH, QUOTA_PATH)
"""Parents first."""

_BORN_CHILDREN = {"/": 1, _ZOOKEEPER: 2}


def born_children(path: str) -> int:
    """Return how many children of ``path`` were there without being created."""
    return _BORN_CHILDREN.get(path, 0)


def config_data(members: str, zxid: int) -> bytes:
    """Return the data of :data:`CONFIG_PATH`: the members and their version.

    Source:
      ``QuorumMaj.toString``: the version, in hexadecimal, is the zxid of the
      transaction that made these the members.

    """
    return f"{members}version={zxid:x}".encode()
