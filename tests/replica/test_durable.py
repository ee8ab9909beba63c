"""One durable member: what a restart keeps, and what it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordlib import Config, Ensemble, ReplicaClosedError
from replica.sessions import open_session

SNAPSHOTS = Config(snapshot_interval=10)


@pytest.mark.parametrize("config", [Config(), SNAPSHOTS], ids=["log", "snapshots"])
async def test_a_restart_keeps_everything(tmp_path: Path, config: Config) -> None:
    digest = 0
    for start in range(4):
        async with Ensemble(data_dir=tmp_path, config=config) as ensemble:
            await ensemble.wait_ready()
            assert digest in {0, ensemble.digest()}
            names = ensemble.tree.get_children("/")
            async with ensemble.session() as session:
                for i in range(25):
                    path = await session.create("/s-", b"%d" % i, sequential=True)
                    assert path == f"/s-{25 * start + i:010}"
            assert ensemble.tree.get_children("/")[: len(names)] == names
            assert len(ensemble.tree.get_children("/")) - 1 == 25 * (start + 1)
            digest = ensemble.digest()

    snapshots = [name for name in os.listdir(tmp_path) if "snap" in name]
    assert bool(snapshots) == (config is SNAPSHOTS)


@pytest.mark.parametrize("kept", [1, 2])
async def test_few_large_writes_do_not_fill_the_disk(tmp_path: Path, kept: int) -> None:
    config = Config(snapshot_interval_bytes=50_000, snapshots_kept=kept)
    async with (
        Ensemble(data_dir=tmp_path, config=config) as ensemble,
        ensemble.session() as session,
    ):
        await session.create("/a")
        for _ in range(50):
            await session.set("/a", bytes(20_000))
            # However slow the disk is, writes do not overtake it here.
            await wait_all_tasks_blocked()
            while ensemble.statistics().progress:
                await trio.lowlevel.checkpoint()
    names = os.listdir(tmp_path)
    assert len([name for name in names if name.startswith("snapshot.")]) == kept
    # A megabyte was written.
    size = sum((tmp_path / name).stat().st_size for name in names)
    assert size < 120_000 * (1 + kept)


async def test_what_is_kept_beside_the_newest_snapshot_is_bounded(
    tmp_path: Path,
) -> None:
    config = Config(snapshot_interval=10, snapshots_kept=3, kept_bytes_max=1)
    async with (
        Ensemble(data_dir=tmp_path, config=config) as ensemble,
        ensemble.session() as session,
    ):
        await session.create("/a")
        for _ in range(35):
            await session.set("/a", b"")
    names = os.listdir(tmp_path)
    assert len([name for name in names if name.startswith("snapshot.")]) == 1


async def test_sessions_of_a_killed_process_expire_after_a_restart(
    tmp_path: Path,
) -> None:
    async with Ensemble(data_dir=tmp_path) as ensemble:
        session = await open_session(ensemble, timeout=0.5)
        await session.create("/e", ephemeral=True)
        await session.create("/p")
        ensemble.abort()
        with pytest.raises(ReplicaClosedError):
            await session.get("/p")

    async with Ensemble(data_dir=tmp_path) as ensemble:
        await ensemble.wait_ready()
        began = trio.current_time()
        assert ensemble.tree.exists("/e") is not None
        assert ensemble.statistics().sessions == 1
        async with ensemble.session() as session:
            with trio.fail_after(2):
                await session.wait_deleted("/e")

        assert trio.current_time() - began >= 0.45
        assert ensemble.statistics().sessions == 0
        assert ensemble.tree.exists("/p") is not None


async def test_leaving_the_block_writes_what_is_under_way(tmp_path: Path) -> None:
    async with Ensemble(data_dir=tmp_path) as ensemble:
        session = await open_session(ensemble)
        await session.create("/a", ephemeral=True)
        session.reap("/", "a")

    async with Ensemble(data_dir=tmp_path) as ensemble:
        await ensemble.wait_ready()
        assert ensemble.tree.exists("/a") is None
