"""Members' addresses: reading them, listening on them, connecting to them.

Here is decided which addresses are allowed without TLS. What a name stands for
is judged each time, since that changes.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from ipaddress import AddressValueError, IPv6Address, ip_address

import attrs
import trio

from coordlib.errors import ConfigError
from coordlib.ids import MEMBER_ID_MAX, MemberId

__all__ = ["Address", "connect", "listen", "parse_address", "parse_addresses"]

_FORM = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]\s]+)):(?P<port>[0-9]+)")

_PORT_MAX = 0xFFFF

# A name such as "localhost" may stand for an IPv6 address even where there is
# no IPv6; the other addresses will do then.
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}

_INSECURE = (
    "is not a loopback address. TLS between members comes later; until then, "
    "insecure=True allows other addresses: everybody who can reach them can read "
    "along and pose as a member"
)


@attrs.frozen
class Address:
    """Where a member listens.

    Attributes:
      host: An IP address without brackets, or a name.
      port: 1 to 65535.

    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_addresses(
    addresses: Mapping[MemberId, str], own: MemberId, *, insecure: bool
) -> dict[MemberId, Address]:
    """Read the addresses of all members.

    Args:
      addresses: ``"host:port"`` by member; IPv6 as ``"[::1]:7400"``.
      own: Who is asking; must be among them.
      insecure: Whether addresses beyond this machine are allowed. Names are
        judged later, by what they resolve to.

    Raises:
      ConfigError: One of them is malformed or not allowed, two are equal, or
        ``own`` is missing.

    """
    if own not in addresses:
        raise ConfigError(f"member {own} has no address: {dict(addresses)}")
    parsed: dict[MemberId, Address] = {}
    for member, text in addresses.items():
        if not 0 < member <= MEMBER_ID_MAX:
            raise ConfigError(f"a member is 1 to {MEMBER_ID_MAX}, not {member}")
        address = parse_address(text)
        if not insecure and _is_beyond_loopback(address.host):
            raise ConfigError(f"{text!r}, the address of member {member}, {_INSECURE}")
        if address in parsed.values():
            raise ConfigError(f"two members have the address {text!r}")
        parsed[member] = address
    return parsed


def parse_address(text: str) -> Address:
    """Read ``"host:port"`` or ``"[ipv6]:port"``.

    Raises:
      ConfigError: It is neither.

    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConfigError(f'an address is "host:port" or "[ipv6]:port", not {text!r}')
    port = int(match["port"])
    if not 0 < port <= _PORT_MAX:
        raise ConfigError(f"a port is 1 to {_PORT_MAX}, not that of {text!r}")
    if match["host"] is None:
        try:
            IPv6Address(match["ipv6"])
        except AddressValueError as error:
            raise ConfigError(f"{text!r} holds no IPv6 address: {error}") from error
        return Address(match["ipv6"], port)
    try:
        # What resolving would do first; a bad name must not fail only then.
        match["host"].encode("idna")
    except UnicodeError as error:
        raise ConfigError(f"{text!r} holds no host name: {error}") from error
    return Address(match["host"], port)


async def listen(
    address: Address, *, insecure: bool, stack: ExitStack
) -> list[trio.socket.SocketType]:
    """Listen on all that ``address`` stands for; ``stack`` closes it again.

    Raises:
      ConfigError: It cannot be resolved or bound, or is not allowed.

    """
    listeners: list[trio.socket.SocketType] = []
    failure = OSError("it stands for nothing")
    try:
        for host in await _resolve(address, insecure=insecure):
            try:
                opened = await trio.open_tcp_listeners(address.port, host=host)
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                failure = error
            else:
                sockets = [listener.socket for listener in opened]
                listeners += map(stack.enter_context, sockets)
        if not listeners:
            raise failure
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: {error}") from error
    return listeners


async def connect(
    address: Address, *, insecure: bool, timeout: float
) -> trio.socket.SocketType:
    """Connect to the first that answers of all that ``address`` stands for.

    Args:
      address: Where to.
      insecure: Whether it may be beyond loopback.
      timeout: Seconds for each of what it stands for.

    Raises:
      OSError: None answers, or it cannot be resolved.
      ConfigError: It is not allowed.

    """
    failure = OSError("no answer in time")
    for host in await _resolve(address, insecure=insecure):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with ExitStack() as stack:
                connecting = trio.socket.socket(family, socket.SOCK_STREAM)
                stack.enter_context(connecting)
                with trio.move_on_after(timeout):
                    await connecting.connect((host, address.port))
                    stack.pop_all()
                    return connecting
        except OSError as error:
            failure = error
    raise failure


async def _resolve(address: Address, *, insecure: bool) -> list[str]:
    """Return the IP addresses that ``address`` stands for now, at least one."""
    found = await trio.socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM
    )
    # A name may stand for one address twice; keep the order of preference.
    hosts = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    for host in hosts:
        if not insecure and not ip_address(host).is_loopback:
            raise ConfigError(f"{host!r}, for which {address} stands, {_INSECURE}")
    return hosts


def _is_beyond_loopback(host: str) -> bool:
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return False  # A name.
