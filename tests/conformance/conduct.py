"""How a program is carried out, on whichever server.

One step after the other: a session's next step begins when the step before,
whoever's it was, has been answered. A server tells a session of a change before
it answers anything that came later, so what a session was told between two of
its answers is always the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

import attrs

from .answers import Answer, Event, normalized
from .program import Name, Program, Step

__all__ = ["NOT_OPEN", "Server", "conduct", "conduct_all"]

NOT_OPEN = Answer(-112)
"""What is answered for a session that the program has not opened, or has ended."""


class Server(Protocol):
    """One of the two servers, for one program after the other."""

    async def begin(self, program: Program) -> None:
        """Make the program's own znode."""
        ...

    async def perform(self, step: Step) -> Answer:
        """Carry out a step; its session is open, or is being opened."""
        ...

    async def events(self, session: int) -> list[Event]:
        """Return what a session has been told since it was last asked this.

        Everything that was done before this call is in it.
        """
        ...

    def events_so_far(self, session: int) -> list[Event]:
        """Do the same without waiting, right after an answer to this session."""
        ...

    async def end(self) -> dict[int, int]:
        """End all sessions; return the program's number of each session id."""
        ...


async def conduct(program: Program, server: Server) -> list[Answer]:
    """Carry out a program and return the answers, normalized.

    After those to the steps there is one more for each session that is still
    open, by number, with what it was told last.
    """
    await server.begin(program)
    answers: list[Answer] = []
    told: defaultdict[int, list[Event]] = defaultdict(list)
    open_sessions: dict[int, None] = {}

    async def listen(*, ordered: bool) -> None:
        for session in open_sessions:
            events = await server.events(session)
            told[session] += events if ordered else sorted(events)

    for step in program.steps:
        session = step.session
        if (session in open_sessions) == (step.name is Name.OPEN):
            answers.append(NOT_OPEN)
            continue
        if step.name in {Name.CLOSE, Name.EXPIRE}:
            # In which order a session's ephemerals are deleted is not promised.
            await listen(ordered=True)
            del open_sessions[session]
            answers.append(await server.perform(step))
            await listen(ordered=False)
            continue
        open_sessions[session] = None
        answer = await server.perform(step)
        if step.name is Name.LAPSE:
            # Nobody has asked the server on this session's behalf.
            await listen(ordered=True)
        events = told.pop(session, []) + server.events_so_far(session)
        answers.append(_with_events(answer, events))
    await listen(ordered=True)
    answers += [_with_events(Answer(), told[s]) for s in sorted(open_sessions)]
    return normalized(answers, await server.end())


async def conduct_all(
    programs: Iterable[Program], quiet: Server, cleaning: Server
) -> list[list[Answer]]:
    """Carry out programs one after the other, each on the server that it is for."""
    return [await conduct(p, cleaning if p.lapsing else quiet) for p in programs]


def _with_events(answer: Answer, events: list[Event]) -> Answer:
    return attrs.evolve(answer, events=tuple(events)) if events else answer
