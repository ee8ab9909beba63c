"""Members under fire, and what their users may rely on all the same.

Writers, holders of a mutex, readers and watchers work at all members while a
nemesis crashes, cuts, stalls and heals, as one seed decides. They note what
they were told; afterwards :meth:`Chaos.check` compares it with the tree that
all members agree on. Virtual time only.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import attrs
import trio

from coordlib import (
    BadVersionError,
    Config,
    ConnectionLossError,
    CoordError,
    Ensemble,
    EventType,
    NodeExistsError,
    OperationError,
    ReplicaClosedError,
    Session,
    SessionError,
)
from coordlib.testing import MemoryEnsemble
from seeded import run_seeded

__all__ = ["Chaos", "Faults", "play"]

User = Callable[[Session, Ensemble], Awaitable[None]]

LOG, COUNTER, MUTEX = "/log", "/counter", "/mutex"


@attrs.frozen
class Faults:
    """How likely the nemesis is to do what, relative to each other."""

    crash: float = 3
    restart: float = 4
    partition: float = 2
    cut: float = 2
    heal: float = 4
    stall: float = 1
    resume: float = 2
    power_loss: float = 0.2


@attrs.frozen
class Stream:
    """What one watch has reported: everything after a zxid, in order."""

    after: int
    created: list[tuple[int, str]] = attrs.field(factory=list)


@attrs.define
class Told:
    """What users were told of their attempts, by token."""

    done: list[str] = attrs.field(factory=list)
    refused: list[str] = attrs.field(factory=list)
    unknown: list[str] = attrs.field(factory=list)

    def check(self, found: Iterable[str]) -> None:
        """Compare with what is there: done once, refused never, unknown perhaps."""
        times = Counter(found)
        assert [t for t, n in times.items() if n != 1] == []
        assert [t for t in self.done if t not in times] == []
        assert [t for t in self.refused if t in times] == []
        assert times.keys() <= {*self.done, *self.unknown}


def play(
    seed: int,
    *,
    seconds: float = 4.0,
    size: int = 3,
    config: Config | None = None,
    faults: Faults | None = None,
) -> Chaos:
    """Play and check one story; the same one whenever the seed is the same.

    Args:
      seed: Decides all that happens.
      seconds: How long the faults go on, in virtual time.
      size: How many members.
      config: Theirs.
      faults: What happens to them.

    """

    async def run() -> Chaos:
        chaos = Chaos(seed, seconds, size, config or Config(), faults or Faults())
        await chaos.run()
        return chaos

    chaos = run_seeded(seed, run)
    chaos.check()
    return chaos


class Chaos:
    """One story; see :func:`play`."""

    def __init__(
        self,
        seed: int,
        seconds: float,
        size: int,
        config: Config,
        faults: Faults,
    ) -> None:
        self.rng = random.Random(seed)
        self.seconds = seconds
        self.faults = faults
        self.members = MemoryEnsemble(size, config=config, seed=seed)
        self.created = Told()
        self.counted = Told()
        self.streams: list[Stream] = []
        self.held = 0
        self.synced = 0
        self.found: dict[int, str] = {}
        self._tokens = 0
        self._holder: str | None = None
        # The newest transaction that anybody was told of.
        self._acknowledged = 0

    # --- the story ---

    async def run(self) -> None:
        size = len(self.members.disks)
        async with self.members:
            async with self.members[1].session() as session:
                await session.create(LOG)
                await session.create(COUNTER)
            async with trio.open_nursery() as nursery:
                for member in range(1, size + 1):
                    for user in (self.create, self.create, self.count):
                        nursery.start_soon(self.use, member, user)
                    for user in (self.hold, self.synchronize, self.watch):
                        nursery.start_soon(self.use, member, user)
                await self.torment()
                await self.settle()
                nursery.cancel_scope.cancel()
            await self.finish()

    async def settle(self) -> None:
        """Heal everything; after that it has to work again, soon."""
        self.members.heal()
        for member, disk in self.members.disks.items():
            disk.resume()
            if member not in self.members:
                await self.members.restart(member)
        with trio.fail_after(30):
            await self.members.wait_ready()
            async with self.members[1].session() as session:
                await session.set("/", b"alive")
        # Users find their feet again.
        await trio.sleep(1)

    async def finish(self) -> None:
        with trio.fail_after(30):
            # Sessions that were abandoned expire.
            await trio.sleep(4)
            await self.members.wait_equal()
        tree = self.members[1].tree
        for name in tree.get_children(LOG):
            path = f"{LOG}/{name}"
            self.found[tree.get(path)[1].czxid] = path
        self.counted_data = tree.get(COUNTER)[0]
        self.counted_version = tree.get(COUNTER)[1].version
        for ensemble in self.members.values():
            statistics = ensemble.statistics()
            assert statistics.sessions == 0
            assert statistics.outstanding == 0
            assert statistics.watches == 0
            assert statistics.local_sessions == 0

    def check(self) -> None:
        """Compare what users were told with what is there."""
        # A name without its ten digits is the token.
        self.created.check(path[len(LOG) + 1 : -10] for path in self.found.values())
        tokens = self.counted_data.decode().split()
        self.counted.check(tokens)
        assert self.counted_version == len(tokens)
        for stream in self.streams:
            self._check_stream(stream)

    def _check_stream(self, stream: Stream) -> None:
        last = max((zxid for zxid, _ in stream.created), default=stream.after)
        expected = [
            (zxid, path)
            for zxid, path in sorted(self.found.items())
            if stream.after < zxid <= last
        ]
        assert stream.created == expected

    # --- the nemesis ---

    async def torment(self) -> None:
        actions = attrs.asdict(self.faults)
        end = trio.current_time() + self.seconds
        while trio.current_time() < end:
            await trio.sleep(self.rng.choice([0.0, 0.005, 0.05, 0.3, 1.0]))
            [action] = self.rng.choices(list(actions), list(actions.values()))
            await self._torment(action)

    async def _torment(self, action: str) -> None:
        members = self.members
        seats = list(members.disks)
        victim = self.rng.choice([*seats, members.leader_id or seats[0]])
        match action:
            case "crash" if victim in members:
                await members.crash(victim)
            case "restart" if victim not in members:
                await members.restart(victim)
            case "partition":
                self.rng.shuffle(seats)
                at = self.rng.randrange(1, len(seats))
                members.partition(seats[:at], seats[at:])
            case "cut":
                source, target = self.rng.sample(seats, 2)
                members.network.cut(source, target)
            case "heal":
                members.heal()
            case "stall":
                members.disks[victim].stall()
            case "resume":
                members.disks[victim].resume()
            case "power_loss":
                for member in list(members):
                    await members.crash(member)

    # --- users ---

    async def use(self, member: int, user: User) -> None:
        """Be a user of one member for ever, with a new session after each loss."""
        while True:
            if member in self.members:
                timeout = self.rng.choice([0.6, 1.0, 3.0])
                try:
                    async with self.members[member].session(timeout=timeout) as session:
                        while True:
                            await user(session, self.members[member])
                            await trio.sleep(self.rng.uniform(0, 0.1))
                except (
                    SessionError,
                    ReplicaClosedError,
                    ConnectionLossError,
                    KeyError,
                ):
                    pass
            await trio.sleep(0.05)

    def _token(self) -> str:
        self._tokens += 1
        return f"t{self._tokens}-"

    def _note(self, told: Told, token: str, error: CoordError) -> None:
        if isinstance(error, ConnectionLossError | ReplicaClosedError):
            told.unknown.append(token)
        else:
            told.refused.append(token)
        if not isinstance(error, OperationError):
            raise error

    async def create(self, session: Session, _: Ensemble) -> None:
        token = self._token()
        try:
            path = await session.create(f"{LOG}/{token}", sequential=True)
        except CoordError as error:
            self._note(self.created, token, error)
        except trio.Cancelled:
            self.created.unknown.append(token)
            raise
        else:
            self.created.done.append(token)
            stat = await session.exists(path)
            assert stat is not None, "the session does not see its own write"
            self._acknowledged = max(self._acknowledged, stat.czxid)

    async def count(self, session: Session, ensemble: Ensemble) -> None:
        data, stat = await session.get(COUNTER)
        token = self._token()
        try:
            stat = await session.set(
                COUNTER, data + token.encode() + b" ", version=stat.version
            )
        except BadVersionError:
            self.counted.refused.append(token)
        except CoordError as error:
            self._note(self.counted, token, error)
        except trio.Cancelled:
            self.counted.unknown.append(token)
            raise
        else:
            self.counted.done.append(token)
            self._acknowledged = max(self._acknowledged, stat.mzxid)
            assert ensemble.tree.get(COUNTER)[1].mzxid >= stat.mzxid

    async def hold(self, session: Session, _: Ensemble) -> None:
        """Hold a mutex in the simplest way; nobody else may hold it meanwhile."""
        try:
            await session.create(MUTEX, ephemeral=True)
            stat = await session.exists(MUTEX)
        except (OperationError, NodeExistsError):
            return
        assert stat is not None
        if stat.ephemeral_owner != session.id:
            return
        with trio.CancelScope() as scope, session.bind(scope, MUTEX, stat.czxid):
            await trio.lowlevel.checkpoint()
            assert self._holder is None, "two hold the mutex"
            self._holder = str(session.id)
            self.held += 1
            try:
                await trio.sleep(self.rng.uniform(0, 0.5))
            finally:
                self._holder = None
        try:
            await session.delete(MUTEX, czxid=stat.czxid)
        except OperationError:
            await trio.lowlevel.checkpoint()

    async def synchronize(self, session: Session, ensemble: Ensemble) -> None:
        acknowledged = self._acknowledged
        await session.sync()
        assert ensemble.tree.zxid >= acknowledged, "sync has missed a write"
        self.synced += 1

    async def watch(self, session: Session, ensemble: Ensemble) -> None:
        async with session.watch(LOG, recursive=True) as events:
            stream = Stream(ensemble.tree.zxid)
            self.streams.append(stream)
            async for event in events:
                if event.type is EventType.RESYNC:
                    return
                if event.type is EventType.CREATED:
                    stream.created.append((event.zxid, event.path))
