"""One task that waits: for one thing (a slot), or to be woken again and again.

Waking costs no allocation beyond the slot, and many slots are filled in one go
after a batch is applied (trio's price list: an ``Event`` per operation would
cost as much again as the operation).
"""

from __future__ import annotations

from typing import Generic, TypeVar, cast

import trio

__all__ = ["Bell", "Waiter"]

T = TypeVar("T")


class Waiter(Generic[T]):
    """Holds a value or an error for the one task that waits for it.

    Attributes:
      abandoned: The task was cancelled while it waited; nobody looks.

    """

    __slots__ = ("_error", "_filled", "_task", "_value", "abandoned")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._filled = False
        self._value: T | None = None
        self._error: Exception | None = None
        self.abandoned = False

    @property
    def filled(self) -> bool:
        """Whether it holds something already."""
        return self._filled

    def resolve(self, value: T) -> None:
        """Give the value; of several gifts the first counts."""
        if not self._filled:
            self._value = value
            self._wake()

    def fail(self, error: Exception) -> None:
        """Let :meth:`wait` raise ``error``."""
        if not self._filled:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        self._filled = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def wait(self) -> T:
        """Wait for the gift; a checkpoint in any case."""
        if self._filled:
            await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._error is not None:
            raise self._error
        # Filled without an error: this is what resolve() was given.
        return cast("T", self._value)

    def _abort(self, _raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        self.abandoned = True
        return trio.lowlevel.Abort.SUCCEEDED


class Bell:
    """Wakes one task; ringing while it is awake is remembered, once."""

    __slots__ = ("_rung", "_task")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._rung = False

    def ring(self) -> None:
        """Let :meth:`wait` return, now or when it is next called."""
        if self._task is None:
            self._rung = True
        else:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def wait(self) -> None:
        """Wait for a ring since the last return; a checkpoint in any case.

        Raises:
          trio.BusyResourceError: Another task is waiting.

        """
        if self._rung:
            await trio.lowlevel.checkpoint()
        elif self._task is not None:
            raise trio.BusyResourceError("another task is waiting")
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._rung = False

    def _abort(self, _raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
