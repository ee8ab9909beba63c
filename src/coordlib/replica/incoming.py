"""A snapshot on its way in, whoever sends it: what is here of it outlives links.

Nothing of it counts before all of it is here and has the digest that was
offered. At most one is kept; it goes when another one is offered, or when it
was taken over.
"""

from __future__ import annotations

from hashlib import blake2b

import attrs

from coordlib.consensus import Snapshot
from coordlib.errors import ProtocolError

from .wire import SnapshotOffer, SnapshotPiece

__all__ = ["Incoming"]


@attrs.define
class Incoming:
    """The snapshot that is being received.

    Attributes:
      resumed: How many bytes did not have to be sent again.

    """

    resumed: int = attrs.field(default=0, init=False)
    _offer: SnapshotOffer | None = attrs.field(default=None, init=False)
    # Invariant: not longer than what was offered.
    _content: bytearray = attrs.field(factory=bytearray, init=False)
    # Of the content so far: at one go it would take its time.
    _digest: blake2b = attrs.field(factory=blake2b, init=False)

    def offered(self, offer: SnapshotOffer) -> int:
        """Return from which offset on it should be sent."""
        if offer != self._offer:
            self.forget()
            self._offer = offer
            self._digest = blake2b(digest_size=len(offer.digest))
        self.resumed += len(self._content)
        return len(self._content)

    def take(self, piece: SnapshotPiece) -> None:
        """Add a piece.

        Raises:
          ProtocolError: It does not fit what was offered, or those before it.

        """
        offer = self._offer
        if offer is None or piece.zxid != offer.zxid:
            raise ProtocolError("a piece of a snapshot that was not offered")
        if piece.offset != len(self._content):
            raise ProtocolError("a gap between the pieces of a snapshot")
        if piece.offset + len(piece.part) > offer.size:
            raise ProtocolError("a piece beyond its snapshot")
        self._content += piece.part
        self._digest.update(piece.part)

    def complete(self) -> Snapshot | None:
        """Return the snapshot if all of it is here.

        Raises:
          ProtocolError: It is not the one that was offered; it is dropped.

        """
        offer = self._offer
        if offer is None or len(self._content) < offer.size:
            return None
        if self._digest.digest() != offer.digest:
            self.forget()
            raise ProtocolError("a snapshot that is not the one that was offered")
        return Snapshot(offer.zxid, bytes(self._content))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was offered since the last one was taken over."""
        return self._offer is None

    def forget(self) -> None:
        """Keep nothing any longer."""
        self._offer = None
        self._content = bytearray()
