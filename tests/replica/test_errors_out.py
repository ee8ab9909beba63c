"""What leaves the blocks: the body's own errors unchanged, a member's failure alone."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from coordlib import (
    Ensemble,
    NodeExistsError,
    NoNodeError,
    ReplicaClosedError,
    StorageError,
)
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.testing import MemoryEnsemble
from transport.seat import in_virtual_time


class BodyError(Exception):
    """Of the user's own."""


async def test_the_bodys_error_leaves_the_ensemble_unchanged() -> None:
    error = BodyError()

    with pytest.raises(BodyError) as caught:
        async with Ensemble():
            raise error

    assert caught.value is error


async def test_the_bodys_error_leaves_the_session_unchanged() -> None:
    async with Ensemble() as ensemble:
        with pytest.raises(NoNodeError):
            async with ensemble.session() as session:
                await session.get("/missing")

        assert ensemble.statistics().sessions == 0


async def test_the_bodys_own_group_stays_a_group() -> None:
    group = ExceptionGroup("mine", [BodyError()])

    with pytest.raises(ExceptionGroup) as caught:
        async with Ensemble():
            raise group

    assert caught.value is group


async def test_the_bodys_nursery_gives_its_usual_group() -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise BodyError

    with pytest.RaisesGroup(BodyError):
        async with Ensemble(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()


@in_virtual_time
async def test_a_memory_ensembles_body_error_leaves_it_unchanged() -> None:
    async def create_twice() -> None:
        async with MemoryEnsemble(1) as members, members[1].session() as session:
            await session.create("/a")
            await session.create("/a")

    with pytest.raises(NodeExistsError):
        await create_twice()


def test_a_memory_ensemble_can_be_made_before_trio_runs() -> None:
    members = MemoryEnsemble(1)

    async def use() -> None:
        async with members, members[1].session() as session:
            await session.create("/a")

    trio.run(use, clock=MockClock(autojump_threshold=0))


async def test_a_cancelled_body_still_cleans_up() -> None:
    cleaned = False
    async with Ensemble() as outside, outside.session() as witness:
        await witness.create("/a")
        with trio.CancelScope() as scope:
            async with outside.session() as session:
                try:
                    scope.cancel()
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await session.delete("/a")
                        cleaned = True

        assert cleaned
        assert await witness.exists("/a") is None
        assert outside.statistics().sessions == 1


async def test_a_member_outlives_the_cancellation_of_its_block() -> None:
    disk = MemoryDisk()
    with trio.CancelScope() as scope:
        async with (
            Ensemble(store=MemoryStore(disk)) as ensemble,
            ensemble.session() as session,
        ):
            await session.create("/a", ephemeral=True)
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await session.create("/b")

    async with Ensemble(store=MemoryStore(disk)) as again:
        await again.wait_ready()
        assert again.tree.exists("/a") is None
        assert again.tree.exists("/b") is not None
        assert again.statistics().sessions == 0


@in_virtual_time
async def test_a_failed_disk_cancels_an_idle_body_and_is_raised_alone() -> None:
    disk = MemoryDisk()
    cancelled = False

    async def idle() -> None:
        nonlocal cancelled
        async with (
            Ensemble(store=MemoryStore(disk)) as ensemble,
            ensemble.session() as session,
        ):
            await session.create("/a", ephemeral=True)
            disk.fail(OSError("broken"))
            # A write for which nobody waits.
            session.reap("/", "a")
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled = True
                raise

    with pytest.raises(StorageError, match="broken"):
        await idle()
    assert cancelled


@in_virtual_time
async def test_a_failed_disk_is_raised_alone_though_the_body_was_writing() -> None:
    disk = MemoryDisk()

    async def write() -> None:
        async with (
            Ensemble(store=MemoryStore(disk)) as ensemble,
            ensemble.session() as session,
        ):
            disk.fail(OSError("broken"))
            await session.create("/a")

    with pytest.raises(StorageError, match="broken"):
        await write()


@in_virtual_time
async def test_a_failed_disk_is_raised_alone_though_several_tasks_were_writing() -> (
    None
):
    disk = MemoryDisk()

    async def write() -> None:
        async with (
            Ensemble(store=MemoryStore(disk)) as ensemble,
            ensemble.session() as session,
            trio.open_nursery() as nursery,
        ):
            disk.fail(OSError("broken"))
            for i in range(3):
                nursery.start_soon(session.create, f"/{i}")

    with pytest.raises(StorageError, match="broken"):
        await write()


@in_virtual_time
async def test_an_error_of_the_body_beside_the_members_is_not_lost() -> None:
    disk = MemoryDisk()

    with pytest.RaisesGroup(StorageError, BodyError):
        async with (
            Ensemble(store=MemoryStore(disk)) as ensemble,
            ensemble.session() as session,
        ):
            disk.fail(OSError("broken"))
            try:
                await session.create("/a")
            except ReplicaClosedError as error:
                raise BodyError from error


async def test_after_the_block_every_use_is_refused() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a")
    with pytest.raises(ReplicaClosedError):
        _ = ensemble.tree
    with pytest.raises(ReplicaClosedError):
        ensemble.statistics()
    with pytest.raises(ReplicaClosedError):
        await ensemble.wait_ready()
    with pytest.raises(ReplicaClosedError):
        await ensemble.session().__aenter__()


async def test_an_ensemble_is_entered_once() -> None:
    ensemble = Ensemble()
    async with ensemble:
        with pytest.raises(RuntimeError, match="entered once"):
            await ensemble.__aenter__()
        await ensemble.wait_ready()
    with pytest.raises(RuntimeError, match="entered once"):
        await ensemble.__aenter__()


@in_virtual_time
async def test_an_aborted_member_tells_everybody_who_waits() -> None:
    disk = MemoryDisk()
    errors: list[BaseException] = []
    async with Ensemble(store=MemoryStore(disk)) as ensemble:
        async with ensemble.session() as session, trio.open_nursery() as nursery:
            disk.stall()

            async def expect_closed(path: str) -> None:
                try:
                    if path == "sync":
                        await session.sync()
                    elif path == "watch":
                        async with session.watch("/") as events:
                            await anext(events)
                    elif path == "wait_for":
                        await session.wait_for("/", lambda _: False)
                    elif path == "wait_deleted":
                        await session.wait_deleted("/")
                    else:
                        await session.create(path)
                except ReplicaClosedError as error:
                    errors.append(error)

            waits = ["watch", "wait_for", "wait_deleted", "/a"]
            for name in waits:
                nursery.start_soon(expect_closed, name)
            await wait_all_tasks_blocked()
            ensemble.abort()
        assert len(errors) == len(waits)
