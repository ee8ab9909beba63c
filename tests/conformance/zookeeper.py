"""Programs on a real ZooKeeper."""

from __future__ import annotations

from contextlib import suppress

import attrs
import trio

from .answers import Answer, Event
from .program import Name, Program, Step
from .requests import ephemeral, look, request_of
from .wire import Connection, Reply

__all__ = ["ZooKeeperServer"]

_TIMEOUT_MS = 60_000
# The server's shortest: two ticks.
_SOON_MS = 40
_NO_NODE = -101


@attrs.define
class ZooKeeperServer:
    """One client of a server: a :class:`.conduct.Server`.

    It blocks, so it needs a thread of its own.
    """

    port: int
    _control: Connection = attrs.field(init=False)
    _program: Program = attrs.field(default=Program("", ()), init=False)
    _open: dict[int, Connection] = attrs.field(factory=dict, init=False)
    _ids: dict[int, int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._control = Connection(self.port, _TIMEOUT_MS)

    async def begin(self, program: Program) -> None:
        self._program = program
        own = Step(Name.CREATE, path="/", data=None)
        self._control.ask(request_of(program, own))

    async def perform(self, step: Step) -> Answer:
        session = step.session
        if step.name is Name.OPEN:
            connection = Connection(self.port, _TIMEOUT_MS)
            self._open[session] = connection
            self._ids[connection.session] = session
            return Answer()
        connection = self._open[session]
        if step.name is Name.CLOSE:
            del self._open[session]
            connection.close_session()
            return Answer()
        if step.name is Name.EXPIRE:
            del self._open[session]
            await self._expire(connection)
            return Answer()
        reply = connection.ask(request_of(self._program, step))
        return Answer(reply.code) if reply.code else self._read(step, reply)

    async def events(self, session: int) -> list[Event]:
        self._open[session].ask(look("/"))
        return self.events_so_far(session)

    def events_so_far(self, session: int) -> list[Event]:
        events = self._open[session].take_events()
        return [(kind, self._program.relate(path)) for kind, path in events]

    async def end(self) -> dict[int, int]:
        for connection in self._open.values():
            connection.close_session()
        ids, self._ids, self._open = self._ids, {}, {}
        return ids

    def close(self) -> None:
        """End what is left, after an error too."""
        for connection in (*self._open.values(), self._control):
            with suppress(OSError):
                connection.close_session()

    async def _expire(self, connection: Connection) -> None:
        """Let a session die, as if its process had."""
        mark = f"/{self._program.name}-{connection.session}"
        connection.ask(ephemeral(mark))
        connection.hang_up()
        # A timeout is negotiated anew with each connection.
        heir = Connection(self.port, _SOON_MS, connection.session, connection.password)
        heir.hang_up()
        # Its own connection cannot tell, for there is none.
        while self._control.ask(look(mark)).code != _NO_NODE:  # noqa: ASYNC110
            await trio.sleep(_SOON_MS / 4000)

    def _read(self, step: Step, reply: Reply) -> Answer:
        match step.name:
            case Name.CREATE:
                return Answer(path=self._program.relate(reply.text()))
            case Name.SET | Name.EXISTS:
                return Answer(stat=reply.stat())
            case Name.GET:
                return Answer(data=reply.buffer(), stat=reply.stat())
            case Name.CHILDREN:
                names = tuple(sorted(reply.texts()))
                return Answer(names=names, stat=reply.stat())
            case Name.MULTI:
                return Answer(parts=tuple(self._part(part) for part in reply.parts()))
            case _:
                return Answer()

    def _part(self, part: Answer) -> Answer:
        if part.path is None:
            return part
        return attrs.evolve(part, path=self._program.relate(part.path))
