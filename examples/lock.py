"""Show a lock: three sessions, one counter, and a fencing token for each turn.

Read, think, write is a lost update waiting to happen. The lock lets one session
at a time do it, in the order in which they asked; the guard has the ensemble
refuse the write of a holder that is one no more.
"""

from __future__ import annotations

import trio

from coordlib import Ensemble, Set
from coordlib.recipes import Lock


async def count(ensemble: Ensemble, name: str) -> None:
    """Add one to the counter, three times."""
    async with ensemble.session() as session:
        lock = Lock(session, "/locks/counter", data=name.encode())
        for _ in range(3):
            async with lock as grant:
                data, _ = await session.get("/counter")
                await trio.sleep(0.01)  # time enough for others to interfere
                value = str(int(data) + 1).encode()
                await session.multi([grant.guard(), Set("/counter", value)])
                print(f"{name} made it {value.decode()} with token {grant.token:#x}")


async def main() -> None:
    """Let three sessions count to nine."""
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/counter", b"0")
        async with trio.open_nursery() as nursery:
            for name in ("ann", "bob", "cleo"):
                nursery.start_soon(count, ensemble, name)
        data, _ = await session.get("/counter")
        print(f"the counter is {data.decode()}")

        # How long to wait for a lock is the caller's business.
        async with Lock(session, "/locks/counter"):
            with trio.move_on_after(0.1) as patience:
                async with ensemble.session() as other, Lock(other, "/locks/counter"):
                    print("never printed")
            if patience.cancelled_caught:
                print("another one gave up, and left nothing behind")


if __name__ == "__main__":
    trio.run(main)
