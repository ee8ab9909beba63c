"""One link over a connected socket: queues, frames and the end.

Neither dials nor shakes hands; :mod:`coordlib.transport.tcp` does. It works on
a plain non-blocking socket, not on trio's stream, so that ``send`` can write
without a task switch and ``recv`` without one more layer: a round trip then
costs about what two bare trio sockets cost.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import perf_counter

import attrs
import trio

from coordlib.errors import ProtocolError
from coordlib.ids import MemberId

from .framing import FrameParser, encode_frames
from .interface import HIGH_WATER_BYTES, LinkClosed

__all__ = ["TcpLink"]

_CHUNK_BYTES = 256 << 10

# A frame that comes sooner after the one before belongs to a burst and waits
# for the writer, which sends the burst in one piece. Longer than what lies
# between two sends in a loop, shorter than any round trip.
_BURST_GAP = 50e-6


@attrs.define(eq=False)
class TcpLink:
    """A :class:`~coordlib.transport.interface.Link` on ``socket``, which it owns.

    Attributes:
      member: Who is at the other end.

    """

    member: MemberId
    _socket: socket.socket
    _parser: FrameParser
    # Called once if the other side breaks the rules.
    _on_garbage: Callable[[MemberId, ProtocolError], None]
    _closed: bool = attrs.field(default=False, init=False)
    # Whether the last read took all that had arrived: another one at once would
    # be a system call for nothing.
    _is_empty: bool = attrs.field(default=True, init=False)
    # The wire's order: first ``_unsent``, which is encoded, then ``_queue``.
    _unsent: memoryview = attrs.field(default=memoryview(b""), init=False)
    _queue: list[bytes] = attrs.field(factory=list, init=False)
    _queue_bytes: int = attrs.field(default=0, init=False)
    _sent_at: float = attrs.field(default=0.0, init=False)
    # Where the writer waits for frames, and senders for less of them.
    _filled: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )
    _drained: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    def send(self, frame: bytes) -> bool:
        """Send ``frame`` at once if nothing is before it, else queue it."""
        assert 0 < len(frame) <= self._parser.frame_bytes_max
        if self._closed:
            return True
        now = perf_counter()
        lone = now - self._sent_at > _BURST_GAP
        self._sent_at = now
        if lone and not self._unsent and not self._queue:
            self._unsent = memoryview(encode_frames((frame,)))
            self._write_some()
            if not self._unsent:
                return True
        else:
            self._queue.append(frame)
            self._queue_bytes += len(frame)
        self._filled.unpark()
        return self._is_writable()

    async def wait_writable(self) -> None:
        """Wait until there is room or no link."""
        await trio.lowlevel.checkpoint()
        while not self._closed and not self._is_writable():
            await self._drained.park()

    async def recv(self) -> list[bytes]:
        """Return all frames that have arrived, at least one."""
        frames: list[bytes] = []
        while not frames:
            chunk = await self._receive_some()
            try:
                frames = self._parser.feed(chunk)
            except ProtocolError as error:
                self._on_garbage(self.member, error)
                self.close()
                raise self._gone() from error
        return frames

    def close(self) -> None:
        """Cut the link; what is queued is lost."""
        if self._closed:
            return
        self._closed = True
        self._unsent = memoryview(b"")
        self._queue.clear()
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self._filled.unpark_all()
        self._drained.unpark_all()

    async def write(self) -> None:
        """Send what is queued until closed; runs beside the link's owner."""
        while not self._closed:
            if self._unsent:
                try:
                    await trio.lowlevel.wait_writable(self._socket)
                except trio.ClosedResourceError:
                    return
            elif self._queue:
                self._unsent = memoryview(encode_frames(self._queue))
                self._queue.clear()
                self._queue_bytes = 0
            else:
                await self._filled.park()
                continue
            self._write_some()
            if self._is_writable():
                self._drained.unpark_all()

    def _write_some(self) -> None:
        try:
            count = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[count:]

    async def _receive_some(self) -> bytes:
        # Always one checkpoint, and none that could lose what was received.
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise self._gone()
        try:
            chunk = None if self._is_empty else self._read()
            if chunk is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while chunk is None:
                await trio.lowlevel.wait_readable(self._socket)
                chunk = self._read()
        except (OSError, trio.ClosedResourceError) as error:
            self.close()
            raise self._gone() from error
        if not chunk:
            self.close()
            raise self._gone()
        self._is_empty = len(chunk) < _CHUNK_BYTES
        return chunk

    def _read(self) -> bytes | None:
        try:
            return self._socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return None

    @property
    def queued_bytes(self) -> int:
        """What the socket has not taken."""
        return self._queue_bytes + len(self._unsent)

    def _is_writable(self) -> bool:
        return self.queued_bytes < HIGH_WATER_BYTES

    def _gone(self) -> LinkClosed:
        return LinkClosed(f"link to member {self.member} is closed")
