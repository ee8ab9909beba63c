"""The whole stack, cancelled at each checkpoint of each thing that it can do.

Three members on an in-memory network, virtual time, tasks in a seeded order.
The caller is cancelled at once; or after its request took effect and before it
can know; or while its request is held up; or after the leader has died.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio

from coordlib import (
    BadVersionError,
    Check,
    Create,
    Delete,
    Ensemble,
    Session,
    Set,
)
from coordlib.ids import MemberId
from coordlib.recipes import Barrier, DoubleBarrier, Election, Grant, Lock
from coordlib.storage.memory import MemoryStore
from coordlib.testing import (
    History,
    MemoryEnsemble,
    Recorder,
    cancel_everywhere,
    check_history,
    committed_log,
)
from recipes.interference import Room
from seeded import run_seeded


@attrs.define(eq=False)
class Stage:
    """Three members, who is cancelled at one of them, and who looks on.

    Attributes:
      here: Where the one who is cancelled is.
      there: Where the other one is.
      session: Its session.
      client: Another one at the same member, all of whose calls are noted.
      other: Somebody's session, at another member.
      room: Where nobody is without a grant, and nobody but one.
      tokens: Tells one call from the next.

    """

    members: MemoryEnsemble
    here: int
    there: int
    session: Session
    client: Recorder
    other: Session
    history: History
    room: Room = attrs.field(factory=Room)
    tokens: int = 0
    quiet_tasks: int = 0

    def token(self) -> bytes:
        self.tokens += 1
        return b"%d" % self.tokens

    @property
    def ensemble(self) -> Ensemble:
        return self.members[self.here]

    # --- what may happen to the caller's request before it is cancelled ---

    async def it_takes_effect_unheard(self) -> None:
        """What was asked for is done, and no word of it comes back."""
        for member in self.members:
            if member != self.here:
                self.members.network.cut(MemberId(member), MemberId(self.here))
        await trio.sleep(0.02)

    async def it_is_held_up(self) -> None:
        """What was asked for goes nowhere before the cancellation."""
        for member in self.members:
            if member != self.here:
                self.members.network.cut(MemberId(self.here), MemberId(member))
        await trio.sleep(0.02)

    async def it_is_under_way(self) -> None:
        await trio.sleep(0.0015)

    async def the_leader_dies(self) -> None:
        leader = self.members.leader_id
        if leader not in {None, self.here, self.there}:
            with trio.CancelScope(shield=True):
                await self.members.crash(leader)

    # --- afterwards ---

    async def settle(self) -> None:
        """Heal everything, and wait until nothing goes on any more."""
        self.members.heal()
        for member in self.members.disks:
            if member not in self.members:
                await self.members.restart(member)
        with trio.fail_after(20):
            await self.members.wait_equal()
            # A write behind all that is under way, and the replica serves.
            await self.session.set("/", self.token())
            await self.other.set("/", self.token())
            # Others get in at once where the cancelled one was.
            await self.lock(self.other)
            await trio.sleep(0.5)
            await self.members.wait_equal()

    async def check(self) -> None:
        """Nothing is left behind, by nobody."""
        await self.settle()
        for ensemble in self.members.values():
            statistics = ensemble.statistics()
            assert statistics.sessions == 3
            assert statistics.outstanding == 0
            assert statistics.watches == 0
            keeps = {self.here: 2, self.there: 1}.get(ensemble.member_id, 0)
            assert statistics.local_sessions == keeps
        for session in (self.session, self.client._session, self.other):
            kept = session._kept
            assert not kept._bindings
            assert not kept._listeners
        assert list(ephemerals(self.ensemble, "/")) == []
        tasks = trio.lowlevel.current_statistics().tasks_living
        self.quiet_tasks = self.quiet_tasks or tasks
        assert tasks == self.quiet_tasks

    async def lock(
        self, session: Session | None = None, duration: float = 0.01
    ) -> None:
        """Hold the lock for a while."""
        with trio.fail_after(20):
            async with Lock(session or self.other, "/locks/l") as grant:
                with self.room.visit(grant):
                    await trio.sleep(duration)

    def check_history(self) -> None:
        assert check_history(self.history.calls, committed_log(self.members)) == []


def ephemerals(ensemble: Ensemble, path: str) -> list[str]:
    """Return all ephemeral znodes below ``path``."""
    found: list[str] = []
    for name in ensemble.tree.get_children(path):
        below = f"{path.rstrip('/')}/{name}"
        stat = ensemble.tree.exists(below)
        assert stat is not None
        found += [below] * bool(stat.ephemeral_owner) + ephemerals(ensemble, below)
    return found


@asynccontextmanager
async def staged(*, leading: bool) -> AsyncIterator[Stage]:
    """Set the stage, with the one who is cancelled at the leader or not."""
    async with MemoryEnsemble(3) as members:
        leader = members.leader_id
        assert leader is not None
        followers = [member for member in members if member != leader]
        here, there = [leader, followers[0]] if leading else followers
        async with (
            members[here].session(timeout=30) as session,
            members[here].session(timeout=30) as noted,
            members[there].session(timeout=30) as other,
        ):
            history = History()
            client = Recorder(history, noted, members[here].tree)
            await other.create("/a")
            stage = Stage(members, here, there, session, client, other, history)
            # Whatever stays, such as the links, is there from the beginning.
            await stage.lock()
            yield stage


# --- what is cancelled ---


async def create(stage: Stage) -> None:
    await stage.client.create("/c-", stage.token(), sequential=True)


async def set_(stage: Stage) -> None:
    stat = await stage.client.set("/a", stage.token())
    with suppress(BadVersionError):
        await stage.client.set("/a", stage.token(), version=stat.version)


async def delete(stage: Stage) -> None:
    path = await stage.client.create("/d-", sequential=True)
    await stage.client.delete(path)


async def multi(stage: Stage) -> None:
    parts = (Check("/a"), Create("/m"), Set("/a", stage.token()), Delete("/m"))
    await stage.client.multi(parts)


async def read(stage: Stage) -> None:
    await stage.client.get("/a")
    await stage.client.exists("/no")
    await stage.client.get_children("/")
    await stage.session.predecessor("/a")


async def sync(stage: Stage) -> None:
    await stage.client.sync()
    await stage.client.get("/a")


async def watch(stage: Stage) -> None:
    async with stage.session.watch("/", recursive=True) as events:
        await stage.client.set("/a", stage.token())
        await anext(events)


async def wait_for(stage: Stage) -> None:
    token = stage.token()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.other.set, "/a", token)
        await stage.session.wait_for("/a", lambda z: z is not None and z.data == token)


async def wait_deleted(stage: Stage) -> None:
    path = await stage.client.create("/w-", sequential=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.other.delete, path)
        await stage.session.wait_deleted("/", path)


async def open_and_close(stage: Stage) -> None:
    async with stage.ensemble.session() as session:
        client = Recorder(stage.history, session, stage.ensemble.tree)
        await client.create("/e-", ephemeral=True, sequential=True)
        await session.aclose()


async def wait_ready(stage: Stage) -> None:
    await stage.ensemble.wait_ready()


async def run_alone(_: Stage) -> None:
    async with Ensemble() as ensemble:
        await ensemble.wait_ready()
        async with ensemble.session() as session:
            await session.create("/x")


async def hold_lock(stage: Stage) -> None:
    await stage.lock(stage.session)


async def wait_for_lock(stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.lock, stage.other, 0.02)
        await trio.sleep(0.005)
        await stage.lock(stage.session)


async def try_lock(stage: Stage) -> None:
    grant = await Lock(stage.session, "/locks/l").try_acquire()
    assert grant is not None
    async with grant:
        with stage.room.visit(grant):
            await trio.sleep(0.01)


async def lead(stage: Stage) -> None:
    async def reign(leadership: Grant) -> None:
        with stage.room.visit(leadership):
            await trio.sleep(0.01)

    election = Election(stage.session, "/election", data=b"me")
    async with election.observe() as leaders:
        assert await anext(leaders) is None
        await election.run(reign)
        await election.leader()


async def pass_gate(stage: Stage) -> None:
    gate = Barrier(stage.session, "/gate")
    await gate.close()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Barrier(stage.other, "/gate").open)
        await gate.wait()
    await gate.open()


async def meet(stage: Stage) -> None:
    async def partner() -> None:
        async with DoubleBarrier(stage.other, "/meeting", 2):
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partner)
        async with DoubleBarrier(stage.session, "/meeting", 2) as roster:
            assert len(roster) == 2
            await trio.sleep(0.02)


ACTS = [
    create,
    set_,
    delete,
    multi,
    read,
    sync,
    watch,
    wait_for,
    wait_deleted,
    open_and_close,
    wait_ready,
    run_alone,
]

# They make what is missing on the way, so they have more checkpoints at times.
RECIPES = [
    hold_lock,
    wait_for_lock,
    try_lock,
    lead,
    pass_gate,
    meet,
]

EVENTS = {
    "at once": None,
    "under way": Stage.it_is_under_way,
    "effect unheard": Stage.it_takes_effect_unheard,
    "held up": Stage.it_is_held_up,
    "leader dies": Stage.the_leader_dies,
}


CASES = [
    pytest.param(leading, event, id=f"{role}, {name}")
    for role, leading in (("leader", True), ("follower", False))
    for name, event in EVENTS.items()
    if not (leading and event is Stage.the_leader_dies)
]


@pytest.mark.parametrize("act", [*ACTS, *RECIPES], ids=lambda act: act.__name__)
@pytest.mark.parametrize(("leading", "event"), CASES)
def test_cancelling_leaves_nothing_behind_and_breaks_no_promise(
    act: Callable[[Stage], Awaitable[None]],
    leading: bool,  # noqa: FBT001 - given by name
    event: Callable[[Stage], Awaitable[None]] | None,
) -> None:
    async def run() -> None:
        async with staged(leading=leading) as stage:
            await stage.check()
            ended = await cancel_everywhere(
                partial(act, stage),
                stage.check,
                meanwhile=None if event is None else partial(event, stage),
                checkpoints_max=60,
            )
            assert ended[0]
            if event is None and act in ACTS:
                # Nothing is swallowed: once it comes to its end, it always does.
                assert ended == sorted(ended, reverse=True)
            stage.check_history()
            assert stage.room.tokens == sorted(set(stage.room.tokens))

    run_seeded(1, run)


def test_starting_a_member_may_be_cancelled_anywhere() -> None:
    """Its disk is none the worse for it, and the others do not notice."""

    async def run() -> None:
        async with MemoryEnsemble(3) as members:
            third = MemberId(3)
            await members.crash(third)
            await trio.sleep(1)
            quiet_tasks = trio.lowlevel.current_statistics().tasks_living

            async def act() -> None:
                async with Ensemble(
                    third,
                    {member: f"memory:{member}" for member in members.disks},
                    transport=members.network.transport(third, members.disks),
                    store=MemoryStore(members.disks[third]),
                ) as ensemble:
                    await ensemble.wait_ready()
                    async with ensemble.session() as session:
                        await session.set("/", b"from the third")

            async def check() -> None:
                await trio.sleep(1)
                assert trio.lowlevel.current_statistics().tasks_living == quiet_tasks
                async with members[1].session() as session:
                    await session.sync()
                await members.wait_equal()
                for ensemble in members.values():
                    assert ensemble.statistics().outstanding == 0
                    assert ensemble.statistics().sessions == 0

            ended = await cancel_everywhere(act, check)
            assert ended[0]
            assert len(ended) > 5
            await members.restart(third)
            await members.wait_equal()
            assert members[third].tree.get("/")[0] == b"from the third"

    run_seeded(1, run)
