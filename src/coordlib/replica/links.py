"""The links of one replica: frames out, snapshots out and in.

A snapshot leaves in pieces, as fast as the link takes them; whatever else is
sent to that member meanwhile waits behind it, for the order counts, except
pings, which show that we live. The consensus core decides what is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

import attrs
import trio

from coordlib.consensus import LinkId, Ping, Snapshot
from coordlib.errors import ProtocolError
from coordlib.ids import MemberId, Zxid
from coordlib.transport.interface import Link
from coordlib.tree import Capture, DataTree, restore

from .wire import Body, SnapshotPiece, encode_body

__all__ = ["Blocking", "ReplicaLink", "ReplicaLinks", "stage"]

logger = logging.getLogger("coordlib.replica")

T = TypeVar("T")


class Blocking(Protocol):
    """Runs a slow function where it does not hold up the loop."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Return what ``function()`` returns or raises."""
        ...


_PIECE_BYTES = 256 << 10


@attrs.define(eq=False)
class ReplicaLink:
    """One link, with what is under way in both directions."""

    id: LinkId
    link: Link
    backlog_bytes_max: int
    # The size of what is held behind a snapshot; the link knows of the rest.
    _held_bytes: int = attrs.field(default=0, init=False)
    # The size of a snapshot that was sent since the link was last below its
    # high-water mark. As much again may come
    # while it is under way: less would let nobody join while others write.
    _snapshot_bytes: int = attrs.field(default=0, init=False)
    # The replica takes no more requests from it.
    ignored: bool = attrs.field(default=False, init=False)
    # While a received snapshot is being decoded: what came behind it.
    staging: bool = attrs.field(default=False, init=False)
    behind_staging: list[Body] = attrs.field(factory=list, init=False)
    # How much of that may still come.
    _behind_room: int = attrs.field(default=0, init=False)
    # While a snapshot is being sent: what comes after it.
    _held: list[bytes] | None = attrs.field(default=None, init=False)
    # Around the sending of a snapshot: ends with the link.
    sending: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    # The snapshot being received, as far as it is here.
    _incoming: bytearray = attrs.field(factory=bytearray, init=False)

    @property
    def member(self) -> MemberId:
        """Who is at the other end."""
        return self.link.member

    def send(self, frame: bytes, *, urgent: bool = False) -> None:
        """Send a frame, behind a snapshot that is under way unless urgent.

        Cuts the link when the other end is too far behind: it will be brought
        level when it is back, and our memory is bounded.
        """
        if self._held is not None:
            if urgent:
                self.link.send(frame)
                return
            self._held.append(frame)
            self._held_bytes += len(frame)
        elif self.link.send(frame):
            self._snapshot_bytes = 0
            return
        backlog = self._held_bytes + self.link.queued_bytes
        if backlog > self.backlog_bytes_max + self._snapshot_bytes:
            logger.warning("cut off member %s: it reads too slowly", self.member)
            self.link.close()

    def begin_staging(self, snapshot: Snapshot) -> None:
        """Keep what comes from now on behind ``snapshot``.

        As much as may be sent behind it, by the rule for the other direction.
        """
        self.staging = True
        self._behind_room = self.backlog_bytes_max + len(snapshot.body)

    def note_received(self, frames: list[bytes]) -> None:
        """Cut the link when more comes than can be kept behind a snapshot."""
        if self.staging:
            self._behind_room -= sum(map(len, frames))
            if self._behind_room < 0:
                logger.warning("cut off member %s: it sends too fast", self.member)
                self.link.close()

    def hold(self) -> None:
        """Let everything from now on wait for :meth:`send_snapshot` to end."""
        self._held = []

    async def send_snapshot(
        self,
        captured: Capture,
        finish: Callable[[Capture], Awaitable[list[bytes]]],
    ) -> None:
        """Send the tree in pieces, then what was held; nothing if the link ends."""
        with self.sending:
            pieces = await finish(captured)
            await self._send_pieces(Zxid(captured.zxid), pieces)

    async def _send_pieces(self, zxid: Zxid, pieces: list[bytes]) -> None:
        size = self._snapshot_bytes = sum(map(len, pieces))
        offset = 0
        for part in _parts(pieces):
            frame = encode_body(SnapshotPiece(zxid, size, offset, part))
            offset += len(part)
            if not self.link.send(frame):
                await self.link.wait_writable()
            else:
                await trio.lowlevel.checkpoint()
        held, self._held = self._held or [], None
        self._held_bytes = 0
        for frame in held:
            self.link.send(frame)

    def receive_piece(self, piece: SnapshotPiece) -> Snapshot | None:
        """Take a piece; return the whole once it is complete.

        Raises:
          ProtocolError: It does not fit the ones before.

        """
        if piece.offset != len(self._incoming):
            raise ProtocolError("a gap between the pieces of a snapshot")
        self._incoming += piece.part
        if len(self._incoming) < piece.size:
            return None
        body = bytes(self._incoming)
        self._incoming.clear()
        return Snapshot(piece.zxid, body)


def _parts(pieces: list[bytes]) -> Iterator[bytes]:
    """Return the same bytes in parts of a size that suits the wire."""
    rest = b""
    for piece in pieces:
        rest += piece
        while len(rest) > _PIECE_BYTES:
            yield rest[:_PIECE_BYTES]
            rest = rest[_PIECE_BYTES:]
    yield rest


def stage(snapshot: Snapshot) -> DataTree:
    """Return the tree that a received snapshot holds. Slow.

    Raises:
      ProtocolError: It is damaged, or of another zxid than announced.

    """
    staged = DataTree()
    restore(staged, snapshot.body)
    if staged.zxid != snapshot.zxid:
        raise ProtocolError("a snapshot of another zxid than announced")
    return staged


@attrs.define
class ReplicaLinks:
    """All present links of one replica, by the number that the core knows."""

    backlog_bytes_max: int
    _by_id: dict[LinkId, ReplicaLink] = attrs.field(factory=dict, init=False)
    _last: LinkId = attrs.field(default=0, init=False)

    def add(self, link: Link) -> ReplicaLink:
        """Give a new link its number."""
        self._last += 1
        added = self._by_id[self._last] = ReplicaLink(
            self._last, link, self.backlog_bytes_max
        )
        return added

    def remove(self, link: ReplicaLink) -> None:
        """Forget a link that is gone."""
        link.sending.cancel()
        self._by_id.pop(link.id, None)

    def get(self, id: LinkId) -> ReplicaLink | None:
        """Return a link unless it is gone."""
        return self._by_id.get(id)

    def to(self, member: MemberId) -> ReplicaLink | None:
        """Return the newest link to a member."""
        for link in reversed(self._by_id.values()):
            if link.member == member:
                return link
        return None

    def send(self, ids: tuple[LinkId, ...], body: Body) -> None:
        """Encode once, send over each of the links that are still there."""
        frame = encode_body(body)
        urgent = isinstance(body, Ping)
        for number in ids:
            link = self._by_id.get(number)
            if link is not None:
                link.send(frame, urgent=urgent)

    def close(self, id: LinkId) -> None:
        """Cut a link."""
        link = self._by_id.get(id)
        if link is not None:
            link.link.close()
