"""What a program was answered, in a form in which two servers can be compared.

Zxids, times and session ids differ from run to run; what they say does not. So
a zxid becomes its rank among those that the program saw, a session id the number
that the program gave to the session, and a time is only held against the zxid
beside it: one transaction has one time, and later ones have no earlier time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from coordlib.ids import SessionId
from coordlib.tree import Stat

from .program import Acl

__all__ = ["Answer", "Event", "normalized"]

Event = tuple[int, str]
"""``EventType`` and path."""

# What is said instead of a time.
_FITS, _TWO_TIMES, _BACKWARDS = 0, 1, 2


@attrs.frozen
class Answer:
    """What one step was answered. What an operation does not answer is ``None``.

    Attributes:
      code: ZooKeeper's number of the error, 0 for none.
      path: Of a create.
      data: Of a get; ``None`` is null then.
      names: Children, or ephemerals, sorted.
      number: Of znodes.
      stat: The znode's.
      acl: The znode's, sorted: ``auth`` stands for identities in no order.
      identities: Scheme and id of each of the session's, sorted.
      parts: Of a multi, one for each operation.
      events: What the session was told since its step before, in order.

    """

    code: int = 0
    path: str | None = None
    data: bytes | None = None
    names: tuple[str, ...] | None = None
    number: int | None = None
    stat: Stat | None = None
    acl: tuple[Acl, ...] | None = None
    identities: tuple[tuple[str, str], ...] | None = None
    parts: tuple[Answer, ...] = ()
    events: tuple[Event, ...] = ()

    def __str__(self) -> str:
        said = []
        for field in attrs.fields(Answer):
            value: object = getattr(self, field.name)
            if value is None or value == ():
                continue
            if isinstance(value, Stat):
                pairs = value._asdict().items()
                value = " ".join(f"{n}={v}" for n, v in pairs if v)
            if field.name == "parts":
                value = [str(part) for part in self.parts]
            said.append(f"{field.name} {value}")
        return ", ".join(said)


def normalized(answers: Sequence[Answer], sessions: Mapping[int, int]) -> list[Answer]:
    """Return answers of which nothing depends on when and where they were given.

    Args:
      answers: All that one program was given.
      sessions: The program's number of a session, by the session's id.

    """
    stats = [stat for answer in answers for stat in _stats(answer)]
    zxids = {zxid for s in stats for zxid in (s.czxid, s.mzxid, s.pzxid)}
    ranks = {zxid: rank for rank, zxid in enumerate(sorted(zxids))}
    times = _Times(stats)

    def owner(session: SessionId) -> SessionId:
        return SessionId(1 + sessions.get(session, -2) if session else 0)

    def plain(stat: Stat) -> Stat:
        return stat._replace(
            czxid=ranks[stat.czxid],
            mzxid=ranks[stat.mzxid],
            pzxid=ranks[stat.pzxid],
            ctime=times.judge(stat.czxid, stat.ctime),
            mtime=times.judge(stat.mzxid, stat.mtime),
            ephemeral_owner=owner(stat.ephemeral_owner),
        )

    def shown(answer: Answer) -> Answer:
        return attrs.evolve(
            answer,
            stat=answer.stat and plain(answer.stat),
            parts=tuple(shown(part) for part in answer.parts),
        )

    return [shown(answer) for answer in answers]


def _stats(answer: Answer) -> Iterator[Stat]:
    if answer.stat is not None:
        yield answer.stat
    for part in answer.parts:
        yield from _stats(part)


class _Times:
    """The time of each transaction, as far as stats tell."""

    def __init__(self, stats: Iterable[Stat]) -> None:
        self._of: dict[int, int] = {}
        for stat in stats:
            self._of.setdefault(stat.czxid, stat.ctime)
            self._of.setdefault(stat.mzxid, stat.mtime)
        in_order = [self._of[zxid] for zxid in sorted(self._of)]
        self._fall = in_order != sorted(in_order)

    def judge(self, zxid: int, time: int) -> int:
        if self._of[zxid] != time:
            return _TWO_TIMES
        return _BACKWARDS if self._fall else _FITS
