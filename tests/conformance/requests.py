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

__all__ = ["Request", "ephemeral", "look", "request_of"]

_CREATE_CONTAINER, _CREATE_TTL = 19, 21


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


def look(path: str) -> Request:
    """Return a request that leaves no trace: whether a znode exists."""
    request: Request = kazoo.Exists(path, watcher=False)
    return request


@attrs.frozen
class _CreateExtended:
    """``createTTL`` and ``createContainer``."""

    type: int
    path: str
    data: bytes | None
    acl: Sequence[Acl]
    mode: int
    ttl_ms: int

    def serialize(self) -> bytes:
        plain = kazoo.Create(self.path, self.data, _acl(self.acl), self.mode)
        body = bytes(plain.serialize())
        return body + struct.pack("!q", self.ttl_ms)[: 8 * (self.type == _CREATE_TTL)]


@attrs.frozen
class _AddWatch:
    """``addWatch``: mode 0 is persistent, 1 persistent and recursive."""

    path: str
    mode: int
    type: int = 106

    def serialize(self) -> bytes:
        return bytes(kazoo.write_string(self.path)) + struct.pack("!i", self.mode)


def _create(path: str, step: Step) -> Request:
    plain: Request = kazoo.Create(path, step.data, _acl(step.acl), step.mode)
    if step.mode < 4:
        return plain
    number = _CREATE_CONTAINER if step.mode == 4 else _CREATE_TTL
    return _CreateExtended(number, path, step.data, step.acl, step.mode, step.ttl_ms)


def _acl(acl: Sequence[Acl]) -> list[kazoo.ACL]:
    return [kazoo.ACL(perms, kazoo.Id(*who)) for perms, *who in acl]


_BUILDERS: dict[Name, Callable[[Program, str, Step], Request]] = {
    Name.CREATE: lambda _, path, step: _create(path, step),
    Name.DELETE: lambda _, path, step: kazoo.Delete(path, step.version),
    Name.SET: lambda _, path, step: kazoo.SetData(path, step.data, step.version),
    Name.CHECK: lambda _, path, step: kazoo.CheckVersion(path, step.version),
    Name.EXISTS: lambda _, path, step: kazoo.Exists(path, step.watch),
    Name.GET: lambda _, path, step: kazoo.GetData(path, step.watch),
    Name.CHILDREN: lambda _, path, step: kazoo.GetChildren2(path, step.watch),
    Name.SYNC: lambda _, path, _step: kazoo.Sync(path),
    Name.ADD_WATCH: lambda _, path, step: _AddWatch(path, step.mode),
    Name.MULTI: lambda program, _, step: kazoo.Transaction(
        [request_of(program, part) for part in step.parts]
    ),
}
