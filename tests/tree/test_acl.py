"""ACLs: what they grant, which are possible, and where each operation looks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from coordlib.errors import ErrorCode, InvalidAclError
from coordlib.ids import SessionId
from coordlib.tree import (
    CREATOR_ALL_ACL,
    NO_SESSION,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    SUPERUSER,
    Acl,
    AddIdentities,
    Check,
    Create,
    Created,
    DataTree,
    Delete,
    Identity,
    Multi,
    MultiRefused,
    OpenSession,
    Operation,
    Permission,
    Refused,
    SessionOpened,
    Set,
    SetAcl,
    Stat,
    allows,
    capture,
    encode_snapshot,
    masked,
    restore,
    shown,
    validate_acl,
)
from coordlib.tree.acl import (
    ACL_ENTRIES_MAX,
    IDENTITIES_MAX,
    IDENTITY_CHARS_MAX,
    expand_acl,
)
from coordlib.tree.acl_table import AclTable
from tree_world import MEMBER, OWNER, TreeWorld

ANNA = Identity("digest", "anna:hash-of-anna")
BEN = Identity("digest", "ben:hash-of-ben")
AT_HOME = Identity("ip", "10.1.2.3")

SINGLE = [p for p in Permission if p]


def acl_for(identity: Identity, permissions: Permission) -> tuple[Acl, ...]:
    return (Acl(permissions, identity),)


class AclWorld(TreeWorld):
    """A tree with sessions of Anna, of Ben, of nobody and of the superuser."""

    def __init__(self) -> None:
        super().__init__()
        self.anna = self.session_of(ANNA)
        self.ben = self.session_of(BEN)
        self.nobody = self.session_of()
        self.superuser = self.session_of(SUPERUSER)

    def session_of(self, *identities: Identity) -> SessionId:
        nonce = b"%d" % (self.tree.zxid + 1)
        result = self.apply(OpenSession(nonce, OWNER, MEMBER, 1000, identities)).result
        assert isinstance(result, SessionOpened)
        return result.session

    def code(self, operation: Operation, session: int) -> ErrorCode:
        """Apply an operation and return why it was refused; OK if it was not."""
        result = self.apply(operation, session).result
        if isinstance(result, MultiRefused):
            return result.refusals[result.failed_at].code
        return result.code if isinstance(result, Refused) else ErrorCode.OK


@pytest.fixture
def world() -> AclWorld:
    return AclWorld()


# --- what is granted ---


@pytest.mark.parametrize("asked", SINGLE)
@pytest.mark.parametrize("granted", [Permission.NONE, *SINGLE, Permission.ALL])
def test_an_entry_grants_its_permissions_to_its_identity_alone(
    asked: Permission, granted: Permission
) -> None:
    acl = acl_for(ANNA, granted)

    assert allows(acl, asked, (ANNA,)) is (asked in granted)
    assert allows(acl, asked, (BEN, ANNA)) is (asked in granted)
    assert not allows(acl, asked, (BEN,))
    assert not allows(acl, asked, ())


def test_of_several_permissions_one_is_enough() -> None:
    either = Permission.READ | Permission.ADMIN

    assert allows(acl_for(ANNA, Permission.READ), either, (ANNA,))
    assert allows(acl_for(ANNA, Permission.ADMIN), either, (ANNA,))
    assert not allows(acl_for(ANNA, Permission.WRITE), either, (ANNA,))


def test_a_permission_may_come_from_any_entry() -> None:
    acl = (*acl_for(ANNA, Permission.READ), *acl_for(BEN, Permission.WRITE))

    assert allows(acl, Permission.WRITE, (ANNA, BEN))
    assert not allows(acl, Permission.WRITE, (ANNA,))


def test_anyone_is_everybody_and_the_superuser_passes_everything() -> None:
    assert allows(READ_ACL_UNSAFE, Permission.READ, ())
    assert not allows(READ_ACL_UNSAFE, Permission.WRITE, (ANNA,))
    assert allows(acl_for(ANNA, Permission.NONE), Permission.ADMIN, (SUPERUSER,))


def test_another_scheme_matches_by_equality() -> None:
    acl = acl_for(Identity("kerberos", "anna@EXAMPLE"), Permission.READ)

    assert allows(acl, Permission.READ, (Identity("kerberos", "anna@EXAMPLE"),))
    assert not allows(acl, Permission.READ, (Identity("kerberos", "anna"),))
    assert not allows(acl, Permission.READ, (Identity("digest", "anna@EXAMPLE"),))


@pytest.mark.parametrize(
    ("expression", "address", "matches"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.3/32", "10.1.2.4", False),
        ("10.1.2.0/24", "10.1.2.255", True),
        ("10.1.2.77/24", "10.1.2.3", True),
        ("10.1.2.0/24", "10.1.3.3", False),
        ("10.1.2.0/23", "10.1.3.3", True),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "::1", False),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("2001:db8::/33", "2001:db8:7fff::1", True),
        ("2001:db8::/33", "2001:db8:8000::1", False),
        ("::/0", "10.1.2.3", False),
        ("::/0", "not an address", False),
    ],
)
def test_addresses_match_by_their_first_bits(
    expression: str, address: str, *, matches: bool
) -> None:
    acl = acl_for(Identity("ip", expression), Permission.READ)
    validate_acl("/a", acl)

    somebody = (ANNA, Identity("ip", address))
    assert allows(acl, Permission.READ, somebody) is matches


def test_an_address_that_is_none_matches_nothing() -> None:
    # It cannot be in a tree, but a comparison must not raise.
    acl = acl_for(Identity("ip", "10.1.2"), Permission.READ)

    assert not allows(acl, Permission.READ, (AT_HOME,))


# --- which ACLs are possible ---


@pytest.mark.parametrize(
    ("scheme", "id"),
    [
        ("world", "anyone"),
        ("auth", ""),
        ("auth", "whatever"),
        ("digest", "user:hash"),
        ("digest", ":hash"),
        ("digest", "user:hash:::"),
        ("ip", "255.255.255.255"),
        ("ip", "0.0.0.0/0"),
        ("ip", "1.2.3.4/32"),
        ("ip", "::"),
        ("ip", "fe80::1/128"),
        ("x509", "CN=anybody"),
        ("plug-in", ""),
        ("p" * IDENTITY_CHARS_MAX, "i" * IDENTITY_CHARS_MAX),
    ],
)
def test_an_identity_that_can_be_in_an_acl(scheme: str, id: str) -> None:
    validate_acl("/a", acl_for(Identity(scheme, id), Permission.ALL))


@pytest.mark.parametrize(
    ("scheme", "id"),
    [
        ("", "anyone"),
        ("world", ""),
        ("world", "somebody"),
        ("digest", ""),
        ("digest", "user"),
        ("digest", "user:"),
        ("digest", ":"),
        ("digest", "a:b:c"),
        ("digest", "::a"),
        ("ip", ""),
        ("ip", "1.2.3"),
        ("ip", "010.1.2.3"),
        ("ip", "+1.2.3.4"),
        ("ip", "1.2.3.4.5"),
        ("ip", "1.2.3.256"),
        ("ip", "1.2.3.4/"),
        ("ip", "1.2.3.4/33"),
        ("ip", "1.2.3.4/-1"),
        ("ip", "1.2.3.4/ 8"),
        ("ip", "1.2.3.4/8/8"),
        ("ip", "1.2.3.4/255.0.0.0"),
        ("ip", "1.2.3.4/\u0663"),
        ("ip", "::1/129"),
        ("ip", "fe80::1%eth0"),
        ("ip", "16909060"),
        ("ip", "localhost"),
        ("super", ""),
        ("super", "anna"),
        ("p" * (IDENTITY_CHARS_MAX + 1), ""),
        ("plug-in", "i" * (IDENTITY_CHARS_MAX + 1)),
    ],
)
def test_an_identity_that_cannot_be_in_an_acl(
    world: AclWorld, scheme: str, id: str
) -> None:
    acl = (*acl_for(ANNA, Permission.ALL), *acl_for(Identity(scheme, id), SINGLE[0]))
    with pytest.raises(InvalidAclError, match="/a: "):
        validate_acl("/a", acl)

    assert world.code(Create("/a", acl=acl), world.anna) is ErrorCode.INVALID_ACL
    assert world.code(SetAcl("/", acl), world.anna) is ErrorCode.INVALID_ACL


def test_an_acl_is_neither_empty_nor_endless_and_grants_known_permissions() -> None:
    many = tuple(
        [Acl(Permission.READ, Identity("x", str(n))) for n in range(ACL_ENTRIES_MAX)]
    )
    validate_acl("/a", many)

    for acl in ((), (*many, Acl(Permission.READ, ANNA))):
        with pytest.raises(InvalidAclError, match="entries"):
            validate_acl("/a", acl)
    for permissions in (32, 63):
        with pytest.raises(InvalidAclError, match="permissions"):
            validate_acl("/a", acl_for(ANNA, Permission(permissions)))


def test_auth_stands_for_all_who_asks_has_proved_to_be() -> None:
    read, write = Permission.READ, Permission.WRITE
    auth, other = Identity("auth", "x"), Identity("plug-in", "anna")
    acl = (Acl(read, BEN), Acl(write, auth))

    expanded = expand_acl("/a", acl, (AT_HOME, ANNA, SUPERUSER, other))

    assert expanded == (Acl(read, BEN), Acl(write, ANNA), Acl(write, other))


@pytest.mark.parametrize("identities", [(), (AT_HOME,), (SUPERUSER,)])
def test_auth_of_somebody_unknown_is_refused(identities: tuple[Identity, ...]) -> None:
    with pytest.raises(InvalidAclError, match="without identity"):
        expand_acl("/a", CREATOR_ALL_ACL, identities)


def test_duplicates_are_dropped_before_auth_is_replaced() -> None:
    auth = Acl(Permission.READ, Identity("auth", ""))
    anna, ben = Acl(Permission.READ, ANNA), Acl(Permission.READ, BEN)

    assert expand_acl("/a", (ben, anna, ben), ()) == (ben, anna)
    assert expand_acl("/a", (anna, auth, auth), (ANNA,)) == (anna, anna)


def test_replacing_auth_does_not_make_an_acl_endless() -> None:
    who = tuple([Identity("x", str(n)) for n in range(IDENTITIES_MAX)])
    auths = [Acl(Permission(p), Identity("auth", "")) for p in range(17)]

    assert len(expand_acl("/a", tuple(auths[:16]), who)) == ACL_ENTRIES_MAX
    with pytest.raises(InvalidAclError, match="more than"):
        expand_acl("/a", tuple(auths), who)


def test_hashes_are_masked_and_nothing_else() -> None:
    acl = (
        *acl_for(Identity("digest", "anna:hash:x"), Permission.READ),
        *acl_for(AT_HOME, Permission.WRITE),
    )

    assert masked(acl) == (
        *acl_for(Identity("digest", "anna:x"), Permission.READ),
        *acl_for(AT_HOME, Permission.WRITE),
    )
    assert shown(ANNA) == Identity("digest", "anna")
    assert shown(AT_HOME) == AT_HOME


# --- where each operation looks ---


@pytest.mark.parametrize(
    ("operation", "where", "permission"),
    [
        (Create("/a/new"), "/a", Permission.CREATE),
        (Create("/a/new", ephemeral=True), "/a", Permission.CREATE),
        (Create("/a/", sequential=True), "/a", Permission.CREATE),
        (Delete("/a/b"), "/a", Permission.DELETE),
        (Set("/a", b"x"), "/a", Permission.WRITE),
        (Multi((Check("/a"),)), "/a", Permission.READ),
        (SetAcl("/a", OPEN_ACL_UNSAFE), "/a", Permission.ADMIN),
    ],
)
def test_each_operation_needs_one_permission_at_one_znode(
    operation: Operation, where: str, permission: Permission
) -> None:
    for granted in (permission, Permission.ALL ^ permission):
        world = AclWorld()
        world.create("/a")
        world.create("/a/b")
        # Neither what is above nor what is below has anything to say.
        for path in {"/", "/a", "/a/b"} - {where}:
            world.apply(SetAcl(path, acl_for(BEN, Permission.ALL)))
        world.apply(SetAcl(where, acl_for(ANNA, granted)))

        assert world.code(operation, world.ben) is ErrorCode.NO_AUTH
        assert world.code(operation, world.nobody) is ErrorCode.NO_AUTH
        expected = ErrorCode.OK if granted is permission else ErrorCode.NO_AUTH
        assert world.code(operation, world.anna) is expected


@pytest.mark.parametrize("who", ["superuser", "ensemble"])
def test_the_superuser_and_the_ensemble_itself_do_what_they_like(
    world: AclWorld, who: str
) -> None:
    session = world.superuser if who == "superuser" else NO_SESSION
    world.apply(Create("/a", acl=acl_for(ANNA, Permission.NONE)))

    for operation in (
        Create("/a/b"),
        Set("/a", b"x"),
        Check("/a"),
        Delete("/a/b"),
        SetAcl("/a", READ_ACL_UNSAFE),
    ):
        assert world.code(operation, session) is ErrorCode.OK


def test_the_own_acl_of_a_znode_does_not_keep_it_from_being_deleted(
    world: AclWorld,
) -> None:
    world.apply(Create("/a", acl=acl_for(ANNA, Permission.NONE)))

    assert world.code(Delete("/a"), world.nobody) is ErrorCode.OK


def test_refusal_by_acl_comes_in_its_place_among_the_others(world: AclWorld) -> None:
    world.create("/a", session=world.anna, ephemeral=True)
    world.create("/p")
    world.create("/p/child")
    world.apply(SetAcl("/a", READ_ACL_UNSAFE))
    world.apply(SetAcl("/p", acl_for(ANNA, Permission.READ)))

    def code(operation: Operation) -> ErrorCode:
        return world.code(operation, world.nobody)

    bad: tuple[Acl, ...] = ()
    # The ACL that is asked for, then the parent, then its own ACL, then the rest.
    assert code(Create("no-slash", acl=bad)) is ErrorCode.BAD_ARGUMENTS
    assert code(Create("/none/x", acl=bad)) is ErrorCode.INVALID_ACL
    assert code(Create("/none/x")) is ErrorCode.NO_NODE
    assert code(Create("/p/child")) is ErrorCode.NO_AUTH
    assert code(Create("/p/..")) is ErrorCode.NO_AUTH
    assert code(Create("/a/x")) is ErrorCode.NO_AUTH
    # The parent's ACL before there is such a child, or its version, or children.
    assert code(Delete("/none/x")) is ErrorCode.NO_NODE
    assert code(Delete("/p/none")) is ErrorCode.NO_AUTH
    assert code(Delete("/p/child", 7)) is ErrorCode.NO_AUTH
    assert code(Delete("no-slash")) is ErrorCode.BAD_ARGUMENTS
    assert code(Delete("/p/\0")) is ErrorCode.BAD_ARGUMENTS
    assert code(Delete("/none/..")) is ErrorCode.BAD_ARGUMENTS
    # The znode's ACL before its version.
    assert code(Set("/none", b"")) is ErrorCode.NO_NODE
    assert code(Set("/a", b"", 7)) is ErrorCode.NO_AUTH
    assert code(Check("/p", 7)) is ErrorCode.NO_AUTH
    assert code(SetAcl("/a/", bad)) is ErrorCode.BAD_ARGUMENTS
    assert code(SetAcl("/none", bad)) is ErrorCode.INVALID_ACL
    assert code(SetAcl("/none", OPEN_ACL_UNSAFE)) is ErrorCode.NO_NODE
    assert code(SetAcl("/a", OPEN_ACL_UNSAFE, 7)) is ErrorCode.NO_AUTH


def test_refused_create_uses_up_no_sequence_number(world: AclWorld) -> None:
    world.create("/a")
    world.apply(SetAcl("/a", acl_for(ANNA, Permission.CREATE)))

    wish = Create("/a/", sequential=True)
    assert world.code(wish, world.ben) is ErrorCode.NO_AUTH
    result = world.apply(wish, world.anna).result
    assert isinstance(result, Created)
    assert result.path == "/a/0000000000"


def test_a_session_may_lose_what_it_was_granted_within_its_own_multi(
    world: AclWorld,
) -> None:
    acl = acl_for(BEN, Permission.ALL)
    multi = Multi((Create("/a", acl=acl), Create("/a/b")))

    result = world.apply(multi, world.anna).result
    assert isinstance(result, MultiRefused)
    assert [r.code for r in result.refusals] == [ErrorCode.OK, ErrorCode.NO_AUTH]
    assert world.tree.exists("/a") is None
    assert world.code(multi, world.ben) is ErrorCode.OK


def test_ephemerals_go_with_their_session_whatever_the_acl(world: AclWorld) -> None:
    world.create("/a")
    world.create("/a/e", session=world.anna, ephemeral=True)
    world.apply(SetAcl("/a", acl_for(BEN, Permission.READ)))

    (event,) = world.close(world.anna).events
    assert event.path == "/a/e"


# --- setting and reading ---


def test_set_acl_changes_the_aversion_and_nothing_else(world: AclWorld) -> None:
    born = world.create("/a", b"x").stat
    digest = world.tree.digest()
    applied = world.apply(SetAcl("/a", READ_ACL_UNSAFE, 0))

    stat = world.tree.exists("/a")
    assert applied.result == stat == born._replace(aversion=1)
    assert list(applied.events) == []
    assert world.tree.get_acl("/a") == (READ_ACL_UNSAFE, stat)
    assert world.tree.digest() != digest


def test_set_acl_expects_the_version_of_the_acl(world: AclWorld) -> None:
    world.create("/a")
    world.apply(Set("/a", b"1"))

    for version in (1, -2, 1 << 30):
        wish = SetAcl("/a", OPEN_ACL_UNSAFE, version)
        assert world.code(wish, world.anna) is ErrorCode.BAD_VERSION
    assert world.code(SetAcl("/a", OPEN_ACL_UNSAFE, 0), world.anna) is ErrorCode.OK
    assert world.code(SetAcl("/a", OPEN_ACL_UNSAFE, 1), world.anna) is ErrorCode.OK
    assert world.code(SetAcl("/a", OPEN_ACL_UNSAFE, -1), world.anna) is ErrorCode.OK


def test_the_version_of_the_acl_skips_minus_one(world: AclWorld) -> None:
    world.create("/a")
    world.tree.znodes()["/a"].aversion = -2

    applied = world.apply(SetAcl("/a", OPEN_ACL_UNSAFE))
    assert isinstance(applied.result, Stat)
    assert applied.result.aversion == 0


def test_a_znode_has_the_expanded_acl(world: AclWorld) -> None:
    world.apply(Create("/a", acl=CREATOR_ALL_ACL), world.anna)

    assert world.tree.get_acl("/a")[0] == acl_for(ANNA, Permission.ALL)
    wish = Create("/b", acl=CREATOR_ALL_ACL)
    assert world.code(wish, world.nobody) is ErrorCode.INVALID_ACL
    assert world.code(SetAcl("/a", CREATOR_ALL_ACL), 0) is ErrorCode.INVALID_ACL


def test_may_asks_the_acl_and_finds_nothing_to_refuse_without_a_znode(
    world: AclWorld,
) -> None:
    world.apply(Create("/a", acl=acl_for(ANNA, Permission.READ)))
    may = world.tree.may

    assert may(world.anna, "/a", Permission.READ)
    assert not may(world.anna, "/a", Permission.WRITE)
    assert not may(world.ben, "/a", Permission.READ)
    assert may(world.superuser, "/a", Permission.WRITE)
    assert may(world.nobody, "/none", Permission.READ)
    # A session that does not exist is nobody, and nobody is the ensemble.
    for session in (SessionId(99), NO_SESSION):
        assert not may(session, "/a", Permission.READ)
        assert may(session, "/", Permission.READ)


def test_events_say_who_may_know_of_them(world: AclWorld) -> None:
    parents, own = acl_for(ANNA, Permission.ALL), acl_for(BEN, Permission.READ)
    world.apply(Create("/p", acl=parents))

    (created,) = world.apply(Create("/p/a", acl=own)).events
    (changed,) = world.apply(Set("/p/a", b"")).events
    (deleted,) = world.apply(Delete("/p/a")).events

    assert (created.acl, created.parent_acl) == (own, parents)
    assert changed.acl == own
    assert (deleted.acl, deleted.parent_acl) == (own, parents)
    assert created.acl is deleted.acl


# --- identities of sessions ---


def test_identities_add_up_each_once_and_in_order(world: AclWorld) -> None:
    session = world.session_of(AT_HOME, AT_HOME)

    world.apply(AddIdentities((BEN, AT_HOME, ANNA)), session)
    assert world.apply(AddIdentities((ANNA,)), session).result is None
    assert world.tree.identities_of(session) == (AT_HOME, BEN, ANNA)
    assert world.tree.identities_of(SessionId(99)) == ()


def test_identities_are_part_of_the_digest() -> None:
    one, other = AclWorld(), AclWorld()
    one.apply(AddIdentities((AT_HOME,)), one.anna)
    other.apply(AddIdentities((BEN,)), other.anna)

    assert one.tree.digest() != other.tree.digest()


def test_only_a_session_is_somebody_and_it_is_not_everybody(world: AclWorld) -> None:
    assert world.code(AddIdentities((ANNA,)), 0) is ErrorCode.BAD_ARGUMENTS
    assert world.code(AddIdentities((ANNA,)), 99) is ErrorCode.SESSION_EXPIRED
    many = tuple([Identity("x", str(n)) for n in range(IDENTITIES_MAX)])
    assert world.code(AddIdentities(many), world.nobody) is ErrorCode.OK
    assert world.code(AddIdentities((ANNA,)), world.nobody) is ErrorCode.BAD_ARGUMENTS
    assert world.tree.identities_of(world.nobody) == many


def test_identities_end_with_the_session(world: AclWorld) -> None:
    world.apply(Create("/a", acl=acl_for(ANNA, Permission.READ)))
    world.close(world.anna)

    assert not world.tree.may(world.anna, "/a", Permission.READ)


# --- one copy of each ACL ---


def test_equal_acls_are_one_object_for_as_long_as_a_znode_has_it() -> None:
    table = AclTable()
    acl, equal = acl_for(ANNA, Permission.READ), acl_for(ANNA, Permission.READ)

    assert table.share(acl) is acl
    assert table.share(equal) is acl
    table.release(acl)
    assert len(table) == 1
    table.release(equal)
    assert len(table) == 0
    assert table.share((Acl(Permission.ALL, Identity("world", "anyone")),)) is (
        OPEN_ACL_UNSAFE
    )
    table.release(OPEN_ACL_UNSAFE)
    assert len(table) == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from(["create", "delete", "set", "multi", "refused"])))
def test_the_table_holds_the_acls_of_the_znodes_and_no_others(
    steps: list[str],
) -> None:
    world = AclWorld()
    for number, step in enumerate(steps):
        acl = acl_for([ANNA, BEN][number % 2], Permission(number % 3))
        match step:
            case "create":
                world.apply(Create(f"/{number}", acl=acl))
            case "delete":
                world.apply(Delete(f"/{number - 1}"))
            case "set":
                world.apply(SetAcl(f"/{number - 1}", acl))
            case "multi":
                world.apply(Multi((Create(f"/{number}", acl=acl), Delete("/0"))))
            case _:
                gone = Create(f"/{number}", acl=acl)
                parts = (gone, Delete(f"/{number - 1}"), Create("/no/parent"))
                world.apply(Multi(parts))

    acls = [z.acl for z in world.tree.znodes().values()]
    used = {id(acl): acl for acl in acls if acl is not OPEN_ACL_UNSAFE}
    assert len(used) == len(set(used.values())) == len(world.tree._znodes._acls)
    for acl, (copy, count) in world.tree._znodes._acls._shared.items():
        assert copy is acl
        assert acls.count(acl) == count

    restored = DataTree()
    restore(restored, encode_snapshot(capture(world.tree)))
    assert restored.digest() == world.tree.digest()
    assert restored._znodes._acls._shared == world.tree._znodes._acls._shared


def test_a_snapshot_has_each_acl_once() -> None:
    world = AclWorld()
    sizes = []
    long = acl_for(Identity("plug-in", "x" * 1000), Permission.READ)
    for number in range(3):
        world.apply(Create(f"/{number}", acl=long))
        sizes.append(len(encode_snapshot(capture(world.tree))))

    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] < 100
