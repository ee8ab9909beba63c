"""What every transport owes a replica, tried on all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordlib.ids import MemberId
from coordlib.transport.interface import (
    HIGH_WATER_BYTES,
    UNKNOWN_ENSEMBLE,
    Link,
    LinkClosed,
)
from coordlib.transport.memory import MemoryNetwork
from coordlib.transport.tcp import TcpTransport
from transport.ports import free_addresses
from transport.seat import ENSEMBLE_ID, ONE, THREE, TWO, Seat, running

NewSeat = Callable[[MemberId], Seat]


@pytest.fixture(params=["memory", "tcp"])
def new_seat(request: pytest.FixtureRequest) -> NewSeat:
    """Make seats of one ensemble of three."""
    members = [ONE, TWO, THREE]
    network = MemoryNetwork(latency=0)
    addresses = free_addresses(members)

    def new(member: MemberId) -> Seat:
        if request.param == "memory":
            return Seat(network.transport(member, members), member)
        return Seat(TcpTransport(member, addresses), member)

    return new


async def test_frames_arrive_whole_and_in_order(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    frames = [bytes([i]) * (1 + i * 37 % 700) for i in range(256)]
    with trio.fail_after(5):
        async with running(one, two):
            for i, frame in enumerate(frames):
                one.links[0].send(frame)
                two.links[0].send(frame[::-1])
                # Now in one go, now apart: both ways of sending take part.
                if i % 7 == 0:
                    await two.frames(i)

            assert await two.frames(256) == frames
            assert await one.frames(256) == frames


async def test_big_frames_arrive_between_small_ones(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    frames = [b"a", bytes(8 << 20), b"b", b"c" * 70_000, bytes(8 << 20), b"d"]
    with trio.fail_after(5):
        async with running(one, two):
            for frame in frames:
                two.links[0].send(frame)

            assert await one.frames(6) == frames


async def test_a_link_says_who_is_at_its_other_end(new_seat: NewSeat) -> None:
    one, three = new_seat(ONE), new_seat(THREE)
    with trio.fail_after(5):
        async with running(one, three):
            assert one.links[0].member == THREE
            assert three.links[0].member == ONE


async def test_a_slow_reader_is_felt_at_the_high_water_mark(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    two.reading = False
    frame = bytes(HIGH_WATER_BYTES // 4)
    with trio.fail_after(5):
        async with running(one, two):
            sent = 1
            while one.links[0].send(frame):
                await trio.lowlevel.checkpoint()
                sent += 1
            with trio.move_on_after(0.01) as patience:
                await one.links[0].wait_writable()
            assert patience.cancelled_caught

            two.reading = True
            two.changed()
            await one.links[0].wait_writable()

            assert len(await two.frames(sent)) == sent
            assert one.links[0].send(b"more")


@pytest.mark.parametrize("closer", [ONE, TWO])
async def test_a_waiting_sender_is_released_when_the_link_closes(
    new_seat: NewSeat, closer: MemberId
) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    one.reading = two.reading = False
    with trio.fail_after(5):
        async with running(one, two), trio.open_nursery() as nursery:
            while one.links[0].send(bytes(HIGH_WATER_BYTES)):
                await trio.lowlevel.checkpoint()
            nursery.start_soon(one.links[0].wait_writable)
            await wait_all_tasks_blocked(0.01)

            (one, two)[closer - 1].links[0].close()


async def test_what_was_not_received_before_a_close_is_lost(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    two.reading = False
    with trio.fail_after(5):
        async with running(one, two):
            one.links[0].send(b"unread")
            await wait_all_tasks_blocked(0.01)
            two.links[0].close()

            with pytest.raises(LinkClosed):
                await two.links[0].recv()


async def test_a_close_is_seen_at_both_ends_and_a_new_link_made(
    new_seat: NewSeat,
) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    with trio.fail_after(5):
        async with running(one, two):
            one.links[0].close()
            one.links[0].close()
            await one.until(lambda: one.closed == one.links[:1])
            await two.until(lambda: two.closed == two.links[:1])

            await one.linked(2)
            await two.linked(2)
            one.links[1].send(b"again")
            assert await two.frames(1) == [b"again"]


async def test_frames_on_a_closed_link_vanish(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    with trio.fail_after(5):
        async with running(one, two):
            one.links[0].close()

            assert one.links[0].send(b"x")
            await one.links[0].wait_writable()
            with pytest.raises(LinkClosed):
                await one.links[0].recv()
            await two.until(lambda: len(two.closed) == 1)
            assert two.received == []


async def test_returning_from_serve_closes_the_link(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)

    async def serve_no_more(_link: Link) -> None:
        await trio.lowlevel.checkpoint()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(one.run)
            await nursery.start(two.transport.run, two.hello, serve_no_more)

            await one.until(lambda: len(one.closed) >= 1)
            nursery.cancel_scope.cancel()


async def test_an_error_of_serve_leaves_run(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)

    async def fail(_link: Link) -> None:
        raise ZeroDivisionError("our own bug")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(one.run)
            with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
                await two.transport.run(two.hello, fail)
            one.scope.cancel()


async def test_a_restarted_member_is_linked_again(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    with trio.fail_after(5):
        async with running(two), trio.open_nursery() as nursery:
            await nursery.start(one.run)
            await two.linked(1)
            one.scope.cancel()
            await two.until(lambda: len(two.closed) == 1)

            again = new_seat(ONE)
            await nursery.start(again.run)
            await again.linked(1)
            again.links[0].send(b"back")

            assert await two.frames(1) == [b"back"]
            again.scope.cancel()


async def test_another_name_is_refused_on_both_sides(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    two.name = "another"
    with trio.fail_after(5):
        await run_until_refused(one, two, "name")


async def test_another_ensemble_is_refused_on_both_sides(new_seat: NewSeat) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    two.ensemble_id = ENSEMBLE_ID[::-1]
    with trio.fail_after(5):
        await run_until_refused(one, two, "ensemble")


@pytest.mark.parametrize("newcomer", [ONE, TWO])
async def test_who_has_joined_no_ensemble_yet_is_welcome(
    new_seat: NewSeat, newcomer: MemberId
) -> None:
    seats = [new_seat(ONE), new_seat(TWO)]
    seats[newcomer - 1].ensemble_id = UNKNOWN_ENSEMBLE
    with trio.fail_after(5):
        async with running(*seats):
            assert seats[0].refused() == seats[1].refused() == {}


async def test_the_greeting_is_asked_anew_for_every_handshake(
    new_seat: NewSeat,
) -> None:
    one, two = new_seat(ONE), new_seat(TWO)
    two.name = "another"
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(one.run)
            await nursery.start(two.run)
            await two.until(lambda: two.greetings == 2)
            assert list(two.refused()) == ["name"]
            two.name = one.name

            await two.linked(1)
            nursery.cancel_scope.cancel()


async def run_until_refused(one: Seat, two: Seat, reason: str) -> None:
    """Run both until the dialler tries again; then both have counted once."""
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        await two.until(lambda: two.greetings == 2)
        nursery.cancel_scope.cancel()
    assert list(one.refused()) == list(two.refused()) == [reason]
    assert one.links == two.links == []
