"""A link whose other end reads too slowly, and what waits behind a job."""

from __future__ import annotations

import attrs
import trio
import trio.testing

from coordlib.ids import MemberId
from coordlib.replica.links import Job, ReplicaLink, ReplicaLinks

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


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


def test_what_waits_behind_a_job_is_bounded_too_but_pings_go_ahead() -> None:
    link = FakeLink()
    replica_link = ReplicaLink(1, link, BACKLOG)
    replica_link.hold(nothing)
    for _ in range(BACKLOG // 10):
        replica_link.send(b"ping", urgent=True)
        replica_link.send(b"x" * 10)
    assert set(link.sent) == {b"ping"}
    assert not link.closed

    replica_link.send(b"x" * 10)
    assert link.closed


async def test_as_much_as_a_job_sends_may_come_behind_it() -> None:
    link = FakeLink()
    replica_link = ReplicaLink(1, link, BACKLOG)

    async def job() -> None:
        for _ in range(BACKLOG):
            await replica_link.send_patiently(b"x" * 10)
            replica_link.send(b"y" * 10)

    replica_link.hold(job)
    await replica_link.send_held()

    assert not link.closed
    assert link.sent == [b"x" * 10] * BACKLOG + [b"y" * 10] * BACKLOG


async def test_jobs_and_what_is_between_leave_in_order() -> None:
    link = FakeLink()
    replica_link = ReplicaLink(1, link, BACKLOG)

    def job(frame: bytes) -> Job:
        return lambda: replica_link.send_patiently(frame)

    assert replica_link.hold(job(b"1"))
    replica_link.send(b"2")
    assert not replica_link.hold(job(b"3"))
    replica_link.send(b"4")
    await replica_link.send_held()
    assert not replica_link.has_jobs
    replica_link.send(b"5")

    assert link.sent == [b"1", b"2", b"3", b"4", b"5"]


async def test_jobs_end_with_their_link() -> None:
    links, link = ReplicaLinks(BACKLOG), FakeLink()
    replica_link = links.add(link)

    async with trio.open_nursery() as nursery:
        replica_link.hold(trio.sleep_forever)
        replica_link.send(b"x")
        nursery.start_soon(replica_link.send_held)
        await trio.testing.wait_all_tasks_blocked()
        assert links.with_jobs() == [replica_link.id]
        links.remove(replica_link)

    assert link.sent == []
