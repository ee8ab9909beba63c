"""The links of one replica, and the order of what leaves over each.

What comes from the disk leaves as fast as the link takes it; whatever else is
sent to that member meanwhile waits behind it, for the order counts, except
pings, which show that we live. The consensus core decides what is sent.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import attrs
import trio

from coordlib.consensus import LinkId, Ping
from coordlib.ids import MemberId
from coordlib.transport.interface import Link

from .wire import Body, SnapshotFrom, encode_body

__all__ = ["Blocking", "Job", "ReplicaLink", "ReplicaLinks"]

logger = logging.getLogger("coordlib.replica")

T = TypeVar("T")


class Blocking(Protocol):
    """Runs a slow function where it does not hold up the loop."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]:
        """Return what ``function()`` returns or raises."""
        ...


Job = Callable[[], Awaitable[None]]
"""Sends something that takes its time."""


@attrs.define(eq=False)
class ReplicaLink:
    """One link, with what is under way in both directions."""

    id: LinkId
    link: Link
    backlog_bytes_max: int
    # The size of what is held behind a job; the link knows of the rest.
    _held_bytes: int = attrs.field(default=0, init=False)
    # What jobs have sent since the link was last below its high-water mark
    # without one. As much again may come meanwhile: less would let nobody join
    # while others write.
    _streamed_bytes: int = attrs.field(default=0, init=False)
    # The replica takes no more requests from it.
    ignored: bool = attrs.field(default=False, init=False)
    # A received snapshot is being decoded: nothing but pings may come.
    staging: bool = attrs.field(default=False, init=False)
    # While there is a job: the rest of the jobs and frames, in order.
    _held: deque[bytes | Job] | None = attrs.field(default=None, init=False)
    # Around the jobs: ends with the link.
    sending: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    # What was last said to our offer of a snapshot.
    _answer: SnapshotFrom | None = attrs.field(default=None, init=False)
    _answered: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    @property
    def member(self) -> MemberId:
        """Who is at the other end."""
        return self.link.member

    def send(self, frame: bytes, *, urgent: bool = False) -> None:
        """Send a frame, behind the jobs that are under way unless urgent.

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
            self._streamed_bytes = 0
            return
        backlog = self._held_bytes + self.link.queued_bytes
        if backlog > self.backlog_bytes_max + self._streamed_bytes:
            logger.warning("cut off member %s: it reads too slowly", self.member)
            self.link.close()

    @property
    def has_jobs(self) -> bool:
        """Whether something is under way that everything else waits for."""
        return self._held is not None

    def hold(self, job: Job) -> bool:
        """Do this after all that was sent, and before all that will be.

        Returns:
          Whether :meth:`send_held` has to be started.

        """
        if self._held is not None:
            self._held.append(job)
            return False
        self._held = deque((job,))
        return True

    async def send_held(self) -> None:
        """Do the jobs and send what came after them; nothing if the link ends."""
        with self.sending:
            while self._held:
                item = self._held.popleft()
                if isinstance(item, bytes):
                    self._held_bytes -= len(item)
                    await self.send_patiently(item)
                else:
                    await item()
            self._held = None

    async def send_patiently(self, frame: bytes) -> None:
        """Send a frame of a job, then wait until the link takes more."""
        self._streamed_bytes += len(frame)
        if self.link.send(frame):
            await trio.lowlevel.checkpoint()
        else:
            await self.link.wait_writable()

    async def wait_answer(self) -> SnapshotFrom:
        """Return what the other end says to our offer."""
        while self._answer is None:
            await self._answered.park()
        answer, self._answer = self._answer, None
        return answer

    def answer(self, answer: SnapshotFrom) -> None:
        """Take the answer to our offer; the last one counts."""
        self._answer = answer
        self._answered.unpark_all()


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

    def with_jobs(self) -> list[LinkId]:
        """Return the links over which something is under way."""
        return [link.id for link in self._by_id.values() if link.has_jobs]

    def close(self, id: LinkId) -> None:
        """Cut a link."""
        link = self._by_id.get(id)
        if link is not None:
            link.link.close()
