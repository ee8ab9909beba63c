"""Sessions that outlive any block, for tests that lose them."""

from __future__ import annotations

from collections.abc import Callable

import trio

from coordlib import Ensemble, Session, SessionState

__all__ = ["open_session", "poll", "state_of", "wait_until_gone"]


async def open_session(ensemble: Ensemble, timeout: float = 10.0) -> Session:
    """Open a session that nobody closes."""
    kept = ensemble._running().sessions.open(timeout)
    session = Session(kept, ensemble._check_process, ensemble._authentication)
    await session.wait_connected()
    return session


def state_of(session: Session) -> SessionState:
    """Return a session's state; the type checker expects it to change."""
    return session.state


async def poll(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds, of what announces itself to nobody."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await trio.sleep(0.01)


async def wait_until_gone(ensemble: Ensemble, path: str) -> float:
    """Wait until there is no such znode at a member, and return the time."""
    async with ensemble.session() as session:
        await session.wait_deleted(path)
    return trio.current_time()
