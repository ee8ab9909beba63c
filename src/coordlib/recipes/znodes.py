"""Znodes as all recipes make them.

Nothing here waits for other participants.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from coordlib import Session
from coordlib.errors import ConnectionLossError, NodeExistsError, NoNodeError

__all__ = ["child", "create", "new_guid", "raising_session_errors"]


def child(parent: str, name: str) -> str:
    """Return the path of ``name`` below ``parent``, which may be the root."""
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def new_guid(session: Session) -> str:
    """Return a name for one attempt, by which :meth:`Session.reap` finds it.

    It tells people whose it is, and never equals that of an earlier attempt: a
    znode of the same participant's previous session is not taken for the new
    one's (CURATOR-498).
    """
    return f"{session.id:x}-{uuid4().hex}"


async def create(
    session: Session,
    path: str,
    data: bytes = b"",
    *,
    ephemeral: bool = False,
    sequential: bool = False,
    container: bool = False,
) -> str:
    """Make a znode, and its parents where they are missing.

    Parents are containers: the ensemble deletes them when nobody uses them, so
    that the locks of yesterday do not pile up. So they may vanish at any
    moment, also right after they were seen: then they are made again.

    Raises:
      NodeExistsError: There is one already. Nothing changed, except that
        parents may have been made.

    """
    while True:
        try:
            return await session.create(
                path,
                data,
                ephemeral=ephemeral,
                sequential=sequential,
                container=container,
            )
        except NoNodeError:
            # Ends at the root, which always exists.
            with suppress(NodeExistsError):
                await create(session, path.rpartition("/")[0], container=True)


@contextmanager
def raising_session_errors(session: Session) -> Iterator[None]:
    """Raise the session's error where a write's answer was lost with it.

    For ephemeral znodes: whatever became of the write, they are gone.
    """
    try:
        yield
    except ConnectionLossError:
        session.check()
        raise
