"""Long work is told to those who ask, and now and then to the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from coordlib import Config, Ensemble, Progress
from coordlib.replica.progress import LongWork
from coordlib.storage.interface import Recovered
from coordlib.storage.memory import MemoryDisk, MemoryStore


async def test_work_is_told_while_it_lasts(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
) -> None:
    long_work = LongWork("member 1")
    with long_work.doing("loading a snapshot", total=200, unit="bytes") as tell:
        assert long_work.progress() == (
            Progress("loading a snapshot", 0, 200, "bytes"),
        )
        with long_work.doing("recovering the log"):
            tell(50)
            assert [str(work) for work in long_work.progress()] == [
                "loading a snapshot: 50 of 200 bytes, 25 %",
                "recovering the log",
            ]
    assert long_work.progress() == ()


async def test_the_log_has_a_line_at_both_ends_and_one_in_five_seconds(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "coordlib.replica")

    with LongWork("member 1").doing("saving", total=20, unit="znodes") as tell:
        for done in range(20):
            tell(done)
            await trio.sleep(0.6)

    assert caplog.messages == [
        "member 1: saving begins",
        "member 1: saving: 9 of 20 znodes, 45 %",
        "member 1: saving: 18 of 20 znodes, 90 %",
        "member 1: saving is done, 12.0 s",
    ]


async def test_the_log_says_when_work_is_given_up(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - virtual time
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "coordlib.replica")
    long_work = LongWork("member 1")

    with pytest.raises(KeyError), long_work.doing("saving"):
        raise KeyError

    assert caplog.messages[-1] == "member 1: saving was given up, 0.0 s"
    assert long_work.progress() == ()


async def test_a_member_that_starts_says_so() -> None:
    seen: list[tuple[Progress, ...]] = []

    class SlowStore(MemoryStore):
        def recover(self) -> Recovered:
            seen.append(ensemble.statistics().progress)
            return super().recover()

    ensemble = Ensemble(store=SlowStore(MemoryDisk()))
    async with ensemble:
        await ensemble.wait_ready()
        assert ensemble.statistics().progress == ()

    assert seen == [(Progress("recovering the log", 0, 0, ""),)]


async def test_a_member_that_saves_a_snapshot_says_so_until_it_is_there() -> None:
    seen: list[tuple[Progress, ...]] = []

    class WatchedStore(MemoryStore):
        async def save_snapshot(self, zxid: int, pieces: Sequence[bytes]) -> bool:
            saved = await super().save_snapshot(zxid, pieces)
            seen.append(ensemble.statistics().progress)
            return saved

    store = WatchedStore(MemoryDisk())
    ensemble = Ensemble(store=store, config=Config(snapshot_interval=5))
    async with ensemble, ensemble.session() as session:
        for number in range(9):
            await session.create(f"/{number}")
        while not seen or ensemble.statistics().progress:
            await trio.lowlevel.checkpoint()

    (saving,) = seen[0]
    assert (saving.work, saving.unit) == ("saving a snapshot", "znodes")
    assert saving.done == saving.total > 4
