"""What a simulated member sends from its disk, and what waits behind it.

The counterpart of ``coordlib.replica.links`` and ``.outgoing`` without trio: each
step of a stream is an event. What is read, and how, is the real log's.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs

from coordlib.consensus import SendRecords, SendSnapshot, pack_proposals
from coordlib.errors import CorruptLogError, StorageError
from coordlib.ids import Zxid
from coordlib.replica.wire import Body, SnapshotFrom, SnapshotOffer, SnapshotPiece
from coordlib.storage.reading import RecordReading, SnapshotReading

from .network import End, Frame

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Streams"]

T = TypeVar("T")

# How many steps a snapshot takes, how many proposals a step sends, and how long it
# takes: little, since epochs are as short as a second here, and snapshots new.
_SNAPSHOT_STEPS = 10
_PROPOSALS = 8
_STEP = 300

Order = SendSnapshot | SendRecords
_Job = Generator[list[Body], None, None]
"""Yields what to send now; nothing: wait for an answer, or for the disk."""


@attrs.define(eq=False)
class _Stream:
    """What is under way over one link.

    Attributes:
      end: The link.
      items: Jobs and frames, in order.
      answer: What was last said to an offer.
      is_due: A step is about to happen.
      readings: What has to be closed with the link.

    """

    end: End
    items: deque[_Job | Frame] = attrs.field(factory=deque)
    answer: SnapshotFrom | None = None
    is_due: bool = False
    readings: list[RecordReading | SnapshotReading] = attrs.field(factory=list)


@attrs.define(eq=False)
class Streams:
    """All streams of one process, by link."""

    _process: Process
    _streams: dict[int, _Stream] = attrs.field(factory=dict, init=False)

    def send(self, end: End, frame: Frame, *, urgent: bool = False) -> None:
        """Send, behind what is under way unless it is urgent."""
        stream = self._streams.get(end.number)
        if stream is None or urgent:
            self._process.network.send(end, frame)
        else:
            stream.items.append(frame)

    def begin(self, end: End, order: Order) -> None:
        """Send something from the disk; what is sent later stays behind it."""
        stream = self._streams.setdefault(end.number, _Stream(end))
        if isinstance(order, SendSnapshot):
            stream.items.append(self._snapshot(stream, order.zxid))
        else:
            io = self._process.last_io
            stream.items.append(self._records(stream, order, io))
        self._go_on(stream)

    def answered(self, end: End, answer: SnapshotFrom) -> None:
        """Take the answer to an offer."""
        stream = self._streams.get(end.number)
        if stream is not None:
            stream.answer = answer
            self._go_on(stream)

    def persisted(self) -> None:
        """Go on where the disk was waited for."""
        for stream in self._streams.values():
            self._go_on(stream)

    def forget(self, number: int) -> None:
        """The link is gone."""
        stream = self._streams.pop(number, None)
        if stream is not None:
            for reading in stream.readings:
                reading.close()

    def links(self) -> list[End]:
        """Return the links over which something is under way."""
        return [stream.end for stream in self._streams.values()]

    # --- steps ---

    def _go_on(self, stream: _Stream) -> None:
        if not stream.is_due:
            stream.is_due = True
            process = self._process
            delay = _STEP
            if process.kernel.oddly("stream.slow"):
                delay += 100_000
            process.kernel.after(delay, process, partial(self._step, stream))

    def _step(self, stream: _Stream) -> None:
        stream.is_due = False
        number, process = stream.end.number, self._process
        while self._streams.get(number) is stream:
            if not stream.items:
                del self._streams[number]
                return
            item = stream.items[0]
            if not isinstance(item, Generator):
                process.network.send(stream.end, item)
                stream.items.popleft()
                continue
            try:
                bodies = next(item, None)
            except (OSError, StorageError) as error:
                process.cannot_send(stream.end, error)
                return
            if bodies is None:
                stream.items.popleft()
                continue
            for body in bodies:
                process.put(stream.end, body)
            if bodies:
                self._go_on(stream)
            return

    def _snapshot(self, stream: _Stream, zxid: Zxid) -> _Job:
        process, log = self._process, self._process.store.log
        reading = log.read_snapshot(zxid)
        stream.readings.append(reading)
        distrust = partial(log.distrust_snapshot, zxid)
        size, digest = self._trusting(reading.identify, distrust)
        yield [SnapshotOffer(zxid, size, digest)]
        offset = yield from self._answer(stream)
        if 0 < offset < size:
            process.kernel.mark("snapshot.resumed")
        if offset == size:
            return
        reading.begin_at(offset)
        bodies: list[Body] = []
        pending = 0
        while (chunk := self._trusting(reading.next, distrust)) is not None:
            for part in self._parts(chunk):
                bodies.append(SnapshotPiece(zxid, offset, part))
                offset += len(part)
                pending += len(part)
                if pending * _SNAPSHOT_STEPS >= size:
                    yield bodies
                    bodies, pending = [], 0
        if bodies:
            yield bodies
        yield from self._answer(stream)

    def _answer(self, stream: _Stream) -> Generator[list[Body], None, int]:
        while stream.answer is None:
            yield []
        answer, stream.answer = stream.answer, None
        return answer.offset

    def _parts(self, chunk: bytes) -> list[bytes]:
        size = self._process.profile.piece_bytes
        if self._process.kernel.oddly("snapshot.tiny-pieces"):
            size = 17
        return [chunk[i : i + size] for i in range(0, len(chunk), size)]

    def _records(self, stream: _Stream, order: SendRecords, io: int) -> _Job:
        process, log = self._process, self._process.store.log
        while process.durable_io < io:
            yield []
        reading = log.read_records(order.after, order.upto)
        stream.readings.append(reading)

        def distrust() -> None:
            log.distrust_segment(reading.segment)

        previous, bodies = order.after, list[Body]()
        while (records := self._trusting(reading.next, distrust)) is not None:
            transactions = [(Zxid(zxid), payload) for zxid, payload in records]
            for proposal in pack_proposals(
                order.epoch, previous, transactions, process.profile.settings
            ):
                bodies.append(proposal)
                if len(bodies) == _PROPOSALS:
                    yield bodies
                    bodies = []
            if transactions:
                previous = transactions[-1][0]
        if order.after < log.extent.base:
            process.kernel.mark("sync.purged-while-sending")
        if bodies:
            yield bodies

    def _trusting(self, read: Callable[[], T], distrust: Callable[[], None]) -> T:
        """Read; if that shows damage, do not read it again."""
        try:
            self._may_fail()
            return read()
        except (CorruptLogError, OSError):
            self._process.kernel.mark("sync.damage-found")
            distrust()
            raise

    def _may_fail(self) -> None:
        if self._process.kernel.oddly("stream.unreadable", 0.1):
            raise OSError(errno.EIO, "simulated failure of read")
