"""Programs on coordlib: an ensemble of one, in memory, in virtual time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack

import attrs

from coordlib import Ensemble, Session
from coordlib.errors import BadArgumentsError, MultiError, OperationError
from coordlib.replica.subscriptions import Subscriptions
from coordlib.tree import (
    Cause,
    Check,
    Create,
    Created,
    CreateMode,
    Delete,
    Multi,
    MultiRefused,
    Refused,
    Result,
    Set,
    Stat,
    SubOperation,
    Watch,
    WatchedEvent,
    WatchKind,
)

from .answers import Answer, Event
from .program import Name, Program, Step

__all__ = ["EmbeddedServer"]

_NO_NODE = Answer(-101)
_WRITES = {Name.CREATE, Name.DELETE, Name.SET, Name.MULTI}


@attrs.define
class EmbeddedServer:
    """One ensemble, which runs: a :class:`.conduct.Server`."""

    ensemble: Ensemble
    _program: Program = attrs.field(default=Program("", ()), init=False)
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)
    _open: dict[int, Session] = attrs.field(factory=dict, init=False)
    _listeners: dict[int, _Listener] = attrs.field(factory=dict, init=False)
    _ids: dict[int, int] = attrs.field(factory=dict, init=False)

    async def begin(self, program: Program) -> None:
        self._program = program
        async with self.ensemble.session() as session:
            await session.create(program.locate("/"), None)

    async def perform(self, step: Step) -> Answer:
        number = step.session
        if step.name is Name.OPEN:
            session = await self._stack.enter_async_context(self.ensemble.session())
            self._open[number] = session
            self._listeners[number] = _Listener(session._replica.subscriptions)
            self._ids[session.id] = number
            return Answer()
        session = self._open[number]
        if step.name in {Name.CLOSE, Name.EXPIRE}:
            del self._open[number]
            self._listeners.pop(number).stop()
            if step.name is Name.CLOSE:
                await session.aclose()
            else:
                # What the leader proposes when it has heard nothing for too long.
                await session._replica.close_session(session.id, Cause.EXPIRED).wait()
            return Answer()
        try:
            answer = await self._ask(session, step)
        except BadArgumentsError as error:
            # A session looks at arguments before it asks anybody, as a client of
            # ZooKeeper's does. What would the tree have said?
            answer = Answer(int(error.code))
            if step.name in _WRITES:
                operation = self._operation(step)
                applied = await session._submit(operation, step.path)
                answer = self._answer(applied.result)
        except OperationError as error:
            answer = Answer(int(error.code))
        except MultiError as error:
            answer = Answer(parts=tuple(Answer(int(e.code)) for e in error.errors))
        if step.watch:
            self._watch(step, answer)
        return answer

    async def events(self, session: int) -> list[Event]:
        await self._open[session].exists("/")
        return self.events_so_far(session)

    def events_so_far(self, session: int) -> list[Event]:
        events = self._listeners[session].take()
        return [(kind, self._program.relate(path)) for kind, path in events]

    async def end(self) -> dict[int, int]:
        for listener in self._listeners.values():
            listener.stop()
        await self._stack.aclose()
        ids, self._ids, self._open, self._listeners = self._ids, {}, {}, {}
        return ids

    async def _ask(self, session: Session, step: Step) -> Answer:
        path = self._program.locate(step.path)
        match step.name:
            case Name.CREATE:
                made = await _create(session, path, step)
                return Answer(path=self._program.relate(made))
            case Name.DELETE:
                await session.delete(path, version=step.version)
                return Answer()
            case Name.SET:
                stat = await session.set(path, step.data, version=step.version)
                return Answer(stat=stat)
            case Name.MULTI:
                results = await session.multi([self._part(part) for part in step.parts])
                return Answer(parts=tuple(map(self._answer, results)))
            case Name.EXISTS:
                found = await session.exists(path)
                return Answer(stat=found) if found else _NO_NODE
            case Name.GET:
                await session.get(path)
                # A session reads null as empty.
                data, stat = session._tree.get_nullable(path)
                return Answer(data=data, stat=stat)
            case Name.CHILDREN:
                names = tuple(sorted(await session.get_children(path)))
                return Answer(names=names, stat=await session.exists(path))
            case Name.SYNC:
                await session.sync()
                return Answer()
            case Name.ADD_WATCH:
                kind = (WatchKind.PERSISTENT, WatchKind.RECURSIVE)[step.mode]
                self._listeners[step.session].listen(path, kind)
                return Answer()
            case _:
                raise AssertionError(step)

    def _operation(self, step: Step) -> Multi | SubOperation:
        if step.name is Name.MULTI:
            return Multi(tuple(self._part(part) for part in step.parts))
        return self._part(step)

    def _part(self, step: Step) -> SubOperation:
        path = self._program.locate(step.path)
        match step.name:
            case Name.CREATE:
                return Create(
                    path,
                    step.data,
                    ephemeral=step.mode in _EPHEMERAL,
                    sequential=step.mode in _SEQUENTIAL,
                    container=step.mode == CreateMode.CONTAINER,
                    ttl_ms=step.ttl_ms,
                )
            case Name.DELETE:
                return Delete(path, step.version)
            case Name.SET:
                return Set(path, step.data, step.version)
            case Name.CHECK:
                return Check(path, step.version)
            case _:
                raise AssertionError(step)

    def _answer(self, result: Result | str) -> Answer:
        match result:
            case str(path) | Created(path):
                return Answer(path=self._program.relate(path))
            case Stat():
                return Answer(stat=result)
            case Refused(code):
                return Answer(int(code))
            case MultiRefused(refusals):
                return Answer(parts=tuple(map(self._answer, refusals)))
            case list():
                return Answer(parts=tuple(map(self._answer, result)))
            case _:
                return Answer()

    def _watch(self, step: Step, answer: Answer) -> None:
        kind = {
            Name.GET: WatchKind.DATA,
            Name.EXISTS: WatchKind.EXISTS,
            Name.CHILDREN: WatchKind.CHILD,
        }[step.name]
        if not answer.code or (answer == _NO_NODE and step.name is Name.EXISTS):
            path = self._program.locate(step.path)
            self._listeners[step.session].listen(path, kind)


_EPHEMERAL = {CreateMode.EPHEMERAL, CreateMode.EPHEMERAL_SEQUENTIAL}
_SEQUENTIAL = {
    CreateMode.PERSISTENT_SEQUENTIAL,
    CreateMode.EPHEMERAL_SEQUENTIAL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
}


async def _create(session: Session, path: str, step: Step) -> str:
    return await session.create(
        path,
        step.data,
        ephemeral=step.mode in _EPHEMERAL,
        sequential=step.mode in _SEQUENTIAL,
        container=step.mode == CreateMode.CONTAINER,
        ttl=step.ttl_ms / 1000 if step.ttl_ms else None,
    )


@attrs.define
class _Listener:
    """One session's watches, told as to a connection of ZooKeeper's.

    There a connection is told of a change once, however many of its watches see
    it. Here every watch is told, and a connection has to bring that together.
    """

    subscriptions: Subscriptions
    _watches: list[Watch] = attrs.field(factory=list, init=False)
    _told: list[Event] = attrs.field(factory=list, init=False)
    # How often each event was told; to each watch, and to the connection.
    _times: Counter[WatchedEvent] = attrs.field(factory=Counter, init=False)

    def listen(self, path: str, kind: WatchKind) -> None:
        self._watches.append(self.subscriptions.add(path, kind, self._sink()))

    def _sink(self) -> Callable[[WatchedEvent], None]:
        seen: defaultdict[WatchedEvent, int] = defaultdict(int)

        def tell(event: WatchedEvent) -> None:
            seen[event] += 1
            if seen[event] > self._times[event]:
                self._times[event] += 1
                self._told.append((int(event.type), event.path))

        return tell

    def take(self) -> list[Event]:
        told, self._told = self._told, []
        return told

    def stop(self) -> None:
        for watch in self._watches:
            self.subscriptions.remove(watch)
