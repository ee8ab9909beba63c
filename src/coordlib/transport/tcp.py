"""Links over TCP: listening, dialling and shaking hands.

What happens on a link once it is made is :mod:`coordlib.transport.tcp_link`'s.
There is no TLS yet, so without ``insecure=True`` only loopback addresses are
used. A stranger can make us hold a few sockets for a few seconds and no more:
handshakes have a deadline, a fixed size, and are limited in number.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from math import inf
from random import uniform

import attrs
import trio

from coordlib.config import Limits
from coordlib.errors import ConfigError, ProtocolError
from coordlib.ids import MemberId

from .addresses import Address, connect, listen, parse_addresses
from .framing import FrameParser
from .handshake import (
    RECORD_BYTES,
    HandshakeError,
    Refusal,
    check_greeting,
    decode_record,
    encode_greeting,
    encode_refusal,
    make_greeting,
)
from .interface import (
    DIAL_PAUSE_MAX,
    DIAL_PAUSE_MIN,
    Hello,
    LinkClosed,
    Serve,
    TransportStatistics,
)
from .tcp_link import TcpLink

__all__ = ["TcpTransport"]

_log = logging.getLogger("coordlib.transport")

# Seconds, connecting not included. Consul had to add such a deadline after
# CVE-2020-7219, unbounded unauthenticated connections.
_HANDSHAKE_TIMEOUT = 5.0
_HANDSHAKES_MAX = 64
_HANDSHAKES_PER_HOST_MAX = 16
# After accept() failed, most likely for want of file descriptors.
_ACCEPT_PAUSE = 0.1
# At most one line of each kind in so many seconds.
_LOG_INTERVAL = 10.0


@attrs.define(eq=False)
class TcpTransport:
    """A :class:`~coordlib.transport.interface.Transport` over TCP.

    Args:
      member: Whose it is.
      addresses: ``"host:port"`` of every member, ``member`` included; IPv6 as
        ``"[::1]:7400"``. A name is resolved anew for every dial.
      insecure: Allow addresses beyond loopback, although there is neither
        encryption nor authentication.
      limits: The largest frame is taken from here.

    Raises:
      ConfigError: An address is malformed, missing or not allowed.

    """

    member: MemberId
    _address_texts: Mapping[MemberId, str] = attrs.field(alias="addresses")
    _insecure: bool = attrs.field(default=False, kw_only=True)
    _limits: Limits = attrs.field(default=Limits(), kw_only=True)
    _addresses: dict[MemberId, Address] = attrs.field(init=False)
    # The one link to each other member.
    _links: dict[MemberId, TcpLink] = attrs.field(factory=dict, init=False)
    # Handshakes that others began, by their host.
    _handshakes: Counter[str] = attrs.field(factory=Counter, init=False)
    _handshake_timeout: float = attrs.field(default=_HANDSHAKE_TIMEOUT, init=False)
    _refused: Counter[str] = attrs.field(factory=Counter, init=False)
    _broken_frames: int = attrs.field(default=0, init=False)
    _logged_at: dict[str, float] = attrs.field(factory=dict, init=False)
    _hello: Callable[[], Hello] = attrs.field(init=False)
    _serve: Serve = attrs.field(init=False)
    _nursery: trio.Nursery = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._addresses = parse_addresses(
            self._address_texts, self.member, insecure=self._insecure
        )

    async def run(
        self,
        hello: Callable[[], Hello],
        serve: Serve,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and dial until cancelled; see the interface."""
        self._hello = hello
        self._serve = serve
        with ExitStack() as stack:
            listeners = await listen(
                self._addresses[self.member], insecure=self._insecure, stack=stack
            )
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for listener in listeners:
                    nursery.start_soon(self._accept, listener)
                for member in sorted(self._addresses):
                    if member < self.member:
                        nursery.start_soon(self._keep_dialling, member)
                task_status.started()

    def statistics(self) -> TransportStatistics:
        """Return the counters."""
        return TransportStatistics(
            refused=dict(self._refused), broken_frames=self._broken_frames
        )

    async def _accept(self, listener: trio.socket.SocketType) -> None:
        while True:
            try:
                accepted, sockaddr = await listener.accept()
            except OSError as error:
                self._warn("accept", "cannot accept links: %s", error)
                await trio.sleep(_ACCEPT_PAUSE)
                continue
            host = str(sockaddr[0])
            if (
                self._handshakes.total() < _HANDSHAKES_MAX
                and self._handshakes[host] < _HANDSHAKES_PER_HOST_MAX
            ):
                self._handshakes[host] += 1
                self._nursery.start_soon(self._answer, accepted, host)
            else:
                with accepted:
                    await self._refuse(accepted, HandshakeError(Refusal.BUSY), host)

    async def _answer(self, accepted: trio.socket.SocketType, host: str) -> None:
        """Shake hands with whoever dialled us, then serve the link."""
        with accepted:
            link = None
            try:
                link = await self._shake_hands(accepted, None)
            except HandshakeError as error:
                await self._refuse(accepted, error, host)
            except OSError:
                pass  # Gone before it said anything wrong.
            finally:
                self._handshakes -= Counter((host,))
        if link is not None:
            await self._run_link(link)

    async def _keep_dialling(self, member: MemberId) -> None:
        pause = DIAL_PAUSE_MIN
        while True:
            link = await self._dial(member)
            if link is not None:
                await self._run_link(link)
                pause = DIAL_PAUSE_MIN
            # With jitter, so that members do not keep in step.
            await trio.sleep(pause * uniform(0.5, 1.0))
            pause = min(2 * pause, DIAL_PAUSE_MAX)

    async def _dial(self, member: MemberId) -> TcpLink | None:
        address = self._addresses[member]
        try:
            dialled = await connect(
                address, insecure=self._insecure, timeout=self._handshake_timeout
            )
        except OSError as error:
            _log.debug("cannot dial member %d at %s: %s", member, address, error)
            return None
        except ConfigError as error:
            self._warn("address", "member %d is not dialled: %s", member, error)
            return None
        with dialled:
            try:
                return await self._shake_hands(dialled, member)
            except HandshakeError as error:
                self._count_refusal(error, str(address))
            except OSError as error:
                _log.debug("member %d hung up: %s", member, error)
        return None

    async def _shake_hands(
        self, connected: trio.socket.SocketType, dialled: MemberId | None
    ) -> TcpLink:
        """Exchange greetings; the link takes the socket over.

        Args:
          connected: To the other member; ours again if this raises.
          dialled: Who should be there; ``None`` if the other one dialled us.

        Raises:
          HandshakeError: One of the two refuses.
          OSError: The connection broke.

        """
        with trio.move_on_after(self._handshake_timeout):
            if dialled is None:
                theirs = decode_record(await _receive_record(connected))
                ours = make_greeting(self._hello(), theirs.member)
                check_greeting(theirs, ours, self._higher_members())
                await _send_record(connected, encode_greeting(ours))
            else:
                ours = make_greeting(self._hello(), dialled)
                await _send_record(connected, encode_greeting(ours))
                theirs = decode_record(await _receive_record(connected))
                check_greeting(theirs, ours, (dialled,))
            return TcpLink(
                theirs.member,
                _plain_socket(connected),
                FrameParser(self._limits.frame_bytes_max),
                self._on_garbage,
            )
        raise HandshakeError(Refusal.TIMEOUT)

    def _higher_members(self) -> list[MemberId]:
        return [member for member in self._addresses if member > self.member]

    async def _run_link(self, link: TcpLink) -> None:
        older = self._links.get(link.member)
        if older is not None:
            older.close()
        self._links[link.member] = link
        self._nursery.start_soon(link.write)
        try:
            await self._serve(link)
        except* LinkClosed:
            pass
        finally:
            link.close()
            if self._links.get(link.member) is link:
                del self._links[link.member]

    async def _refuse(
        self, accepted: trio.socket.SocketType, error: HandshakeError, host: str
    ) -> None:
        self._count_refusal(error, host)
        if not error.remote:
            with suppress(OSError):
                # Nothing was sent before, so this finds room and does not block.
                await _send_record(accepted, encode_refusal(error.refusal))

    def _count_refusal(self, error: HandshakeError, where: str) -> None:
        reason = error.refusal.reason
        self._refused[reason] += 1
        self._warn(reason, "no link with %s: %s", where, error)

    def _on_garbage(self, member: MemberId, error: ProtocolError) -> None:
        self._broken_frames += 1
        self._warn("frame", "link to member %d is closed: %s", member, error)

    def _warn(self, kind: str, text: str, *values: object) -> None:
        now = trio.current_time()
        if now - self._logged_at.get(kind, -inf) >= _LOG_INTERVAL:
            self._logged_at[kind] = now
            _log.warning(text, *values)


async def _receive_record(connected: trio.socket.SocketType) -> bytes:
    """Read one record, or less of it if the other side ends there.

    Raises:
      OSError: The connection broke, or ended before it began.

    """
    record = b""
    while len(record) < RECORD_BYTES:
        chunk = await connected.recv(RECORD_BYTES - len(record))
        if not chunk:
            break
        record += chunk
    if not record:
        raise ConnectionAbortedError("closed without a word")
    return record


async def _send_record(connected: trio.socket.SocketType, record: bytes) -> None:
    while record:
        record = record[await connected.send(record) :]


def _plain_socket(connected: trio.socket.SocketType) -> socket.socket:
    plain = socket.socket(fileno=connected.detach())
    plain.settimeout(0.0)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain
