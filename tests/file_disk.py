"""A disk of :class:`consensus_world.World` made of real files and the real log.

The code between an effect and the file is the file store's own, without its
thread and its waiting: ``Log`` and ``recover`` over a ``FakeSystem``, which
knows what a power loss would leave. Closing the disk *is* a power loss: what
was not synced is gone, or torn in half.
"""

from __future__ import annotations

import errno
from pathlib import Path

import attrs

from consensus_world import Disk, DiskStopped, Durable, decode_tree, encode_tree
from coordlib.consensus import (
    Append,
    Cut,
    InstallSnapshot,
    Metadata,
    SaveMetadata,
    Stored,
    Transaction,
)
from coordlib.ids import NO_ZXID, MemberId, Zxid
from coordlib.replica.metadata import encode_metadata, recovered_metadata
from coordlib.storage.directory import Directory
from coordlib.storage.interface import Damage, Entry, EntryKind, Recovered
from coordlib.storage.log import Bounds, Log
from coordlib.storage.record import Identity
from coordlib.storage.recovery import recover
from storage.fake_system import FakeSystem, Image, write_image
from storage.stored import in_memory

__all__ = ["FileDisk"]

BOUNDS = Bounds(segment_bytes_max=1 << 20, snapshots_kept=2)


class PowerLost(Exception):  # noqa: N818 - an event
    """The power fails before this step."""


def entries_of(effect: Durable) -> list[Entry]:
    match effect:
        case Append(transactions=transactions):
            return [(EntryKind.TRANSACTION, z, p) for z, p in transactions]
        case Cut(zxid=zxid):
            return [(EntryKind.CUT, zxid, b"")]
        case SaveMetadata(metadata=metadata):
            return [(EntryKind.META, 0, encode_metadata(metadata))]
        case InstallSnapshot(zxid=zxid, body=body):
            return [(EntryKind.BASE, zxid, body)]


@attrs.define(eq=False)
class FileDisk:
    """One member's data directory; implements ``Contents``.

    Attributes:
      path: The directory.
      member: Whose it is.
      fails_at: The step of the next write (``write``, ``sync``, ``rename``, ...)
        at which the power fails; or, with ``error``, the disk.
      error: Whether the disk says so, instead of the power going.
      torn: Whether the next power loss leaves half of what was not synced.

    """

    path: Path
    member: MemberId
    fails_at: str = ""
    error: bool = False
    torn: bool = False
    # As of the last start.
    metadata: Metadata = attrs.field(factory=Metadata)
    base: Zxid = NO_ZXID
    log: list[Transaction] = attrs.field(factory=list)
    snapshot: list[Transaction] = attrs.field(factory=list)
    damage: tuple[Damage, ...] = ()
    _system: FakeSystem = attrs.field(factory=FakeSystem)
    _open: tuple[Directory, Log] | None = None
    # What a power loss would leave, and what that amounts to.
    _image: Image | None = None
    _durable: Disk = attrs.field(factory=Disk)

    def __attrs_post_init__(self) -> None:
        self.path.mkdir()

    def open(self) -> None:
        self._system = FakeSystem(before=self._before)
        directory, log, recovered = self._start(self.path, self._system)
        self._open, self.damage = (directory, log), recovered.damage
        state = self._decode(recovered)
        self.metadata, self.base = state.metadata, state.base
        self.log, self.snapshot = state.log, state.snapshot

    def write(self, effect: Durable) -> None:
        log = self._log()
        try:
            log.append(entries_of(effect))
            log.flush()
        except OSError as error:
            raise DiskStopped(f"the disk failed: {error.strerror}") from error
        except PowerLost as lost:
            raise DiskStopped("the power failed") from lost

    def save(self, tree: list[Transaction]) -> None:
        log, zxid = self._log(), tree[-1][0]
        log.stage_snapshot(zxid, [encode_tree(tree)])
        log.publish_snapshot(zxid)

    def stored(self) -> Stored:
        extent = self._log().extent
        kept = extent.snapshot
        snapshot = None if kept is None else (Zxid(kept[0]), kept[1])
        return Stored(Zxid(extent.base), extent.parts, snapshot)

    def read_snapshot(self, zxid: Zxid) -> list[Transaction]:
        reading = self._log().read_snapshot(zxid)
        chunks = []
        while (chunk := reading.next()) is not None:
            chunks.append(chunk)
        reading.close()
        return decode_tree(b"".join(chunks))

    def read_records(self, after: Zxid, upto: Zxid) -> list[Transaction]:
        log = self._log()
        last = min(upto, log._at.course.last)
        records: list[Transaction] = []
        if after < last:
            reading = log.read_records(after, last)
            while (batch := reading.next()) is not None:
                records += [(Zxid(zxid), payload) for zxid, payload in batch]
            reading.close()
        return records

    def close(self) -> None:
        image = self._durable_image()
        directory, log = self._open or (None, None)
        if directory is not None and log is not None:
            log.close()
            directory.close()
        self._open, self.fails_at, self.torn = None, "", False
        write_image(image, self.path)

    def image(self) -> Image:
        """Return what is durable."""
        return self._durable_image()

    def put_back(self, image: Image) -> None:
        """Become an old copy; not while in use."""
        assert self._open is None, "the member runs"
        write_image(image, self.path)

    def rot(self) -> None:
        """Flip a bit of the log; not while in use."""
        assert self._open is None, "the member runs"
        first = min(self.path.glob("log.*"))
        content = bytearray(first.read_bytes())
        content[len(content) // 2] ^= 1
        first.write_bytes(content)

    def holds(self, transaction: Transaction) -> bool:
        """Tell whether recovery would find it, if the power failed right now."""
        image = self._durable_image()
        if image != self._image:
            self._image, self._durable = image, self.after_power_loss(image)
        return self._durable.holds(transaction)

    def after_power_loss(self, image: Image | None = None) -> Disk:
        """Return what recovery would find, if the power failed right now."""
        path = self.path.with_name(f"{self.path.name}-image")
        write_image(self._durable_image() if image is None else image, path)
        directory, log, recovered = self._start(path, FakeSystem())
        log.close()
        directory.close()
        return self._decode(recovered)

    @staticmethod
    def _decode(recovered: Recovered) -> Disk:
        return Disk(
            recovered_metadata(recovered),
            Zxid(recovered.base),
            [(Zxid(zxid), payload) for zxid, payload in recovered.records],
            decode_tree(b"".join(recovered.snapshot.pieces))
            if recovered.snapshot
            else [],
        )

    def _start(
        self, path: Path, system: FakeSystem
    ) -> tuple[Directory, Log, Recovered]:
        path.mkdir(exist_ok=True)
        system.adopt(path)
        directory = Directory.open(path, system)
        identity = Identity(self.member, "scenario")
        try:
            recovered, position = recover(directory, identity, repairable=True)
            log = Log(directory, identity, BOUNDS, position)
            log.open()
        except BaseException:
            directory.close()
            raise
        return directory, log, in_memory(recovered)

    def _log(self) -> Log:
        assert self._open is not None, "the member is down"
        return self._open[1]

    def _durable_image(self) -> Image:
        """Return all that was synced; the name's last sync decides, too."""
        if self._open is None:
            return tuple((p.name, p.read_bytes()) for p in sorted(self.path.iterdir()))
        return tuple(
            (name, file.after_crash()[2 if self.torn else 1])
            for name, file in sorted(self._system.durable_names.items())
            if name != "LOCK"
        )

    def _before(self, operation: str, name: str) -> None:
        if self._open is None or operation != self.fails_at:
            return
        self.fails_at = ""
        if self.error:
            raise OSError(errno.EIO, "Input/output error", name)
        raise PowerLost
