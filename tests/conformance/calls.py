"""What a step is to coordlib: calls of a :class:`coordlib.Session`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from coordlib import Session
from coordlib.errors import (
    BadArgumentsError,
    InvalidAclError,
    MultiError,
    OperationError,
)
from coordlib.tree import (
    TTL_MS_MAX,
    Acl,
    Check,
    Create,
    Created,
    CreateMode,
    Delete,
    Get,
    GetChildren,
    Identity,
    Multi,
    MultiRefused,
    Operation,
    Permission,
    Refused,
    Result,
    Set,
    SetAcl,
    Stat,
    SubOperation,
    WatchKind,
    decode_limits,
)

from .answers import Answer
from .program import UNKNOWN_SCHEME, Name, Program, Step

__all__ = ["call"]

_EPHEMERAL = {CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL}
_SEQUENTIAL = {
    CreateMode.PERSISTENT_SEQUENTIAL,
    CreateMode.EPHEMERAL_SEQUENTIAL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
}
_WITH_TTL = {
    CreateMode.PERSISTENT_WITH_TTL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
}


async def call(session: Session, program: Program, step: Step) -> Answer:
    """Carry out a step that is an operation, and return the answer."""
    try:
        return await _CALLS[step.name](session, program, step)
    except (BadArgumentsError, InvalidAclError) as error:
        # A session looks at arguments before it asks anybody, as a client of
        # ZooKeeper's does. What would the tree have said?
        if step.name not in _WRITES or _cannot_be_put(step):
            return Answer(int(error.code))
        applied = await session._submit(_operation(program, step), step.path)
        return _answer(program, applied.result)
    except OperationError as error:
        return Answer(int(error.code))
    except MultiError as error:
        return Answer(parts=tuple(Answer(int(part.code)) for part in error.errors))


async def _create(session: Session, program: Program, step: Step) -> Answer:
    path = await session.create(
        program.locate(step.path),
        step.data,
        ephemeral=step.mode in _EPHEMERAL,
        sequential=step.mode in _SEQUENTIAL,
        container=step.mode == CreateMode.CONTAINER,
        ttl=step.ttl_ms / 1000 if step.mode in _WITH_TTL else None,
        acl=_acl(step),
    )
    return Answer(path=program.relate(path))


async def _delete(session: Session, program: Program, step: Step) -> Answer:
    await session.delete(program.locate(step.path), version=step.version)
    return Answer()


async def _set(session: Session, program: Program, step: Step) -> Answer:
    path = program.locate(step.path)
    return Answer(stat=await session.set(path, step.data, version=step.version))


async def _set_acl(session: Session, program: Program, step: Step) -> Answer:
    path = program.locate(step.path)
    stat = await session.set_acl(path, _acl(step), version=step.version)
    return Answer(stat=stat)


async def _multi(session: Session, program: Program, step: Step) -> Answer:
    parts = [_part(program, part) for part in step.parts]
    results = await session.multi(parts)
    return Answer(parts=tuple(_answer(program, result) for result in results))


async def _exists(session: Session, program: Program, step: Step) -> Answer:
    stat = await session.exists(program.locate(step.path))
    return Answer(stat=stat) if stat else Answer(-101)


async def _get(session: Session, program: Program, step: Step) -> Answer:
    path = program.locate(step.path)
    await session.get(path)
    # A session reads null as empty; the tree knows better.
    data, stat = session._tree.get_nullable(path)
    return Answer(data=data, stat=stat)


async def _children(session: Session, program: Program, step: Step) -> Answer:
    path = program.locate(step.path)
    names, stat = await session.get_children_and_stat(path)
    return Answer(names=tuple(sorted(names)), stat=stat)


async def _get_acl(session: Session, program: Program, step: Step) -> Answer:
    given, stat = await session.get_acl(program.locate(step.path))
    acl = [(int(a.permissions), a.identity.scheme, a.identity.id) for a in given]
    return Answer(acl=tuple(sorted(acl)), stat=stat)


async def _add_auth(session: Session, _program: Program, step: Step) -> Answer:
    await session.add_auth("digest", step.data or b"")
    return Answer()


async def _whoami(session: Session, _program: Program, _step: Step) -> Answer:
    identities = sorted((i.scheme, i.id) for i in await session.whoami())
    return Answer(identities=tuple(identities))


async def _sync(session: Session, _program: Program, _step: Step) -> Answer:
    await session.sync()
    return Answer()


async def _remove_watches(session: Session, program: Program, step: Step) -> Answer:
    kind = {1: WatchKind.CHILD, 2: WatchKind.DATA, 3: None}[step.mode]
    await session.remove_watches(program.locate(step.path), kind)
    return Answer()


async def _ephemerals(session: Session, program: Program, step: Step) -> Answer:
    paths = await session.get_ephemerals(program.locate(step.path))
    return Answer(names=tuple(sorted(map(program.relate, paths))))


async def _count(session: Session, program: Program, step: Step) -> Answer:
    path = program.locate(step.path)
    return Answer(number=await session.get_all_children_number(path))


async def _multi_read(session: Session, program: Program, step: Step) -> Answer:
    reads = [
        (Get if part.name is Name.GET else GetChildren)(program.locate(part.path))
        for part in step.parts
    ]
    found = await session.multi_read(reads)
    parts = [
        _read(session, read, result) for read, result in zip(reads, found, strict=True)
    ]
    return Answer(parts=tuple(parts))


def _read(
    session: Session,
    read: Get | GetChildren,
    result: tuple[bytes, Stat] | list[str] | OperationError,
) -> Answer:
    match result:
        case OperationError():
            return Answer(int(result.code))
        case list():
            return Answer(names=tuple(sorted(result)))
        case _:
            data, stat = session._tree.get_nullable(read.path)
            return Answer(data=data, stat=stat)


async def _set_quota(session: Session, program: Program, step: Step) -> Answer:
    limits = attrs.asdict(decode_limits(step.data))
    await session.set_quota(program.locate(step.path), **limits)
    return Answer()


async def _get_usage(session: Session, program: Program, step: Step) -> Answer:
    status = await session.get_quota(program.locate(step.path))
    if status is None:
        return Answer(-101)
    return Answer(data=b"count=%d,bytes=%d" % (status.count, status.bytes))


_CALLS: dict[Name, Callable[[Session, Program, Step], Awaitable[Answer]]] = {
    Name.CREATE: _create,
    Name.DELETE: _delete,
    Name.SET: _set,
    Name.SET_ACL: _set_acl,
    Name.MULTI: _multi,
    Name.EXISTS: _exists,
    Name.GET: _get,
    Name.CHILDREN: _children,
    Name.GET_ACL: _get_acl,
    Name.ADD_AUTH: _add_auth,
    Name.WHOAMI: _whoami,
    Name.SYNC: _sync,
    Name.REMOVE_WATCHES: _remove_watches,
    Name.EPHEMERALS: _ephemerals,
    Name.COUNT: _count,
    Name.MULTI_READ: _multi_read,
    Name.SET_QUOTA: _set_quota,
    Name.GET_USAGE: _get_usage,
}
_WRITES = {Name.CREATE, Name.DELETE, Name.SET, Name.SET_ACL, Name.MULTI}


def _operation(program: Program, step: Step) -> Operation:
    if step.name is Name.MULTI:
        return Multi(tuple(_part(program, part) for part in step.parts))
    if step.name is Name.SET_ACL:
        return SetAcl(program.locate(step.path), _acl(step), step.version)
    return _part(program, step)


def _part(program: Program, step: Step) -> SubOperation:
    path = program.locate(step.path)
    match step.name:
        case Name.CREATE:
            return Create(
                path,
                step.data,
                ephemeral=step.mode in _EPHEMERAL,
                sequential=step.mode in _SEQUENTIAL,
                container=step.mode == CreateMode.CONTAINER,
                ttl_ms=step.ttl_ms,
                acl=_acl(step),
            )
        case Name.DELETE:
            return Delete(path, step.version)
        case Name.SET:
            return Set(path, step.data, step.version)
        case Name.CHECK:
            return Check(path, step.version)
        case _:
            raise AssertionError(step)


def _answer(program: Program, result: Result | str) -> Answer:
    match result:
        case str(path) | Created(path):
            return Answer(path=program.relate(path))
        case Stat():
            return Answer(stat=result)
        case Refused(code):
            return Answer(int(code))
        case MultiRefused(refusals):
            return Answer(parts=tuple(_answer(program, part) for part in refusals))
        case list():
            return Answer(parts=tuple(_answer(program, part) for part in result))
        case _:
            return Answer()


def _acl(step: Step) -> tuple[Acl, ...]:
    return tuple([Acl(Permission(perms), Identity(*who)) for perms, *who in step.acl])


def _cannot_be_put(step: Step) -> bool:
    """Tell whether the tree cannot be asked this.

    It does not know which schemes there are, for members may have different
    plug-ins; and a time to live or permissions that are none have no form there.
    """
    if any(s == UNKNOWN_SCHEME or perms > Permission.ALL for perms, s, _ in step.acl):
        return True
    return step.mode in _WITH_TTL and not 0 < step.ttl_ms <= TTL_MS_MAX
