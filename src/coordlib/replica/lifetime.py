"""A member beside a block of code: who may stop whom, and whose error comes out.

The block's end stops the member, never its cancellation: a cancelled block
still needs the member to clean up. The member's failure cancels the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import trio

from coordlib.errors import ReplicaClosedError

from .replica import Replica

__all__ = ["block_error", "inline", "run_member"]

T = TypeVar("T")


async def run_member(
    replica: Replica,
    failures: list[Exception],
    *,
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the replica until the scope it reports is cancelled, by nothing else.

    Cancelling the user's block must not stop the member before the block has
    cleaned up; so once it runs it is shielded. Its failure is also added to
    ``failures``: the first, where one part took others with it.
    """
    with trio.CancelScope() as scope:

        def started() -> None:
            scope.shield = True
            task_status.started(scope)

        try:
            await replica.run(started)
        except ExceptionGroup as group:
            first, *others = _leaves(group)
            for other in others:
                first.add_note(f"then {other!r}")
            failures.append(first)
            raise first from first.__cause__
        except Exception as error:
            failures.append(error)
            raise


async def inline(function: Callable[[], T], /) -> T:
    """Run ``function`` here: in memory nothing is slow, and time may be virtual."""
    await trio.lowlevel.checkpoint()
    return function()


def block_error(
    group: BaseExceptionGroup[BaseException],
    body_error: BaseException | None,
    failures: list[Exception],
) -> BaseException:
    """Return what a block raises that runs members beside its body.

    The body's error as it is, which may be a group; a member's failure without
    the nurseries around it, and alone if the body only says that the member is
    closed; otherwise both.

    Args:
      group: What the nursery raised.
      body_error: What the body raised.
      failures: What members raised.

    """
    if body_error is not None and not failures:
        return body_error
    known = {id(leaf) for failure in failures for leaf in _leaves(failure)}
    ours, rest = group.split(lambda error: id(error) in known)
    others = None if rest is None else rest.split(ReplicaClosedError)[1]
    if ours is None or others is None:
        return _innermost(ours or group)
    return group.derive([_innermost(ours), *others.exceptions])


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
