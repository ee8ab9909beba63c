"""Programs on a real ZooKeeper."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from .answers import Answer, Event
from .program import Name, Program, Step
from .requests import ephemeral, look, persistent, request_of
from .wire import Connection, Reply

__all__ = ["ZooKeeperServer"]

_TIMEOUT_MS = 600_000
# The server's shortest: two ticks.
_SOON_MS = 40
_NO_NODE, _TIMED_OUT = -101, -7
# Long, for a machine that has much else to do.
_PATIENCE = 30.0


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
        match step.name:
            case Name.OPEN:
                connection = Connection(self.port, _TIMEOUT_MS)
                self._open[step.session] = connection
                self._ids[connection.session] = step.session
            case Name.CLOSE:
                self._open.pop(step.session).close_session()
            case Name.EXPIRE:
                await self._expire(self._open.pop(step.session))
            case Name.LAPSE:
                gone = await self._wait_until_gone(self._program.locate(step.path))
                return Answer(0 if gone else _TIMED_OUT)
            case Name.SET_QUOTA:
                return self._set_quota(step)
            case _:
                request = request_of(self._program, step)
                reply = self._open[step.session].ask(request)
                if reply.code or step.name not in _READERS:
                    return Answer(reply.code)
                return _READERS[step.name](self._program, reply)
        return Answer()

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
        assert await self._wait_until_gone(mark)

    async def _wait_until_gone(self, path: str) -> bool:
        with trio.move_on_after(_PATIENCE):
            while self._control.ask(look(path)).code != _NO_NODE:  # noqa: ASYNC110 - a poll
                await trio.sleep(_SOON_MS / 4000)
            return True
        return False

    def _set_quota(self, step: Step) -> Answer:
        """Do what ZooKeeper's own shell does, ``SetQuotaCommand``."""
        connection = self._open[step.session]
        path = ""
        for name in self._program.locate(f"%{step.path}").split("/")[1:]:
            path += f"/{name}"
            connection.ask(persistent(path, None))
        code = connection.ask(persistent(f"{path}/zookeeper_limits", step.data)).code
        connection.ask(persistent(f"{path}/zookeeper_stats", b"count=0,bytes=0"))
        return Answer(code)


def _create(program: Program, reply: Reply) -> Answer:
    return Answer(path=program.relate(reply.text()))


def _stat(_program: Program, reply: Reply) -> Answer:
    return Answer(stat=reply.stat())


def _data(_program: Program, reply: Reply) -> Answer:
    return Answer(data=reply.buffer(), stat=reply.stat())


def _usage(_program: Program, reply: Reply) -> Answer:
    return Answer(data=reply.buffer())


def _children(_program: Program, reply: Reply) -> Answer:
    return Answer(names=tuple(sorted(reply.texts())), stat=reply.stat())


def _ephemerals(program: Program, reply: Reply) -> Answer:
    return Answer(names=tuple(sorted(map(program.relate, reply.texts()))))


def _count(_program: Program, reply: Reply) -> Answer:
    return Answer(number=reply.number())


def _acl(_program: Program, reply: Reply) -> Answer:
    return Answer(acl=tuple(sorted(reply.acl())), stat=reply.stat())


def _identities(_program: Program, reply: Reply) -> Answer:
    return Answer(identities=tuple(sorted(reply.identities())))


def _parts(program: Program, reply: Reply) -> Answer:
    parts = [
        part if part.path is None else Answer(path=program.relate(part.path))
        for part in reply.parts()
    ]
    return Answer(parts=tuple(parts))


# How the answer to each step is read, if it is more than a code.
_READERS: dict[Name, Callable[[Program, Reply], Answer]] = {
    Name.CREATE: _create,
    Name.SET: _stat,
    Name.EXISTS: _stat,
    Name.SET_ACL: _stat,
    Name.GET: _data,
    Name.GET_USAGE: _usage,
    Name.CHILDREN: _children,
    Name.EPHEMERALS: _ephemerals,
    Name.COUNT: _count,
    Name.GET_ACL: _acl,
    Name.WHOAMI: _identities,
    Name.MULTI: _parts,
    Name.MULTI_READ: _parts,
}
