"""What every log store promises; run for the one in memory and the one on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coordlib.errors import StorageError, StorageLockedError
from coordlib.ids import make_zxid
from coordlib.storage.file import FileStore
from coordlib.storage.interface import Entry, EntryKind, LogStore, Recovered, Write
from coordlib.storage.memory import MemoryDisk, MemoryStore
from storage.store_client import base, meta, records, running, transactions
from storage.stored import in_memory, stored

OpenStore = Callable[[], LogStore]
"""Each call is a new start of the same member."""

CUT_TO_2: Entry = (EntryKind.CUT, 2, b"")


@pytest.fixture(params=["memory", "file"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    disk = MemoryDisk()
    if request.param == "memory":
        return lambda: MemoryStore(disk)
    return lambda: FileStore(tmp_path / "state", member=1, name="test")


def recover(open_store: OpenStore) -> Recovered:
    store = open_store()
    try:
        return in_memory(store.recover())
    finally:
        store.close()


def test_an_empty_disk_holds_nothing(open_store: OpenStore) -> None:
    assert recover(open_store) == Recovered(None, 0, [], None)


async def test_what_was_reported_is_recovered(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(meta(b"one"), *transactions(1, 2))
        await client.write(*transactions(3), meta(b"two"))

    assert recover(open_store) == Recovered(b"two", 0, records(1, 2, 3), None)


async def test_the_next_start_goes_on_where_the_last_one_ended(
    open_store: OpenStore,
) -> None:
    for start in (1, 2, 3):
        async with running(open_store()) as client:
            await client.write(*transactions(make_zxid(start, 1), make_zxid(start, 2)))

    wanted = [make_zxid(epoch, n) for epoch in (1, 2, 3) for n in (1, 2)]
    assert recover(open_store).records == records(*wanted)


async def test_reports_go_up_and_end_with_the_last_write(
    open_store: OpenStore,
) -> None:
    async with running(open_store()) as client:
        for zxid in range(1, 100):
            client.submit(*transactions(zxid))
        await client.write(*transactions(100))

        assert client.reported[-1] == 100
        assert client.reported == sorted(set(client.reported))


async def test_a_cut_drops_the_transactions_beyond(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 2, 3, 4), CUT_TO_2, *transactions(7))
        await client.write(meta(b"m"))

    assert recover(open_store) == Recovered(b"m", 0, records(1, 2, 7), None)


async def test_a_cut_drops_the_snapshots_beyond(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 2, 3))
        await client.save(1)
        await client.save(3)
        await client.write(CUT_TO_2, *transactions(9))

    recovered = recover(open_store)
    assert recovered.snapshot == stored(1, b"s1")
    assert recovered.records[-2:] == records(2, 9)


async def test_everything_can_be_cut_while_nothing_is_purged(
    open_store: OpenStore,
) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 2), (EntryKind.CUT, 0, b""))

    assert recover(open_store).records == []


async def test_a_cut_beyond_the_end_changes_nothing(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1), CUT_TO_2, *transactions(2))

    assert recover(open_store).records == records(1, 2)


async def test_a_base_drops_all_that_came_before(open_store: OpenStore) -> None:
    async with running(open_store()) as client:
        await client.write(meta(b"m"), *transactions(1, 2, 30))
        await client.save(2)
        await client.write(base(20), *transactions(21))

    assert recover(open_store) == Recovered(b"m", 20, records(21), stored(20, b"s20"))


async def test_metadata_of_the_same_write_as_a_base_survives_it(
    open_store: OpenStore,
) -> None:
    async with running(open_store()) as client:
        await client.write(meta(b"old"))
        await client.write(*transactions(1), meta(b"new"), base(20))

    assert recover(open_store) == Recovered(b"new", 20, [], stored(20, b"s20"))


async def test_the_newest_snapshot_is_recovered_with_the_log_since(
    open_store: OpenStore,
) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 2, 3, 4, 5))
        for zxid in (2, 3, 4):
            await client.save(zxid)

    recovered = recover(open_store)
    assert recovered.snapshot == stored(4, b"s4")
    # The older of the two that are kept can be used as well.
    assert recovered.base <= 3
    assert recovered.records[-2:] == records(4, 5)


async def test_an_older_snapshot_than_the_newest_is_not_kept(
    open_store: OpenStore,
) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 2, 3))
        await client.save(3)
        await client.save(2)

    assert recover(open_store).snapshot == stored(3, b"s3")


async def test_a_snapshot_that_a_cut_overtook_is_not_kept(
    open_store: OpenStore,
) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 2, 3))
        await client.write(CUT_TO_2)
        await client.save(3)
        await client.save(2)

    assert recover(open_store).snapshot == stored(2, b"s2")


async def test_a_snapshot_that_a_base_overtook_is_not_kept(
    open_store: OpenStore,
) -> None:
    async with running(open_store()) as client:
        await client.write(*transactions(1, 30))
        await client.write(base(20))
        await client.save(30)
        await client.save(1)

    assert recover(open_store).snapshot == stored(20, b"s20")


async def test_a_gap_in_the_numbers_of_writes_is_refused(
    open_store: OpenStore,
) -> None:
    async with running(open_store()) as client:
        with pytest.raises(StorageError, match="write 2 does not come next"):
            client.store.submit(Write(2, transactions(1)))

        await client.write(*transactions(5))

    assert recover(open_store).records == records(5)


async def test_a_transaction_out_of_order_ends_the_run(open_store: OpenStore) -> None:
    store = open_store()
    store.recover()
    reported: list[int] = []
    store.submit(Write(1, transactions(3, 3)))

    with pytest.raises(StorageError, match="0:3 does not come after 0:3"):
        await store.run(reported.append)

    store.close()
    assert reported == []


async def test_a_cut_into_what_was_purged_ends_the_run(open_store: OpenStore) -> None:
    store = open_store()
    store.recover()
    reported: list[int] = []
    store.submit(Write(1, [base(20), *transactions(21), CUT_TO_2]))

    with pytest.raises(StorageError, match="cannot cut to 0:2"):
        await store.run(reported.append)

    store.close()
    assert reported == []
    assert recover(open_store).snapshot == stored(20, b"s20")


async def test_a_snapshot_cannot_be_saved_in_a_closed_store(
    open_store: OpenStore,
) -> None:
    store = open_store()
    async with running(store) as client:
        await client.write(*transactions(1))

    with pytest.raises(StorageError):
        await store.save_snapshot(1, [b"s1"])


def test_only_one_store_at_a_time_uses_the_disk(open_store: OpenStore) -> None:
    first, second = open_store(), open_store()
    first.recover()

    with pytest.raises(StorageLockedError):
        second.recover()

    second.close()
    first.close()
    first.close()
    second.recover()
    second.close()
