"""The in-memory network: its faults, all in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from coordlib.errors import ConfigError
from coordlib.ids import MemberId
from coordlib.transport.interface import HIGH_WATER_BYTES
from coordlib.transport.memory import MemoryNetwork
from transport.seat import ONE, THREE, TWO, Seat, in_virtual_time, running


def new_seat(network: MemoryNetwork, member: MemberId, count: int = 3) -> Seat:
    members = [MemberId(number) for number in range(1, count + 1)]
    return Seat(network.transport(member, members), member)


@asynccontextmanager
async def ensemble(network: MemoryNetwork, count: int) -> AsyncIterator[list[Seat]]:
    seats = [new_seat(network, MemberId(i + 1), count) for i in range(count)]
    async with running(*seats):
        yield seats


def link_to(seat: Seat, member: MemberId) -> int:
    return next(i for i, link in enumerate(seat.links) if link.member == member)


@in_virtual_time
async def test_every_pair_has_one_link() -> None:
    async with ensemble(MemoryNetwork(), 3) as seats:
        await trio.sleep(5)

        peers = [sorted(link.member for link in seat.links) for seat in seats]
        assert peers == [[2, 3], [1, 3], [1, 2]]


@in_virtual_time
async def test_a_frame_arrives_after_the_latency() -> None:
    async with ensemble(MemoryNetwork(latency=0.25), 2) as (one, two):
        sent_at = trio.current_time()
        one.links[0].send(b"a")
        await trio.sleep(0.125)
        one.links[0].send(b"b")

        assert await two.frames(2) == [b"a", b"b"]
        assert two.times == pytest.approx([sent_at + 0.25, sent_at + 0.375])


@in_virtual_time
async def test_a_partition_holds_frames_and_healing_delivers_them_in_order() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, two):
        one.links[0].send(b"in flight")
        network.partition({1}, {2})
        one.links[0].send(b"held")
        two.links[0].send(b"held, too")
        await trio.sleep(60)
        assert two.received == one.received == []

        network.heal()
        one.links[0].send(b"late")

        assert await two.frames(3) == [b"in flight", b"held", b"late"]
        assert await one.frames(1) == [b"held, too"]
        assert one.closed == two.closed == []


@in_virtual_time
async def test_a_one_way_cut_leaves_the_other_way_open() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, two):
        network.cut(1, 2)
        one.links[0].send(b"deaf")
        two.links[0].send(b"heard")

        assert await one.frames(1) == [b"heard"]
        await trio.sleep(60)
        assert two.received == []


def test_members_in_no_group_of_a_partition_stay_together() -> None:
    network = MemoryNetwork()
    network.partition({1}, {2, 3})

    cut = [(a, b) for a in range(1, 6) for b in range(a, 6) if network.is_cut(a, b)]

    assert cut == [(1, 2), (1, 3), (1, 4), (1, 5), (2, 4), (2, 5), (3, 4), (3, 5)]


@in_virtual_time
async def test_a_new_partition_replaces_the_old_one_and_frees_its_frames() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 3) as (one, two, _three):
        network.partition({1}, {2, 3})
        one.links[link_to(one, TWO)].send(b"x")
        await trio.sleep(1)

        network.partition({3})

        assert await two.frames(1) == [b"x"]


def test_a_member_in_two_groups_is_an_error() -> None:
    with pytest.raises(ValueError, match="member 2 is in two groups"):
        MemoryNetwork().partition({1, 2}, {2, 3})


@in_virtual_time
async def test_a_close_follows_the_frames_sent_before_it() -> None:
    async with ensemble(MemoryNetwork(), 2) as (one, two):
        one.links[0].send(b"last words")
        one.links[0].close()

        await two.until(lambda: len(two.closed) == 1)
        assert two.received == [b"last words"]


@in_virtual_time
async def test_closing_again_changes_nothing() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, two):
        one.links[0].send(b"in flight")
        one.links[0].close()
        network.cut(1, 2)
        one.links[0].close()
        network.heal()

        await two.until(lambda: len(two.closed) == 1)
        assert two.received == [b"in flight"]


@in_virtual_time
async def test_a_close_behind_a_cut_is_noticed_only_after_healing() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, two):
        network.cut(1, 2)
        one.links[0].send(b"held and then lost")
        one.links[0].close()
        await trio.sleep(60)
        assert two.closed == []

        network.heal()

        await two.until(lambda: len(two.closed) == 1)
        assert two.received == []


@pytest.mark.parametrize("cut", [(1, 2), (2, 1)])
@in_virtual_time
async def test_nobody_dials_across_a_cut(cut: tuple[int, int]) -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, two):
        network.cut(*cut)
        one.links[0].close()
        two.links[0].close()
        await trio.sleep(60)
        assert len(one.links) == len(two.links) == 1

        network.heal()

        await one.link()
        await two.link()


@in_virtual_time
async def test_a_crash_breaks_links_at_both_ends_and_a_restart_is_dialled() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, two), trio.open_nursery() as nursery:
        network.crash(1)
        assert one.closed == []
        await one.until(lambda: len(one.closed) == 1)
        await two.until(lambda: len(two.closed) == 1)
        await trio.sleep(60)
        assert len(two.links) == 1

        again = new_seat(network, ONE, 2)
        await nursery.start(again.run)
        (await again.link()).send(b"back")

        assert await two.frames(1) == [b"back"]
        assert len(one.links) == 1
        again.scope.cancel()


@in_virtual_time
async def test_a_crashed_member_does_not_dial() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, _two):
        network.crash(2)
        await trio.sleep(60)

        assert len(one.links) == 1
        assert len(one.closed) == 1


@in_virtual_time
async def test_a_member_that_crashes_while_it_dials_makes_no_link() -> None:
    network = MemoryNetwork(latency=1)
    one, two = new_seat(network, ONE, 2), new_seat(network, TWO, 2)
    async with running(one), trio.open_nursery() as nursery:
        await nursery.start(two.run)
        await trio.sleep(1)
        network.crash(2)
        await trio.sleep(60)

        assert one.links == two.links == []
        two.scope.cancel()


@in_virtual_time
async def test_a_new_link_replaces_one_whose_close_is_still_under_way() -> None:
    network = MemoryNetwork(latency=30)
    async with ensemble(network, 2) as (one, two), trio.open_nursery() as nursery:
        two.scope.cancel()
        network.latency = 0
        again = new_seat(network, TWO, 2)
        await trio.testing.wait_all_tasks_blocked()
        await nursery.start(again.run)
        with trio.fail_after(1):
            await one.until(lambda: one.closed == one.links[:1])

        again.links[0].send(b"new")
        assert await one.frames(1) == [b"new"]
        again.scope.cancel()


@in_virtual_time
async def test_a_crash_behind_a_cut_is_noticed_only_after_healing() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, _two):
        network.partition({1}, {2})
        network.crash(2)
        await trio.sleep(60)
        assert one.closed == []

        network.heal()

        await one.until(lambda: len(one.closed) == 1)


@in_virtual_time
async def test_a_cancelled_transport_closes_its_links() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, two):
        one.scope.cancel()

        await two.until(lambda: len(two.closed) == 1)


@in_virtual_time
async def test_held_frames_count_towards_the_high_water_mark() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2) as (one, _two):
        network.cut(1, 2)
        assert one.links[0].send(bytes(HIGH_WATER_BYTES - 1))
        assert not one.links[0].send(b"x")

        with trio.move_on_after(60) as patience:
            await one.links[0].wait_writable()
        assert patience.cancelled_caught

        network.heal()
        await one.links[0].wait_writable()
        assert one.links[0].send(b"y")


@in_virtual_time
async def test_pauses_between_dials_grow_to_half_a_second() -> None:
    network = MemoryNetwork(latency=0)
    one, two = new_seat(network, ONE, 2), new_seat(network, TWO, 2)
    one.name = "another"
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        await trio.sleep(60)

        # 10 + 20 + ... + 320 ms, then one each half second.
        assert one.refused()["name"] == 6 + 119
        nursery.cancel_scope.cancel()


@in_virtual_time
async def test_after_a_link_the_first_pause_is_short_again() -> None:
    network = MemoryNetwork(latency=0)
    two = new_seat(network, TWO, 2)
    async with running(two):
        await trio.sleep(60)
        one = new_seat(network, ONE, 2)
        async with running(one):
            await one.linked(1)
            one.links[0].close()
            closed_at = trio.current_time()

            await one.linked(2)
            assert trio.current_time() - closed_at == pytest.approx(0.01)


@in_virtual_time
async def test_one_member_runs_once_at_a_time() -> None:
    network = MemoryNetwork()
    async with ensemble(network, 2):
        with pytest.raises(ConfigError, match="member 1 is already running"):
            await new_seat(network, ONE, 2).run()


def test_a_member_outside_the_ensemble_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="member 3 is not in"):
        MemoryNetwork().transport(THREE, [ONE, TWO])
