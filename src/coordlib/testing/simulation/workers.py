"""Clients: each opens a session and asks for one thing after another.

What they ask for is chosen so that whatever goes wrong leaves a trace in the
tree: unique data, counters, ephemerals, multis that only hold as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import attrs

from coordlib.errors import ErrorCode, OperationError
from coordlib.ids import SessionId
from coordlib.testing.history import (
    Call,
    ClientResult,
    Exists,
    Get,
    GetChildren,
    History,
    Read,
    Refusal,
    Sync,
    Write,
)
from coordlib.tree import (
    CREATOR_ALL_ACL,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Acl,
    AddIdentities,
    Applied,
    Cause,
    Check,
    Create,
    Created,
    Delete,
    Identity,
    Multi,
    Permission,
    Set,
    SetAcl,
)

from .kernel import chance
from .notes import told

if TYPE_CHECKING:
    from .service import Service

__all__ = ["Ticket", "Worker"]

_SHARED = 8
_OWNED_MAX = 6
_BOXES = ("/box-0", "/box-1")
_MORTALS = ("/mortal-0", "/mortal-1")

# Identities that several clients have, and what is theirs. Everybody can undo
# that, or in the end nobody could do anything.
_CLUBS = tuple([Identity("digest", f"club-{number}:hash") for number in range(2)])
_ADMIN = Acl(Permission.ADMIN, Identity("world", "anyone"))
_ACLS = (
    OPEN_ACL_UNSAFE,
    (*READ_ACL_UNSAFE, _ADMIN),
    CREATOR_ALL_ACL,
    *((Acl(Permission.ALL, club), _ADMIN) for club in _CLUBS),
)


@attrs.define
class Ticket:
    """A session that the next process of its member can resume.

    Attributes:
      until: Around that time it expires, if its process has ended.

    """

    session: SessionId
    nonce: bytes
    until: int = 0


@attrs.define(eq=False)
class Worker:
    """One client of one process.

    Attributes:
      session: Its session; 0 before it is open and after it is lost.
      answered: How many of its requests have an outcome.
      asked_most: How many of its requests may be without one.

    """

    service: Service = attrs.field(repr=False)
    number: int
    session: SessionId = attrs.field(default=SessionId(0), init=False)
    answered: int = attrs.field(default=0, init=False)
    asked_most: int = attrs.field(default=1, init=False)
    _cxid: int = attrs.field(default=0, init=False)
    # It will act some time.
    _waiting: bool = attrs.field(default=False, init=False)
    # Znodes that it made and did not delete.
    _owned: list[str] = attrs.field(factory=list, init=False)

    def start(self) -> None:
        """Come some time soon, or when one's session is about to expire."""
        process = self.service.process
        random, ticket = process.clock.random, process.tickets.get(self.number)
        delay = random.randrange(50_000)
        if ticket is not None and chance(random, 0.5):
            left = ticket.until - process.kernel.now
            delay = max(delay, left + random.randrange(-150_000, 150_000))
        self._after(delay)

    def _after(self, delay: int) -> None:
        if not self._waiting:
            self._waiting = True
            process = self.service.process
            process.kernel.after(delay, process, self._act)

    def _act(self) -> None:
        self._waiting = False
        if self.service.quiet:
            return
        if self.session:
            self._look()
            self._be_odd()
        elif not self._resume():
            random = self.service.process.clock.random
            nonce = random.randbytes(8)
            self.service.open_session(self, nonce)
            if self.service.process.kernel.oddly("worker.opens-twice"):
                self.service.open_again(nonce)

    def _resume(self) -> bool:
        process = self.service.process
        ticket = process.tickets.pop(self.number, None)
        if ticket is None or chance(process.clock.random, 0.3):
            return False
        self.service.resume_session(self, ticket)
        return True

    def _be_odd(self) -> None:
        oddly = self.service.process.kernel.oddly
        if oddly("worker.leaves", 0.05):
            self.leave()
        elif oddly("worker.asks-for-much", 0.05):
            self.flood(20)
            self._ask(more=True)
        elif oddly("worker.asks-and-loses-touch", 0.1):
            # So many that a snapshot may be less to send: its outcomes come with it.
            self.service.hangs_up = True
            self.flood(60)
            self._ask(more=True)
        else:
            self._ask(more=True)

    def opened(self, session: SessionId, cxid: int) -> None:
        """The session is there; ``cxid`` is the last number it has used."""
        self.session, self._cxid = session, cxid
        self._owned.clear()
        self._think()

    def lost(self) -> None:
        """The session is no more: come again later."""
        self.session = SessionId(0)
        self.service.process.tickets.pop(self.number, None)
        self._think()

    def _think(self) -> None:
        process = self.service.process
        pause = process.clock.random.expovariate(1 / process.profile.pause)
        if not process.kernel.is_odd:
            # In the end there must be time for an observer to get level before
            # an epoch of twenty transactions is over.
            pause = max(pause, 50_000)
        self._after(round(pause))

    def flood(self, count: int) -> None:
        """Ask for much more at once."""
        self.asked_most += count
        for _ in range(count if self.session else 0):
            self._ask(more=False)

    def _ask(self, *, more: bool) -> None:
        """Ask for one thing; ``more``: and for another one after its answer."""
        session = self.session
        if self.service.outstanding.is_full:
            self.service.process.kernel.mark("request.refused-for-now")
            if more:
                self._think()
            return
        self._cxid += 1
        operation = self._choose()
        call = self._history.begin(session, operation, self._cxid)

        def done(applied: Applied) -> None:
            self._done(applied, call, more=more)

        self.service.submit(session, self._cxid, operation, done)

    def _done(self, applied: Applied, call: Call, *, more: bool) -> None:
        process = self.service.process
        process.oracles.acknowledged(process, applied)
        result = told(applied)
        if isinstance(result, Refusal) and result.code is ErrorCode.NO_AUTH:
            process.kernel.mark("request.without-permission")
        self._history.end(call, result, process.tree.zxid)
        self.answered += 1
        if isinstance(applied.result, Created):
            path = applied.result.path
            # Nobody but the ensemble deletes these.
            if path not in _BOXES and path not in _MORTALS:
                self._owned.append(path)
        if more and call.session == self.session:
            self._think()

    def _look(self) -> None:
        """Read something, or have everything acknowledged come first."""
        random = self.service.process.clock.random
        if chance(random, 0.1):
            call = self._history.begin(self.session, Sync())
            self.service.sync(partial(self._synced, call))
        elif chance(random, 0.3):
            self._read()

    def _synced(self, call: Call) -> None:
        if call.session == self.session:
            self._history.end(call, None, self.service.process.tree.zxid)
            self._read()

    def _read(self) -> None:
        tree, random = self.service.process.tree, self.service.process.clock.random
        shared = f"/shared-{random.randrange(_SHARED)}"
        path = random.choice([shared, shared, shared, *_BOXES, *_MORTALS])
        reads: list[tuple[Read, Callable[[str], ClientResult]]] = [
            (Get(path), tree.get),
            (Exists(path), tree.exists),
            (GetChildren("/"), tree.get_children),
        ]
        read, look = random.choices(reads, [6, 3, 1])[0]
        call = self._history.begin(self.session, read)
        open_to_all = isinstance(read, Exists)
        try:
            if open_to_all or tree.may(self.session, read.path, Permission.READ):
                result = look(read.path)
            else:
                result = Refusal(ErrorCode.NO_AUTH)
        except OperationError as refused:
            result = Refusal(refused.code)
        self._history.end(call, result, tree.zxid)

    @property
    def _history(self) -> History:
        return self.service.process.oracles.history

    def _choose(self) -> Write:
        random = self.service.process.clock.random
        data = b"%d:%d" % (self.session, self._cxid)
        shared = f"/shared-{random.randrange(_SHARED)}"
        oddly = self.service.process.kernel.oddly
        if oddly("worker.asks-nonsense", 0.05):
            return Multi((Set(shared, data), Create("/no/such/parent", data)))
        if oddly("worker.has-much-to-say", 0.05):
            return Set(shared, data * 300)
        if oddly("worker.minds-permissions", 0.05):
            acl = random.choice(_ACLS)
            wishes: list[Write] = [
                AddIdentities((random.choice(_CLUBS),)),
                SetAcl(shared, acl),
                Create(shared, data, acl=acl),
            ]
            return random.choice(wishes)
        own = Create("/own-", data, ephemeral=chance(random, 0.5), sequential=True)
        kinds: list[Write] = [
            Set(shared, data),
            Set(shared, data),
            Create(shared, data),
            Multi((Check(shared), Set(shared, data), Set(_other(shared), data))),
            own,
            own,
        ]
        if len(self._owned) > _OWNED_MAX:
            return Delete(self._owned.pop(0))
        if chance(random, 0.02):
            return Delete(shared)
        if chance(random, 0.2):
            return self._use_what_goes_by_itself(data)
        return random.choice(kinds)

    def _use_what_goes_by_itself(self, data: bytes) -> Write:
        """Ask for something at a container or at a znode with a time to live."""
        random = self.service.process.clock.random
        box, mortal = random.choice(_BOXES), random.choice(_MORTALS)
        name = "/own-" if chance(random, 0.5) else "/shared"
        kinds: list[Write] = [
            Create(box, data, container=True),
            Create(box + name, data, ephemeral=True, sequential=name == "/own-"),
            Delete(box + "/shared"),
            Create(mortal, data, ttl_ms=random.choice([1, 200])),
            Set(mortal, data),
            Set(mortal, None),
            Multi((Create(mortal + "/a", data), Delete(mortal + "/a"))),
        ]
        return random.choice(kinds)

    def leave(self) -> None:
        """Close the session."""
        if self.session:
            self.service.close_session(self.session, Cause.CLOSED)
            self.lost()


def _other(shared: str) -> str:
    """Return another shared znode, so that a half-done multi shows."""
    return f"{shared[:-1]}{(int(shared[-1]) + 1) % _SHARED}"
