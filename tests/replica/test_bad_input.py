"""Impossible arguments: a clear error before anything changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import trio

from coordlib import (
    BadArgumentsError,
    Check,
    Config,
    ConfigError,
    Create,
    Delete,
    Ensemble,
    ForeignStorageError,
    MemberId,
    OverloadedError,
    ReplicaClosedError,
    Session,
    SessionClosedError,
    Set,
    StorageLockedError,
)
from coordlib.config import Limits
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.testing import MemoryEnsemble
from coordlib.tree import DeleteContainer
from transport.ports import free_addresses
from transport.seat import in_virtual_time

MIB = 1 << 20

# What the type checker would refuse.
NOT_TEXT = cast("str", b"/bytes")
NOT_BYTES = cast("bytes", "text")
NOT_NUMBER = cast("int", "1")

Use = Callable[[Session], Awaitable[object]]

MALFORMED = [
    "",
    "a",
    "a/b",
    "//",
    "/a/",
    "/a//b",
    "/.",
    "/a/../b",
    "/\0",
    "/a\n",
    "/\ud800",
    "/\uf000",
    "/" + "x" * 1024,
]
READS_AND_WRITES: list[Callable[[Session, str], Awaitable[object]]] = [
    lambda s, path: s.create(path),
    lambda s, path: s.set(path, b""),
    lambda s, path: s.delete(path),
    lambda s, path: s.multi([Create("/ok"), Check(path, 0)]),
    lambda s, path: s.get(path),
    lambda s, path: s.exists(path),
    lambda s, path: s.get_children(path),
    lambda s, path: s.predecessor(path),
    lambda s, path: s.wait_for(path, lambda _: True),
    lambda s, path: s.wait_deleted(path),
    lambda s, path: s.watch(path).__aenter__(),
]


@pytest.mark.parametrize("use", range(len(READS_AND_WRITES)))
@in_virtual_time
async def test_a_malformed_path_is_refused_at_once(use: int) -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        before = ensemble.statistics()
        for path in MALFORMED:
            with pytest.raises(BadArgumentsError):
                await READS_AND_WRITES[use](session, path)

        assert ensemble.statistics() == before


WRONG: dict[str, tuple[Use, type[Exception]]] = {
    "too many operations": (
        lambda s: s.multi([Check("/", 0)] * (Limits().operations_max + 1)),
        BadArgumentsError,
    ),
    "no paths to wait for": (lambda s: s.wait_deleted(), TypeError),
    "a stream that is not entered": (lambda s: s.watch("/").__anext__(), RuntimeError),
    "path": (lambda s: s.create(NOT_TEXT), TypeError),
    "data": (lambda s: s.create("/a", NOT_BYTES), TypeError),
    "data of set": (lambda s: s.set("/a", NOT_BYTES), TypeError),
    "version": (lambda s: s.set("/a", b"", version=NOT_NUMBER), TypeError),
    "version of delete": (lambda s: s.delete("/a", version=NOT_NUMBER), TypeError),
    "czxid": (lambda s: s.delete("/a", czxid=NOT_NUMBER), TypeError),
    "path of a read": (lambda s: s.get(NOT_TEXT), TypeError),
    "operation": (lambda s: s.multi([cast("Set", "x")]), TypeError),
    "large version": (lambda s: s.set("/a", b"", version=1 << 31), BadArgumentsError),
    "negative czxid": (lambda s: s.delete("/a", czxid=-1), BadArgumentsError),
    "large czxid": (lambda s: s.delete("/a", czxid=1 << 64), BadArgumentsError),
    "ttl": (lambda s: s.create("/b", ttl=NOT_NUMBER), TypeError),
    "no ttl": (lambda s: s.create("/b", ttl=0), BadArgumentsError),
    "short ttl": (lambda s: s.create("/b", ttl=0.0004), BadArgumentsError),
    "negative ttl": (lambda s: s.create("/b", ttl=-1), BadArgumentsError),
    "long ttl": (lambda s: s.create("/b", ttl=1.1e9), BadArgumentsError),
    "huge ttl": (lambda s: s.create("/b", ttl=10**400), BadArgumentsError),
    "endless ttl": (lambda s: s.create("/b", ttl=float("inf")), BadArgumentsError),
    "undefined ttl": (lambda s: s.create("/b", ttl=float("nan")), BadArgumentsError),
    "ttl of an ephemeral": (
        lambda s: s.create("/b", ttl=1, ephemeral=True),
        BadArgumentsError,
    ),
    "ttl of a container": (
        lambda s: s.create("/b", ttl=1, container=True),
        BadArgumentsError,
    ),
    "ephemeral container": (
        lambda s: s.create("/b", ephemeral=True, container=True),
        BadArgumentsError,
    ),
    "sequential container": (
        lambda s: s.create("/b", sequential=True, container=True),
        BadArgumentsError,
    ),
    "container in a multi": (
        lambda s: s.multi([Create("/c"), Create("/b", ttl_ms=1, container=True)]),
        BadArgumentsError,
    ),
    "ttl_ms in a multi": (
        lambda s: s.multi([Create("/b", ttl_ms=cast("int", 1.5))]),
        TypeError,
    ),
    "the ensemble's own operation": (
        lambda s: s.multi([cast("Delete", DeleteContainer("/a", 1))]),
        TypeError,
    ),
    "large data": (lambda s: s.create("/a", bytes(MIB + 1)), BadArgumentsError),
    "large data of set": (lambda s: s.set("/a", bytes(MIB + 1)), BadArgumentsError),
    "large data in a multi": (
        lambda s: s.multi([Create("/b"), Create("/a", bytes(MIB + 1))]),
        BadArgumentsError,
    ),
    "large multi": (
        lambda s: s.multi([Create(f"/{i}", bytes(MIB)) for i in range(5)]),
        BadArgumentsError,
    ),
    "huge multi": (
        lambda s: s.multi([Set("/a", bytes(MIB)) for _ in range(20)]),
        BadArgumentsError,
    ),
    "multi of many": (
        lambda s: s.multi([Delete("/" + "a" * 1000) for _ in range(5000)]),
        BadArgumentsError,
    ),
}


@pytest.mark.parametrize("what", WRONG)
@in_virtual_time
async def test_a_wrong_argument_is_refused_at_once(what: str) -> None:
    use, error = WRONG[what]
    async with MemoryEnsemble(3) as members, members[2].session() as session:
        await session.create("/a")
        before = members[2].tree.zxid
        with pytest.raises(error):
            await use(session)

        assert members[2].tree.zxid == before
        assert await session.get_children("/") == ["zookeeper", "a"]


@in_virtual_time
async def test_what_is_just_within_the_limits_passes_everywhere() -> None:
    async with MemoryEnsemble(3) as members:
        for m in members:
            async with members[m].session() as session:
                await session.create(f"/{m}", bytes(MIB))
                await session.multi([Set(f"/{m}", bytes(MIB - 1)) for _ in range(3)])
                await session.create("/" + str(m) * 1023)
                with pytest.raises(BadArgumentsError):
                    # The number would make it too long.
                    await session.create("/" + str(m) * 1020, sequential=True)
        await members.wait_equal()


@in_virtual_time
async def test_a_session_may_have_only_so_much_under_way() -> None:
    config = Config(limits=Limits(outstanding_max=5))
    async with MemoryEnsemble(1, config=config) as members:
        async with members[1].session() as session, trio.open_nursery() as nursery:
            for i in range(5):
                nursery.start_soon(session.create, f"/{i}")
            # Less than the disk takes.
            await trio.sleep(0.0005)
            with pytest.raises(OverloadedError):
                await session.create("/6")
        assert set(members[1].tree.get_children("/")[1:]) == set("01234")


async def test_the_longest_session_timeout_that_can_be_configured_works() -> None:
    config = Config(session_timeout_min=0.001, session_timeout_max=2_000_000)
    async with (
        Ensemble(config=config) as ensemble,
        ensemble.session(timeout=2_000_000) as session,
    ):
        await session.create("/a")


THREE = {1: "127.0.0.1:7401", 2: "127.0.0.1:7402", 3: "127.0.0.1:7403"}


@pytest.mark.parametrize(
    ("member", "members"),
    [
        (None, THREE),
        (4, THREE),
        (0, THREE),
        (5, None),
        (1, {0: "127.0.0.1:1", 1: "127.0.0.1:2"}),
        (1, {1: "127.0.0.1:1", 255: "127.0.0.1:2"}),
        (1, {1: "127.0.0.1:1", cast("int", "2"): "127.0.0.1:2"}),
        (1, {1: "127.0.0.1", 2: "127.0.0.1:2"}),
        (1, {1: "127.0.0.1:1", 2: "127.0.0.1:99999"}),
        (1, {1: "10.0.0.1:1", 2: "10.0.0.2:2"}),
    ],
)
def test_an_impossible_ensemble_is_refused(
    member: int | None, members: dict[int, str] | None
) -> None:
    with pytest.raises(ConfigError):
        Ensemble(member, members)


def test_data_dir_and_store_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Ensemble(data_dir=tmp_path / "state", store=MemoryStore(MemoryDisk()))

    assert not (tmp_path / "state").exists()


async def test_making_an_ensemble_touches_nothing(tmp_path: Path) -> None:
    ensemble = Ensemble(data_dir=tmp_path / "state")

    assert not (tmp_path / "state").exists()
    with pytest.raises(ReplicaClosedError):
        _ = ensemble.role


async def test_a_closed_session_refuses_every_use() -> None:
    async with Ensemble() as ensemble:
        async with ensemble.session() as session:
            await session.create("/a")
        for use in READS_AND_WRITES:
            with pytest.raises(SessionClosedError):
                await use(session, "/a")
        with pytest.raises(SessionClosedError):
            await session.sync()
        with pytest.raises(SessionClosedError):
            await session.multi([])
        with pytest.raises(SessionClosedError):
            session.check()
        session.reap("/", "a")
        scope = trio.CancelScope()
        with session.bind(scope, "/a", 1) as binding:
            assert binding.lost
        assert scope.cancel_called
        await session.aclose()

        assert ensemble.statistics().watches == 0


async def test_one_data_directory_is_for_one_replica(tmp_path: Path) -> None:
    async with Ensemble(data_dir=tmp_path) as ensemble:
        await ensemble.wait_ready()
        with pytest.raises(StorageLockedError):
            await Ensemble(data_dir=tmp_path).__aenter__()

        async with ensemble.session() as session:
            await session.create("/still-alive")


async def test_a_data_directory_of_another_ensemble_or_member_is_refused(
    tmp_path: Path,
) -> None:
    async with Ensemble(data_dir=tmp_path) as ensemble:
        await ensemble.wait_ready()

    addresses = {int(m): a for m, a in free_addresses([MemberId(1)]).items()}
    with pytest.raises(ForeignStorageError):
        await Ensemble(data_dir=tmp_path, name="other").__aenter__()
    with pytest.raises(ForeignStorageError):
        await Ensemble(2, {2: addresses[1]}, data_dir=tmp_path).__aenter__()
    async with Ensemble(data_dir=tmp_path) as ensemble:
        await ensemble.wait_ready()
