"""Every argument of every call of a session, malformed: an error that names it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio

from coordlib import (
    Acl,
    BadArgumentsError,
    Check,
    Create,
    Delete,
    Ensemble,
    Get,
    InvalidAclError,
    Permission,
    Session,
    Set,
    Znode,
)
from coordlib.tree import AddIdentities, SubOperation, WatchKind

# What the type checker would refuse.
NOT_TEXT = cast("str", b"/a")
NOT_BYTES = cast("bytes", "text")
NOT_INT = cast("int", "1")
NOT_BOOL = cast("bool", "yes")
NOT_KIND = cast("WatchKind", "DATA")
NOT_ACL = cast("tuple[Acl, ...]", "world")
NOT_CALLABLE = cast("Callable[[Znode | None], bool]", None)
NOT_OPERATIONS = cast("list[SubOperation]", Create("/b"))
NO_SUB_OPERATION = cast("SubOperation", AddIdentities(()))

Use = Callable[[Session], Awaitable[object]]
Case = tuple[Use, type[Exception], str]


async def bind(session: Session, path: str, czxid: int) -> None:
    await trio.lowlevel.checkpoint()
    session.bind(trio.CancelScope(), path, czxid)


async def watch(session: Session, path: str, *, recursive: bool = False) -> None:
    async with session.watch(path, recursive=recursive):
        pass


BAD, TYPE = BadArgumentsError, TypeError

# By the name of the call; the text is a part of the message.
WRONG: dict[str, list[Case]] = {
    "create": [
        (lambda s: s.create("b"), BAD, "path"),
        (lambda s: s.create(NOT_TEXT), TYPE, "path"),
        (lambda s: s.create("/b", NOT_BYTES), TYPE, "data"),
        (lambda s: s.create("/b", bytes((1 << 20) + 1)), BAD, "data"),
        (lambda s: s.create("/b", acl=()), InvalidAclError, "acl|ACL"),
        (lambda s: s.create("/b", acl=NOT_ACL), TYPE, "acl"),
        (lambda s: s.create("/b", ephemeral=NOT_BOOL), TYPE, "ephemeral"),
        (lambda s: s.create("/b", sequential=NOT_BOOL), TYPE, "sequential"),
        (lambda s: s.create("/b", container=NOT_BOOL), TYPE, "container"),
        (lambda s: s.create("/b", ttl=cast("float", "1")), TYPE, "ttl"),
        (lambda s: s.create("/b", ttl=True), TYPE, "ttl"),
        (lambda s: s.create("/b", ttl=float("nan")), BAD, "ttl"),
        (lambda s: s.create("/b", ttl=-1), BAD, "time to live"),
        (lambda s: s.create("/b", ttl=1, ephemeral=True), BAD, "time to live"),
    ],
    "set": [
        (lambda s: s.set("/a/", b""), BAD, "path"),
        (lambda s: s.set(NOT_TEXT, b""), TYPE, "path"),
        (lambda s: s.set("/a", NOT_BYTES), TYPE, "data"),
        (lambda s: s.set("/a", bytes((1 << 20) + 1)), BAD, "data"),
        (lambda s: s.set("/a", b"", version=NOT_INT), TYPE, "version"),
        (lambda s: s.set("/a", b"", version=True), TYPE, "version"),
        (lambda s: s.set("/a", b"", version=1 << 31), BAD, "version"),
    ],
    "delete": [
        (lambda s: s.delete("a"), BAD, "path"),
        (lambda s: s.delete(NOT_TEXT), TYPE, "path"),
        (lambda s: s.delete("/a", version=NOT_INT), TYPE, "version"),
        (lambda s: s.delete("/a", version=-(1 << 31) - 1), BAD, "version"),
        (lambda s: s.delete("/a", czxid=NOT_INT), TYPE, "czxid"),
        (lambda s: s.delete("/a", czxid=True), TYPE, "czxid"),
        (lambda s: s.delete("/a", czxid=-1), BAD, "czxid"),
    ],
    "multi": [
        (lambda s: s.multi(NOT_OPERATIONS), TYPE, "operations"),
        (lambda s: s.multi([NO_SUB_OPERATION]), TYPE, "operations"),
        (lambda s: s.multi([Create("/b"), Check("/a", NOT_INT)]), TYPE, "version"),
        (lambda s: s.multi([Delete("/a", czxid=-1)]), BAD, "czxid"),
        (lambda s: s.multi([Set(NOT_TEXT, b"")]), TYPE, "path"),
        (lambda s: s.multi([Create("/b", ttl_ms=NOT_INT)]), TYPE, "ttl_ms"),
        (lambda s: s.multi([Check("/a")] * 10_001), BAD, "operations"),
    ],
    "set_acl": [
        (lambda s: s.set_acl("a", ()), BAD, "path"),
        (lambda s: s.set_acl("/a", ()), InvalidAclError, "acl|ACL"),
        (lambda s: s.set_acl("/a", NOT_ACL), TYPE, "acl"),
        (
            lambda s: s.set_acl("/a", (cast("Acl", Permission.READ),)),
            TYPE,
            "acl|Acl",
        ),
    ],
    "add_auth": [
        (lambda s: s.add_auth(NOT_TEXT, b""), TYPE, "scheme"),
        (lambda s: s.add_auth("digest", cast("bytes", 1)), TYPE, "credential"),
        (lambda s: s.add_auth("digest", "\ud800"), BAD, "credential"),
    ],
    "get": [
        (lambda s: s.get("a"), BAD, "path"),
        (lambda s: s.get(NOT_TEXT), TYPE, "path"),
    ],
    "exists": [
        (lambda s: s.exists("a"), BAD, "path"),
        (lambda s: s.exists(NOT_TEXT), TYPE, "path"),
    ],
    "get_children": [
        (lambda s: s.get_children("a"), BAD, "path"),
        (lambda s: s.get_children(NOT_TEXT), TYPE, "path"),
    ],
    "get_children_and_stat": [
        (lambda s: s.get_children_and_stat("a"), BAD, "path"),
        (lambda s: s.get_children_and_stat(NOT_TEXT), TYPE, "path"),
    ],
    "get_all_children_number": [
        (lambda s: s.get_all_children_number("a"), BAD, "path"),
        (lambda s: s.get_all_children_number(NOT_TEXT), TYPE, "path"),
    ],
    "get_ephemerals": [(lambda s: s.get_ephemerals(NOT_TEXT), TYPE, "prefix")],
    "multi_read": [
        (lambda s: s.multi_read([Get("/a"), Get("a")]), BAD, "path"),
        (lambda s: s.multi_read([cast("Get", Check("/a"))]), TYPE, "Get"),
    ],
    "get_quota": [(lambda s: s.get_quota(NOT_TEXT), TYPE, "path")],
    "set_quota": [
        (lambda s: s.set_quota("a", count=1), BAD, "path"),
        (lambda s: s.set_quota("/a"), TYPE, "limit"),
        (lambda s: s.set_quota("/a", count=NOT_INT), TYPE, "count"),
        (lambda s: s.set_quota("/a", bytes=-2), BAD, "bytes"),
        (lambda s: s.set_quota("/a", count_hard=True), TYPE, "count_hard"),
        (lambda s: s.set_quota("/a", bytes_hard=1 << 63), BAD, "bytes_hard"),
    ],
    "del_quota": [(lambda s: s.del_quota(NOT_TEXT), TYPE, "path")],
    "predecessor": [
        (lambda s: s.predecessor("a"), BAD, "path"),
        (lambda s: s.predecessor(NOT_TEXT), TYPE, "path"),
        (lambda s: s.predecessor("/a", NOT_TEXT), TYPE, "containing"),
    ],
    "get_acl": [
        (lambda s: s.get_acl("a"), BAD, "path"),
        (lambda s: s.get_acl(NOT_TEXT), TYPE, "path"),
    ],
    "watch": [
        (lambda s: watch(s, "a"), BAD, "path"),
        (lambda s: watch(s, NOT_TEXT), TYPE, "path"),
        (lambda s: watch(s, "/a", recursive=NOT_BOOL), TYPE, "recursive"),
    ],
    "get_and_watch": [
        (lambda s: s.get_and_watch("a"), BAD, "path"),
        (lambda s: s.get_and_watch(NOT_TEXT), TYPE, "path"),
    ],
    "exists_and_watch": [
        (lambda s: s.exists_and_watch("a"), BAD, "path"),
        (lambda s: s.exists_and_watch(NOT_TEXT), TYPE, "path"),
    ],
    "get_children_and_watch": [
        (lambda s: s.get_children_and_watch("a"), BAD, "path"),
        (lambda s: s.get_children_and_watch(NOT_TEXT), TYPE, "path"),
    ],
    "remove_watches": [
        (lambda s: s.remove_watches("a"), BAD, "path"),
        (lambda s: s.remove_watches("/a", NOT_KIND), TYPE, "kind"),
    ],
    "wait_for": [
        (lambda s: s.wait_for(NOT_TEXT, lambda _: True), TYPE, "path"),
        (lambda s: s.wait_for("/a", NOT_CALLABLE), TYPE, "predicate"),
    ],
    "wait_deleted": [
        (lambda s: s.wait_deleted(), TYPE, "path"),
        (lambda s: s.wait_deleted("/a", NOT_TEXT), TYPE, "path"),
    ],
    "bind": [
        (lambda s: bind(s, "a", 1), BAD, "path"),
        (lambda s: bind(s, "/a", NOT_INT), TYPE, "czxid"),
    ],
}

# Nothing to be wrong about; or it never raises.
WITHOUT = {"aclose", "check", "reap", "sync", "wait_connected", "whoami"}


def test_no_call_was_forgotten() -> None:
    calls = {
        name
        for name, _ in inspect.getmembers(Session, inspect.isfunction)
        if not name.startswith("_")
    }

    assert calls == WRONG.keys() | WITHOUT


@pytest.mark.parametrize("call", WRONG)
async def test_a_wrong_argument_is_named_before_anything_is_sent(call: str) -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/a")
        before = ensemble.statistics()
        for use, error, name in WRONG[call]:
            with pytest.raises(error, match=name):
                await use(session)

        assert ensemble.statistics() == before
        assert session.cxid == 1
