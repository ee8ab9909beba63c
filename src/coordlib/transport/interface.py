"""What a replica asks of its network, whatever the network is.

Message passing, not calls: frames of bytes over links that keep order. A link
is one connection between two members; when it breaks it is gone, and the next
one between the same two is another link with another incarnation. Transports
know neither Zab nor znodes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import trio

from coordlib.ids import MemberId

__all__ = [
    "DIAL_PAUSE_MAX",
    "DIAL_PAUSE_MIN",
    "HIGH_WATER_BYTES",
    "UNKNOWN_ENSEMBLE",
    "Hello",
    "Link",
    "LinkClosed",
    "Serve",
    "Transport",
    "TransportStatistics",
]

UNKNOWN_ENSEMBLE = bytes(16)
"""The ensemble id of a member that has not joined its ensemble yet."""


HIGH_WATER_BYTES = 1 << 20
"""What a link may have queued before it asks its sender to hold back. Some
milliseconds' worth: more queued only makes heartbeats late."""

DIAL_PAUSE_MIN = 0.01
"""Seconds before a member is dialled again; doubled up to the maximum."""

DIAL_PAUSE_MAX = 0.5
"""Bounds both the load of dialling a dead member and how late it is found."""


class LinkClosed(Exception):  # noqa: N818 - not a fault: links come and go
    """The link is gone; whatever was not received is lost."""


@attrs.frozen
class Hello:
    """How a member introduces itself when a link is made.

    Attributes:
      name: The ensemble's configured name; must be equal on both sides.
      ensemble_id: 16 bytes made when the ensemble was founded; must be equal
        on both sides unless one is :data:`UNKNOWN_ENSEMBLE`.
      member: Who is speaking.
      incarnation: 16 random bytes of this start of the replica.

    """

    name: str
    ensemble_id: bytes
    member: MemberId
    incarnation: bytes


class Link(Protocol):
    """One connection to another member; frames arrive whole and in order."""

    @property
    def member(self) -> MemberId:
        """Who is at the other end, as its handshake said."""
        ...

    def send(self, frame: bytes) -> bool:
        """Queue ``frame``; never blocks and never fails.

        Returns:
          False when more is queued than the high-water mark: the frame is
          still queued, but the sender should hold back what can wait. Frames
          sent on a closed link vanish.

        """
        ...

    @property
    def queued_bytes(self) -> int:
        """How much was sent and has not left yet."""
        ...

    async def wait_writable(self) -> None:
        """Wait until less is queued than the high-water mark, or it is closed."""
        ...

    async def recv(self) -> list[bytes]:
        """Wait for frames and return all that are there, at least one.

        Raises:
          LinkClosed: The link is gone.

        """
        ...

    def close(self) -> None:
        """Cut the link at once, at both ends. Idempotent."""
        ...


Serve = Callable[[Link], Awaitable[None]]
"""Runs for as long as its link should live; returning closes the link.

:exc:`LinkClosed` may leave it; any other exception leaves the transport's
``run``, too."""


@attrs.frozen
class TransportStatistics:
    """Counters since the start.

    Attributes:
      refused: Handshakes refused, by us or by the other side, by reason:
        ``"name"``, ``"ensemble"``,
        ``"member"``, ``"version"``, ``"garbage"``, ``"timeout"``, ``"busy"``.
      broken_frames: Links closed because of a malformed or oversized frame.

    """

    refused: dict[str, int]
    broken_frames: int


class Transport(Protocol):
    """Makes links between this member and the others, again and again."""

    async def run(
        self,
        hello: Callable[[], Hello],
        serve: Serve,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and dial until cancelled; ``started`` once it listens.

        Of two members the one with the higher id dials, so there is one link
        between them; a new link from the same member replaces the old one.
        Dialling goes on for ever, with growing pauses, and resolves addresses
        each time. ``hello`` is asked anew for every handshake.

        Raises:
          ConfigError: The own address cannot be bound, or is not allowed.

        """
        ...

    def statistics(self) -> TransportStatistics:
        """Return the counters."""
        ...
