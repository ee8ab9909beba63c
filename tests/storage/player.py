"""Real work for a real store: everything that it can do, with restarts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from coordlib.storage.directory import System
from coordlib.storage.file import FileStore
from coordlib.storage.interface import Write
from storage.script import Step, base, body, cut, meta, transactions

SCRIPT: list[Step] = [
    [meta(b"m1"), *transactions(1, 2)],
    *(transactions(zxid) for zxid in range(3, 9)),
    5,
    8,
    transactions(9, 10),
    10,
    None,
    [meta(b"m2"), cut(10), *transactions(17)],
    17,
    [*transactions(18), cut(17), *transactions(25)],
    [*transactions(26), base(30), *transactions(31)],
    31,
    None,
    transactions(32),
    32,
    None,
]


def do_nothing(acknowledged: int) -> None:
    pass


@attrs.define(eq=False)
class Player:
    """Plays a script on a store, with what it may rely on.

    Attributes:
      path: Of the directory.
      system: Carries it out.
      script: Ends with a restart.
      submitted: How many entries, those of earlier scripts included.
      acknowledged: How many of them.
      tell: Called with that when it grows.

    """

    path: Path
    system: System
    script: list[Step] = attrs.Factory(lambda: SCRIPT)
    submitted: int = 0
    acknowledged: int = 0
    tell: Callable[[int], None] = do_nothing
    _durable: trio.Event = attrs.Factory(trio.Event)
    _entries: list[int] = attrs.Factory(list)

    def on_durable(self, io: int) -> None:
        self.acknowledged = self._entries[io - 1]
        self.tell(self.acknowledged)
        self._durable.set()

    async def play(self) -> None:
        steps = list(self.script)
        while steps:
            store = FileStore(
                self.path,
                member=1,
                name="test",
                segment_bytes_max=300,
                kept_bytes_max=1200,
                system=self.system,
            )
            self._entries = []
            try:
                store.recover()
                async with trio.open_nursery() as nursery:
                    await nursery.start(store.run, self.on_durable)
                    while (step := steps.pop(0)) is not None:
                        await self.perform(store, step)
                    nursery.cancel_scope.cancel()
            finally:
                store.close()

    async def perform(self, store: FileStore, step: Step) -> None:
        if isinstance(step, int):
            await store.save_snapshot(step, [body(step)])
        elif step is not None:
            self.submitted += len(step)
            self._entries.append(self.submitted)
            store.submit(Write(len(self._entries), step))
            while self.acknowledged < self.submitted:
                self._durable = trio.Event()
                await self._durable.wait()
