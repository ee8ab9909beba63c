"""Programs on coordlib: an ensemble of one, in memory, in virtual time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack

import attrs
import trio

from coordlib import Ensemble, Session
from coordlib.tree import (
    AddIdentities,
    Cause,
    EventType,
    Identity,
    Watch,
    WatchedEvent,
    WatchKind,
)

from .answers import Answer, Event
from .calls import call
from .program import Name, Program, Step

__all__ = ["EmbeddedServer"]

_NO_NODE, _TIMED_OUT = -101, -7
# Virtual seconds.
_PATIENCE = 10


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
        match step.name:
            case Name.OPEN:
                await self._begin_session(step.session)
            case Name.CLOSE | Name.EXPIRE:
                await self._end_session(step)
            case Name.LAPSE:
                return await self._wait_until_gone(self._program.locate(step.path))
            case Name.ADD_WATCH:
                kind = (WatchKind.PERSISTENT, WatchKind.RECURSIVE)[step.mode]
                self._listen(step, kind)
            case _:
                session = self._open[step.session]
                answer = await call(session, self._program, step)
                if step.watch:
                    self._watch(step, answer)
                return answer
        return Answer()

    async def events(self, session: int) -> list[Event]:
        await self._open[session].sync()
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

    async def _begin_session(self, number: int) -> None:
        session = await self._stack.enter_async_context(self.ensemble.session())
        self._open[number] = session
        self._listeners[number] = _Listener(session)
        self._ids[session.id] = number
        # As for a client that has come over the network.
        await session._submit(AddIdentities((Identity("ip", "127.0.0.1"),)), "")

    async def _end_session(self, step: Step) -> None:
        session = self._open.pop(step.session)
        self._listeners.pop(step.session).stop()
        if step.name is Name.CLOSE:
            await session.aclose()
        else:
            # What the leader proposes when it has heard nothing for too long.
            await session._replica.sessions.close(session.id, Cause.EXPIRED).wait()

    async def _wait_until_gone(self, path: str) -> Answer:
        for _ in range(_PATIENCE):
            if self.ensemble.tree.exists(path) is None:
                return Answer()
            await trio.sleep(1)
        return Answer(_TIMED_OUT)

    def _watch(self, step: Step, answer: Answer) -> None:
        is_missing = answer.code == _NO_NODE and step.name is Name.EXISTS
        if not answer.code or is_missing:
            self._listen(step, _KINDS[step.name])

    def _listen(self, step: Step, kind: WatchKind) -> None:
        self._listeners[step.session].listen(self._program.locate(step.path), kind)


_KINDS = {
    Name.GET: WatchKind.DATA,
    Name.EXISTS: WatchKind.EXISTS,
    Name.CHILDREN: WatchKind.CHILD,
}


# What ZooKeeper's server tells. It says nothing of a watch that was removed, and
# drops what the session may not read, also if that was the watch's only event.
_CHANGES = {
    EventType.CREATED,
    EventType.DELETED,
    EventType.DATA_CHANGED,
    EventType.CHILDREN_CHANGED,
}


@attrs.define
class _Listener:
    """One session's watches, told as to a connection of ZooKeeper's.

    There a connection is told of a change once, however many of its watches see
    it. Here every watch is told, and a connection has to bring that together.
    """

    session: Session
    _watches: list[Watch] = attrs.field(factory=list, init=False)
    _told: list[Event] = attrs.field(factory=list, init=False)
    # How often each event was told; to each watch, and to the connection.
    _times: Counter[WatchedEvent] = attrs.field(factory=Counter, init=False)

    def listen(self, path: str, kind: WatchKind) -> None:
        kept = self.session._kept
        watch = kept.replica.subscriptions.add(path, kind, self._sink(), kept.nonce)
        self._watches.append(watch)

    def _sink(self) -> Callable[[WatchedEvent], None]:
        seen: defaultdict[WatchedEvent, int] = defaultdict(int)

        def tell(event: WatchedEvent) -> None:
            seen[event] += 1
            if event.type not in _CHANGES:
                return
            if seen[event] > self._times[event]:
                self._times[event] += 1
                self._told.append((int(event.type), event.path))

        return tell

    def take(self) -> list[Event]:
        told, self._told = self._told, []
        return told

    def stop(self) -> None:
        for watch in self._watches:
            self.session._kept.replica.subscriptions.remove(watch)
