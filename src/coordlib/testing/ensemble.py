"""An ensemble of real members in one process, with faults on demand.

The members are :class:`coordlib.Ensemble` objects, complete but for their
network and their disks, which are in memory. All time is trio's, so under
``trio.testing.MockClock`` hours pass in moments. Nothing here simulates the
protocol.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self

import attrs
import trio

from coordlib.config import Config
from coordlib.ensemble import Ensemble
from coordlib.ids import MemberId
from coordlib.replica.lifetime import block_error, inline
from coordlib.replica.replica import Surroundings
from coordlib.session import AuthenticationProvider
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.transport.memory import MemoryNetwork

__all__ = ["MemoryEnsemble"]

# An arbitrary moment of virtual time zero, so that stats look like stats.
_EPOCH = 1_700_000_000.0


@attrs.define(eq=False)
class _Seat:
    """One member's place: its disk, and its process while it runs."""

    disk: MemoryDisk
    ensemble: Ensemble | None = None
    scope: trio.CancelScope | None = None
    gone: trio.Event = attrs.field(factory=trio.Event)


class MemoryEnsemble(Mapping[int, Ensemble]):
    """Members 1 to n in one process; an async context manager.

    ``members[i]`` is member ``i`` while it runs. Entering waits until all are
    ready. Leaving stops them all.

    Examples:
      ::

          async def test_my_service(autojump_clock):
              async with MemoryEnsemble(3) as members:
                  async with members[1].session() as session:
                      ...
                  members.partition({1}, {2, 3})

    """

    def __init__(
        self,
        size: int = 3,
        *,
        observers: int = 0,
        latency: float = 0.001,
        disk_latency: float = 0.001,
        config: Config | None = None,
        authentication_providers: Sequence[AuthenticationProvider] = (),
        seed: int = 0,
    ) -> None:
        """Set the scene; nothing runs yet.

        Args:
          size: How many voters, members 1 to ``size``.
          observers: How many observers, the members after them.
          latency: Seconds that a frame is under way.
          disk_latency: Seconds that a batch of writes takes.
          config: For all members.
          authentication_providers: For all members.
          seed: For everything random, such as session nonces.

        """
        self.network = MemoryNetwork(latency=latency)
        self.disks = {MemberId(i): MemoryDisk() for i in range(1, size + observers + 1)}
        self._seats = {member: _Seat(disk) for member, disk in self.disks.items()}
        self._size = size
        self._disk_latency = disk_latency
        self._config = config or Config()
        self._providers = authentication_providers
        self._random = random.Random(seed)
        self._nursery: trio.Nursery | None = None
        self._lifetime: AbstractAsyncContextManager[None] | None = None
        self._failures: list[Exception] = []

    # --- life ---

    async def __aenter__(self) -> Self:
        self._lifetime = self._run_all()
        await self._lifetime.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._lifetime is not None
        return await self._lifetime.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def _run_all(self) -> AsyncIterator[None]:
        body_error: BaseException | None = None
        error: BaseException | None = None
        try:
            async with trio.open_nursery() as self._nursery:
                for member in self._seats:
                    await self.restart(member)
                await self.wait_ready()
                try:
                    yield
                except BaseException as raised:
                    body_error = raised
                    raise
                finally:
                    self._nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = block_error(group, body_error, self._failures)
        if error is not None:
            raise error

    # --- members ---

    def __getitem__(self, member: int) -> Ensemble:
        ensemble = self._seats[MemberId(member)].ensemble
        if ensemble is None:
            raise KeyError(f"member {member} is not running")
        return ensemble

    def __iter__(self) -> Iterator[int]:
        return (m for m, seat in self._seats.items() if seat.ensemble is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    async def wait_ready(self) -> None:
        """Wait until every running member has caught up with a leader."""
        for ensemble in self.values():
            await ensemble.wait_ready()

    @property
    def leader_id(self) -> MemberId | None:
        """The running member that leads the latest epoch, if one does."""
        leading = [
            (ensemble.statistics().epoch, ensemble.member_id)
            for ensemble in self.values()
            if ensemble.leader_id == ensemble.member_id
        ]
        return max(leading)[1] if leading else None

    async def wait_equal(self) -> None:
        """Wait until all running members are ready and hold the same tree."""
        while True:
            await self.wait_ready()
            states = {(e.statistics().zxid, e.digest()) for e in self.values()}
            if len(states) == 1:
                return
            await trio.sleep(self._config.heartbeat_interval)

    # --- faults ---

    def partition(self, *groups: Iterable[int]) -> None:
        """Let the members of different groups hear nothing of each other."""
        self.network.partition(*groups)

    def heal(self) -> None:
        """Undo all partitions and cuts; what was held up arrives."""
        self.network.heal()

    async def crash(self, member: int) -> None:
        """End a member as ``kill -9`` does; what its disk had not synced is lost.

        Its sessions raise :exc:`ReplicaClosedError` in this process.
        """
        seat = self._seats[MemberId(member)]
        ensemble = self[member]
        assert seat.scope is not None
        self.network.crash(MemberId(member))
        ensemble.abort()
        seat.scope.cancel()
        await seat.gone.wait()

    async def stop(self, member: int) -> None:
        """End a member's block as its program would: it takes its leave.

        Its sessions raise :exc:`ReplicaClosedError` in this process.
        """
        seat = self._seats[MemberId(member)]
        assert seat.ensemble is not None, f"member {member} is not running"
        assert seat.scope is not None
        seat.scope.cancel()
        await seat.gone.wait()

    async def restart(self, member: int) -> Ensemble:
        """Start a member that does not run, on what its disk holds."""
        seat = self._seats[MemberId(member)]
        if seat.ensemble is not None:
            raise RuntimeError(f"member {member} is running")
        assert self._nursery is not None, "enter the MemoryEnsemble first"
        ensemble: Ensemble = await self._nursery.start(self._run, MemberId(member))
        return ensemble

    async def _run(
        self,
        member: MemberId,
        *,
        task_status: trio.TaskStatus[Ensemble] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        seat = self._seats[member]
        seat.gone = trio.Event()
        ensemble = Ensemble(
            member,
            {m: f"memory:{m}" for m in self._seats if m <= self._size},
            observers={m: f"memory:{m}" for m in self._seats if m > self._size},
            transport=self.network.transport(member, self._seats),
            store=MemoryStore(seat.disk, latency=self._disk_latency),
            config=self._config,
            authentication_providers=self._providers,
            surroundings=Surroundings(
                entropy=self._random.randbytes,
                wall_clock=lambda: _EPOCH + trio.current_time(),
                blocking=inline,
            ),
        )
        try:
            with trio.CancelScope() as seat.scope:
                async with ensemble:
                    seat.ensemble = ensemble
                    task_status.started(ensemble)
                    await trio.sleep_forever()
        except Exception as error:
            self._failures.append(error)
            raise
        finally:
            seat.ensemble = None
            seat.gone.set()
