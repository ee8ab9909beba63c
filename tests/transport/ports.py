"""Addresses of this machine on which nobody listens."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import ExitStack

from coordlib.ids import MemberId

__all__ = ["free_addresses"]


def free_addresses(
    members: Iterable[MemberId], host: str = "127.0.0.1"
) -> dict[MemberId, str]:
    """Return a free address for each member, all different."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    shown = f"[{host}]" if ":" in host else host
    addresses: dict[MemberId, str] = {}
    with ExitStack() as stack:
        for member in members:
            probe = stack.enter_context(socket.socket(family))
            probe.bind((host, 0))
            addresses[member] = f"{shown}:{probe.getsockname()[1]}"
    return addresses
