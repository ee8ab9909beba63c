"""The replicated table of sessions, and what makes a retry apply only once.

A session is state of the tree like a znode: every member opens, closes and
snapshots it at the same zxid. Who is alive is not decided here; the leader
does, and proposes a :class:`~.operations.CloseSession`.

Each request carries its number in its session, the cxid. The table keeps the
highest one that was applied and the outcomes that the caller may not have yet,
so a request sent twice is answered twice and applied once.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs
from sortedcontainers import SortedSet

from coordlib.errors import ErrorCode
from coordlib.ids import MemberId, SessionId

from .acl import Identity
from .acl_codec import identity_fields
from .digest import DigestSum
from .operations import Refused, Result, SessionOpened
from .result_codec import result_fields

__all__ = ["CXIDS_AHEAD", "OUTCOMES_MAX", "SessionRecord", "SessionTable"]

# Twice what a caller may have outstanding by default. It bounds the memory that
# a caller who never acknowledges costs every member. Part of the replicated
# rules, like everything that decides what a snapshot holds.
OUTCOMES_MAX = 8192

# More requests than can be on their way when their maker dies.
CXIDS_AHEAD = 1 << 32


@attrs.define(eq=False)
class SessionRecord:
    """One live session.

    Attributes:
      id: The zxid of the transaction that opened it.
      nonce: What named the wish to open it.
      owner: The incarnation (16 bytes) of the replica that keeps it.
      member: Whose replica that is.
      timeout_ms: The ensemble expires it after this many milliseconds' silence.
      identities: Who it is, each once, in the order in which it became that.
      last_cxid: The highest number of an applied request; 0 before the first.
      outcomes: Zxid and result by cxid, ascending, of the applied requests that
        were not yet acknowledged; at most :data:`OUTCOMES_MAX`.
      ephemerals: The paths of its ephemeral znodes, sorted.
      digest: See :class:`~.digest.Digestible`.

    """

    id: SessionId
    nonce: bytes
    owner: bytes
    member: MemberId
    timeout_ms: int
    identities: tuple[Identity, ...] = ()
    last_cxid: int = 0
    # Not a plain dict: taking the oldest out of one again and again is
    # quadratic, because it walks over the holes at its beginning.
    outcomes: OrderedDict[int, tuple[int, Result]] = attrs.Factory(OrderedDict)
    # Derived from the znodes, so neither digest nor snapshot hold it.
    ephemerals: SortedSet[str] = attrs.Factory(SortedSet)
    digest: int | None = None

    def outcome_of(self, cxid: int) -> Result:
        """Return what the applied request ``cxid`` resulted in.

        An outcome that is no longer kept was acknowledged, so nobody waits for
        it; the answer is then a refusal, ``RUNTIME_INCONSISTENCY``.
        """
        kept = self.outcomes.get(cxid)
        if kept is None:
            return Refused(
                ErrorCode.RUNTIME_INCONSISTENCY, "", f"outcome {cxid} was forgotten"
            )
        return _copied(kept[1])

    def opened(self) -> SessionOpened:
        """Return the answer to the one who opened it."""
        return SessionOpened(self.id, self.nonce, self.owner)


class SessionTable:
    """All live sessions, by id and by nonce."""

    __slots__ = ("_by_nonce", "_digests", "by_id")

    def __init__(self) -> None:
        # Invariant: ascending, since ids are zxids and only ever inserted in
        # the order of zxids.
        self.by_id: dict[SessionId, SessionRecord] = {}
        self._by_nonce: dict[bytes, SessionRecord] = {}
        self._digests = DigestSum(_describe, self.by_id)

    def add(self, record: SessionRecord) -> None:
        """Add a session whose id is above all others and whose nonce is new."""
        self.by_id[record.id] = record
        self._by_nonce[record.nonce] = record
        self._digests.add(record.id, record)

    def remove(self, record: SessionRecord) -> None:
        """Forget a session and its outcomes."""
        del self.by_id[record.id]
        del self._by_nonce[record.nonce]
        self._digests.remove(record.id, record)

    def with_nonce(self, nonce: bytes) -> SessionRecord | None:
        """Return the live session that was opened with ``nonce``."""
        return self._by_nonce.get(nonce)

    def identify(self, record: SessionRecord, identities: tuple[Identity, ...]) -> None:
        """Let a session be these and nobody else."""
        self._digests.change(record.id, record)
        record.identities = identities

    def remember(
        self, record: SessionRecord, cxid: int, *, acked: int, zxid: int, result: Result
    ) -> None:
        """Note the outcome of a request, and forget those below ``acked``.

        Refusals count too: a request that was refused once must not be applied
        when it comes a second time.
        """
        self._digests.change(record.id, record)
        outcomes = record.outcomes
        while outcomes and next(iter(outcomes)) < acked:
            outcomes.popitem(last=False)
        if len(outcomes) >= OUTCOMES_MAX:
            outcomes.popitem(last=False)
        outcomes[cxid] = (zxid, _copied(result))
        record.last_cxid = cxid

    def resume(self, record: SessionRecord, owner: bytes) -> None:
        """Give a session to the next incarnation of its member.

        Its requests are numbered from above all that the earlier one can have
        used, so whatever of those is still on its way counts as a repetition.
        """
        self._digests.change(record.id, record)
        record.owner = owner
        record.outcomes.clear()
        record.last_cxid += CXIDS_AHEAD

    def digest(self) -> int:
        """Return the sum over all sessions."""
        return self._digests.value()


def _copied(result: Result) -> Result:
    """Return a result whose list is not the caller's, who may change his."""
    return list(result) if isinstance(result, list) else result


def _describe(_id: SessionId, record: SessionRecord) -> object:
    return [
        record.id,
        record.nonce,
        record.owner,
        record.member,
        record.timeout_ms,
        [identity_fields(identity) for identity in record.identities],
        record.last_cxid,
        [
            [cxid, zxid, result_fields(result)]
            for cxid, (zxid, result) in record.outcomes.items()
        ],
    ]
