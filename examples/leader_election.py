"""Show an election: who leads alone is cut off, stops, and another one leads.

Three members in one process, on a network in memory. The function ``lead`` is
cancelled as soon as its leadership can no longer be proved, and that is before
anybody else may lead. Time is virtual: the seconds below pass in no time.
"""

from __future__ import annotations

import trio
import trio.testing

from coordlib import Ensemble, LeadershipLost
from coordlib.recipes import Election, Grant
from coordlib.testing import MemoryEnsemble


async def stand(ensemble: Ensemble) -> None:
    """Stand for election until the leadership is lost."""
    me = f"member {ensemble.member_id}"
    async with ensemble.session(timeout=6) as session:
        try:
            await Election(session, "/leader", data=me.encode()).run(lead, me)
        except LeadershipLost as lost:
            say(f"{me} leads no more: its token {lost.token:#x} is worth nothing")


async def lead(leadership: Grant, me: str) -> None:
    """Lead for as long as possible."""
    say(f"{me} leads with token {leadership.token:#x}")
    try:
        await trio.sleep_forever()
    finally:
        say(f"{me} stops")


def say(what: str) -> None:
    """Print something with the time."""
    print(f"{trio.current_time():5.1f} s  {what}")


async def main() -> None:
    """Cut the leading member off from the two others."""
    async with MemoryEnsemble(3) as members, trio.open_nursery() as nursery:
        for ensemble in members.values():
            nursery.start_soon(stand, ensemble)
        await trio.sleep(10)
        async with members[1].session() as session:
            first = await Election(session, "/leader").leader()
        assert first is not None
        say(f"the network loses {first.decode()}")
        alone = int(first.split()[1])
        members.partition({alone}, set(members) - {alone})
        await trio.sleep(10)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
