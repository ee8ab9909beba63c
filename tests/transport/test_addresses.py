"""Which addresses are read, and which are allowed without TLS."""

from __future__ import annotations

import pytest

from coordlib.errors import ConfigError
from coordlib.ids import MemberId
from coordlib.transport.addresses import Address, parse_address
from coordlib.transport.tcp import TcpTransport
from transport.seat import ONE, TWO


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7400", Address("127.0.0.1", 7400)),
        ("[::1]:7400", Address("::1", 7400)),
        ("db-1.example.org:1", Address("db-1.example.org", 1)),
        ("localhost:65535", Address("localhost", 65535)),
    ],
)
def test_an_address_is_read_and_shown(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1",
        "127.0.0.1:",
        ":7400",
        "::1:7400",
        "[::1]",
        "host:port",
        "host:-1",
        "host:7400 ",
        "host:٣",
        "a b:7400",
        "host:0",
        "host:65536",
        "[127.0.0.1]:7400",
        "[]:7400",
        "a..b:7400",
        f"{'a' * 64}:7400",
    ],
)
def test_a_malformed_address_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TcpTransport(ONE, {ONE: text})

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["10.0.0.1:7400", "0.0.0.0:7400", "[::]:7400", "[::ffff:127.0.0.1]:7400"]
)
def test_beyond_loopback_needs_a_word(text: str) -> None:
    addresses = {ONE: "127.0.0.1:7400", TWO: text}

    with pytest.raises(
        ConfigError, match=r"TLS .* comes later.*insecure=True"
    ) as caught:
        TcpTransport(ONE, addresses)

    assert repr(text) in str(caught.value)
    TcpTransport(ONE, addresses, insecure=True)


def test_the_own_member_needs_an_address() -> None:
    with pytest.raises(ConfigError, match="member 2 has no address"):
        TcpTransport(TWO, {ONE: "127.0.0.1:7400"})


def test_two_members_do_not_share_an_address() -> None:
    with pytest.raises(ConfigError, match="two members have the address"):
        TcpTransport(ONE, {ONE: "127.0.0.1:7400", TWO: "127.0.0.1:7400"})


@pytest.mark.parametrize("member", [0, 255])
def test_a_member_is_one_byte(member: int) -> None:
    with pytest.raises(ConfigError, match="a member is 1 to 254"):
        TcpTransport(ONE, {ONE: "127.0.0.1:7400", MemberId(member): "localhost:7401"})
