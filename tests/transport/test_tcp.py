"""TCP with real sockets on loopback: strangers, garbage and addresses."""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from coordlib.config import Limits
from coordlib.errors import ConfigError
from coordlib.ids import MemberId
from coordlib.transport.framing import encode_frames
from coordlib.transport.handshake import (
    RECORD_BYTES,
    Greeting,
    HandshakeError,
    Refusal,
    decode_record,
    encode_greeting,
    encode_refusal,
    make_greeting,
)
from coordlib.transport.interface import Hello
from coordlib.transport.tcp import TcpTransport
from transport.ports import free_addresses
from transport.seat import ENSEMBLE_ID, ONE, THREE, TWO, Seat, running

LIMITS = Limits(
    data_bytes_max=100, transaction_bytes_max=5000, frame_bytes_max=(2 << 20) + 5000
)

Addresses = dict[MemberId, str]


def greeting(member: MemberId, target: MemberId) -> Greeting:
    return make_greeting(Hello("test", ENSEMBLE_ID, member, bytes(16)), target)


def seat_of(
    member: MemberId, addresses: Addresses, *, handshake_timeout: float = 5.0
) -> Seat:
    transport = TcpTransport(member, addresses, limits=LIMITS)
    transport._handshake_timeout = handshake_timeout
    return Seat(transport, member)


def tcp(addresses: Addresses, member: MemberId) -> tuple[str, int]:
    host, _, port = addresses[member].rpartition(":")
    return host, int(port)


async def dial(addresses: Addresses, member: MemberId) -> trio.SocketStream:
    host, port = tcp(addresses, member)
    return await trio.open_tcp_stream(host, port)


async def read_all(stream: trio.SocketStream) -> bytes:
    """Read until the other side closes, however it does so."""
    received = b""
    try:
        async for chunk in stream:
            received += chunk
    except trio.BrokenResourceError:
        pass
    return received


async def answer_to(addresses: Addresses, said: bytes) -> str:
    """Say something to member 1 and return its refusal."""
    async with await dial(addresses, ONE) as stream:
        await stream.send_all(said)
        await stream.send_eof()
        with pytest.raises(HandshakeError) as caught:
            decode_record(await read_all(stream))
    assert caught.value.remote
    return caught.value.refusal.reason


@asynccontextmanager
async def member_one(
    *, handshake_timeout: float = 5.0
) -> AsyncIterator[tuple[Seat, Addresses]]:
    """Run member 1 of three; the others are left to the test."""
    addresses = free_addresses([ONE, TWO, THREE])
    seat = seat_of(ONE, addresses, handshake_timeout=handshake_timeout)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(seat.run)
            yield seat, addresses
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def joined(addresses: Addresses) -> AsyncIterator[trio.SocketStream]:
    """Be member 2, with its handshake with member 1 behind it."""
    async with await dial(addresses, ONE) as stream:
        await stream.send_all(encode_greeting(greeting(TWO, ONE)))
        record = await stream.receive_some(RECORD_BYTES)
        assert decode_record(bytes(record)).member == ONE
        yield stream


GOOD = encode_greeting(greeting(TWO, ONE))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "garbage"),
        (b"\x16\x03\x01" + bytes(RECORD_BYTES - 3), "garbage"),
        (GOOD[:-1], "garbage"),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "garbage"),
        (GOOD[:8] + b"\0\2" + GOOD[10:], "version"),
        (encode_greeting(greeting(MemberId(9), ONE)), "member"),
        (encode_greeting(greeting(TWO, THREE)), "member"),
        (encode_greeting(greeting(ONE, ONE)), "member"),
        (
            encode_greeting(attrs.evolve(greeting(TWO, ONE), name_hash=bytes(16))),
            "name",
        ),
        (
            encode_greeting(attrs.evolve(greeting(TWO, ONE), ensemble_id=b"x" * 16)),
            "ensemble",
        ),
    ],
)
async def test_a_bad_greeting_is_refused_and_counted(said: bytes, reason: str) -> None:
    async with member_one() as (one, addresses):
        assert await answer_to(addresses, said) == reason

        assert one.refused() == {reason: 1}
        async with joined(addresses):
            await one.linked(1)


async def test_a_lower_member_must_not_dial_a_higher_one() -> None:
    addresses = free_addresses([ONE, TWO])
    two = seat_of(TWO, addresses)
    with trio.fail_after(5):
        async with running(seat_of(ONE, addresses), two):
            async with await dial(addresses, TWO) as stream:
                await stream.send_all(encode_greeting(greeting(ONE, TWO)))
                await read_all(stream)

            assert two.refused() == {"member": 1}
            assert two.closed == []


async def test_who_hangs_up_without_a_word_is_not_counted() -> None:
    async with member_one() as (one, addresses):
        async with await dial(addresses, ONE) as stream:
            await stream.send_eof()
            assert await read_all(stream) == b""

        assert one.refused() == {}


async def test_a_refusal_is_not_answered() -> None:
    async with (
        member_one() as (_one, addresses),
        await dial(addresses, ONE) as stream,
    ):
        await stream.send_all(encode_refusal(Refusal.BUSY))
        assert await read_all(stream) == b""


async def test_a_slow_handshake_is_ended() -> None:
    async with member_one(handshake_timeout=0.1) as (one, addresses):
        async with await dial(addresses, ONE) as stream:
            await stream.send_all(GOOD[:-1])
            with pytest.raises(HandshakeError) as caught:
                decode_record(await read_all(stream))

        assert caught.value.refusal.reason == "timeout"
        assert one.refused() == {"timeout": 1}


async def test_one_host_gets_sixteen_handshakes_at_once() -> None:
    async with member_one() as (one, addresses):
        silent = [await dial(addresses, ONE) for _ in range(16)]
        assert await answer_to(addresses, b"") == "busy"
        assert one.refused() == {"busy": 1}

        await silent[0].send_eof()
        await read_all(silent[0])
        async with joined(addresses):
            await one.linked(1)
        for stream in silent:
            await stream.aclose()


async def test_an_oversized_frame_breaks_the_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with member_one() as (one, addresses):
        async with joined(addresses) as stream:
            await stream.send_all(encode_frames([b"fine"]))
            await one.frames(1)
            await stream.send_all(struct.pack(">II", LIMITS.frame_bytes_max + 1, 0))
            assert await read_all(stream) == b""

        await one.until(lambda: len(one.closed) == 1)
        assert one.received == [b"fine"]
        assert one.transport.statistics().broken_frames == 1
        oversize = (
            f"link to member 2 is closed: a frame of {LIMITS.frame_bytes_max + 1} "
        )
        assert oversize in caplog.text


async def test_half_a_frame_and_then_the_end_is_just_the_end() -> None:
    async with member_one() as (one, addresses):
        async with joined(addresses) as stream:
            await stream.send_all(encode_frames([b"whole", b"half"])[:-2])

        await one.until(lambda: len(one.closed) == 1)
        assert one.received == [b"whole"]
        assert one.transport.statistics().broken_frames == 0


async def test_a_reset_ends_the_link() -> None:
    async with member_one() as (one, addresses):
        async with joined(addresses) as stream:
            await one.linked(1)
            linger = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        await one.until(lambda: len(one.closed) == 1)
        one.links[0].send(b"into the void")


async def test_a_new_link_replaces_the_old_one() -> None:
    async with (
        member_one() as (one, addresses),
        joined(addresses) as older,
        joined(addresses) as newer,
    ):
        await one.until(lambda: one.closed == one.links[:1])
        assert await read_all(older) == b""

        await newer.send_all(encode_frames([b"new"]))
        assert await one.frames(1) == [b"new"]
        assert len(one.closed) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (encode_greeting(greeting(THREE, TWO)), "member"),
        (encode_greeting(greeting(ONE, THREE)), "member"),
        (encode_greeting(greeting(TWO, ONE)), "member"),
        (
            encode_greeting(attrs.evolve(greeting(ONE, TWO), name_hash=bytes(16))),
            "name",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n" * 4, "garbage"),
        (b"", "timeout"),
    ],
)
async def test_the_dialler_checks_who_answers(answer: bytes, reason: str) -> None:
    addresses = free_addresses([ONE, TWO])
    patience = 0.05 if reason == "timeout" else 5.0
    two = seat_of(TWO, addresses, handshake_timeout=patience)

    async def impostor(stream: trio.SocketStream) -> None:
        await stream.receive_some(RECORD_BYTES)
        if answer:
            await stream.send_all(answer)
        await read_all(stream)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await serve(nursery, impostor, addresses)
            await nursery.start(two.run)
            await two.until(lambda: two.greetings == 2)

            assert list(two.refused()) == [reason]
            assert two.links == []
            nursery.cancel_scope.cancel()


async def test_who_hangs_up_on_the_dialler_is_dialled_again() -> None:
    addresses = free_addresses([ONE, TWO])
    two = seat_of(TWO, addresses)

    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.aclose()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await serve(nursery, hang_up, addresses)
            await nursery.start(two.run)
            await two.until(lambda: two.greetings == 3)

            assert two.refused() == {}
            nursery.cancel_scope.cancel()


async def serve(
    nursery: trio.Nursery,
    handler: Callable[[trio.SocketStream], Awaitable[object]],
    addresses: Addresses,
) -> None:
    """Listen in place of member 1."""
    host, port = tcp(addresses, ONE)
    await nursery.start(partial(trio.serve_tcp, handler, port, host=host))


async def test_a_port_in_use_is_a_configuration_error() -> None:
    async with member_one() as (_one, addresses):
        with pytest.raises(ConfigError) as caught:
            await seat_of(ONE, addresses).run()

        assert f"cannot listen on {addresses[ONE]}" in str(caught.value)


async def test_an_address_of_another_machine_is_a_configuration_error() -> None:
    addresses = {ONE: "192.0.2.1:7400"}
    transport = TcpTransport(ONE, addresses, insecure=True)

    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:7400"):
        await Seat(transport, ONE).run()


@attrs.define
class Resolver(trio.abc.HostnameResolver):
    """Says that every name stands for these hosts."""

    hosts: list[str]

    async def getaddrinfo(  # type: ignore[override] # trio's type names every family
        self, host: object, port: int, *_: object, **__: object
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        await trio.lowlevel.checkpoint()
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, f"no such host: {host!r}")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (found, port))
            for found in self.hosts
        ]

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise NotImplementedError


def named(addresses: Addresses, member: MemberId) -> Addresses:
    return addresses | {member: addresses[member].replace("127.0.0.1", "a.example")}


async def test_names_are_resolved_at_every_dial() -> None:
    resolver = Resolver([])
    trio.socket.set_custom_hostname_resolver(resolver)
    addresses = free_addresses([ONE, TWO])
    one, two = seat_of(ONE, addresses), seat_of(TWO, named(addresses, ONE))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(one.run)
            await nursery.start(two.run)
            await trio.testing.wait_all_tasks_blocked()
            resolver.hosts = ["127.0.0.1"]

            await two.linked(1)
            nursery.cancel_scope.cancel()


async def test_a_name_beyond_loopback_is_not_dialled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(["127.0.0.1", "192.0.2.1"]))
    addresses = free_addresses([ONE, TWO])
    one, two = seat_of(ONE, addresses), seat_of(TWO, named(addresses, ONE))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(one.run)
            await nursery.start(two.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    assert "'192.0.2.1', for which a.example:" in caplog.text
    assert one.greetings == two.greetings == 0


@pytest.mark.parametrize("hosts", [["192.0.2.1"], []], ids=["beyond", "nowhere"])
async def test_an_own_name_that_cannot_be_used_is_a_configuration_error(
    hosts: list[str],
) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(hosts))
    addresses = named(free_addresses([ONE]), ONE)

    with pytest.raises(ConfigError, match=r"a\.example"):
        await seat_of(ONE, addresses).run()


async def test_a_name_works_if_one_of_its_addresses_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(["127.0.0.2", "127.0.0.1"]))
    addresses = free_addresses([ONE, TWO])
    genuine = trio.open_tcp_listeners

    async def open_listeners(port: int, *, host: str) -> list[trio.SocketListener]:
        if host == "127.0.0.2":
            raise OSError(errno.EADDRNOTAVAIL, "there is no IPv6 here")
        return await genuine(port, host=host)

    monkeypatch.setattr(trio, "open_tcp_listeners", open_listeners)
    names = named(addresses, ONE)
    with trio.fail_after(5):
        async with running(seat_of(ONE, names), seat_of(TWO, names)):
            pass


async def test_ipv6_works_where_there_is_any() -> None:
    try:
        addresses = free_addresses([ONE, TWO], "::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with trio.fail_after(5):
        async with running(seat_of(ONE, addresses), seat_of(TWO, addresses)):
            pass


async def test_refusals_of_one_kind_are_logged_once_in_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with member_one() as (one, addresses):
        for _ in range(5):
            await answer_to(addresses, b"garbage")
        await answer_to(addresses, encode_greeting(greeting(TWO, THREE)))

        assert one.refused() == {"garbage": 5, "member": 1}
        lines = [r.message for r in caplog.records if r.levelno == logging.WARNING]
        assert lines == [
            "no link with 127.0.0.1: refused: garbage",
            "no link with 127.0.0.1: refused: member",
        ]
