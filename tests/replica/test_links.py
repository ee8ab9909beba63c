"""A link whose other end reads too slowly, and what waits behind a snapshot."""

from __future__ import annotations

import attrs

from coordlib.ids import MemberId
from coordlib.replica.links import ReplicaLink

BACKLOG = 100


@attrs.define(eq=False)
class FakeLink:
    member: MemberId = attrs.field(factory=lambda: MemberId(2))
    writable: bool = True
    sent: list[bytes] = attrs.field(factory=list)
    closed: bool = False

    def send(self, frame: bytes) -> bool:
        self.sent.append(frame)
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
