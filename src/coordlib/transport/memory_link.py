"""The two wires between two members of a :class:`MemoryNetwork`, and their ends.

A wire is one direction of a link. It knows when a frame arrives and whether it
is being held, not who holds it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
import trio
from trio.lowlevel import ParkingLot

from coordlib.ids import MemberId

from .interface import HIGH_WATER_BYTES, LinkClosed

__all__ = ["MemoryLink", "Wire"]

# The end of a link, as it travels among its frames, which are never empty.
_CLOSE = b""


@attrs.define(eq=False)
class Wire:
    """One direction of a link.

    Attributes:
      latency: Seconds from being sent to arriving.
      is_cut: Tells whether what is sent is being held now; call
        :meth:`stir` when that ends.

    """

    latency: float
    is_cut: Callable[[], bool]
    # What was sent and has not arrived, with the time when it should.
    _flight: deque[tuple[float, bytes]] = attrs.field(factory=deque, init=False)
    _inbox: list[bytes] = attrs.field(factory=list, init=False)
    # The size of all frames sent and not received. A close does not change it:
    # the sender learns only later that they were in vain.
    _bytes_held: int = attrs.field(default=0, init=False)
    # The receiving end is closed, by its owner or by a close that arrived.
    ended: bool = attrs.field(default=False, init=False)
    # Where wait: the wire itself; the receiver; senders.
    _stirred: ParkingLot = attrs.field(factory=ParkingLot, init=False)
    _arrived: ParkingLot = attrs.field(factory=ParkingLot, init=False)
    _drained: ParkingLot = attrs.field(factory=ParkingLot, init=False)

    @property
    def bytes_held(self) -> int:
        """What was sent and not received."""
        return self._bytes_held

    def is_writable(self) -> bool:
        """Tell whether less is held than the high-water mark."""
        return self._bytes_held < HIGH_WATER_BYTES

    async def wait_drained(self) -> None:
        """Wait until it may be writable, or :meth:`release` was called."""
        await self._drained.park()

    def release(self) -> None:
        """Wake the senders, since their end is closed."""
        self._drained.unpark_all()

    def post(self, frame: bytes) -> None:
        """Send ``frame``."""
        self._flight.append((trio.current_time() + self.latency, frame))
        self._bytes_held += len(frame)
        if len(self._flight) == 1:
            self._stirred.unpark()

    def post_close(self) -> None:
        """Close the sending end; the close arrives like a frame."""
        if self.is_cut():
            # Nobody is left who would send again what is being held.
            self._flight.clear()
        self.post(_CLOSE)

    def stir(self) -> None:
        """Look again whether what is held still is."""
        self._stirred.unpark_all()

    async def carry(self) -> None:
        """Let arrive what is sent, until the end."""
        while not self.ended:
            if not self._flight or self.is_cut():
                await self._stirred.park()
            elif self._flight[0][0] > trio.current_time():
                await trio.sleep_until(self._flight[0][0])
            else:
                self._arrive(trio.current_time())

    def _arrive(self, now: float) -> None:
        while self._flight and self._flight[0][0] <= now:
            _, frame = self._flight.popleft()
            if frame == _CLOSE:
                self.ended = True
            else:
                self._inbox.append(frame)
        self._arrived.unpark_all()

    async def receive(self) -> list[bytes] | None:
        """Wait for frames and return all that have arrived; none at the end."""
        await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self.ended:
                return None
            await self._arrived.park()
        frames, self._inbox = self._inbox, []
        self._bytes_held -= sum(map(len, frames))
        if self.is_writable():
            self._drained.unpark_all()
        return frames

    def end(self) -> None:
        """Close the receiving end; what was not received is lost."""
        self.ended = True
        self._inbox.clear()
        self._arrived.unpark_all()
        self._stirred.unpark_all()


@attrs.define(eq=False)
class MemoryLink:
    """One end of a link: a :class:`~coordlib.transport.interface.Link`.

    Attributes:
      member: Who is at the other end.

    """

    member: MemberId
    _inward: Wire = attrs.field(kw_only=True)
    _outward: Wire = attrs.field(kw_only=True)

    def send(self, frame: bytes) -> bool:
        """Send ``frame``; it arrives after the latency and all cuts."""
        assert frame, "a frame holds at least one byte"
        if self._inward.ended:
            return True
        self._outward.post(frame)
        return self._outward.is_writable()

    @property
    def queued_bytes(self) -> int:
        """What the other end has not received."""
        return self._outward.bytes_held

    async def wait_writable(self) -> None:
        """Wait until there is room or no link."""
        await trio.lowlevel.checkpoint()
        while not self._inward.ended and not self._outward.is_writable():
            await self._outward.wait_drained()

    async def recv(self) -> list[bytes]:
        """Return all frames that have arrived, at least one."""
        frames = await self._inward.receive()
        if frames is None:
            raise LinkClosed(f"link to member {self.member} is closed")
        return frames

    def close(self) -> None:
        """Close this end now; the other learns it after the latency and all cuts."""
        if not self._inward.ended:
            self._outward.post_close()
        self._inward.end()

    def stir(self) -> None:
        """Look again whether what is held on the way here still is."""
        self._inward.stir()

    async def pump(self) -> None:
        """Let frames arrive until closed; runs beside the link's owner."""
        await self._inward.carry()
        # Both kinds of end pass here: our own close and one that arrived.
        self._outward.release()
