"""Members under fire: what their clients were told is true, say both checkers."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from itertools import pairwise

import attrs
import pytest
import trio

from coordlib import (
    Check,
    Config,
    Create,
    Delete,
    Ensemble,
    MultiError,
    OperationError,
    Session,
    Set,
    Stat,
)
from coordlib.errors import ErrorCode
from coordlib.ids import SessionId
from coordlib.testing import (
    Call,
    Exists,
    Get,
    GetChildren,
    History,
    Recorder,
    Refusal,
    Rule,
    Sync,
    check_history,
    committed_log,
    linearize_history,
)
from coordlib.tree import Multi, Transaction
from replica.chaos import Chaos, Faults
from seeded import run_seeded

PARTS = ["/a", "/b"]


@attrs.define(eq=False)
class Tale:
    """What clients noted while members were crashed, cut off and stalled.

    Attributes:
      chaos: The nemesis.
      history: Of all clients.
      plain: The sessions of those who keep to what can be searched.
      log: What the members agreed upon in the end.

    """

    chaos: Chaos
    history: History = attrs.field(factory=History)
    plain: set[SessionId] = attrs.field(factory=set)
    log: list[tuple[int, Transaction]] = attrs.field(factory=list)

    async def run(self) -> None:
        members = self.chaos.members
        async with members:
            async with trio.open_nursery() as nursery:
                for member in members:
                    nursery.start_soon(self.chaos.use, member, self.work_plainly)
                    nursery.start_soon(self.chaos.use, member, self.work_plainly)
                    nursery.start_soon(self.chaos.use, member, self.work)
                await self.chaos.torment()
                await self.chaos.settle()
                nursery.cancel_scope.cancel()
            with trio.fail_after(30):
                await members.wait_equal()
            self.log = committed_log(members)

    def plain_calls(self) -> list[Call]:
        return [call for call in self.history.calls if call.session in self.plain]

    async def work_plainly(self, session: Session, ensemble: Ensemble) -> None:
        self.plain.add(session.id)
        client = Recorder(self.history, session, ensemble.tree)
        rng = self.chaos.rng
        path, data = rng.choice(PARTS), rng.randbytes(4)
        child = f"{path}/child"
        try:
            match rng.randrange(8):
                case 0 | 1:
                    await client.create(path, data)
                    await client.create(child)
                case 2:
                    await client.delete(path)
                case 3:
                    await client.delete(child)
                case 4 | 5:
                    _, stat = await client.get(path)
                    await client.set(path, data, version=stat.version)
                case _:
                    await client.sync()
                    await client.get(path)
        except OperationError:
            await trio.lowlevel.checkpoint()

    async def work(self, session: Session, ensemble: Ensemble) -> None:
        """Do what needs sessions and zxids to be judged."""
        client = Recorder(self.history, session, ensemble.tree)
        rng = self.chaos.rng
        try:
            match rng.randrange(5):
                case 0:
                    await client.create("/jobs", b"")
                case 1:
                    await client.create("/jobs/j-", sequential=True, ephemeral=True)
                case 2:
                    parts = (Check("/jobs"), Create("/jobs/m"), Set("/jobs", b"m"))
                    await client.multi(parts)
                case 3:
                    for name in await client.get_children("/jobs"):
                        stat = await client.exists(f"/jobs/{name}")
                        if stat is not None and rng.random() < 0.3:
                            await client.delete(f"/jobs/{name}", czxid=stat.czxid)
                case _:
                    await client.sync()
                    await client.get_children("/jobs")
        except (OperationError, MultiError):
            await trio.lowlevel.checkpoint()


# Who lags gets a snapshot, so that not every disk holds the whole log.
FORGETFUL = Config(history_records_max=8)


@cache
def tell(seed: int) -> Tale:
    async def run() -> Tale:
        config = FORGETFUL if seed % 2 else Config()
        tale = Tale(Chaos(seed, 3.0, 3, config, Faults()))
        await tale.run()
        return tale

    return run_seeded(seed, run)


EACH_SEED = pytest.mark.parametrize("seed", range(4))


@EACH_SEED
def test_the_committed_log_bears_every_history_out(seed: int) -> None:
    tale = tell(seed)

    assert check_history(tale.history.calls, tale.log) == []


@EACH_SEED
def test_every_history_of_writes_and_synced_reads_is_linearizable(seed: int) -> None:
    assert linearize_history(tell(seed).plain_calls()).linearizable is True


def test_the_histories_are_worth_checking() -> None:
    calls = [call for seed in range(4) for call in tell(seed).history.calls]
    answered = Counter(type(call.operation) for call in calls if call.answered)
    refused = {c.result.code for c in calls if isinstance(c.result, Refusal)}

    kinds = (Create, Set, Delete, Multi, Get, Exists, GetChildren, Sync)
    assert min(answered[kind] for kind in kinds) > 20
    assert refused >= {ErrorCode.NO_NODE, ErrorCode.BAD_VERSION, ErrorCode.NOT_EMPTY}
    assert any(not call.answered for call in calls)


@EACH_SEED
def test_the_witness_misses_a_write_that_was_lost(seed: int) -> None:
    tale = tell(seed)
    lost = random.Random(seed).choice(
        [c for c in tale.plain_calls() if isinstance(c.result, Stat)]
    )
    log = [(z, t) for z, t in tale.log if (t.session, t.cxid) != key_of(lost)]

    found = check_history(tale.history.calls, log)
    assert [c.call for c in found if c.rule is Rule.LOST] == [lost]


def key_of(call: Call) -> tuple[SessionId, int]:
    return call.session, call.cxid


@EACH_SEED
def test_both_see_that_a_sync_did_not_wait(seed: int) -> None:
    """A read after a sync is given what another read saw before a change."""
    tale = tell(seed)
    sync, read, old = stale(tale.plain_calls())
    calls = [
        attrs.evolve(call, zxid=old.zxid, result=old.result if call is read else None)
        if call in {sync, read}
        else call
        for call in tale.plain_calls()
    ]

    rules = {contradiction.rule for contradiction in check_history(calls, tale.log)}
    assert Rule.STALE_SYNC in rules
    assert Rule.OTHER_RESULT not in rules
    assert linearize_history(calls).linearizable is False


def stale(calls: list[Call]) -> tuple[Call, Call, Call]:
    """Return a sync, the read after it, and a read that is too old for both."""
    changes = [call for call in calls if isinstance(call.result, Stat)]
    for session in {call.session: None for call in calls}:
        own = [call for call in calls if call.session == session]
        for sync, read in pairwise(own):
            if not (isinstance(sync.operation, Sync) and read.answered):
                continue
            for change in changes:
                for old in calls:
                    if (
                        isinstance(old.result, tuple)
                        and old.operation == read.operation == Get(path_of(change))
                        and old.returned < change.called
                        and change.returned < sync.called
                    ):
                        return sync, read, old
    raise AssertionError("nothing was read, changed and read again")


def path_of(call: Call) -> str:
    assert isinstance(call.operation, Set | Exists)
    return call.operation.path
