"""A link whose other end reads too slowly, and what waits behind a snapshot."""

from __future__ import annotations

import attrs

from coordlib.consensus import Snapshot
from coordlib.ids import MemberId, Zxid
from coordlib.replica.links import ReplicaLink

BACKLOG = 100


@attrs.define(eq=False)
class FakeLink:
    member: MemberId = attrs.field(factory=lambda: MemberId(2))
    writable: bool = True
    sent: list[bytes] = attrs.field(factory=list)
    queued_bytes: int = 0
    closed: bool = False

    def send(self, frame: bytes) -> bool:
        self.sent.append(frame)
        self.queued_bytes = 0 if self.writable else self.queued_bytes + len(frame)
        return self.writable

    async def wait_writable(self) -> None:
        raise AssertionError("nothing here waits")

    async def recv(self) -> list[bytes]:
        raise AssertionError("nothing here reads")

    def close(self) -> None:
        self.closed = True


def test_a_member_that_reads_too_slowly_is_cut_off() -> None:
    link = FakeLink(writable=False)
    replica_link = ReplicaLink(1, link, BACKLOG)
    for _ in range(BACKLOG // 10):
        replica_link.send(b"x" * 10)
    assert not link.closed

    replica_link.send(b"x")
    assert link.closed


def test_a_member_that_catches_up_in_between_is_not() -> None:
    link = FakeLink()
    replica_link = ReplicaLink(1, link, BACKLOG)
    for i in range(BACKLOG):
        link.writable = i % 5 == 0
        replica_link.send(b"x" * 10)

    assert not link.closed


def test_a_member_that_keeps_up_above_the_mark_is_not() -> None:
    link = FakeLink(writable=False)
    replica_link = ReplicaLink(1, link, BACKLOG)
    for _ in range(BACKLOG):
        replica_link.send(b"x" * 10)
        link.queued_bytes = min(link.queued_bytes, BACKLOG // 2)

    assert not link.closed


def test_what_comes_behind_a_snapshot_that_is_decoded_is_bounded() -> None:
    link = FakeLink()
    replica_link = ReplicaLink(1, link, BACKLOG)
    replica_link.note_received([b"x" * 1000])
    replica_link.begin_staging(Snapshot(Zxid(1), b"x" * 50))
    replica_link.note_received([b"x" * BACKLOG, b"x" * 50])
    assert not link.closed

    replica_link.note_received([b"x"])
    assert link.closed


def test_what_waits_behind_a_snapshot_is_bounded_too_but_pings_go_ahead() -> None:
    link = FakeLink()
    replica_link = ReplicaLink(1, link, BACKLOG)
    replica_link.hold()
    for _ in range(BACKLOG // 10):
        replica_link.send(b"ping", urgent=True)
        replica_link.send(b"x" * 10)
    assert set(link.sent) == {b"ping"}
    assert not link.closed

    replica_link.send(b"x" * 10)
    assert link.closed
