"""Programs of operations: made up, carried out twice, cut down, recorded, printed.

Plain values. :mod:`.generate` makes them up; :mod:`.zookeeper` and
:mod:`.embedded` carry them out.

Every program lives below a znode of its own, so that one server serves
thousands. Its paths say so: ``/a`` is below the program's own znode, and ``/`` is
that znode; ``!/a`` is exactly ``/a``, and ``%/a`` is where a quota on the
program's ``/a`` stands. Anything else is handed over as it is.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from coordlib import digest_identity

__all__ = ["OPEN_ACL", "SUPERUSER", "UNKNOWN_SCHEME", "Acl", "Name", "Program", "Step"]

Acl = tuple[int, str, str]
"""Permissions, scheme and id."""

SUPERUSER = digest_identity("super", "secret").id
"""Of both servers."""

UNKNOWN_SCHEME = "nonsense"
"""To both servers."""

OPEN_ACL: tuple[Acl, ...] = ((31, "world", "anyone"),)


class Name(StrEnum):
    """What a step does."""

    OPEN = "open"
    CLOSE = "close"
    # The session's process dies; the step ends when the session has expired.
    EXPIRE = "expire"
    CREATE = "create"
    DELETE = "delete"
    SET = "set"
    CHECK = "check"
    MULTI = "multi"
    EXISTS = "exists"
    GET = "get"
    CHILDREN = "children"
    SYNC = "sync"
    ADD_WATCH = "add_watch"
    REMOVE_WATCHES = "remove_watches"
    ADD_AUTH = "add_auth"
    WHOAMI = "whoami"
    GET_ACL = "get_acl"
    SET_ACL = "set_acl"
    EPHEMERALS = "ephemerals"
    COUNT = "count"
    MULTI_READ = "multi_read"
    # Data: the limits as ``StatsTrack`` writes them.
    SET_QUOTA = "set_quota"
    GET_USAGE = "get_usage"
    # The step ends when the server has deleted a container, or a znode whose
    # time to live is over.
    LAPSE = "lapse"


@attrs.frozen
class Step:
    """One thing that one session does.

    One class for all of them, because a program is data: it is recorded, cut and
    printed, and only the drivers look at what it means.

    Attributes:
      name: What.
      session: Who: a number that the program gives to its sessions.
      path: Which znode.
      data: For create and set; of an added identity, the credential for
        ``digest``.
      version: For set, delete and check; for set_acl, that of the ACL.
      mode: Of a create: ``CreateMode``; of an added watch: ``AddWatchMode``; of
        removed ones: ``WatcherType``.
      watch: Leave a one-shot watch.
      ttl_ms: Of a create whose mode has one.
      acl: For create and set_acl.
      parts: Of a multi, and of a multi_read.

    """

    name: Name
    session: int = 0
    path: str = ""
    data: bytes | None = b""
    version: int = -1
    mode: int = 0
    watch: bool = False
    ttl_ms: int = 0
    acl: tuple[Acl, ...] = OPEN_ACL
    parts: tuple[Step, ...] = ()

    def __str__(self) -> str:
        said = [repr(self.path)] if self.path else []
        for field in attrs.fields(Step)[3:-1]:
            value: object = getattr(self, field.name)
            if value != field.default:
                said.append(f"{field.name}={value!r}")
        said += [str(part) for part in self.parts]
        return f"{self.name}({', '.join(said)})"


@attrs.frozen
class Program:
    """Some sessions and what they do, one step after the other.

    Attributes:
      name: Where it comes from; also the name of its own znode.
      steps: What happens. Sessions are opened by steps, too.
      lapsing: On a server that cleans up containers and the like at once; on
        others it does nothing of that.

    """

    name: str
    steps: tuple[Step, ...]
    lapsing: bool = False

    def locate(self, path: str) -> str:
        """Return where a step's path really is."""
        if path.startswith("!"):
            return path[1:]
        if path.startswith("%"):
            return f"/zookeeper/quota{self.locate(path[1:])}"
        if path == "/":
            return f"/{self.name}"
        return f"/{self.name}{path}" if path.startswith("/") else path

    def relate(self, path: str) -> str:
        """Return how a step would say this path; the opposite of :meth:`locate`."""
        own = f"/{self.name}"
        if path == own:
            return "/"
        return path.removeprefix(own) if path.startswith(f"{own}/") else f"!{path}"
