"""Sessions, locks, elections and watches at all members, under fire.

One seed decides when members are killed, cut off and stalled, and who does what.
The witness judges what clients were told, an independent search the part of it
that can be searched; watches are compared with the log carried out once more.
"""

from __future__ import annotations

from functools import cache

import attrs
import pytest
import trio

from coordlib import (
    Check,
    Config,
    Ensemble,
    EventType,
    MultiError,
    OperationError,
    Session,
    Set,
)
from coordlib.ids import SessionId
from coordlib.recipes import Election, Grant, Lock
from coordlib.testing import (
    History,
    Recorder,
    check_history,
    committed_log,
    linearize_history,
)
from coordlib.tree import DataTree, Multi, Transaction
from recipes.interference import Room
from replica.chaos import Chaos, Faults
from seeded import run_seeded

GUARDED, PLAIN = "/guarded", "/plain"

# Who lags gets a snapshot: events are lost, and watches told so.
FORGETFUL = Config(history_records_max=8)

Change = tuple[int, EventType, str]


@attrs.frozen
class Stream:
    """What one recursive watch of the root has reported since a zxid."""

    after: int
    changes: list[Change] = attrs.field(factory=list)


@attrs.define(eq=False)
class Fire:
    """One story.

    Attributes:
      chaos: The nemesis.
      history: Of all clients that note what they do.
      plain: The sessions of those who do only what can be searched.
      locked: Where only the holder of the lock is.
      throne: Where only the leader is.
      streams: What watches have reported.
      log: What the members agreed upon, as it is on their disks.

    """

    chaos: Chaos
    history: History = attrs.field(factory=History)
    plain: set[SessionId] = attrs.field(factory=set)
    locked: Room = attrs.field(factory=Room)
    throne: Room = attrs.field(factory=Room)
    streams: list[Stream] = attrs.field(factory=list)
    log: list[tuple[int, Transaction]] = attrs.field(factory=list)
    changes: list[Change] = attrs.field(factory=list)

    async def run(self) -> None:
        chaos, members = self.chaos, self.chaos.members
        async with members:
            async with members[1].session() as session:
                await session.create(GUARDED, b"0")
            async with trio.open_nursery() as nursery:
                for member in members:
                    for user in (self.work, self.lock, self.lead, self.watch):
                        nursery.start_soon(chaos.use, member, user)
                await chaos.torment()
                await chaos.settle()
                nursery.cancel_scope.cancel()
            with trio.fail_after(30):
                # Sessions that were abandoned expire.
                await trio.sleep(4)
                await members.wait_equal()
            self.log = committed_log(members)
            self.changes = self._carry_out()
            for ensemble in members.values():
                statistics = ensemble.statistics()
                assert statistics.sessions == statistics.local_sessions == 0
                assert statistics.outstanding == statistics.watches == 0
                for line in ("/lock", "/election"):
                    stat = ensemble.tree.exists(line)
                    assert stat is None or not stat.num_children

    def _carry_out(self) -> list[Change]:
        """Return all changes of all znodes, by carrying out the log once more."""
        disks = self.chaos.members.disks.values()
        (records, *_) = (
            recovered.records
            for recovered in (disk.read() for disk in disks)
            if len(recovered.records) >= len(self.log) and not recovered.base
        )
        tree, changes = DataTree(), list[Change]()
        for zxid, payload in records[: len(self.log)]:
            for event in tree.apply(zxid, payload).events:
                changes.append((zxid, event.kind, event.path))
        return changes

    # --- users ---

    async def work(self, session: Session, ensemble: Ensemble) -> None:
        self.plain.add(session.id)
        client = Recorder(self.history, session, ensemble.tree)
        rng = self.chaos.rng
        try:
            match rng.randrange(4):
                case 0:
                    await client.create(PLAIN, rng.randbytes(4))
                case 1:
                    _, stat = await client.get(PLAIN)
                    await client.set(PLAIN, rng.randbytes(4), version=stat.version)
                case 2 if rng.random() < 0.3:
                    await client.delete(PLAIN)
                case _:
                    await client.sync()
                    await client.get(PLAIN)
        except OperationError:
            await trio.lowlevel.checkpoint()

    async def lock(self, session: Session, ensemble: Ensemble) -> None:
        async with ensemble.session(timeout=3) as noted:
            client = Recorder(self.history, noted, ensemble.tree)
            with trio.move_on_after(self.chaos.rng.uniform(0, 2)):
                try:
                    async with Lock(session, "/lock") as grant:
                        await self._rule(self.locked, grant, client)
                except OperationError:
                    await trio.lowlevel.checkpoint()

    async def lead(self, session: Session, _: Ensemble) -> None:
        async def reign(leadership: Grant) -> None:
            await self._rule(self.throne, leadership, None)

        with trio.move_on_after(self.chaos.rng.uniform(0, 2)):
            try:
                await Election(session, "/election").run(reign)
            except OperationError:
                await trio.lowlevel.checkpoint()

    async def _rule(self, room: Room, grant: Grant, client: Recorder | None) -> None:
        """Be alone, and let a write prove that it was done alone."""
        grant.check()
        with room.visit(grant):
            # Some stay for longer than a session lives without a quorum.
            await trio.sleep(self.chaos.rng.choice([0.01, 0.02, 0.05, 1.5]))
            if client is not None:
                try:
                    await client.multi(
                        [grant.guard(), Set(GUARDED, b"%d" % grant.token)]
                    )
                except MultiError:
                    await trio.lowlevel.checkpoint()

    async def watch(self, session: Session, ensemble: Ensemble) -> None:
        async with session.watch("/", recursive=True) as events:
            stream = Stream(ensemble.tree.zxid)
            self.streams.append(stream)
            async for event in events:
                if event.type is EventType.RESYNC:
                    return
                stream.changes.append((event.zxid, event.type, event.path))


@cache
def tell(seed: int) -> Fire:
    async def run() -> Fire:
        fire = Fire(Chaos(seed, 3.0, 3, FORGETFUL if seed % 2 else Config(), Faults()))
        await fire.run()
        return fire

    return run_seeded(seed, run)


EACH_SEED = pytest.mark.parametrize("seed", range(6))


@EACH_SEED
def test_what_clients_were_told_is_true(seed: int) -> None:
    fire = tell(seed)

    assert len(fire.history.calls) > 50
    assert check_history(fire.history.calls, fire.log) == []


@EACH_SEED
def test_what_can_be_searched_is_linearizable(seed: int) -> None:
    fire = tell(seed)
    plain = [call for call in fire.history.calls if call.session in fire.plain]

    assert linearize_history(plain).linearizable is True


@EACH_SEED
def test_holders_and_leaders_come_one_after_the_other(seed: int) -> None:
    """In the block, by the room's witness; in the ensemble, by the guarded writes."""
    fire = tell(seed)

    for room in (fire.locked, fire.throne):
        assert room.tokens
        assert room.tokens == sorted(set(room.tokens))
    tokens = guarded_tokens(fire)
    assert tokens == sorted(set(tokens))


def guarded_tokens(fire: Fire) -> list[int]:
    """Return the tokens under which guarded writes were done, in their order."""
    done = {zxid for zxid, _, path in fire.changes if path == GUARDED}
    tokens: list[int] = []
    for zxid, transaction in fire.log:
        if zxid in done and isinstance(transaction.operation, Multi):
            guard, _ = transaction.operation.operations
            assert isinstance(guard, Check)
            tokens.append(guard.czxid)
    return tokens


@EACH_SEED
def test_watches_leave_nothing_out(seed: int) -> None:
    fire = tell(seed)

    assert sum(len(stream.changes) for stream in fire.streams) > 50
    for stream in fire.streams:
        last = max((zxid for zxid, *_ in stream.changes), default=stream.after)
        expected = [c for c in fire.changes if stream.after < c[0] <= last]
        assert stream.changes == expected
