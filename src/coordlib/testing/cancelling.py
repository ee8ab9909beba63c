"""Cancels your code at each of its checkpoints in turn.

Cancellation is where coordination code breaks: between asking and knowing, and
between having and noting. A test that cancels "some time" never meets those
moments; this one meets all of them. It knows nothing of ensembles.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

__all__ = ["cancel_everywhere"]


async def cancel_everywhere(
    act: Callable[[], Awaitable[object]],
    check: Callable[[], Awaitable[object]] | None = None,
    *,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
    checkpoints_max: int = 1000,
) -> list[bool]:
    """Cancel ``act`` before it begins, then at its first checkpoint, and so on.

    Calls ``act`` again and again, each time to be cancelled one checkpoint
    later, until it comes to its end unmolested. A checkpoint is wherever its
    task lets others run; tasks that it starts are not counted. Under trio's
    ``MockClock`` nothing of it takes time.

    Args:
      act: What to cancel. It may be called many times, so it begins by making
        what it needs.
      check: Called after each time: looks for what was left behind.
      meanwhile: Called when ``act`` has come to where it is to be cancelled,
        while it waits there; the cancellation comes when this returns. So what
        ``act`` has asked for takes effect first, or is prevented: let time
        pass, cut a link, crash a member. Without it the cancellation comes at
        once, before anything that ``act`` waits for can happen.
      checkpoints_max: How many are too many, as of something that never ends.

    Returns:
      For each time that it was to be cancelled, beginning with the one before
      it began, whether it ended by that; else it came to its end all the same,
      because it was shielded or did not wait for anything any more. A false one
      before a true one has swallowed a cancellation.

    Raises:
      RuntimeError: There were more than ``checkpoints_max`` checkpoints.
      Exception: Whatever ``act``, ``check`` or ``meanwhile`` raised, as it is:
        an error in the place of a cancellation, too.

    Examples:
      ::

          async def test_it_leaves_nothing_behind(autojump_clock):
              async with MemoryEnsemble(3) as members:
                  async with members[1].session() as session:

                      async def check():
                          await members.wait_equal()
                          assert members[1].tree.get_children("/jobs") == []

                      await session.create("/jobs")
                      await cancel_everywhere(lambda: work(session), check)

    """
    ended: list[bool] = []
    while len(ended) <= checkpoints_max:
        attempt = _Attempt(len(ended))
        await attempt.run(act, meanwhile)
        if check is not None:
            await check()
        if not attempt.reached:
            return ended
        ended.append(attempt.scope.cancelled_caught)
    raise RuntimeError(f"it has more than {checkpoints_max} checkpoints")


@attrs.define(eq=False)
class _Attempt(trio.abc.Instrument):
    """One call, which is to be cancelled after so many steps of its task.

    After every step the task waits at a checkpoint, or is done.
    """

    steps: int
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    reached: bool = False
    _task: trio.lowlevel.Task | None = None
    _then: Callable[[], None] = attrs.field(init=False)
    _error: Exception | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count; part of trio's interface for instruments."""
        if task is self._task:
            self.steps -= 1
            self._strike_if_due()

    def _strike_if_due(self) -> None:
        if self.steps == 0:
            self.reached = True
            self._then()

    async def run(
        self,
        act: Callable[[], Awaitable[object]],
        meanwhile: Callable[[], Awaitable[object]] | None,
    ) -> None:
        if meanwhile is None or self.steps == 0:
            self._then = self.scope.cancel
            await self._act(act)
        else:
            there = trio.Event()
            self._then = there.set
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_after, there, meanwhile)
                await self._act(act)
                nursery.cancel_scope.cancel()
        if self._error is not None:
            raise self._error

    async def _cancel_after(
        self, there: trio.Event, meanwhile: Callable[[], Awaitable[object]]
    ) -> None:
        await there.wait()
        try:
            await meanwhile()
        except Exception as error:  # noqa: BLE001 - raised by run(), outside of the nursery
            self._error = error
        self.scope.cancel()

    async def _act(self, act: Callable[[], Awaitable[object]]) -> None:
        """Call ``act`` and keep its error, so that no nursery wraps it."""
        with self.scope:
            self._task = trio.lowlevel.current_task()
            trio.lowlevel.add_instrument(self)
            try:
                self._strike_if_due()
                await act()
            except Exception as error:  # noqa: BLE001 - raised by run(), outside of the nursery
                self._error = error
            finally:
                trio.lowlevel.remove_instrument(self)
