"""ZooKeeper's wire: one connection, and how its answers are read.

kazoo's records do the bulk of it, so the formats are those of a client that is
not ours. Its client and its connection are left aside: a program needs to know
which event came before which answer, and thousands of sessions a minute.
"""

from __future__ import annotations

import socket
import struct

import attrs
from kazoo.protocol import serialization as kazoo

from coordlib.ids import SessionId
from coordlib.tree import Stat

from .answers import Answer, Event
from .program import Acl
from .requests import Request

__all__ = ["Connection", "Reply"]

_INT = struct.Struct("!i")
_REPLY = struct.Struct("!iqi")
_STAT = struct.Struct("!qqqqiiiqiiq")
_HEADER = struct.Struct("!iBi")
_NOTIFICATION_XID = -1
# Authentication is no request to ZooKeeper, but has a number as if it were.
_AUTH_XID, _AUTH = -4, 100


@attrs.define
class Reply:
    """An answer, read piece by piece."""

    code: int
    _body: bytes
    _offset: int = 0

    def number(self) -> int:
        (value,) = _INT.unpack_from(self._body, self._offset)
        self._offset += _INT.size
        return int(value)

    def buffer(self) -> bytes | None:
        length = self.number()
        if length < 0:
            return None
        start, self._offset = self._offset, self._offset + length
        return self._body[start : self._offset]

    def text(self) -> str:
        return (self.buffer() or b"").decode()

    def texts(self) -> list[str]:
        return [self.text() for _ in range(self.number())]

    def acl(self) -> tuple[Acl, ...]:
        return tuple(
            [(self.number(), self.text(), self.text()) for _ in range(self.number())]
        )

    def identities(self) -> tuple[tuple[str, str], ...]:
        return tuple([(self.text(), self.text()) for _ in range(self.number())])

    def stat(self) -> Stat:
        fields = _STAT.unpack_from(self._body, self._offset)
        self._offset += _STAT.size
        czxid, mzxid, ctime, mtime, version, cversion, aversion, owner = fields[:8]
        data_length, num_children, pzxid = fields[8:]
        return Stat(
            czxid,
            mzxid,
            pzxid,
            ctime,
            mtime,
            version,
            cversion,
            aversion,
            SessionId(owner),
            data_length,
            num_children,
        )

    def parts(self) -> list[Answer]:
        """Read the answers to the operations of a multi."""
        found: list[Answer] = []
        while True:
            kind, done, code = _HEADER.unpack_from(self._body, self._offset)
            self._offset += _HEADER.size
            if done:
                return found
            match kind:
                case 1:
                    found.append(Answer(path=self.text()))
                case 15:
                    # A multi of coordlib's answers a create with its path alone.
                    found.append(Answer(path=self.text()))
                    self.stat()
                case 4:
                    found.append(Answer(data=self.buffer(), stat=self.stat()))
                case 8:
                    found.append(Answer(names=tuple(sorted(self.texts()))))
                case 5:
                    found.append(Answer(stat=self.stat()))
                case -1:
                    found.append(Answer(self.number()))
                case _:
                    found.append(Answer(code))


class Connection:
    """One session's connection, blocking.

    Attributes:
      session: The session's id; 0 if there is none such any more.
      password: With which it can be taken up by another connection.
      events: What came in and was not taken away yet.

    """

    def __init__(
        self, port: int, timeout_ms: int, session: int = 0, password: bytes = bytes(16)
    ) -> None:
        self.events: list[Event] = []
        self._xid = 0
        self._socket = socket.create_connection(("127.0.0.1", port), 120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")
        connect = kazoo.Connect(0, 0, timeout_ms, session, password, read_only=False)
        self._send(connect.serialize())
        answer, _ = kazoo.Connect.deserialize(self._receive(), 0)
        self.session = int(answer.session_id)
        self.password = bytes(answer.passwd)

    def ask(self, request: Request) -> Reply:
        """Send a request and wait for its answer."""
        self._xid += 1
        own_xid = _AUTH_XID if request.type == _AUTH else self._xid
        head = struct.pack("!ii", own_xid, request.type)
        self._send(head + request.serialize())
        while True:
            frame = self._receive()
            xid, _, code = _REPLY.unpack_from(frame)
            reply = Reply(code, frame, _REPLY.size)
            if xid == own_xid:
                return reply
            assert xid == _NOTIFICATION_XID, xid
            kind, _state = reply.number(), reply.number()
            self.events.append((kind, reply.text()))

    def take_events(self) -> list[Event]:
        """Return the events that came in, and forget them."""
        events, self.events = self.events, []
        return events

    def close_session(self) -> None:
        """End the session and hang up."""
        self.ask(kazoo.CloseInstance)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection and leave the session as it is."""
        self._reader.close()
        self._socket.close()

    def _send(self, body: bytes) -> None:
        self._socket.sendall(_INT.pack(len(body)) + body)

    def _receive(self) -> bytes:
        (length,) = _INT.unpack(self._read(_INT.size))
        return self._read(length)

    def _read(self, length: int) -> bytes:
        data = self._reader.read(length)
        if len(data) < length:
            raise ConnectionError("ZooKeeper closed the connection")
        return data
