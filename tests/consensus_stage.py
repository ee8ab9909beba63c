"""The commands of the transcripts in ``tests/scenarios``, over a :class:`World`.

Disks are real logs in real files (:mod:`file_disk`), requests of sessions are
the real tree's. A command's output is what it made happen, in order; chatter
(notifications, pings) is left out, and ``settle`` shows outcomes alone. In all
output ``1:2`` is the zxid with epoch 1 and counter 2. Commands may share a line,
with semicolons between them.

==========================  ====================================================
found 3 observers=1         three voters, linked and with a leader, and an observer;
                            history=, batch= bound what is kept, and sent at once
start 1 2                   start members, without links
restart 1                   crash it if it runs, start it, link it to all that run
connect all | 3 | 1 3       make links: all, all of one member, one
cut 3 | 1 3                 break links; what is on its way is lost
crash 1 2                   the power fails; what was not synced is lost
wipe 1                      replace a disk by an empty one
copy 1                      keep a copy of a disk, of what is durable
put_back 1                  let a disk that is not in use be what its copy is
rot 1                       flip a bit in the middle of the first file of a log
settle [0.5]                let everything happen, for so many seconds
hold 3->1 [Commit]          let settle deliver nothing [from this kind on]
stall 3                     let settle write nothing to a disk
release all | 3->1 3        undo hold and stall
propose 3 a b               hand payloads to a member
transfer 3 [2]              let a leader hand the lead over [to a member]
deliver 3->1 [Commit]       deliver one message, or all up to this kind
persist 3 [2]               finish the writes under way, or so many of them
snapshot 3 [ahead]          let a member save its tree [or all its log, by mistake]
fail 3 sync                 at the next write's sync, write, rename: I/O error
blackout 3 sync [torn]      the same, but the power fails
forge 3->1 Ack 1:2          deliver what a member with a bug would send; also a
                            proposal: 3->1 Proposal 1:3 after 1:2
                            or the end of a lead: 3->1 HandOver 1:0 to 2
keep 1->3 Ack               take a message off its link; ``late`` delivers it
late 1->3                   deliver it as if over its old link
late 1->3 again             deliver it over the present link
ask 3 alice open            hand in a session's request: open, close,
                            create /path [ephemeral]
status, disks, trees        what members do, hold durably, have applied
wires                       what is on its way
==========================  ====================================================
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from consensus_narrator import CHATTER, Narrator, show_role
from consensus_world import Member, World
from coordlib.consensus import (
    Ack,
    Effect,
    Halt,
    HandOver,
    Message,
    Proposal,
    Settings,
)
from coordlib.errors import LeadTransferError, StorageError
from coordlib.ids import Epoch, MemberId, SessionId, Zxid, format_zxid, make_zxid
from coordlib.tree import (
    SYSTEM_PATHS,
    Cause,
    CloseSession,
    Create,
    DataTree,
    OpenSession,
    Operation,
    encode_request,
    stamp,
)
from file_disk import FileDisk
from storage.fake_system import Image

__all__ = ["Stage"]

OPTIONS = {"history": "history_records_max", "batch": "batch_records_max"}
# Who keeps the sessions of these stories.
_OWNER = b"16 bytes of name"
Way = tuple[MemberId, MemberId]
"""Sender and receiver."""


class Stage:
    """Performs commands; see the module."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events: list[str] = []
        self._narrator = Narrator()
        self._world = World(1)
        self._disks: dict[MemberId, FileDisk] = {}
        self._copies: dict[MemberId, Image] = {}
        # What a dying peer still decides is lost with it.
        self._dead: set[MemberId] = set()
        self._kept: dict[Way, tuple[int, Message]] = {}
        self._cxids: dict[str, int] = {}
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "found": self._found,
            "start": self._start,
            "restart": self._restart,
            "connect": self._connect,
            "cut": self._cut,
            "crash": self._crash,
            "wipe": self._wipe,
            "copy": self._copy,
            "put_back": self._put_back,
            "rot": self._rot,
            "settle": self._settle,
            "hold": self._hold,
            "stall": self._stall,
            "release": self._release,
            "propose": self._propose,
            "transfer": self._transfer,
            "deliver": self._deliver,
            "persist": self._persist,
            "snapshot": self._snapshot,
            "fail": self._fail,
            "blackout": self._blackout,
            "forge": self._forge,
            "keep": self._keep,
            "late": self._late,
            "ask": self._ask,
            "status": self._status,
            "disks": self._show_disks,
            "trees": self._show_trees,
            "wires": self._show_wires,
        }

    def perform(self, line: str) -> str:
        """Carry out a line of commands and return what happened."""
        self._events = []
        for part in line.split(";"):
            command, *words = part.split()
            self._commands[command](words)
        return "".join(f"{event}\n" for event in self._events or ["nothing"])

    # --- setting and moving the scene ---

    def _found(self, words: list[str]) -> None:
        size, *options = words
        given = dict(option.split("=") for option in options)
        observers = int(given.pop("observers", "0"))
        self._world = World(
            int(size),
            observers=observers,
            settings=Settings(**{OPTIONS[k]: int(v) for k, v in given.items()}),
            make_disk=self._make_disk,
        )
        self._world.observe = self._observe
        self._world.heal()
        self._settle([])

    def _make_disk(self, member: MemberId) -> FileDisk:
        number = len(list(self._path.iterdir()))
        disk = FileDisk(self._path / f"disk-{number}", member)
        self._disks[member] = disk
        return disk

    def _start(self, words: list[str]) -> None:
        for member in map(member_of, words):
            self._dead.discard(member)
            try:
                self._world.start(member)
            except StorageError as error:
                self._events.append(f"{member} does not start: {error}")
            for damage in self._disks[member].damage:
                self._events.append(f"{member} sets aside {damage.file}")

    def _restart(self, words: list[str]) -> None:
        self._crash([word for word in words if member_of(word) in self._world.members])
        self._start(words)
        for word in words:
            self._connect([word])

    def _connect(self, words: list[str]) -> None:
        world = self._world
        match words:
            case ["all"]:
                wanted = [(a, b) for a in world.members for b in world.members if a < b]
            case [one]:
                wanted = [(member_of(one), other) for other in world.members]
            case _:
                wanted = [(member_of(words[0]), member_of(words[1]))]
        for a, b in sorted(wanted):
            if a != b and a in world.members and world.link_between(a, b) is None:
                world.connect(a, b)

    def _cut(self, words: list[str]) -> None:
        first, *others = map(member_of, words)
        for other in others or self._world.everybody:
            link = None if other == first else self._world.link_between(first, other)
            if link is not None:
                self._world.disconnect(link)

    def _crash(self, words: list[str]) -> None:
        for member in map(member_of, words):
            self._dead.add(member)
            self._world.crash(member)

    def _wipe(self, words: list[str]) -> None:
        self._world.wipe(member_of(words[0]))

    def _copy(self, words: list[str]) -> None:
        self._copies[member_of(words[0])] = self._disks[member_of(words[0])].image()

    def _put_back(self, words: list[str]) -> None:
        member = member_of(words[0])
        self._disks[member].put_back(self._copies[member])

    def _rot(self, words: list[str]) -> None:
        for member in map(member_of, words):
            self._disks[member].rot()

    def _settle(self, words: list[str]) -> None:
        self._narrator.brief = True
        if words:
            self._world.settle(rounds=int(float(words[0]) * 100), step=0.01)
        else:
            self._world.settle(rounds=50)
        self._narrator.brief = False

    def _hold(self, words: list[str]) -> None:
        self._world.held_up[way_of(words[0])] = words[1] if words[1:] else ""

    def _stall(self, words: list[str]) -> None:
        self._world.stalled.update(map(member_of, words))

    def _release(self, words: list[str]) -> None:
        for word in words:
            if word == "all":
                self._world.held_up.clear()
                self._world.stalled.clear()
            elif "->" in word:
                del self._world.held_up[way_of(word)]
            else:
                self._world.stalled.remove(member_of(word))

    # --- single steps ---

    def _propose(self, words: list[str]) -> None:
        payloads = [word.encode() for word in words[1:]]
        if not self._world.propose(member_of(words[0]), *payloads):
            self._events.append("refused")

    def _ask(self, words: list[str]) -> None:
        member, name, *what = words
        operation = self._operation(name, what)
        own = isinstance(operation, Create)
        self._cxids[name] = self._cxids.get(name, 0) + 1
        request = encode_request(
            self._session(name) if own else 0, self._cxids[name], 0, operation
        )
        payload = stamp(request, round(1000 * self._world.now))
        self._narrator.text_of[payload] = f"[{name} {' '.join(what)}]"
        if not self._world.propose(member_of(member), payload):
            self._events.append("refused")

    def _operation(self, name: str, what: list[str]) -> Operation:
        match what:
            case ["open"]:
                return OpenSession(name.encode(), _OWNER, MemberId(1), 10_000)
            case ["close"]:
                return CloseSession(self._session(name), Cause.CLOSED, _OWNER)
            case ["create", path, *rest]:
                return Create(path, ephemeral=rest == ["ephemeral"])
            case _:
                raise ValueError(f"cannot ask for {what}")

    def _session(self, name: str) -> SessionId:
        """Return the id of a session that was opened: its transaction's zxid."""
        opened = f"[{name} open]"
        return next(
            SessionId(zxid)
            for zxid, payload in self._world.committed
            if self._narrator.payload(payload) == opened
        )

    def _transfer(self, words: list[str]) -> None:
        member, *to = map(member_of, words)
        try:
            self._world.transfer_lead(member, to[0] if to else None)
        except LeadTransferError as error:
            self._events.append(f"refused: {error}")

    def _deliver(self, words: list[str]) -> None:
        way, *kinds = words
        sender, receiver = way_of(way)
        link = self._link(sender, receiver)
        while True:
            assert self._world.wires[link, sender], f"nothing left: {words}"
            message = self._world.wires[link, sender][0]
            kind = type(message).__name__
            if not isinstance(message, CHATTER):
                self._events.append(
                    f"{receiver} gets {self._narrator.message(message)}"
                )
            self._world.deliver(link, sender)
            if kinds == [kind] or not (kinds or isinstance(message, CHATTER)):
                break

    def _persist(self, words: list[str]) -> None:
        member, *count = map(int, words)
        self._world.persist(MemberId(member), count[0] if count else 1 << 30)

    def _snapshot(self, words: list[str]) -> None:
        member = member_of(words[0])
        if words[1:] == ["ahead"]:
            disk = self._disks[member]
            disk.save(disk.after_power_loss().everything())
        else:
            self._world.snapshot(member)

    def _fail(self, words: list[str]) -> None:
        disk = self._disks[member_of(words[0])]
        disk.fails_at, disk.error = words[1], True

    def _blackout(self, words: list[str]) -> None:
        disk = self._disks[member_of(words[0])]
        disk.fails_at, disk.error = words[1], False
        disk.torn = words[2:] == ["torn"]

    def _forge(self, words: list[str]) -> None:
        sender, receiver = way_of(words[0])
        link = self._link(sender, receiver)
        self._world.wires[link, sender].appendleft(forged(words[1], words[2:]))
        self._deliver([words[0]])

    def _keep(self, words: list[str]) -> None:
        sender, receiver = way = way_of(words[0])
        link = self._link(sender, receiver)
        wire = self._world.wires[link, sender]
        message = next(m for m in wire if type(m).__name__ == words[1])
        wire.remove(message)
        self._kept[way] = link, message
        self._events.append(f"kept {self._narrator.message(message)}")

    def _late(self, words: list[str]) -> None:
        sender, receiver = way = way_of(words[0])
        link, message = self._kept[way]
        self._events.append(f"{receiver} gets {self._narrator.message(message)}")
        if words[1:]:
            link = self._link(sender, receiver)
        self._world.receive(receiver, link, message)

    def _link(self, a: MemberId, b: MemberId) -> int:
        link = self._world.link_between(a, b)
        assert link is not None, f"no link between {a} and {b}"
        return link

    def _observe(self, state: Member, effect: Effect) -> None:
        line = self._narrator.describe(state, effect)
        if line and state.id not in self._dead:
            self._events.append(f"{state.id} {line}")
        if isinstance(effect, Halt):
            self._dead.add(state.id)

    # --- what is ---

    def _named(self, words: list[str]) -> list[MemberId]:
        return [member_of(word) for word in words] or self._world.everybody

    def _status(self, words: list[str]) -> None:
        for member in self._named(words):
            state = self._world.members.get(member)
            if state is None:
                self._events.append(f"{member} is down")
                continue
            statistics = state.peer.statistics()
            delivered = " ".join(self._narrator.payload(p) for _, p in state.tree)
            self._events.append(
                f"{member} {show_role(state.role)}, "
                f"log to {format_zxid(statistics.last_zxid)}, "
                f"delivered {delivered or 'nothing'}"
            )

    def _show_disks(self, words: list[str]) -> None:
        for member in self._named(words):
            disk = self._disks[member].after_power_loss()
            metadata = disk.metadata
            log = self._narrator.transactions(disk.log) or "nothing"
            snapshot = disk.snapshot
            self._events.append(
                f"{member} epoch {metadata.current_epoch}, "
                f"promised {metadata.accepted_epoch}, "
                + (f"snapshot to {format_zxid(snapshot[-1][0])}, " if snapshot else "")
                + f"log {log}"
            )

    def _show_trees(self, words: list[str]) -> None:
        digests: set[int] = set()
        for member in self._named(words):
            if member not in self._world.members:
                continue
            tree = DataTree()
            for zxid, payload in self._world.members[member].tree:
                tree.apply(zxid, payload)
            digests.add(tree.digest())
            paths = [path for path in tree.znodes() if path not in SYSTEM_PATHS]
            names = [record.nonce.decode() for record in tree.sessions()]
            self._events.append(
                f"{member} znodes {' '.join(paths) or 'none'}, "
                f"sessions {' '.join(names) or 'none'}"
            )
        self._events.append("equal" if len(digests) == 1 else "different")

    def _show_wires(self, words: list[str]) -> None:
        for word in words:
            sender, receiver = way_of(word)
            wire = self._world.wires[self._link(sender, receiver), sender]
            self._events += [
                f"{word} {self._narrator.message(m)}"
                for m in wire
                if not isinstance(m, CHATTER)
            ]


def member_of(word: str) -> MemberId:
    return MemberId(int(word))


def way_of(word: str) -> Way:
    sender, receiver = word.split("->")
    return member_of(sender), member_of(receiver)


def zxid_of(word: str) -> Zxid:
    epoch, counter = map(int, word.split(":"))
    return make_zxid(epoch, counter)


def forged(kind: str, words: list[str]) -> Message:
    zxid = zxid_of(words[0])
    epoch = Epoch(zxid >> 32)
    match kind:
        case "Ack":
            return Ack(epoch, zxid)
        case "Proposal":
            # forge 3->1 Proposal 1:3 after 1:1
            return Proposal(epoch, zxid_of(words[2]), zxid, [b"forged"])
        case "HandOver":
            # forge 3->1 HandOver 1:0 to 2
            return HandOver(epoch, member_of(words[2]))
        case _:
            raise ValueError(f"cannot forge {kind}")
