"""Programs made up from a seed.

Nothing is looked up while a program is made: it is a list, the same for every
server. But most of what it asks for should make sense, so the generator keeps a
rough idea of which znodes may exist.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from random import Random

import attrs

from coordlib import digest_identity

from .program import OPEN_ACL, UNKNOWN_SCHEME, Acl, Name, Program, Step

__all__ = ["STEPS", "generate"]

STEPS = 30

_NAMES = ("a", "b", "c")
_DATA = (b"", b"x", b"yy", b"\0\xff", None, b"long" * 40)
_VERSIONS = (-1, -1, -1, -1, -1, 0, 0, 1, 1, 2, 3, 7, -2, 1 << 20)
# All kinds of malformed; some only with respect to what is done with them.
_ODD_PATHS = (
    "a",
    "/a/",
    "//a",
    "/a//b",
    "/.",
    "/..",
    "/a/./b",
    "/a/../b",
    "/\x01",
    "/a\x00b",
    "/\x7f",
    "/\ud7ff",
    "/\ue000",
    "/\uf8ff",
    "/\ufff0",
    "/\uffff",
    "/\x9f",
    "/\xa0",
    "/a b",
    "/…",
    "!/",
    "!/zookeeper",
    "!/zookeeper/config",
    "!/zookeeper/quota",
)
# Not to be made, or made children of.
_SYSTEM_PATHS = _ODD_PATHS[-3:]

_CREDENTIALS = (b"alice:secret", b"bob:hidden", b"a:b:c", b"nobody")
_SUPER = b"super:secret"
_ALICE, _BOB = (
    digest_identity(*who).id for who in (("alice", "secret"), ("bob", "hidden"))
)
_ACLS: tuple[tuple[Acl, ...], ...] = (
    ((31, "auth", ""),),
    ((1, "world", "anyone"), (30, "auth", "")),
    ((31, "digest", _ALICE),),
    ((31, "digest", _ALICE), (1, "world", "anyone")),
    ((3, "digest", _BOB), (12, "world", "anyone")),
    ((2, "auth", "ignored"), (2, "auth", ""), (29, "world", "anyone")),
    ((31, "world", "anyone"), (31, "digest", _BOB), (31, "world", "anyone")),
    ((31, "auth", ""), (31, "digest", _ALICE)),
    ((31, "ip", "127.0.0.1"),),
    ((31, "ip", "127.0.0.0/8"), (1, "world", "anyone")),
    ((31, "ip", "10.0.0.0/8"), (1, "world", "anyone")),
    ((30, "ip", "126.0.0.0/7"), (1, "world", "anyone")),
)
_BAD_ACLS: tuple[tuple[Acl, ...], ...] = (
    (),
    ((31, "world", "somebody"),),
    ((31, "digest", "alice"),),
    ((31, "digest", "a:b:c"),),
    ((31, "ip", "10.0.0"),),
    ((31, "ip", "10.0.0.0/33"),),
    ((31, "ip", "10.0.0.0/"),),
    ((31, "world", "anyone"), (1, "digest", "")),
)
_UNKNOWN_ACL: tuple[Acl, ...] = ((31, UNKNOWN_SCHEME, "x"),)


def generate(seed: int, number: int, *, steps: int = STEPS) -> Program:
    """Return program ``number`` of a seed; always the same.

    One in ten is about quotas, and one in ten about what lapses.
    """
    kind = {3: _Kind.QUOTA, 7: _Kind.LAPSING}.get(number % 10, _Kind.PLAIN)
    author = _Author(Random(f"{seed}/{number}"), kind)
    return author.write(f"p{seed}-{number}", steps)


class _Kind(Enum):
    PLAIN = auto()
    # One quota. No multis: ZooKeeper holds each operation of one against what
    # was used before it.
    QUOTA = auto()
    # Containers and times to live that end, and none of which that is uncertain.
    LAPSING = auto()


@attrs.define
class _Author:
    random: Random
    kind: _Kind
    # Sessions that should be open; what each watches, and how.
    open: list[int] = attrs.field(factory=list)
    opened: int = 0
    watched: dict[tuple[int, str], str] = attrs.field(factory=dict)
    # Children ever created, by the path of each znode that may exist.
    created: dict[str, int] = attrs.field(factory=lambda: {"/": 0})
    ephemeral: set[str] = attrs.field(factory=set)

    def write(self, name: str, count: int) -> Program:
        steps = [self._open() for _ in range(self.random.choice((1, 2, 2, 3)))]
        if self.kind is _Kind.QUOTA:
            steps += self._quota()
        makers, weights = zip(*_WEIGHTS, strict=True)
        while len(steps) < count:
            if self.kind is _Kind.LAPSING and self.random.random() < 0.15:
                steps += self._lapse()
                continue
            make: Callable[[_Author], Step] = self.random.choices(makers, weights)[0]
            steps.append(make(self))
        return Program(name, tuple(steps), lapsing=self.kind is _Kind.LAPSING)

    def _quota(self) -> list[Step]:
        """Put a quota on a znode that is empty."""
        count, size = self.random.choice(((3, -1), (6, -1), (-1, 4), (-1, 200), (5, 5)))
        soft = self.random.choice((-1, 1))
        limits = (
            f"count={soft},bytes={soft}=;byteHardLimit={size};countHardLimit={count}"
        )
        self._note("/", "/a", 0)
        return [
            Step(Name.CREATE, path="/a"),
            Step(Name.SET_QUOTA, path="/a", data=limits.encode()),
        ]

    def _lapse(self) -> list[Step]:
        """Let a container or a time to live end, and see that another does not."""
        session, kept = self._session(), self._fresh()
        child = f"{kept}/x"
        ends = self._ending(session, self._fresh())
        stays = [Step(Name.EXISTS, session, kept)]
        match self.random.randrange(3):
            case 0:
                # Never used.
                container = Step(Name.CREATE, session, kept, mode=4)
                return [container, *ends, *stays]
            case 1:
                # At once, or it might be gone before it has a child.
                parts = (
                    Step(Name.CREATE, path=kept, mode=5, ttl_ms=1),
                    Step(Name.CREATE, path=child),
                )
                in_use = Step(Name.MULTI, session, parts=parts)
                unused = [Step(Name.DELETE, session, child)]
                return [in_use, *ends, *stays, *unused, Step(Name.LAPSE, session, kept)]
            case _:
                return ends

    def _ending(self, session: int, path: str) -> list[Step]:
        if self.random.random() < 0.5:
            child = f"{path}/x"
            return [
                Step(Name.CREATE, session, path, mode=4),
                Step(Name.CREATE, session, child),
                Step(Name.DELETE, session, child),
                Step(Name.LAPSE, session, path),
            ]
        create = Step(Name.CREATE, session, path, mode=5, ttl_ms=1)
        return [create, Step(Name.LAPSE, session, path)]

    def _fresh(self) -> str:
        """Return a path at which nothing was and nothing else will be."""
        parent = self.random.choice(list(self.created))
        return f"{parent.rstrip('/')}/lapse{len(self.watched)}{self.random.random():.6}"

    def _open(self) -> Step:
        number = self.opened
        self.opened += 1
        self.open.append(number)
        return Step(Name.OPEN, number)

    def end(self) -> Step:
        """Close or expire a session; if it is the only one, open another."""
        if len(self.open) == 1:
            return self._open()
        session = self.random.choice(self.open)
        self.open.remove(session)
        name = Name.EXPIRE if self.random.random() < 0.3 else Name.CLOSE
        return Step(name, session)

    def create(self) -> Step:
        return attrs.evolve(self._create(inside=False), session=self._session())

    def _create(self, *, inside: bool = True) -> Step:
        random = self.random
        mode = random.choice((0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6))
        ttls = (1 << 22, 1 << 39) if inside else (1 << 22, 1 << 39, 0, -1, 1 << 40)
        if mode == 4 and self.kind is _Kind.LAPSING:
            mode = 0
        if random.random() < 0.08:
            path = random.choice([p for p in _ODD_PATHS if p not in _SYSTEM_PATHS])
            # Everybody's root: its next number is not this program's alone.
            mode = 0 if path == "!/" else mode
        else:
            parents = [p for p in self.created if p not in self.ephemeral]
            parent = random.choice(parents if random.random() < 0.9 else self._known())
            path = f"{parent.rstrip('/')}/{random.choice(_NAMES)}"
            self._note(parent, path, mode)
        if mode in {2, 3, 6} and path.rfind("/") > 0 and random.random() < 0.2:
            path = path[: path.rfind("/") + 1]
        return Step(
            Name.CREATE,
            path=path,
            data=random.choice(_DATA),
            acl=self._acl() if random.random() < 0.25 else OPEN_ACL,
            mode=mode,
            ttl_ms=random.choice(ttls) if mode in {5, 6} else 0,
        )

    def _note(self, parent: str, path: str, mode: int) -> None:
        """Expect that a znode is made."""
        if parent not in self.created:
            return
        if mode in {2, 3, 6}:
            path += f"{self.created[parent]:010d}"
        if path not in self.created and path.count("/") < 5:
            self.created[parent] += 1
            self.created[path] = 0
            if mode in {1, 3}:
                self.ephemeral.add(path)

    def delete(self) -> Step:
        return attrs.evolve(self._delete(), session=self._session())

    def _delete(self) -> Step:
        path = self._path()
        return Step(Name.DELETE, path=path, version=self._version())

    def set(self) -> Step:
        return attrs.evolve(self._set(), session=self._session())

    def _set(self) -> Step:
        path = self._path(system=False)
        data = self.random.choice(_DATA)
        return Step(Name.SET, path=path, data=data, version=self._version())

    def _check(self) -> Step:
        return Step(Name.CHECK, path=self._path(), version=self._version())

    def multi(self) -> Step:
        if self.kind is _Kind.QUOTA:
            return Step(Name.GET_USAGE, self._session(), "/a")
        makers = (self._create, self._create, self._delete, self._set, self._check)
        count = self.random.choice((1, 2, 2, 3, 3, 4, 6))
        parts = tuple(self.random.choice(makers)() for _ in range(count))
        return Step(Name.MULTI, self._session(), parts=parts)

    def read(self) -> Step:
        name = self.random.choice((Name.EXISTS, Name.GET, Name.GET, Name.CHILDREN))
        session, path = self._session(), self._path(system=False)
        watch = self.random.random() < 0.5 and self._may_watch(session, path, "once")
        return Step(name, session, path, watch=watch)

    def _acl(self) -> tuple[Acl, ...]:
        luck = self.random.random()
        if luck < 0.4:
            return ((self.random.randrange(32), "world", "anyone"),)
        return self.random.choice(_ACLS if luck < 0.9 else _BAD_ACLS)

    def set_acl(self) -> Step:
        session, path = self._session(), self._path(system=False)
        unknown = path in self.created and self.random.random() < 0.05
        acl = _UNKNOWN_ACL if unknown else self._acl()
        version = self._version()
        return Step(Name.SET_ACL, session, path, acl=acl, version=version)

    def get_acl(self) -> Step:
        return Step(Name.GET_ACL, self._session(), self._path(system=False))

    def add_auth(self) -> Step:
        credential = self.random.choice(_CREDENTIALS)
        if self.random.random() < 0.1:
            credential = _SUPER
        return Step(Name.ADD_AUTH, self._session(), data=credential)

    def whoami(self) -> Step:
        return Step(Name.WHOAMI, self._session())

    def add_watch(self) -> Step:
        session, path = self._session(), self.random.choice(self._known())
        mode = self.random.choice((0, 1))
        if not self._may_watch(session, path, f"mode {mode}"):
            return Step(Name.SYNC, session, path)
        return Step(Name.ADD_WATCH, session, path, mode=mode)

    def remove_watches(self) -> Step:
        if not self.watched:
            return self.add_watch()
        (session, path), how = self.random.choice(list(self.watched.items()))
        if session not in self.open:
            return self.read()
        # Half of a persistent one would be left otherwise.
        mode = self.random.choice((1, 2, 3)) if how == "once" else 3
        return Step(Name.REMOVE_WATCHES, session, path, mode=mode)

    def ephemerals(self) -> Step:
        prefix = self.random.choice((*self._known(), "/"))
        return Step(Name.EPHEMERALS, self._session(), prefix)

    def count(self) -> Step:
        return Step(Name.COUNT, self._session(), self._path(system=False))

    def multi_read(self) -> Step:
        random = self.random
        reads = [
            Step(random.choice((Name.GET, Name.CHILDREN)), path=path)
            for path in random.choices(self._known(), k=random.choice((1, 2, 4)))
        ]
        return Step(Name.MULTI_READ, self._session(), parts=tuple(reads))

    def _may_watch(self, session: int, path: str, how: str) -> bool:
        """Tell whether a session may watch this path like this.

        Before 3.9 a server keeps only the last mode of one connection's watches
        at one path (ZOOKEEPER-4466), so that is left out here.
        """
        return self.watched.setdefault((session, path), how) == how

    def _session(self) -> int:
        return self.random.choice(self.open)

    def _version(self) -> int:
        return self.random.choice(_VERSIONS)

    def _path(self, *, system: bool = True) -> str:
        """Return a path that probably exists, might exist, or cannot exist."""
        luck = self.random.random()
        if luck < 0.03:
            odd = [p for p in _ODD_PATHS if system or not p.startswith("!")]
            return self.random.choice(odd)
        known = list(self.created)
        if luck < 0.75:
            # The youngest most of all: something may then become of them.
            return self.random.choice(known[-6:] if luck < 0.5 else known)
        return self.random.choice(self._known())

    def _known(self) -> list[str]:
        below = [f"/{a}/{b}" for a in _NAMES for b in _NAMES]
        return [*self.created, *(f"/{name}" for name in _NAMES), *below]


_WEIGHTS: tuple[tuple[Callable[[_Author], Step], int], ...] = (
    (_Author.create, 30),
    (_Author.delete, 14),
    (_Author.set, 12),
    (_Author.multi, 16),
    (_Author.read, 30),
    (_Author.add_watch, 4),
    (_Author.remove_watches, 3),
    (_Author.end, 4),
    (_Author.set_acl, 5),
    (_Author.get_acl, 5),
    (_Author.add_auth, 5),
    (_Author.whoami, 1),
    (_Author.ephemerals, 2),
    (_Author.count, 2),
    (_Author.multi_read, 3),
)
