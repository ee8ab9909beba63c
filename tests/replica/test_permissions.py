"""Sessions prove who they are, and ACLs decide what they may do."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import attrs
import pytest
import trio

from coordlib import (
    CREATOR_ALL_ACL,
    OPEN_ACL_UNSAFE,
    READ_ACL_UNSAFE,
    Acl,
    AuthenticationProvider,
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    Check,
    Config,
    ConfigError,
    Create,
    Ensemble,
    Identity,
    InvalidAclError,
    MultiError,
    NoAuthError,
    NoNodeError,
    Permission,
    Session,
    Set,
    digest_identity,
)
from coordlib.testing import MemoryEnsemble
from transport.seat import in_virtual_time

ANNA = digest_identity("anna", "secret")
BEN = digest_identity("ben", "other")
SUPER = Config(superuser=digest_identity("root", "toor").id)

ANNAS = (Acl(Permission.ALL, ANNA),)


@attrs.frozen
class Tokens:
    """A plug-in: ``name=group`` proves both; it is slow, as a directory is."""

    scheme: str = "token"

    async def authenticate(self, credential: bytes) -> Sequence[str]:
        await trio.sleep(1)
        if credential == b"stolen":
            raise AuthFailedError("", "this token was stolen")
        return [part for part in credential.decode().split("=") if part]


PROVIDER: AuthenticationProvider = Tokens()


def test_a_digest_is_zookeepers() -> None:
    # The example of ZooKeeper's documentation for administrators.
    assert digest_identity("super", "superpw") == Identity(
        "digest", "super:g9oN2HttPfn8MMWJZ2r45Np/LIA="
    )


@in_virtual_time
async def test_an_identity_opens_what_is_closed_to_others() -> None:
    async with (
        MemoryEnsemble(3) as members,
        members[1].session() as anna,
        members[2].session() as ben,
    ):
        await anna.add_auth("digest", "anna:secret")
        await ben.add_auth("digest", b"ben:other")
        await anna.create("/a", b"x", acl=CREATOR_ALL_ACL)
        await ben.sync()

        assert (await anna.get("/a"))[0] == b"x"
        for use in READS_AND_WRITES:
            with pytest.raises(NoAuthError, match="/a"):
                await use(ben)
        # To everybody it shows that it is there, and nothing else.
        assert await ben.exists("/a") is not None


READS_AND_WRITES: list[Callable[[Session], Awaitable[object]]] = [
    lambda s: s.get("/a"),
    lambda s: s.get_children("/a"),
    lambda s: s.predecessor("/a"),
    lambda s: s.get_acl("/a"),
    lambda s: s.wait_for("/a", lambda _: True),
    lambda s: s.set("/a", b"y"),
    lambda s: s.set_acl("/a", OPEN_ACL_UNSAFE),
    lambda s: s.create("/a/b"),
    lambda s: s.create("/a/b", ephemeral=True, sequential=True),
    lambda s: s.delete("/a/b"),
]


@in_virtual_time
async def test_the_parent_decides_who_is_whose_predecessor() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/p")
        await session.create("/p/a")
        await session.create("/p/b")
        assert await session.predecessor("/p/b") == "/p/a"
        await session.set_acl("/p", (Acl(Permission.CREATE, ANNA),))

        with pytest.raises(NoAuthError, match="/p"):
            await session.predecessor("/p/b")
        # One cannot watch over what one may not read, but see that it is gone.
        with trio.move_on_after(5) as scope:
            await session.wait_deleted("/p/b")
        assert scope.cancelled_caught


@in_virtual_time
async def test_identities_survive_a_change_of_leader_and_a_snapshot() -> None:
    async with MemoryEnsemble(3, config=Config(snapshot_interval=3)) as members:
        async with members[1].session() as anna:
            await anna.add_auth("digest", "anna:secret")
            await anna.create("/a", acl=CREATOR_ALL_ACL)
            for _ in range(9):
                await anna.set("/a", b"")
            leader = members[1].leader_id
            assert leader is not None
            if leader != 1:
                await members.crash(leader)
                await members.restart(leader)
                await members.wait_ready()
            await anna.set("/a", b"still")
            assert await anna.whoami() == [Identity("digest", "anna")]
            async with members[2].session() as other:
                await other.sync()
                with pytest.raises(NoAuthError):
                    await other.get("/a")
        digests = {members[m].digest() for m in members}
        assert len(digests) == 1


@in_virtual_time
async def test_who_a_session_is_adds_up_without_hashes() -> None:
    async with Ensemble(config=SUPER, authentication_providers=[PROVIDER]) as ensemble:
        async with ensemble.session() as session:
            assert await session.whoami() == []
            await session.add_auth("digest", "anna:secret")
            await session.add_auth("digest", "anna:secret")
            await session.add_auth("token", "eve=admins")
            await session.add_auth("digest", "root:toor")

            assert await session.whoami() == [
                Identity("digest", "anna"),
                Identity("token", "eve"),
                Identity("token", "admins"),
                Identity("super", ""),
                Identity("digest", "root"),
            ]
        async with ensemble.session() as session:
            assert await session.whoami() == []


@in_virtual_time
async def test_the_superuser_passes_and_a_wrong_password_makes_nobody() -> None:
    async with Ensemble(config=SUPER) as ensemble:
        async with ensemble.session() as session:
            await session.create("/a", acl=(Acl(Permission.NONE, ANNA),))
            await session.add_auth("digest", "root:wrong")
            with pytest.raises(NoAuthError):
                await session.get_acl("/a")
            await session.add_auth("digest", "root:toor")
            await session.set_acl("/a", READ_ACL_UNSAFE)
            await session.set("/a", b"written")
        async with Ensemble() as other, other.session() as session:
            # No superuser is configured: the empty digest is nobody's.
            await session.add_auth("digest", "")
            assert await session.whoami() == [Identity("digest", "")]


@in_virtual_time
async def test_get_acl_masks_hashes_for_those_without_admin() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        acl = (*ANNAS, Acl(Permission.READ, Identity("world", "anyone")))
        await session.create("/a", acl=acl)

        shown, stat = await session.get_acl("/a")
        assert shown == (Acl(Permission.ALL, Identity("digest", "anna:x")), acl[1])
        assert stat == await session.exists("/a")
        await session.add_auth("digest", "anna:secret")
        assert await session.get_acl("/a") == (acl, stat)
        assert ensemble.tree.get_acl("/a") == (acl, stat)
        with pytest.raises(NoNodeError):
            await session.get_acl("/none")


@in_virtual_time
async def test_admin_alone_may_read_the_acl_and_set_it_once() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.add_auth("digest", "anna:secret")
        await session.create("/a", acl=[Acl(Permission.ADMIN, ANNA)])

        acl, stat = await session.get_acl("/a")
        assert acl == (Acl(Permission.ADMIN, ANNA),)
        with pytest.raises(BadVersionError):
            await session.set_acl("/a", OPEN_ACL_UNSAFE, version=1)
        changed = await session.set_acl("/a", READ_ACL_UNSAFE, version=stat.aversion)
        assert changed == stat._replace(aversion=1)
        with pytest.raises(NoAuthError):
            await session.set_acl("/a", OPEN_ACL_UNSAFE)


@in_virtual_time
async def test_a_multi_is_refused_where_a_permission_lacks() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a", acl=READ_ACL_UNSAFE)
        with pytest.raises(MultiError) as caught:
            await session.multi([Check("/a"), Create("/b"), Set("/a", b"")])
        assert caught.value.failed_at == 2
        assert isinstance(caught.value.error, NoAuthError)
        assert await session.exists("/b") is None

        with pytest.raises(MultiError) as caught:
            await session.multi([Create("/b", acl=CREATOR_ALL_ACL)])
        assert isinstance(caught.value.error, InvalidAclError)


@in_virtual_time
async def test_an_unknown_scheme_is_refused_and_the_session_goes_on() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        for scheme in ("token", "world", "auth", "ip", "super", ""):
            with pytest.raises(AuthFailedError, match="scheme"):
                await session.add_auth(scheme, "credential")
        assert await session.whoami() == []
        assert session.cxid == 0
        await session.create("/still-alive")


@in_virtual_time
async def test_a_plug_in_proves_identities_of_its_scheme() -> None:
    providers = [PROVIDER]
    async with (
        Ensemble(authentication_providers=providers) as ensemble,
        ensemble.session() as eve,
        ensemble.session() as other,
    ):
        await eve.add_auth("token", "eve=admins")
        admins = (Acl(Permission.ALL, Identity("token", "admins")),)
        await other.create("/a", acl=admins)

        await eve.set("/a", b"")
        with pytest.raises(NoAuthError):
            await other.set("/a", b"")
        for credential in ("stolen", "="):
            with pytest.raises(AuthFailedError):
                await other.add_auth("token", credential)
        # Giving up leaves no trace.
        with trio.move_on_after(0.5) as scope:
            await other.add_auth("token", "other")
        assert scope.cancelled_caught
        await trio.sleep(2)
        assert await other.whoami() == []


class OneName:
    """A plug-in that forgets to make a list of the one id."""

    scheme = "name"

    async def authenticate(self, credential: bytes) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return credential.decode()


@in_virtual_time
async def test_a_single_id_is_not_taken_for_its_letters() -> None:
    async with (
        Ensemble(authentication_providers=[OneName()]) as ensemble,
        ensemble.session() as session,
    ):
        with pytest.raises(TypeError, match="eve"):
            await session.add_auth("name", "eve")
        assert await session.whoami() == []


@in_virtual_time
async def test_what_a_plug_in_proves_at_one_member_counts_at_all() -> None:
    providers = [PROVIDER]
    async with (
        MemoryEnsemble(3, authentication_providers=providers) as members,
        members[1].session() as eve,
        members[2].session() as other,
    ):
        await eve.add_auth("token", "eve")
        await eve.create("/a", acl=CREATOR_ALL_ACL)
        await other.sync()
        assert members[2].tree.get_acl("/a")[0] == (
            Acl(Permission.ALL, Identity("token", "eve")),
        )
        with pytest.raises(NoAuthError):
            await other.get("/a")


@in_virtual_time
async def test_an_acl_names_schemes_that_somebody_can_prove() -> None:
    tokens = (Acl(Permission.ALL, Identity("token", "eve")),)
    async with Ensemble() as ensemble, ensemble.session() as session:
        for use in (
            lambda: session.create("/a", acl=tokens),
            lambda: session.set_acl("/", tokens),
            lambda: session.multi([Create("/b"), Create("/a", acl=tokens)]),
        ):
            with pytest.raises(InvalidAclError, match="token"):
                await use()
        assert session.cxid == 0


@pytest.mark.parametrize("scheme", ["", "digest", "world", "auth", "ip", "super"])
def test_a_plug_in_has_a_scheme_of_its_own(scheme: str) -> None:
    with pytest.raises(ConfigError):
        Ensemble(authentication_providers=[Tokens(scheme)])
    with pytest.raises(ConfigError):
        Ensemble(authentication_providers=[Tokens(), Tokens()])


NOT_AN_ACL = cast("tuple[Acl, ...]", 7)
NOT_ACLS = cast("tuple[Acl, ...]", ("world:anyone",))
NO_PERMISSION = cast("Permission", 31)
NOT_TEXT = cast("str", b"bytes")
NO_IDENTITY = cast("Identity", "world:anyone")


@pytest.mark.parametrize(
    "acl",
    [
        NOT_AN_ACL,
        NOT_ACLS,
        (Acl(NO_PERMISSION, ANNA),),
        (Acl(Permission.ALL, NO_IDENTITY),),
        (Acl(Permission.ALL, Identity("digest", NOT_TEXT)),),
        (Acl(Permission.ALL, Identity(NOT_TEXT, "a:b")),),
    ],
)
@in_virtual_time
async def test_what_is_no_acl_is_a_type_error(acl: tuple[Acl, ...]) -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        with pytest.raises(TypeError, match=r"acl|dentity"):
            await session.create("/a", acl=acl)
        with pytest.raises(TypeError, match=r"acl|dentity"):
            await session.set_acl("/", acl)
        with pytest.raises(TypeError, match=r"acl|dentity"):
            await session.multi([Create("/a", acl=acl)])
        assert session.cxid == 0


@in_virtual_time
async def test_a_malformed_acl_is_refused_before_anything_is_proposed() -> None:
    wrong = [
        (),
        (Acl(Permission.ALL, Identity("world", "me")),),
        (Acl(Permission.ALL, Identity("digest", "anna")),),
        (Acl(Permission.ALL, Identity("digest", "a:\ud800")),),
        (Acl(Permission.ALL, Identity("\ud800", "")),),
        (Acl(Permission(64), ANNA),),
    ]
    async with Ensemble() as ensemble, ensemble.session() as session:
        for acl in wrong:
            with pytest.raises(InvalidAclError, match="/a"):
                await session.create("/a", acl=acl)
            with pytest.raises(InvalidAclError, match="/a"):
                await session.set_acl("/a", acl)
        with pytest.raises(BadArgumentsError):
            await session.set_acl("/", OPEN_ACL_UNSAFE, version=1 << 40)
        assert session.cxid == 0


@in_virtual_time
async def test_a_malformed_credential_is_refused_at_once() -> None:
    async with (
        Ensemble(authentication_providers=[PROVIDER]) as ensemble,
        ensemble.session() as session,
    ):
        with pytest.raises(TypeError, match="scheme"):
            await session.add_auth(NOT_TEXT, b"")
        with pytest.raises(TypeError, match="credential"):
            await session.add_auth("digest", cast("bytes", 7))
        with pytest.raises(BadArgumentsError, match="Unicode"):
            await session.add_auth("digest", "a:\ud800")
        with pytest.raises(BadArgumentsError, match="identity"):
            await session.add_auth("digest", "x" * 2000)
        assert session.cxid == 0
        # Any bytes are a password, as in ZooKeeper.
        await session.add_auth("digest", b"\xff:\xfe")
        used = session.cxid
        with pytest.raises(BadArgumentsError, match="identities"):
            await session.add_auth("token", "=".join(map(str, range(65))))
        assert session.cxid == used
        assert await session.whoami() == [Identity("digest", "\ufffd")]


def bytes_in(directory: Path) -> bytes:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


async def test_a_password_reaches_neither_disk_nor_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        Ensemble(data_dir=tmp_path, config=SUPER) as ensemble,
        ensemble.session() as session,
    ):
        await session.add_auth("digest", "anna:a-rare-password")
        await session.create("/a", acl=CREATOR_ALL_ACL)

    kept = bytes_in(tmp_path)
    assert b"digest" in kept
    assert b"a-rare-password" not in kept
    assert "a-rare-password" not in caplog.text
