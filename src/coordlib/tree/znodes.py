"""The znodes and the few primitives that change them.

The primitives keep every index right (children, ephemerals, digest) and can be
taken back, which a multi needs. They check nothing: whether a change is allowed
is decided in :mod:`.mutations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import attrs
from sortedcontainers import SortedList

from coordlib.ids import SessionId

from .acl import OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Acl
from .acl_codec import acl_fields
from .acl_table import AclTable
from .candidates import Candidates
from .digest import DigestSum
from .frozen import AclNumber, FrozenZnodes, row_of
from .lifetimes import NO_OWNER
from .paths import parent_of
from .quotas import (
    Quota,
    Quotas,
    decode_limits,
    quota_of_limits,
    quota_of_stats,
    stats_path,
)
from .sessions import SessionTable
from .stat import NO_SESSION, Stat
from .system import CONFIG_PATH, QUOTA_PATH, SYSTEM_PATHS

__all__ = ["Znode", "ZnodeTable", "size_of", "to_int32"]


def to_int32(number: int) -> int:
    """Return ``number`` as Java's ``int`` would hold it."""
    return (number + 0x80000000 & 0xFFFFFFFF) - 0x80000000


# There are many: no room for weak references, and no stat before somebody reads.
@attrs.define(eq=False, weakref_slot=False)
class Znode:
    """One record of the tree; see :class:`.Stat` for most fields.

    Attributes:
      ephemeral_owner: What ends its life: see :mod:`.lifetimes`.
      creates: How many children were ever created here: ZooKeeper's persisted
        ``cversion``, the source of sequence numbers.
      children: Czxid and path of each child, ascending; ``None`` until there is
        one, because most znodes are leaves. The path is the table's own key: a
        name would be one more string.
      acl: Who may do what; one copy for all znodes with the same.
      stat: What :meth:`make_stat` returns, if a reader wanted it not long ago
        and nothing has changed since.
      digest: See :class:`~.digest.Digestible`.

    """

    data: bytes | None
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    version: int
    ephemeral_owner: int
    creates: int = 0
    children: SortedList[tuple[int, str]] | None = None
    aversion: int = 0
    acl: tuple[Acl, ...] = OPEN_ACL_UNSAFE
    stat: Stat | None = None
    digest: int | None = None

    def make_stat(self) -> Stat:
        """Build the stat."""
        children = 0 if self.children is None else len(self.children)
        owner = self.ephemeral_owner
        return Stat(
            self.czxid,
            self.mzxid,
            self.pzxid,
            self.ctime,
            self.mtime,
            self.version,
            to_int32(2 * self.creates - children),
            self.aversion,
            SessionId(owner) if owner > 0 else NO_SESSION,
            size_of(self.data),
            children,
        )


class ZnodeTable:
    """Every znode by its path, the root included.

    Args:
      sessions: Holds the owner of every ephemeral.
      root: The znode at ``"/"``; without it, a new tree's system znodes.

    """

    __slots__ = (
        "_acls",
        "_digests",
        "_frozen",
        "_sessions",
        "_undo",
        "by_path",
        "candidates",
        "quotas",
    )

    def __init__(self, sessions: SessionTable, root: Znode | None = None) -> None:
        new = root is None
        root = root or _system_znode("/")
        # Invariant: a parent stands before its children.
        self.by_path: dict[str, Znode] = {"/": root}
        self.candidates = Candidates()
        self.quotas = Quotas()
        self._sessions = sessions
        self._acls = AclTable()
        self._digests = DigestSum(_describe, self.by_path)
        # What takes back the changes since begin(); None outside of a multi.
        self._undo: list[Callable[[], None]] | None = None
        # Who needs old rows; None, which is quick to see, when nobody does.
        self._frozen: list[FrozenZnodes] | None = None
        root.acl = self._acls.share(root.acl)
        self._digests.add("/", root)
        for path in SYSTEM_PATHS[1:] if new else ():
            self.link(path, _system_znode(path), self.by_path[parent_of(path)])

    def create(
        self,
        path: str,
        data: bytes | None,
        acl: tuple[Acl, ...],
        *,
        zxid: int,
        time_ms: int,
        owner: int,
    ) -> Znode:
        """Add a znode, whose parent is there, and count it at its parent.

        Its ``owner`` is one by :mod:`.lifetimes`; a session is in the table.
        """
        parent_path = parent_of(path)
        parent = self.by_path[parent_path]
        if self._undo is not None:
            undo = partial(self._uncreate, path, parent.creates, parent.pzxid)
            self._undo.append(undo)
        if self._frozen is not None:
            self._changing(parent_path, parent)
        znode = Znode(data, zxid, zxid, zxid, time_ms, time_ms, 0, owner, acl=acl)
        self.link(path, znode, parent)
        parent.creates += 1
        parent.pzxid = zxid
        self._touch(parent_path, parent)
        if self.quotas.by_path or path.startswith(QUOTA_PATH):
            self._came(path, znode)
        return znode

    def delete(self, path: str, *, zxid: int) -> tuple[Znode, Znode]:
        """Take away a znode that has no children and is not the root.

        Returns:
          It and its parent.

        """
        parent_path = parent_of(path)
        parent = self.by_path[parent_path]
        znode = self.by_path[path]
        if self._undo is not None:
            self._undo.append(partial(self._undelete, path, znode, parent.pzxid))
        if self._frozen is not None:
            self._changing(parent_path, parent)
            self._going(path, znode)
        self._unlink(path, znode, parent)
        parent.pzxid = zxid
        self._touch(parent_path, parent)
        if self.quotas.by_path:
            self._went(path, znode)
        return znode, parent

    def set_data(
        self, path: str, data: bytes | None, *, version: int, zxid: int, time_ms: int
    ) -> Znode:
        """Replace the data of a znode and give it this version."""
        znode = self.by_path[path]
        if self._undo is not None:
            before = (znode.data, znode.version, znode.mzxid, znode.mtime)
            self._undo.append(partial(self._unset, path, znode, before))
        if self._frozen is not None:
            self._changing(path, znode)
        old = znode.data
        znode.data = data
        znode.version = version
        znode.mzxid = zxid
        znode.mtime = time_ms
        self._touch(path, znode)
        if self.quotas.by_path:
            self._changed(path, znode, size_of(data) - size_of(old))
        return znode

    def set_acl(self, path: str, acl: tuple[Acl, ...], *, version: int) -> Znode:
        """Replace the ACL of a znode and give it this version; not in a multi."""
        assert self._undo is None
        znode = self.by_path[path]
        if self._frozen is not None:
            self._changing(path, znode)
        self._acls.release(znode.acl)
        znode.acl = self._acls.share(acl)
        znode.aversion = version
        self._touch(path, znode)
        return znode

    def begin(self) -> None:
        """From here on, note how to take each change back."""
        self._undo = []

    def commit(self) -> None:
        """Keep the changes since :meth:`begin`."""
        self._undo = None

    def rollback(self) -> None:
        """Take back the changes since :meth:`begin`, so that no trace remains."""
        changes = self._undo
        assert changes is not None
        self._undo = None
        for undo in reversed(changes):
            undo()

    def link(self, path: str, znode: Znode, parent: Znode) -> None:
        """Enter a znode in every index; its parent's own fields stay as they are.

        Except that a parent which is no candidate any more stays one until
        :meth:`_touch`, or :meth:`judge`, looks at it.
        """
        if parent.children is None:
            parent.children = SortedList()
        parent.children.add((znode.czxid, path))
        owner = znode.ephemeral_owner
        if owner > 0:
            self._sessions.by_id[SessionId(owner)].ephemerals.add(path)
        elif owner:
            self.candidates.judge(path, znode)
        if znode.acl is not OPEN_ACL_UNSAFE:
            znode.acl = self._acls.share(znode.acl)
        self.by_path[path] = znode
        self._digests.add(path, znode)

    def dismantle(self, count: int) -> bool:
        """Take away so many znodes, children first; return whether there are more."""
        for path in list(islice(reversed(self.by_path), count)):
            znode = self.by_path[path]
            if path == "/":
                return False
            if self._frozen is not None:
                self._going(path, znode)
            self._unlink(path, znode, self.by_path[parent_of(path)])
        return True

    def digest(self) -> int:
        """Return the sum over all znodes."""
        return self._digests.value()

    # --- as they were ---

    def freeze(self, zxid: int, number_of: AclNumber) -> FrozenZnodes:
        """Return the znodes as they are now, at ``zxid``, until :meth:`thaw`.

        Their ACLs are numbers, which ``number_of`` returns for any ACL.
        Not within a multi: so what is taken back has been kept before.
        """
        assert self._undo is None
        frozen = FrozenZnodes(zxid, self.by_path, number_of)
        self._frozen = [*(self._frozen or ()), frozen]
        return frozen

    def thaw(self, frozen: FrozenZnodes) -> None:
        """Keep nothing more for one whom :meth:`freeze` returned. Idempotent."""
        rest = [other for other in self._frozen or () if other is not frozen]
        self._frozen = rest or None

    def _changing(self, path: str, znode: Znode) -> None:
        for frozen in self._frozen or ():
            frozen.changing(path, znode)

    def _going(self, path: str, znode: Znode) -> None:
        for frozen in self._frozen or ():
            frozen.going(path, znode)

    # --- indexes ---

    def _unlink(self, path: str, znode: Znode, parent: Znode) -> None:
        """Undo :meth:`link`."""
        assert parent.children is not None
        parent.children.remove((znode.czxid, path))
        owner = znode.ephemeral_owner
        if owner > 0:
            self._sessions.by_id[SessionId(owner)].ephemerals.remove(path)
        elif owner:
            self.candidates.discard(path)
        self._acls.release(znode.acl)
        del self.by_path[path]
        self._digests.remove(path, znode)

    def _touch(self, path: str, znode: Znode) -> None:
        """Drop what was computed from a znode that has just changed."""
        znode.stat = None
        self._digests.change(path, znode)
        if znode.ephemeral_owner < 0:
            self.candidates.judge(path, znode)

    def _uncreate(self, path: str, creates: int, pzxid: int) -> None:
        parent_path = parent_of(path)
        parent = self.by_path[parent_path]
        znode = self.by_path[path]
        self._unlink(path, znode, parent)
        parent.creates = creates
        parent.pzxid = pzxid
        self._touch(parent_path, parent)
        self._went(path, znode)

    def _undelete(self, path: str, znode: Znode, pzxid: int) -> None:
        parent_path = parent_of(path)
        parent = self.by_path[parent_path]
        self.link(path, znode, parent)
        parent.pzxid = pzxid
        self._touch(parent_path, parent)
        self._came(path, znode)

    def _unset(
        self, path: str, znode: Znode, before: tuple[bytes | None, int, int, int]
    ) -> None:
        grown = size_of(before[0]) - size_of(znode.data)
        znode.data, znode.version, znode.mzxid, znode.mtime = before
        self._touch(path, znode)
        self._changed(path, znode, grown)

    # --- quotas ---

    def adopt_quotas(self, step: int) -> Iterator[None]:
        """Find the quotas among znodes that were linked, and count their use.

        Nothing must change meanwhile. It stops after each ``step`` znodes.
        """
        for number, path in enumerate(self.below(QUOTA_PATH)):
            if not number % step:
                yield
            if governed := quota_of_limits(path):
                limits = decode_limits(self.by_path[path].data)
                self.quotas.put(Quota(governed, limits, 0, 0))
        if not self.quotas.by_path:
            return
        for number, (path, znode) in enumerate(self.by_path.items()):
            if not number % step:
                yield
            for quota in self.quotas.holding(path):
                self.quotas.count(quota, 1, size_of(znode.data))

    def quotas_are_right(self) -> bool:
        """Tell whether what the znodes say of the quotas' use is true."""
        return all(
            stats.data == quota.stats()
            for quota in self.quotas.by_path.values()
            if (stats := self.by_path.get(stats_path(quota.path))) is not None
        )

    def below(self, path: str) -> Iterator[str]:
        """Return the paths of all znodes below the one at ``path``, which exists."""
        paths = [path]
        while paths:
            for _, child in self.by_path[paths.pop()].children or ():
                yield child
                if self.by_path[child].children:
                    paths.append(child)

    def _came(self, path: str, znode: Znode) -> None:
        """Count a znode that is new."""
        self._count(path, 1, size_of(znode.data))
        self._govern(path, znode)

    def _went(self, path: str, znode: Znode) -> None:
        """Undo :meth:`_came`."""
        self._count(path, -1, -size_of(znode.data))
        if (governed := quota_of_limits(path)) in self.quotas.by_path:
            self.quotas.remove(governed)

    def _changed(self, path: str, znode: Znode, grown: int) -> None:
        """Count the new data of a znode, so many bytes more than the old."""
        # Without a quota, nothing that is there can be one's limits or stats.
        self._count(path, 0, grown)
        self._govern(path, znode)

    def _count(self, path: str, count: int, size: int) -> None:
        for quota in self.quotas.holding(path):
            self.quotas.count(quota, count, size)
            self._tell_use(quota)

    def _govern(self, path: str, znode: Znode) -> None:
        """Look at what was written, for it may be a quota's limits or stats."""
        if not path.startswith(QUOTA_PATH):
            return
        if governed := quota_of_limits(path):
            self.quotas.put(self._counted(governed, znode))
        quota = self.quotas.by_path.get(governed or quota_of_stats(path))
        if quota is not None:
            self._tell_use(quota)

    def _counted(self, governed: str, limits: Znode) -> Quota:
        """Return the quota on ``governed``, with what is there now."""
        count = size = 0
        top = self.by_path.get(governed)
        if top is not None:
            count, size = 1, size_of(top.data)
            for path in self.below(governed):
                count += 1
                size += size_of(self.by_path[path].data)
        return Quota(governed, decode_limits(limits.data), count, size)

    def _tell_use(self, quota: Quota) -> None:
        """Write a quota's use into its stats: no transaction of its own.

        Invariant: whatever anybody writes there, the stats of a quota say what
        is true. So they need no undoing, and all replicas have the same.
        """
        path = stats_path(quota.path)
        stats = self.by_path.get(path)
        if stats is not None:
            if self._undo is not None:
                # Before there was a quota, they may have said anything.
                self._undo.append(partial(self._retell, path, stats, stats.data))
            if self._frozen is not None:
                self._changing(path, stats)
            stats.data = quota.stats()
            self._touch(path, stats)

    def _retell(self, path: str, stats: Znode, data: bytes | None) -> None:
        stats.data = data
        self._touch(path, stats)


def size_of(data: bytes | None) -> int:
    """Return the length of a znode's data."""
    return len(data) if data else 0


def _system_znode(path: str) -> Znode:
    znode = Znode(b"", 0, 0, 0, 0, 0, 0, NO_OWNER)
    if path == CONFIG_PATH:
        # ZooKeeper sets this ACL when it makes the znode, and -1 as its version.
        znode.acl, znode.aversion = READ_ACL_UNSAFE, -1
    return znode


def _describe(path: str, znode: Znode) -> object:
    return row_of(path, znode, acl_fields(znode.acl))
