"""What a reviewer doubted, and was right to: each of these failed once."""

from __future__ import annotations

import trio

from coordlib.testing import MemoryEnsemble
from replica.sessions import poll
from transport.seat import in_virtual_time


@in_virtual_time
async def test_members_on_different_continents_find_a_leader() -> None:
    """An answer took longer than the patience of who had asked to follow."""
    with trio.fail_after(10):
        async with MemoryEnsemble(3, latency=0.2) as members:
            await members.crash(3)
            await poll(lambda: members.leader_id == 2)
