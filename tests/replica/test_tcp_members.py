"""Three members on loopback TCP in one process, and strangers at their ports."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio

from coordlib import ConfigError, Ensemble, MemberId, Role
from coordlib.transport.framing import encode_frames
from coordlib.transport.handshake import RECORD_BYTES, encode_greeting, make_greeting
from coordlib.transport.interface import UNKNOWN_ENSEMBLE, Hello
from replica.sessions import poll
from transport.ports import free_addresses

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)
NAME = "tcp-test"

Members = dict[int, Ensemble]


@asynccontextmanager
async def three_members() -> AsyncIterator[tuple[Members, dict[int, str]]]:
    free = free_addresses([ONE, TWO, THREE])
    addresses: dict[int, str] = {int(m): address for m, address in free.items()}
    async with AsyncExitStack() as stack:
        members = {
            m: await stack.enter_async_context(Ensemble(m, addresses, name=NAME))
            for m in addresses
        }
        with trio.fail_after(10):
            for ensemble in members.values():
                await ensemble.wait_ready()
        yield members, addresses


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


async def is_closed(stream: trio.SocketStream) -> bool:
    """Read until the other side hangs up."""
    with trio.move_on_after(5):
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        return True
    return False


async def check_all_work(members: Members) -> None:
    with trio.fail_after(10):
        for m, ensemble in members.items():
            await ensemble.wait_ready()
            async with ensemble.session() as session:
                path = await session.create(f"/{m}-", sequential=True)
                await session.delete(path)


async def test_three_members_agree_and_close_in_order() -> None:
    async with three_members() as (members, _):
        await check_all_work(members)
        roles = sorted(ensemble.role for ensemble in members.values())

        assert roles == [Role.FOLLOWING, Role.FOLLOWING, Role.LEADING]


async def test_garbage_at_the_port_is_refused_and_counted() -> None:
    rng = random.Random(1)
    async with three_members() as (members, addresses):
        for length in (1, RECORD_BYTES, 5000):
            stream = await trio.open_tcp_stream("127.0.0.1", port_of(addresses[1]))
            async with stream:
                # It may have hung up before it has heard all of it.
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(rng.randbytes(length))
                    await stream.send_eof()

                assert await is_closed(stream)
        await check_all_work(members)
        assert members[1].statistics().refused_handshakes["garbage"] == 3


@asynccontextmanager
async def posing_as(member: MemberId, address: str) -> AsyncIterator[trio.SocketStream]:
    """Shake hands with member 1 as another member would."""
    hello = Hello(NAME, UNKNOWN_ENSEMBLE, member, bytes(16))
    stream = await trio.open_tcp_stream("127.0.0.1", port_of(address))
    async with stream:
        await stream.send_all(encode_greeting(make_greeting(hello, ONE)))
        record = b""
        while len(record) < RECORD_BYTES:
            record += await stream.receive_some(RECORD_BYTES - len(record))
        yield stream


BROKEN = {
    "oversized": b"\xff" * 64,
    "damaged": encode_frames([b"sound"])[:-1] + b"x",
    "no body": encode_frames([b"sound, but nothing that a member says"]),
    "garbage": random.Random(2).randbytes(1000),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_frame_closes_its_link_and_nothing_else(what: str) -> None:
    async with three_members() as (members, addresses):
        async with posing_as(THREE, addresses[1]) as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(BROKEN[what])

            assert await is_closed(stream)
        await check_all_work(members)
        assert members[1].statistics().broken_frames == 1


async def test_a_member_of_another_ensemble_is_refused_and_counted() -> None:
    async with three_members() as (members, addresses):
        seats = {**addresses, 4: free_addresses([MemberId(4)])[MemberId(4)]}
        async with Ensemble(4, seats, name="other") as stranger:
            with trio.fail_after(5):
                await poll(lambda: "name" in stranger.statistics().refused_handshakes)
                await poll(
                    lambda: all(
                        "name" in e.statistics().refused_handshakes
                        for e in members.values()
                    )
                )
            assert stranger.leader_id is None
        await check_all_work(members)


async def test_a_port_in_use_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = free_addresses([TWO])[TWO]

        with pytest.raises(ConfigError, match=address):
            await Ensemble(1, {1: address, 2: other}).__aenter__()
