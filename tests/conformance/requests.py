"""What a step asks of a ZooKeeper: kazoo's records, and those that it lacks.

Formats: ``zookeeper.jute`` and ``ZooDefs.OpCode``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from kazoo.protocol import serialization as kazoo

from .program import Acl, Name, Program, Step

__all__ = ["Request", "ephemeral", "look", "persistent", "request_of"]


class Request(Protocol):
    """Anything that serialises itself, as in kazoo."""

    @property
    def type(self) -> int:
        """Its number in ``ZooDefs.OpCode``."""
        ...

    def serialize(self) -> bytes:
        """Return its body."""
        ...


def request_of(program: Program, step: Step) -> Request:
    """Return the request that a step of a program is."""
    return _BUILDERS[step.name](program, program.locate(step.path), step)


def ephemeral(path: str) -> Request:
    """Return the request for an ephemeral znode that is of no further interest."""
    return _create(path, Step(Name.CREATE, mode=1))


def persistent(path: str, data: bytes | None) -> Request:
    """Return the request for a plain znode."""
    return _create(path, Step(Name.CREATE, data=data))


def look(path: str) -> Request:
    """Return a request that leaves no trace: whether a znode exists."""
    request: Request = kazoo.Exists(path, watcher=False)
    return request


@attrs.frozen
class _Create:
    """``create``, ``createContainer`` and ``createTTL``.

    kazoo's, like all its records, makes null of an empty text, which in an ACL
    is something else.
    """

    path: str
    data: bytes | None
    acl: Sequence[Acl]
    mode: int
    ttl_ms: int

    @property
    def type(self) -> int:
        return {4: 19, 5: 21, 6: 21}.get(self.mode, 1)

    def serialize(self) -> bytes:
        body = _text(self.path) + bytes(kazoo.write_buffer(self.data))
        body += _acl(self.acl) + struct.pack("!i", self.mode)
        return body + (struct.pack("!q", self.ttl_ms) if self.type == 21 else b"")


@attrs.frozen
class _At:
    """A request with a path alone: ``getEphemerals``, ``getAllChildrenNumber``."""

    type: int
    path: str

    def serialize(self) -> bytes:
        return _text(self.path)


@attrs.frozen
class _MultiRead:
    """``multiRead``: in all but its number a multi."""

    reads: Sequence[Request]
    type: int = 22

    def serialize(self) -> bytes:
        return bytes(kazoo.Transaction(self.reads).serialize())


@attrs.frozen
class _SetAcl:
    """``setACL``."""

    path: str
    acl: Sequence[Acl]
    version: int
    type: int = 7

    def serialize(self) -> bytes:
        return _text(self.path) + _acl(self.acl) + struct.pack("!i", self.version)


@attrs.frozen
class _WhoAmI:
    """``whoAmI``, which has no body."""

    type: int = 107

    def serialize(self) -> bytes:
        return b""


@attrs.frozen
class _Watches:
    """``addWatch`` and ``removeWatches``."""

    type: int
    path: str
    mode: int

    def serialize(self) -> bytes:
        return _text(self.path) + struct.pack("!i", self.mode)


def _create(path: str, step: Step) -> _Create:
    return _Create(path, step.data, step.acl, step.mode, step.ttl_ms)


def _read(path: str, step: Step) -> Request:
    record = kazoo.GetData if step.name is Name.GET else kazoo.GetChildren
    request: Request = record(path, watcher=False)
    return request


def _acl(acl: Sequence[Acl]) -> bytes:
    entries = [
        struct.pack("!i", permissions) + _text(scheme) + _text(name)
        for permissions, scheme, name in acl
    ]
    return struct.pack("!i", len(entries)) + b"".join(entries)


def _text(text: str) -> bytes:
    return bytes(kazoo.write_buffer(text.encode()))


_BUILDERS: dict[Name, Callable[[Program, str, Step], Request]] = {
    Name.CREATE: lambda _, path, step: _create(path, step),
    Name.DELETE: lambda _, path, step: kazoo.Delete(path, step.version),
    Name.SET: lambda _, path, step: kazoo.SetData(path, step.data, step.version),
    Name.CHECK: lambda _, path, step: kazoo.CheckVersion(path, step.version),
    Name.EXISTS: lambda _, path, step: kazoo.Exists(path, step.watch),
    Name.GET: lambda _, path, step: kazoo.GetData(path, step.watch),
    Name.CHILDREN: lambda _, path, step: kazoo.GetChildren2(path, step.watch),
    Name.SYNC: lambda _, path, _step: kazoo.Sync(path),
    Name.ADD_WATCH: lambda _, path, step: _Watches(106, path, step.mode),
    Name.REMOVE_WATCHES: lambda _, path, step: _Watches(18, path, step.mode),
    Name.ADD_AUTH: lambda _, _path, step: kazoo.Auth(
        0, "digest", (step.data or b"").decode()
    ),
    Name.WHOAMI: lambda _, _path, _step: _WhoAmI(),
    Name.GET_ACL: lambda _, path, _step: kazoo.GetACL(path),
    Name.SET_ACL: lambda _, path, step: _SetAcl(path, step.acl, step.version),
    Name.EPHEMERALS: lambda _, path, _step: _At(103, path),
    Name.COUNT: lambda _, path, _step: _At(104, path),
    Name.MULTI_READ: lambda program, _, step: _MultiRead(
        [_read(program.locate(part.path), part) for part in step.parts]
    ),
    Name.GET_USAGE: lambda program, _, step: kazoo.GetData(
        program.locate(f"%{step.path}/zookeeper_stats"), watcher=False
    ),
    Name.MULTI: lambda program, _, step: kazoo.Transaction(
        [request_of(program, part) for part in step.parts]
    ),
}
