"""What a member's disk would still hold after a power loss, read from outside.

Oracles trust the disk's durable bytes and nothing that the member believes. So
the records are parsed here anew, without storage's reader; only the layout is
shared (see ``coordlib.storage.record``). Reading goes on where it stopped.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import attrs

from coordlib.consensus import Metadata
from coordlib.errors import StorageError
from coordlib.ids import MemberId
from coordlib.replica.metadata import decode_metadata
from coordlib.storage.directory import snapshot_name
from coordlib.storage.interface import EntryKind
from coordlib.storage.record import SEAL, Identity, SegmentHead
from coordlib.storage.snapshot import read_snapshot

from .disk import Disk, File
from .kernel import Violation

__all__ = ["Image"]

_HEAD = struct.Struct(">2sBIQ8sI")
_CHECKED = _HEAD.size - 4
_PLACE_STEP = 2654435761


@attrs.define
class _Segment:
    number: int
    file: File
    offset: int


@attrs.define(eq=False)
class Image:
    """The durable state of one member.

    Attributes:
      metadata: The last that is durable.
      records: Payload of each zxid after ``base`` that the log holds.
      last: The end of the log.
      base: After which the log begins.
      forgotten: What was durable and destroyed by us, wiping or damaging the
        disk, until the member is synchronised again. Its acknowledgements
        may be under way, and the protocol protects what they stand for
        otherwise: nobody counts a disk that is not seasoned.
      damage: The file that rotted; empty if none did. What is known of the disk
        stays as it was before, until the member is repaired.
      rolled_back: The disk is an old copy, which nothing on it tells. Until its
        member is told so, and writes it down.

    """

    member: MemberId
    disk: Disk
    identity: Identity
    mark: Callable[[str], None]
    metadata: Metadata = attrs.field(factory=Metadata, init=False)
    records: dict[int, bytes] = attrs.field(factory=dict, init=False)
    last: int = attrs.field(default=0, init=False)
    base: int = attrs.field(default=0, init=False)
    forgotten: dict[int, bytes] = attrs.field(factory=dict, init=False)
    damage: str = attrs.field(default="", init=False)
    rolled_back: bool = attrs.field(default=False, init=False)
    _forgotten_epoch: int = attrs.field(default=0, init=False)
    _segment: _Segment | None = attrs.field(default=None, init=False)
    _version: int = attrs.field(default=-1, init=False)
    _rewritten: int = attrs.field(default=0, init=False)

    def refresh(self) -> Image:
        """Read what became durable since the last call."""
        if self.disk.version != self._version and not self.damage:
            end, metadata = self._end, self.metadata
            if self.disk.rewritten != self._rewritten:
                self._start_over()
            self._version = self.disk.version
            self._rewritten = self.disk.rewritten
            self._read_on()
            if self._end < end:
                raise Violation(
                    "durable-log",
                    f"member {self.member}: the log ended at {end} of its segments and "
                    f"bytes, now at {self._end}",
                )
            self._check_rise(metadata, self.metadata)
            self._note_repair(metadata)
        return self

    def _note_repair(self, before: Metadata) -> None:
        """See whether what was lost is there again, or known to be lost."""
        if before.damaged and self.metadata.seasoned:
            self.mark("damaged.repaired")
        if self.rolled_back:
            if not self.metadata.seasoned:
                self.mark("rolled-back.told")
                self.rolled_back = False
        elif self.metadata.seasoned and (self.forgotten or self._forgotten_epoch):
            self.mark("wiped.synchronised")
            self.forgotten.clear()
            self._forgotten_epoch = 0

    @property
    def remembers(self) -> bool:
        """Whether the disk holds all that its member ever acknowledged."""
        sound = not (self.damage or self.rolled_back)
        return self.refresh().metadata.seasoned and sound

    @property
    def has_lost(self) -> bool:
        """Whether something was taken from the disk, and not given back yet."""
        return bool(self.rolled_back or self.forgotten or self._forgotten_epoch)

    def has_entered(self, epoch: int) -> bool:
        """Tell whether the disk knows that this epoch, or a later one, began."""
        known = max(self.refresh().metadata.current_epoch, self._forgotten_epoch)
        return known >= epoch

    @property
    def end(self) -> tuple[int, int]:
        """The last segment's number, and where its good records end."""
        self.refresh()
        return self._end

    @property
    def _end(self) -> tuple[int, int]:
        segment = self._segment
        return (segment.number, segment.offset) if segment is not None else (0, 0)

    def holds(self, zxid: int, payload: bytes) -> bool:
        """Tell whether the transaction is safe here."""
        found = self.refresh().records.get(zxid)
        if found is None:
            found = self.forgotten.get(zxid)
        return found == payload

    def forget_all(self) -> None:
        """Note that everything is about to be destroyed on purpose."""
        self.forgotten |= self.refresh().records
        self._forgotten_epoch = max(self._forgotten_epoch, self.metadata.current_epoch)
        self.damage, self.rolled_back = "", False
        self._start_over()

    def _start_over(self) -> None:
        self.records, self._segment = {}, None
        self.metadata, self.last, self.base = Metadata(), 0, 0

    def _read_on(self) -> None:
        durable = self.disk.durable_names
        if self._segment is not None:
            # It may have been removed since; what it said still counts.
            self._read_segment(self._segment)
        numbers = sorted(
            int(name[4:], 16) for name in durable if name.startswith("log.")
        )
        for number in numbers:
            if self._segment is None or number > self._segment.number:
                self._open_segment(number, durable[f"log.{number:016x}"])

    def _open_segment(self, number: int, file: File) -> None:
        head = SegmentHead.decode("", bytes(file.durable[:4096]), self.identity)
        if self._segment is None or number > self._segment.number + 1:
            self.records.clear()
            self.base = self.last = head.base
            self._check_epochs(decode_metadata(head.meta))
        self._segment = _Segment(number, file, head.size)
        self._read_segment(self._segment)

    def _read_segment(self, segment: _Segment) -> None:
        data = segment.file.durable
        while segment.offset + _HEAD.size <= len(data):
            offset = segment.offset
            magic, kind, size, zxid, _, crc = _HEAD.unpack_from(data, offset)
            body_at = offset + _HEAD.size
            place = segment.number * _PLACE_STEP + offset & 0xFFFFFFFF
            found = zlib.crc32(data[offset : offset + _CHECKED], place)
            body = bytes(data[body_at : body_at + size])
            if magic != b"\xc0\x1d" or zlib.crc32(body, found) != crc:
                return  # The rest was torn by a power loss.
            segment.offset = body_at + size
            if kind != SEAL:
                self._apply(kind, zxid, body)

    def _apply(self, kind: int, zxid: int, body: bytes) -> None:
        if kind == EntryKind.TRANSACTION:
            self.records[zxid] = body
            self.last = zxid
        elif kind == EntryKind.META:
            self._check_epochs(decode_metadata(body))
        elif kind == EntryKind.CUT:
            while self.records and next(reversed(self.records)) > zxid:
                self.records.popitem()
            self.last = next(reversed(self.records), self.base)
            self.base = min(self.base, zxid)
            self.last = max(self.base, min(self.last, zxid))
        else:
            self._check_base(zxid)
            self.base = self.last = zxid
            self.records.clear()

    def _check_epochs(self, metadata: Metadata) -> None:
        self._check_rise(self.metadata, metadata)
        self.metadata = metadata

    def _check_rise(self, known: Metadata, metadata: Metadata) -> None:
        """What a member promised and followed only grows, also over its restarts."""
        if (
            metadata.accepted_epoch < known.accepted_epoch
            or metadata.current_epoch < known.current_epoch
            or metadata.accepted_epoch < metadata.current_epoch
        ):
            raise Violation(
                "epoch-monotonicity",
                f"member {self.member} wrote {metadata} after {known}",
            )

    def _check_base(self, zxid: int) -> None:
        """A log that begins after a snapshot needs the snapshot to be there."""
        name = snapshot_name(zxid)
        if max(self.disk.durable_names, default="") > name:
            return  # A newer one has taken its place.
        file = self.disk.durable_names.get(name)

        def read(offset: int, size: int) -> bytes:
            return bytes(file.durable[offset : offset + size]) if file else b""

        try:
            for _ in read_snapshot(name, zxid, read, self.identity):
                pass
        except StorageError as error:
            raise Violation(
                "durable-base", f"member {self.member} relies on {name}: {error}"
            ) from error
