"""Show the least that works: an ensemble of one, in memory, and one znode."""

from __future__ import annotations

import trio

from coordlib import Ensemble


async def main() -> None:
    """Write a znode and read it back."""
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/greeting", b"hello, world")
        data, stat = await session.get("/greeting")
        print(f"{data.decode()} (version {stat.version})")


if __name__ == "__main__":
    trio.run(main)
