"""Show how to test a service that coordinates: with real members, in no time.

``NightlyReport`` is a service as it might stand in your program; below it is
its test. In the test the network breaks at the worst moment, and the seconds
pass in virtual time. Run it with ``pytest``, where pytest-trio passes the clock
in, or as a script.
"""

from __future__ import annotations

import attrs
import trio
import trio.testing

from coordlib import Create, Ensemble, LockLost
from coordlib.recipes import Lock
from coordlib.testing import MemoryEnsemble

SESSION_TIMEOUT = 6.0
WORK = 30.0


@attrs.frozen
class NightlyReport:
    """Writes one report a night, though several copies of it run."""

    ensemble: Ensemble

    async def run(self, night: str) -> bool:
        """Write the report, unless it is there; tell whether it was this copy."""
        report = f"/report-{night}"
        async with (
            self.ensemble.session(timeout=SESSION_TIMEOUT) as session,
            Lock(session, "/locks/report") as grant,
        ):
            if await session.exists(report) is not None:
                return False
            await trio.sleep(WORK)
            author = str(self.ensemble.member_id).encode()
            await session.multi([grant.guard(), Create(report, author)])
            return True


async def test_a_copy_that_is_cut_off_stops_and_another_writes_the_report(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The work is lost with the lock, and done again by who gets it."""
    async with MemoryEnsemble(3) as members, trio.open_nursery() as nursery:
        nursery.start_soon(expect_loss, NightlyReport(members[1]))
        await trio.sleep(WORK / 2)
        members.partition({1}, {2, 3})
        cut_off = autojump_clock.current_time()

        assert await NightlyReport(members[2]).run("monday")
        assert autojump_clock.current_time() < cut_off + 2 * SESSION_TIMEOUT + WORK

        members.heal()
        await members.wait_equal()
        assert members[1].tree.get("/report-monday")[0] == b"2"
        assert not await NightlyReport(members[1]).run("monday")


async def expect_loss(service: NightlyReport) -> None:
    """Run a service whose lock will be lost."""
    try:
        await service.run("monday")
    except LockLost as lost:
        print(f"after {trio.current_time():.0f} s member 1 lost {lost}")
    else:
        raise AssertionError("a copy that was cut off wrote a report")


if __name__ == "__main__":
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(
        test_a_copy_that_is_cut_off_stops_and_another_writes_the_report,
        clock,
        clock=clock,
    )
    print(f"the test took {clock.current_time():.0f} s of virtual time")
