"""What sessions ask of quotas, counts and several znodes at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import pytest
import trio

from coordlib import (
    BadArgumentsError,
    Create,
    Ensemble,
    Get,
    GetChildren,
    NoNodeError,
    QuotaExceededError,
    QuotaLimits,
    QuotaStatus,
    Session,
    Set,
)
from coordlib.testing import MemoryEnsemble
from transport.seat import in_virtual_time


@in_virtual_time
async def test_a_quota_binds_at_every_member() -> None:
    async with (
        MemoryEnsemble(3) as members,
        members[1].session() as one,
        members[2].session() as two,
    ):
        await one.create("/app", b"123")
        await one.set_quota("/app", count_hard=2, bytes=10)
        await two.sync()
        assert await two.get_quota("/app") == QuotaStatus(
            QuotaLimits(count_hard=2, bytes=10), 1, 3
        )
        await two.create("/app/a")
        for session in one, two:
            with pytest.raises(QuotaExceededError, match="2 znodes"):
                await session.create("/app/b")
        await members.wait_equal()


async def test_limits_are_changed_one_by_one() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a")
        assert await session.get_quota("/a") is None
        await session.set_quota("/a", count=5, bytes_hard=7)
        await session.set_quota("/a", count=-1, bytes=6)
        status = await session.get_quota("/a")

        assert status is not None
        assert status.limits == QuotaLimits(bytes=6, bytes_hard=7)
        data, stat = await session.get("/zookeeper/quota/a/zookeeper_limits")
        assert data == b"count=-1,bytes=6=;byteHardLimit=7"
        assert stat.version == 1


async def test_a_removed_quota_leaves_nothing_behind() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        for path in ("/a", "/a/b", "/a/b/c", "/a/d"):
            await session.create(path)
        before = await session.get_all_children_number("/zookeeper")
        await session.set_quota("/a/b/c", count_hard=1)
        await session.set_quota("/a/d", count_hard=1)
        await session.delete("/zookeeper/quota/a/d/zookeeper_stats")
        for path in ("/a/b/c", "/a/d"):
            await session.del_quota(path)
            await session.create(f"{path}/below")

        assert await session.get_all_children_number("/zookeeper") == before
        with pytest.raises(NoNodeError):
            await session.del_quota("/a/d")


async def test_a_quota_has_none_above_or_below() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        for path in ("/a", "/a/b", "/a/b/c", "/ab"):
            await session.create(path)
        await session.set_quota("/a/b", count=1)
        for path in ("/a", "/a/b/c"):
            with pytest.raises(BadArgumentsError, match="/a/b already"):
                await session.set_quota(path, count=1)
        await session.set_quota("/ab", count=1)
        for path in ("/", "/zookeeper", "/zookeeper/quota"):
            with pytest.raises(BadArgumentsError):
                await session.set_quota(path, count=1)
        with pytest.raises(NoNodeError):
            await session.set_quota("/none", count=1)


async def test_whoever_is_slower_plans_anew() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a")
        async with trio.open_nursery() as nursery:
            for limit in range(5):
                nursery.start_soon(partial(session.set_quota, "/a", count=limit))
            nursery.start_soon(partial(session.set_quota, "/a", bytes=9))
        status = await session.get_quota("/a")
        assert status is not None
        assert (status.limits.count in range(5), status.limits.bytes) == (True, 9)


async def test_another_refusal_of_a_plan_is_told() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        path = "/" + "x" * 1000
        await session.create(path)
        with pytest.raises(BadArgumentsError, match="longer"):
            await session.set_quota(path, count=1)


async def test_descendants_are_counted_at_any_depth() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        for path in ("/a", "/a/b", "/a/b/c", "/a/d", "/ab"):
            await session.create(path)

        assert await session.get_all_children_number("/a") == 3
        assert await session.get_all_children_number("/ab") == 0
        assert await session.get_all_children_number("/") == 8
        with pytest.raises(NoNodeError):
            await session.get_all_children_number("/none")


async def test_a_session_finds_its_own_ephemerals() -> None:
    async with (
        Ensemble() as ensemble,
        ensemble.session() as session,
        ensemble.session() as other,
    ):
        await session.create("/b")
        for path in ("/b/2", "/b/1", "/bc", "/a"):
            await session.create(path, ephemeral=True)
        await other.create("/b/3", ephemeral=True)

        assert await session.get_ephemerals() == ["/a", "/b/1", "/b/2", "/bc"]
        assert await session.get_ephemerals("") == ["/a", "/b/1", "/b/2", "/bc"]
        assert await session.get_ephemerals("/b") == ["/b/1", "/b/2", "/bc"]
        assert await session.get_ephemerals("/c") == []


async def test_children_come_with_the_stat_of_the_same_moment() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a")
        await session.create("/a/b")
        names, stat = await session.get_children_and_stat("/a")

        assert (names, stat.num_children) == (["b"], 1)
        with pytest.raises(NoNodeError):
            await session.get_children_and_stat("/none")


async def test_a_multi_read_tells_of_each_what_it_would_alone() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a", b"1")
        await session.create("/a/b")
        got, none, children, missing = await session.multi_read(
            [Get("/a"), Get("/none"), GetChildren("/a"), GetChildren("/none")]
        )

        assert got == await session.get("/a")
        assert children == ["b"]
        for error in none, missing:
            assert isinstance(error, NoNodeError)
            assert error.path == "/none"
        assert await session.multi_read([]) == []


@in_virtual_time
async def test_a_multi_read_is_of_one_zxid() -> None:
    async with (
        MemoryEnsemble(3) as members,
        members[1].session() as writer,
        members[2].session() as reader,
    ):
        await writer.multi([Create("/a", b"0"), Create("/b", b"0")])
        await reader.sync()

        async def write() -> None:
            for n in range(50):
                data = b"%d" % n
                await writer.multi([Set("/a", data), Set("/b", data)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for _ in range(100):
                a, b = await reader.multi_read([Get("/a"), Get("/b")])
                assert isinstance(a, tuple)
                assert isinstance(b, tuple)
                assert a[0] == b[0]
                await trio.sleep(0.0007)


Use = Callable[[Session], Awaitable[object]]
NOT_NUMBER, NOT_TEXT = cast("int", "1"), cast("str", b"/a")
NOT_READ = cast("Get", Set("/a", b""))

WRONG: dict[str, tuple[Use, type[Exception], str]] = {
    "no limit": (lambda s: s.set_quota("/a"), TypeError, "limit"),
    "count": (lambda s: s.set_quota("/a", count=NOT_NUMBER), TypeError, "count"),
    "bytes": (lambda s: s.set_quota("/a", bytes=True), TypeError, "bytes"),
    "negative count_hard": (
        lambda s: s.set_quota("/a", count_hard=-2),
        BadArgumentsError,
        "count_hard",
    ),
    "large bytes_hard": (
        lambda s: s.set_quota("/a", bytes_hard=1 << 63),
        BadArgumentsError,
        "bytes_hard",
    ),
    "path of set_quota": (lambda s: s.set_quota(NOT_TEXT, count=1), TypeError, "path"),
    "path of get_quota": (lambda s: s.get_quota(NOT_TEXT), TypeError, "path"),
    "path of del_quota": (lambda s: s.del_quota("a"), BadArgumentsError, "path"),
    "prefix": (lambda s: s.get_ephemerals(NOT_TEXT), TypeError, "prefix"),
    "path of a count": (
        lambda s: s.get_all_children_number("a"),
        BadArgumentsError,
        "path",
    ),
    "path in a multi_read": (
        lambda s: s.multi_read([Get("/a"), GetChildren("/a/")]),
        BadArgumentsError,
        "path",
    ),
    "no read": (
        lambda s: s.multi_read([NOT_READ]),
        TypeError,
        "Get",
    ),
    "many reads": (
        lambda s: s.multi_read([Get("/a")] * 10_001),
        BadArgumentsError,
        "10000",
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_argument_is_refused_and_named(what: str) -> None:
    use, error, name = WRONG[what]
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a")
        zxid = ensemble.tree.zxid
        with pytest.raises(error, match=name):
            await use(session)

        assert ensemble.tree.zxid == zxid
