"""Compares a history with the committed log, which is its witness.

Every answer says which state it shows, as a zxid, so nothing has to be
searched for: each write has its place in the log, and each read has its state.
The log is carried out once more, by :mod:`.model`, and one sweep over
time looks at who should have known what. Costs a sort and two passes.

What is trusted is that the log is what the ensemble agreed upon: what is durable
at a majority and applied. :mod:`.linearizability` trusts not even that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum

import attrs

from coordlib.errors import ErrorCode
from coordlib.ids import SessionId, format_zxid
from coordlib.storage.interface import Recovered
from coordlib.tree import AddIdentities, Multi, Transaction, decode_transaction

from .ensemble import MemoryEnsemble
from .history import Call, Exists, Get, GetChildren, Refusal, Sync, Write
from .model import TreeModel

__all__ = ["Contradiction", "Rule", "check_history", "committed_log", "decode_log"]

Log = Sequence[tuple[int, Transaction]]


class Rule(Enum):
    """What a history must not do."""

    LOST = "was answered, but is not in the log"
    UNASKED = "is in the log, but nobody asked for it"
    CLAIMED_TWICE = "was answered for the same request as a later call"
    CHANGED = "is another operation in the log"
    OTHER_RESULT = "has another result when the log is carried out"
    BEFORE_CALLED = "has a place in the log that was history when it was called"
    AFTER_ANSWERED = "has a place in the log that was the future when it was answered"
    NO_SUCH_STATE = "was answered out of a state that never was agreed upon"
    WENT_BACK = "was answered out of an older state than its session had seen"
    STALE_SYNC = "was answered out of an older state than somebody had seen before"


@attrs.frozen
class Contradiction:
    """Something in a history that cannot be, if the log is true.

    Attributes:
      rule: What is wrong.
      call: With which call; ``None`` if it is a transaction that nobody made.
      detail: For people.

    """

    rule: Rule
    call: Call | None
    detail: str

    def __str__(self) -> str:
        subject = "" if self.call is None else f"{self.call.operation} "
        return f"{subject}{self.rule.value}: {self.detail}"


def decode_log(recovered: Recovered, last: int) -> list[tuple[int, Transaction]]:
    """Return the log of one member, as its store recovers it, up to a zxid.

    Args:
      recovered: From a memory disk's ``read()`` or a store's ``recover()``.
      last: The newest transaction that is known to be committed: one that a
        member's tree holds. What lies behind may not be agreed upon.

    Raises:
      ValueError: The log's beginning has been purged, or it ends before ``last``.

    """
    if recovered.base:
        raise ValueError(
            f"the log begins after {format_zxid(recovered.base)}; "
            "raise Config.snapshot_interval to keep all of it"
        )
    records = [(z, payload) for z, payload in recovered.records if z <= last]
    if last and (not records or records[-1][0] != last):
        raise ValueError(f"the log does not hold {format_zxid(last)}")
    return [(zxid, decode_transaction(payload)) for zxid, payload in records]


def committed_log(members: MemoryEnsemble) -> list[tuple[int, Transaction]]:
    """Return everything that the members have agreed upon and applied.

    Raises:
      ValueError: No member runs, or no disk holds all of it any more; see
        :func:`decode_log`.

    """
    if not members:
        raise ValueError("no member runs, so nobody knows what was agreed upon")
    last = max(ensemble.tree.zxid for ensemble in members.values())
    logs = [disk.read() for disk in members.disks.values()]
    # Some disks may lag behind the majority, or begin with a snapshot.
    whole = [r for r in logs if not r.base and r.records and r.records[-1][0] >= last]
    return decode_log((whole or logs)[0], last)


def check_history(calls: Iterable[Call], log: Log) -> list[Contradiction]:
    """Compare calls with the committed log.

    * Each write that was done has one place in the log, as the same operation
      and with the same result when the log is carried out; one whose outcome
      is unknown at most one place; one that was refused, a refusal or none.
    * Its place is behind everything that anybody had seen before it was called,
      and not behind what its caller saw when it was answered.
    * A read has the result that its state gives; and no session ever sees an
      older state than before.
    * A sync shows everything that anybody had seen before it was called; so do
      the session's reads after it.

    Args:
      calls: All writes of the sessions that occur; reads and syncs as you like.
      log: From the first transaction to the last that anybody saw, ascending:
        :func:`committed_log` or :func:`decode_log`.

    Returns:
      What is wrong; nothing, for a history that keeps every promise.

    """
    check = _Check(sorted(calls, key=lambda call: call.called))
    check.claim()
    check.replay(log)
    check.sweep()
    return check.found


# Answers that a write may get without ever being sent.
_UNSENT = {
    ErrorCode.BAD_ARGUMENTS,
    ErrorCode.INVALID_ACL,
    ErrorCode.NOT_READ_ONLY,
    ErrorCode.THROTTLED,
    ErrorCode.SESSION_EXPIRED,
}


@attrs.define
class _Check:
    """One comparison at work.

    Attributes:
      calls: By the time of the call.
      found: What is wrong so far.

    """

    calls: list[Call]
    found: list[Contradiction] = attrs.field(factory=list)
    # The write that may have been sent with a session's number.
    _claims: dict[tuple[SessionId, int], Call] = attrs.field(factory=dict)
    # Its place in the log, once it was found there.
    _places: dict[tuple[SessionId, int], int] = attrs.field(factory=dict)

    def claim(self) -> None:
        """Find out which write may have used which number.

        Only the last with a number can have been sent: sending uses it up.
        """
        for call in self.calls:
            if not isinstance(call.operation, Write) or call.operation == _NOTHING:
                continue
            key = call.session, call.cxid
            earlier = self._claims.get(key)
            if earlier is not None and earlier.answered and not _unsent(earlier):
                detail = f"number {call.cxid} of session {format_zxid(call.session)}"
                self._report(Rule.CLAIMED_TWICE, earlier, detail)
            self._claims[key] = call

    def replay(self, log: Log) -> None:
        """Carry out the log; compare results, and reads with their states."""
        state = TreeModel()
        sessions = {session for session, _ in self._claims}
        answers = sorted(
            (call for call in self.calls if call.answered), key=lambda call: call.zxid
        )
        at = 0
        for zxid, transaction in log:
            while at < len(answers) and answers[at].zxid < zxid:
                self._compare_state(answers[at], state)
                at += 1
            self._replay_one(zxid, transaction, state, sessions)
        for call in answers[at:]:
            self._compare_state(call, state)
        for (session, cxid), call in self._claims.items():
            sent = call.answered and not _unsent(call)
            if sent and (session, cxid) not in self._places:
                self._report(Rule.LOST, call, f"number {cxid}")

    def _replay_one(
        self,
        zxid: int,
        transaction: Transaction,
        state: TreeModel,
        sessions: set[SessionId],
    ) -> None:
        assert zxid > state.zxid, "a log ascends"
        if state.repeats(transaction):
            state.zxid = zxid
            return
        result = state.apply(zxid, transaction)
        if transaction.session not in sessions:
            return
        key = transaction.session, transaction.cxid
        if key in self._places:
            # Sent twice, and the second came after the end of its session, when
            # nobody remembers its number any more: it changes nothing.
            return
        call = self._claims.get(key)
        if call is None and isinstance(transaction.operation, AddIdentities):
            # Who somebody is has been proved beside the recorder.
            return
        if call is None:
            self._report(Rule.UNASKED, None, f"{format_zxid(zxid)}: {transaction}")
            return
        self._places[key] = zxid
        if call.operation != transaction.operation:
            detail = f"{format_zxid(zxid)}: {transaction.operation}"
            self._report(Rule.CHANGED, call, detail)
        elif call.answered and call.result != result:
            detail = f"{format_zxid(zxid)}: {result}, not {call.result}"
            self._report(Rule.OTHER_RESULT, call, detail)

    def _compare_state(self, call: Call, state: TreeModel) -> None:
        """Look at an answer in the state that it should show."""
        if call.zxid != state.zxid:
            self._report(Rule.NO_SUCH_STATE, call, format_zxid(call.zxid))
        elif isinstance(call.operation, Get | Exists | GetChildren):
            result = state.read(call.operation, call.session)
            if result != call.result:
                detail = f"{format_zxid(call.zxid)}: {result}, not {call.result}"
                self._report(Rule.OTHER_RESULT, call, detail)

    def sweep(self) -> None:
        """Go through time, and look what was known when something was called."""
        answers = sorted(
            (call for call in self.calls if call.answered),
            key=lambda call: call.returned,
        )
        at, everybody, own = 0, 0, Counter[SessionId]()
        for call in self.calls:
            while at < len(answers) and answers[at].returned < call.called:
                seen = answers[at]
                everybody = max(everybody, seen.zxid)
                own[seen.session] = max(own[seen.session], seen.zxid)
                at += 1
            self._check_times(call, everybody, own[call.session])

    def _check_times(self, call: Call, everybody: int, own: int) -> None:
        """Check a call against what was seen by answers before it."""
        if call.answered and call.zxid < own:
            detail = f"{format_zxid(call.zxid)} after {format_zxid(own)}"
            self._report(Rule.WENT_BACK, call, detail)
        if isinstance(call.operation, Sync):
            if call.answered and call.zxid < everybody:
                detail = f"{format_zxid(call.zxid)} after {format_zxid(everybody)}"
                self._report(Rule.STALE_SYNC, call, detail)
            return
        place = self._places.get((call.session, call.cxid))
        if place is None:
            return
        if place <= everybody:
            detail = f"{format_zxid(place)} after {format_zxid(everybody)}"
            self._report(Rule.BEFORE_CALLED, call, detail)
        # Once the session is over, nobody waits for what its last requests become.
        if call.answered and place > call.zxid and not _unsent(call):
            detail = f"{format_zxid(place)} when {format_zxid(call.zxid)} was seen"
            self._report(Rule.AFTER_ANSWERED, call, detail)

    def _report(self, rule: Rule, call: Call | None, detail: str) -> None:
        self.found.append(Contradiction(rule, call, detail))


# Done at once, without the ensemble.
_NOTHING = Multi(())


def _unsent(call: Call) -> bool:
    """Tell whether the answer to a write allows that it was never sent."""
    return isinstance(call.result, Refusal) and call.result.code in _UNSENT
