"""Members of one ensemble by hand: each has its own store, and its own block."""

from __future__ import annotations

import random
from collections.abc import Mapping

import trio

from coordlib import Config, Ensemble, MemberId
from coordlib.replica.lifetime import inline
from coordlib.replica.replica import Surroundings
from coordlib.storage.interface import LogStore
from coordlib.transport.memory import MemoryNetwork


def seats_of(
    stores: Mapping[int, LogStore], config: Config | None = None
) -> dict[int, Ensemble]:
    """Return members that are linked, with these stores; none is entered."""
    network, ids = MemoryNetwork(), [MemberId(m) for m in stores]
    return {
        member: Ensemble(
            member,
            {m: f"memory:{m}" for m in ids},
            transport=network.transport(MemberId(member), ids),
            store=store,
            config=config,
            surroundings=Surroundings(
                entropy=random.Random(member).randbytes,
                wall_clock=trio.current_time,
                blocking=inline,
            ),
        )
        for member, store in stores.items()
    }
