"""The tree does what its model does, through snapshots and restarts.

One machine makes up transactions as members would commit them: several sessions
with several identities, every operation, right and wrong. Now and then the tree
is replaced by what a snapshot of it gives, or by what the log since then gives.
"""

from __future__ import annotations

from random import Random

import attrs
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coordlib.errors import ErrorCode
from coordlib.ids import MemberId, SessionId
from coordlib.testing.history import Exists, Get, GetChildren, Refusal
from coordlib.testing.model import TreeModel
from coordlib.tree import (
    NO_SESSION,
    OPEN_ACL_UNSAFE,
    Acl,
    AddIdentities,
    Cause,
    Check,
    CloseSession,
    Configure,
    Create,
    DataTree,
    Delete,
    DeleteContainer,
    Identity,
    Multi,
    OpenSession,
    Operation,
    Permission,
    QuotaLimits,
    ResumeSession,
    Set,
    SetAcl,
    SubOperation,
    capture,
    decode_transaction,
    encode_limits,
    encode_request,
    encode_snapshot,
    limits_path,
    restore,
    stamp,
    stats_path,
)
from testing.story import read_tree, told
from tree_world import MEMBER, OWNER

OTHER_OWNER, OTHER_MEMBER = b"incarnation-of-2", MemberId(2)

# So few that operations meet; some are no paths, and some come from numbers.
PLAIN = ["/a", "/b", "/a/a", "/a/b", "/a/a/a"]
NUMBERED = ["/s0000000000", "/a/s0000000001", "/s0000000002"]
ODD = ["/", "x", "/a/", "/a//b", "/b\0", "/zookeeper", "/zookeeper/config"]
QUOTA = ["/zookeeper/quota/a", "/zookeeper/quota/a/a"]
QUOTA += [f(path) for path in ("/a", "/a/a") for f in (limits_path, stats_path)]

ANNA, BEN = Identity("digest", "anna:hash"), Identity("plug-in", "ben")
AT_HOME, SUPER = Identity("ip", "10.0.0.1"), Identity("super", "")
EVERYBODY = Identity("world", "anyone")
IDENTITIES = [*[ANNA, BEN, AT_HOME] * 6, SUPER]
MEANT = [ANNA, BEN, AT_HOME, EVERYBODY, EVERYBODY, Identity("auth", "")]
MEANT += [Identity("world", "wrong"), Identity("ip", "10.0.0.0/8")]
DATA = [None, b"", b"x", b"yy", bytes(9)]


@attrs.frozen
class Author:
    """Makes up what sessions ask for.

    Out of a seed, not drawn bit by bit: what goes wrong needs many operations that
    meet, more than Hypothesis draws.
    """

    random: Random

    def operation(self) -> Operation:
        match self.random.randrange(20):
            case 0 | 1:
                count = self.random.randrange(5)
                return Multi(tuple([self.part() for _ in range(count)]))
            case 2 | 3:
                return SetAcl(self.path(), self.acl(), self.version())
            case 4:
                count = self.random.randrange(3)
                return AddIdentities(tuple(self.random.choices(IDENTITIES, k=count)))
            case 5 if self.random.random() < 0.3:
                return Configure("server.1=a:1:1:participant\n")
            case _:
                return self.part()

    def part(self) -> SubOperation:
        random = self.random
        match random.randrange(10):
            case 0 | 1 | 2 | 3:
                return self.create()
            case 4 | 5:
                data = random.choice([*DATA, self.limits()])
                return Set(self.path(), data, self.version())
            case 6:
                return Check(self.path(), self.version(), self.czxid())
            case _:
                return Delete(self.path(), self.version(), self.czxid())

    def create(self) -> Create:
        random = self.random
        path, data = self.path(), random.choice(DATA)
        match random.randrange(8):
            case 0:
                return Create(path, data, container=True)
            case 1:
                return Create(path, data, ttl_ms=random.choice([1, 2, 4, 9, 40]))
            case 2:
                prefix = random.choice(["/s", "/a/s", "/a/", "/b/\x01"])
                is_ephemeral = random.random() < 0.5
                return Create(prefix, data, sequential=True, ephemeral=is_ephemeral)
            case 3:
                return Create(path, data, ephemeral=True, acl=self.acl())
            case _:
                return Create(path, data, acl=self.acl())

    def path(self) -> str:
        luck = self.random.random()
        odd = ODD + NUMBERED + QUOTA
        return self.random.choice(PLAIN if luck < 0.8 else odd)

    def acl(self) -> tuple[Acl, ...]:
        random = self.random
        if random.random() < 0.4:
            return OPEN_ACL_UNSAFE
        if random.random() < 0.5:
            return (Acl(Permission(random.randrange(32)), EVERYBODY),)
        count = random.choice([0, 1, 1, 2, 2, 3])
        permissions = [Permission.ALL, Permission(random.randrange(32))]
        entries = [
            Acl(random.choice(permissions), random.choice(MEANT)) for _ in range(count)
        ]
        return (*entries, *entries[: random.randrange(2)])

    def version(self) -> int:
        return self.random.choice([-1, -1, -1, 0, 0, 1, 2])

    def czxid(self) -> int:
        return self.random.choice([0, 0, 0, 0, 0, 9])

    def limits(self) -> bytes:
        numbers = self.random.choices([None, None, 1, 2, 3, 5, 12], k=4)
        return encode_limits(QuotaLimits(*numbers))


# How many at one go.
_OPERATIONS = 25
seeds = st.integers(0, 1 << 32)
nonces = st.sampled_from([b"1", b"2", b"3"])
owners = st.sampled_from([OWNER, OWNER, OTHER_OWNER])
members = st.sampled_from([MEMBER, MEMBER, OTHER_MEMBER])
numbers = st.integers(0, 9)


class TreeMachine(RuleBasedStateMachine):
    """A tree and its model, given the same."""

    def __init__(self) -> None:
        super().__init__()
        self.tree, self.model = DataTree(), TreeModel()
        self.log: list[tuple[int, bytes]] = []
        self.snapshot = encode_snapshot(capture(self.tree))
        self.known: list[SessionId] = []

    @initialize()
    def begin(self) -> None:
        self.open_session(b"1", OWNER, MEMBER, seed=0)
        self.open_session(b"2", OWNER, MEMBER, seed=1)

    def pick(self, number: int) -> SessionId:
        """Return a session that there is or was; or the ensemble itself."""
        return [NO_SESSION, *self.known][number % (len(self.known) + 1)]

    def commit(self, operation: Operation, session: SessionId, *, again: bool) -> None:
        """Give both one more transaction, and compare what they make of it."""
        record = self.tree.session(session)
        last = 0 if record is None else record.last_cxid
        request = encode_request(session, last + (not again), 0, operation)
        zxid = self.tree.zxid + 1
        payload = stamp(request, 1_000_000 + 2 * zxid)
        self.log.append((zxid, payload))
        transaction = decode_transaction(payload)
        repeats = self.model.repeats(transaction)
        applied = self.tree.apply(zxid, payload)
        if repeats:
            assert applied.duplicate
            assert not applied.events
            self.model.zxid = zxid
            return
        result = self.model.apply(zxid, transaction)
        if not isinstance(operation, OpenSession | ResumeSession):
            assert told(applied.result) == result
        changes = [(event.kind, event.path, event.cause) for event in applied.events]
        assert changes == self.model.changes

    @rule(seed=seeds)
    def work(self, seed: int) -> None:
        """Let sessions do this and that."""
        random = Random(seed)
        author = Author(random)
        for _ in range(_OPERATIONS):
            session = self.pick(random.randrange(10))
            # The ensemble's own requests are counted elsewhere.
            again = session != NO_SESSION and random.random() < 0.1
            self.commit(author.operation(), session, again=again)

    @rule(nonce=nonces, owner=owners, member=members, seed=numbers)
    def open_session(
        self, nonce: bytes, owner: bytes, member: MemberId, seed: int
    ) -> None:
        who = Random(seed).choices(IDENTITIES, k=seed % 3)
        opening = OpenSession(nonce, owner, member, 10_000, tuple(who))
        self.commit(opening, NO_SESSION, again=False)
        record = self.tree.session_by_nonce(nonce)
        assert record is not None
        if record.id not in self.known:
            self.known.append(record.id)

    @rule(number=numbers, nonce=nonces, owner=owners, member=members)
    def resume(self, number: int, nonce: bytes, owner: bytes, member: MemberId) -> None:
        session = self.pick(number)
        resuming = ResumeSession(session, nonce, owner, member)
        self.commit(resuming, NO_SESSION, again=False)

    @rule(
        number=numbers,
        owner=owners,
        cause=st.sampled_from([Cause.CLOSED, Cause.EXPIRED]),
    )
    def close_session(self, number: int, owner: bytes, cause: Cause) -> None:
        session = self.pick(number)
        self.commit(CloseSession(session, cause, owner), NO_SESSION, again=False)

    @rule(path=st.sampled_from(PLAIN), seed=numbers)
    def set_quota(self, path: str, seed: int) -> None:
        """Make the znodes that a quota consists of, whichever are missing."""
        limit = Author(Random(seed)).limits()
        above = "/zookeeper/quota"
        for name in path.split("/")[1:]:
            above += f"/{name}"
            self.commit(Create(above), NO_SESSION, again=False)
        for operation in (
            Create(limits_path(path), limit),
            Set(limits_path(path), limit),
            Create(stats_path(path)),
        ):
            self.commit(operation, NO_SESSION, again=False)

    @rule(number=numbers, wrong=st.sampled_from([0, 0, 0, 1]))
    def clean(self, number: int, wrong: int) -> None:
        mortal = [p for p, z in self.tree.znodes().items() if z.ephemeral_owner < 0]
        path = [*PLAIN, *mortal][-1 - number % (len(mortal) + 1)]
        znode = self.tree.znodes().get(path)
        seen = wrong if znode is None else znode.mzxid + wrong
        self.commit(DeleteContainer(path, seen), NO_SESSION, again=False)

    @rule(seed=seeds)
    def clean_all_that_may_go(self, seed: int) -> None:
        self.work(seed)
        now = 1_000_000 + 2 * self.tree.zxid + 2
        for deletion in self.tree.overdue(10, now):
            self.commit(deletion, NO_SESSION, again=False)
            assert self.tree.exists(deletion.path) is None

    @rule(seed=seeds)
    def take_a_snapshot(self, seed: int) -> None:
        self.work(seed)
        self.snapshot = encode_snapshot(capture(self.tree))
        self.log.clear()

    @rule(seed=seeds)
    def restart(self, seed: int) -> None:
        """Go on with a tree that was read from the snapshot and the log."""
        self.work(seed)
        tree = DataTree()
        restore(tree, self.snapshot)
        for zxid, payload in self.log:
            tree.apply(zxid, payload)
        assert tree.digest() == self.tree.digest()
        assert encode_snapshot(capture(tree)) == encode_snapshot(capture(self.tree))
        self.tree = tree

    @invariant()
    def their_znodes_are_equal(self) -> None:
        contents = self.model.contents()
        assert self.tree.znodes().keys() == contents.keys()
        for path, (exact, acl) in contents.items():
            assert self.tree.get_nullable(path)[0] == exact
            assert self.tree.get_acl(path)[0] == acl
            below = [p for p in contents if p.startswith(path.rstrip("/") + "/")]
            below = [p for p in below if p != path]
            assert self.tree.descendants(path) == len(below)
            assert self.tree.children_number(path) == len(self.tree.get_children(path))
            for read in (Get(path), Exists(path), GetChildren(path)):
                assert read_tree(self.tree, read) == self.model.read(read, NO_SESSION)
        for path in ODD:
            read = Exists(path)
            assert read_tree(self.tree, read) == self.model.read(read, NO_SESSION)

    @invariant()
    def their_sessions_are_equal(self) -> None:
        assert self.model.sessions() == {
            record.id: (record.owner, record.last_cxid, record.identities)
            for record in self.tree.sessions()
        }
        contents = self.model.contents()
        for session in self.model.sessions():
            own = [
                path
                for path in contents
                if (stat := self.tree.exists(path)) and stat.ephemeral_owner == session
            ]
            assert self.tree.ephemerals(session) == sorted(own)
            for path in contents:
                refused = self.model.read(Get(path), session)
                may = self.tree.may(session, path, Permission.READ)
                assert may is (refused != Refusal(ErrorCode.NO_AUTH))

    @invariant()
    def siblings_stand_in_line(self) -> None:
        for path in self.tree.znodes():
            before = None
            for name in self.tree.get_children(path):
                child = f"{path.rstrip('/')}/{name}"
                assert self.tree.predecessor(child) == before
                before = child


TestTreeAgainstModel = TreeMachine.TestCase
TestTreeAgainstModel.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None
)
