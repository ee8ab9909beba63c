"""Who is told of what, and queues that stay bounded."""

from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from coordlib import Create, Ensemble, EventType, Gap, WatchedEvent, Zxid
from coordlib.replica.ringer import Ringer
from coordlib.replica.subscriptions import EventQueue, Subscriptions
from coordlib.tree import TreeEvent, WatchKind, encode_request, stamp


def event(zxid: int, path: str = "/a") -> WatchedEvent:
    return WatchedEvent(EventType.CREATED, path, zxid)


def created(zxid: int, path: str = "/a") -> TreeEvent:
    return TreeEvent(EventType.CREATED, path, zxid)


def test_each_sink_gets_the_events_of_its_watch() -> None:
    subscriptions = Subscriptions()
    at_a: list[WatchedEvent] = []
    below: list[WatchedEvent] = []
    subscriptions.add("/a", WatchKind.PERSISTENT, at_a.append)
    subscriptions.add("/", WatchKind.RECURSIVE, below.append)
    subscriptions.fire([created(1), created(2, "/b")])

    assert at_a == [event(1)]
    assert below == [event(1), event(2, "/b")]


def test_a_removed_watch_is_told_nothing_even_while_others_are_told() -> None:
    subscriptions = Subscriptions()
    told: list[str] = []

    def tell_first(_: WatchedEvent) -> None:
        told.append("first")
        subscriptions.remove(second)

    first = subscriptions.add("/a", WatchKind.PERSISTENT, tell_first)
    second = subscriptions.add(
        "/a", WatchKind.PERSISTENT, lambda _: told.append("second")
    )
    subscriptions.fire([created(1)])
    assert told == ["first"]
    assert len(subscriptions) == 1

    subscriptions.remove(first)
    subscriptions.remove(first)
    subscriptions.fire([created(2)])
    assert told == ["first"]
    assert len(subscriptions) == 0


def test_everybody_is_told_of_a_snapshot_at_the_own_path() -> None:
    subscriptions = Subscriptions()
    told: list[WatchedEvent] = []
    subscriptions.add("/a", WatchKind.PERSISTENT, told.append)
    subscriptions.add("/b/c", WatchKind.RECURSIVE, told.append)
    subscriptions.resync(7)

    assert told == [
        WatchedEvent(EventType.RESYNC, "/a", 7, gap=Gap.SNAPSHOT),
        WatchedEvent(EventType.RESYNC, "/b/c", 7, gap=Gap.SNAPSHOT),
    ]


async def test_a_queue_gives_its_events_in_order() -> None:
    queue = EventQueue("/a", 10, Ringer())
    for zxid in (1, 2, 3):
        queue.put(event(zxid))
    for zxid in (1, 2, 3):
        with assert_checkpoints():
            assert (await queue.get()).zxid == zxid


async def test_a_queue_wakes_its_reader() -> None:
    queue = EventQueue("/a", 10, Ringer())
    got: list[WatchedEvent] = []

    async def read() -> None:
        got.append(await queue.get())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        queue.put(event(1))

    assert got == [event(1)]


async def test_a_full_queue_says_so_once_and_goes_on() -> None:
    queue = EventQueue("/w", 3, Ringer())
    for zxid in range(1, 6):
        queue.put(event(zxid))

    overrun = WatchedEvent(EventType.RESYNC, "/w", 4, gap=Gap.OVERRUN)
    assert await queue.get() == overrun
    assert await queue.get() == event(5)


def test_a_queue_that_nobody_reads_stays_bounded() -> None:
    queue = EventQueue("/w", 100, Ringer())
    for zxid in range(10_000):
        queue.put(event(zxid))

    assert len(queue._events) <= 100
    assert queue._events[0].type is EventType.RESYNC


async def test_the_error_comes_after_the_events() -> None:
    queue = EventQueue("/a", 10, Ringer())
    queue.put(event(1))
    queue.end(KeyError("over"))

    assert await queue.get() == event(1)
    for _ in range(2):
        with pytest.raises(KeyError):
            await queue.get()


async def test_a_cancelled_reader_loses_no_event() -> None:
    queue = EventQueue("/a", 10, Ringer())
    queue.put(event(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await queue.get()
    assert scope.cancelled_caught

    assert await queue.get() == event(1)


def test_a_snapshot_consumes_what_is_told_once() -> None:
    subscriptions = Subscriptions()
    told: list[WatchedEvent] = []
    for kind in WatchKind:
        subscriptions.add("/a", kind, told.append)
    subscriptions.resync(7)
    subscriptions.fire([created(8), TreeEvent(EventType.DELETED, "/a", 9)])

    assert [e.type for e in told[:5]] == [EventType.RESYNC] * 5
    assert len(told) == 5 + 4
    assert len(subscriptions) == len(subscriptions._table) == 2


async def test_a_slice_of_transactions_ends_when_many_watches_were_told() -> None:
    async with Ensemble() as ensemble:
        replica = ensemble._running()
        told: list[WatchedEvent] = []
        for _ in range(1000):
            replica.subscriptions.add("/", WatchKind.RECURSIVE, told.append)
        zxid = replica.tree.zxid
        creations = [encode_request(0, i, 0, Create(f"/{i}")) for i in range(10)]
        replica.deliver(
            [(Zxid(zxid + 1 + i), stamp(r, 0)) for i, r in enumerate(creations)]
        )

        # Those of two and a bit more are as many as one slice tells.
        assert len(told) == 3000
        await wait_all_tasks_blocked()
        assert len(told) == 10_000
