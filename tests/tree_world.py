"""A tree and the transactions it was given, for the tests of ``coordlib.tree``."""

from __future__ import annotations

from coordlib.ids import MemberId, SessionId
from coordlib.tree import (
    Applied,
    Cause,
    CloseSession,
    Create,
    Created,
    DataTree,
    DeleteContainer,
    OpenSession,
    Operation,
    SessionOpened,
    encode_request,
    stamp,
)

__all__ = ["MEMBER", "OWNER", "TreeWorld"]

OWNER = b"incarnation-of-1"
MEMBER = MemberId(1)


class TreeWorld:
    """Numbers requests and transactions, and applies them at once."""

    def __init__(self) -> None:
        self.tree = DataTree()
        self.log: list[tuple[int, bytes]] = []
        self._cxids: dict[int, int] = {}

    def apply(
        self,
        operation: Operation,
        session: int = 0,
        *,
        cxid: int | None = None,
        acked: int = 0,
    ) -> Applied:
        """Apply ``operation`` as the next transaction, at ``time_of(its zxid)``."""
        if cxid is None:
            cxid = self._cxids.get(session, 0) + 1
        self._cxids[session] = cxid
        return self.apply_request(encode_request(session, cxid, acked, operation))

    def apply_request(self, request: bytes) -> Applied:
        zxid = self.tree.zxid + 1
        return self.apply_payload(stamp(request, self.time_of(zxid)))

    def apply_payload(self, payload: bytes) -> Applied:
        zxid = self.tree.zxid + 1
        self.log.append((zxid, payload))
        return self.tree.apply(zxid, payload)

    def time_of(self, zxid: int) -> int:
        return 1_000_000 + zxid

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        session: int = 0,
        ephemeral: bool = False,
        sequential: bool = False,
        container: bool = False,
        ttl_ms: int = 0,
    ) -> Created:
        """Create a znode, which must succeed."""
        operation = Create(
            path,
            data,
            ephemeral=ephemeral,
            sequential=sequential,
            container=container,
            ttl_ms=ttl_ms,
        )
        result = self.apply(operation, session).result
        assert isinstance(result, Created), result
        return result

    def open(self, nonce: bytes = b"nonce") -> SessionId:
        """Open a session, or find it again."""
        result = self.apply(OpenSession(nonce, OWNER, MEMBER, 10_000)).result
        assert isinstance(result, SessionOpened), result
        return result.session

    def clean(self, path: str, *, at_ms: int | None = None) -> Applied:
        """Ask for the deletion of a znode as it is, as the leader does."""
        znode = self.tree.znodes().get(path)
        operation = DeleteContainer(path, znode.mzxid if znode else 0)
        time_ms = self.time_of(self.tree.zxid + 1) if at_ms is None else at_ms
        return self.apply_payload(stamp(encode_request(0, 1, 0, operation), time_ms))

    def close(self, session: SessionId, cause: Cause = Cause.CLOSED) -> Applied:
        return self.apply(CloseSession(session, cause, OWNER))
