"""A line of ephemeral znodes under one path: the first one has the turn.

The order is that of creation, by czxid. Each contender waits for the one
before it and for its own znode, so a turn that ends wakes one contender, not
all. What a wait saw is never concluded from: the tree is looked at again.

Knows nothing of what the turn is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import attrs
import trio

from coordlib import Session
from coordlib.errors import LockLost, NoNodeError

from .grant import Grant
from .znodes import child, create, new_guid, raising_session_errors

__all__ = ["WaitingLine"]


@attrs.define(eq=False)
class WaitingLine:
    """One participant's description of a line.

    Attributes:
      session: Owns the participant's znodes.
      path: Where the line is. Made when first needed.
      own_data: What others see of the participant.
      kind: Whose line: znodes of other kinds, and strangers', do not count.
      lost: What to raise when a turn can no longer be proved.

    """

    session: Session
    path: str
    own_data: bytes = attrs.field(kw_only=True)
    kind: str = attrs.field(kw_only=True)
    lost: type[LockLost] = attrs.field(kw_only=True)
    _held: dict[trio.lowlevel.Task, Grant] = attrs.field(factory=dict, init=False)

    @property
    def _marker(self) -> str:
        return f"-{self.kind}-"

    def held(self) -> Grant | None:
        """Return the grant whose block the current task is in."""
        return self._held.get(trio.lowlevel.current_task())

    async def wait_turn(self) -> Grant:
        """Stand in line until it is our turn; enter the grant at once.

        Raises:
          RuntimeError: This task has the turn already.

        """
        self._refuse_reentry()
        while True:
            with self._reaping() as guid:
                grant = await self._stand(guid)
                if grant is not None:
                    return grant

    async def take_if_free(self) -> Grant | None:
        """Take the turn if nobody stands in line; enter the grant at once.

        Writes nothing if somebody does.

        Raises:
          RuntimeError: This task has the turn already.

        """
        self._refuse_reentry()
        if await self._paths():
            return None
        with self._reaping() as guid:
            own = await self._join(guid)
            try:
                ahead = await self.session.predecessor(own, self._marker)
            except NoNodeError:
                return None
            if ahead is None:
                return await self._grant(own)
            # Somebody was faster than our member could see.
            self.session.reap(self.path, guid)
            return None

    async def data(self) -> list[bytes]:
        """Return the data of who stands in line, the first one first."""
        found: list[bytes] = []
        for path in await self._paths():
            with suppress(NoNodeError):
                found.append((await self.session.get(path))[0])
        return found

    async def first(self) -> tuple[str, bytes] | None:
        """Return the path and the data of who has the turn."""
        while paths := await self._paths():
            with suppress(NoNodeError):
                return paths[0], (await self.session.get(paths[0]))[0]
        return None

    def _refuse_reentry(self) -> None:
        if self.held() is not None:
            raise RuntimeError(f"this task already holds {self.path}: it would wait")

    @contextmanager
    def _reaping(self) -> Iterator[str]:
        """Yield the name of an attempt, of which an exception leaves nothing."""
        guid = new_guid(self.session)
        try:
            with raising_session_errors(self.session):
                yield guid
        except BaseException:
            self.session.reap(self.path, guid)
            raise

    async def _paths(self) -> list[str]:
        try:
            names = await self.session.get_children(self.path)
        except NoNodeError:
            return []
        return [child(self.path, name) for name in names if self._marker in name]

    async def _join(self, guid: str) -> str:
        path = child(self.path, f"{guid}{self._marker}")
        return await create(
            self.session, path, self.own_data, ephemeral=True, sequential=True
        )

    async def _stand(self, guid: str) -> Grant | None:
        """Wait to be first; ``None`` if somebody deleted the own znode."""
        own = await self._join(guid)
        while True:
            try:
                ahead = await self.session.predecessor(own, self._marker)
            except NoNodeError:
                return None
            if ahead is None:
                return await self._grant(own)
            await self.session.wait_deleted(ahead, own)

    async def _grant(self, own: str) -> Grant | None:
        # Nobody can get before the first: later znodes have a later czxid.
        stat = await self.session.exists(own)
        if stat is None:
            return None
        return Grant(
            self.session,
            own,
            stat.czxid,
            line=self.path,
            lost=self.lost,
            held=self._held,
        )
