"""What differs from ZooKeeper on purpose: so it is here, and so it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from conformance.answers import Answer
from conformance.differences import DIFFERENCES
from conformance.live import ask_coordlib, ask_zookeeper
from conformance.program import Name, Program, Step
from conformance.server import Ports, is_installed, running_servers

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"


@attrs.frozen
class Meant:
    """A difference that is meant, shown by the last step of a program.

    Attributes:
      row: How its row in the table of the guarantees begins.
      steps: What one session does.
      theirs: ZooKeeper's answer to the last one: the codes of its parts, or its
        own, and how many events came with it.
      ours: coordlib's.

    """

    row: str
    steps: tuple[Step, ...]
    theirs: tuple[tuple[int, ...], int]
    ours: tuple[tuple[int, ...], int]


def create(path: str, data: bytes = b"", *acl: tuple[int, str, str]) -> Step:
    entries = acl or ((31, "world", "anyone"),)
    return Step(Name.CREATE, path=path, data=data, acl=entries)


def quota(path: str, limit: str) -> Step:
    limits = f"count=-1,bytes=-1=;{limit}"
    return Step(Name.SET_QUOTA, path=path, data=limits.encode())


REFUSED = ((-8,), 0)
DONE = ((0,), 0)
OVER_QUOTA = ((-125,), 0)
INVALID_ACL = ((-114,), 0)

MEANT = [
    Meant(
        "a malformed path is never merely missing",
        (Step(Name.GET, path="/a//b"),),
        ((-101,), 0),
        REFUSED,
    ),
    Meant(
        "a malformed path is never merely missing",
        (Step(Name.EXISTS, path="/."), Step(Name.DELETE, path="/a/")),
        ((-101,), 0),
        REFUSED,
    ),
    Meant(
        "at most 1 MiB of data, 1024 characters of path",
        (create("/" + "x" * 1024),),
        DONE,
        REFUSED,
    ),
    Meant(
        "hard quotas bind; shrinking is never refused",
        (
            create("/a", bytes(10)),
            quota("/a", "byteHardLimit=5"),
            Step(Name.SET, path="/a", data=bytes(8)),
        ),
        OVER_QUOTA,
        DONE,
    ),
    Meant(
        "hard quotas bind; shrinking is never refused",
        (
            create("/a"),
            quota("/a", "countHardLimit=3"),
            Step(Name.MULTI, parts=(create("/a/b"), create("/a/c"), create("/a/d"))),
        ),
        ((0, 0, 0), 0),
        ((0, 0, -125), 0),
    ),
    Meant(
        "all quotas on the way to a znode count and bind",
        (
            create("/a"),
            create("/a/b"),
            quota("/a", "countHardLimit=2"),
            create("%/a/b"),
            create("%/a/b/zookeeper_limits", b"count=9,bytes=-1"),
            create("%/a/b/zookeeper_stats", b"count=0,bytes=0"),
            create("/a/b/c"),
        ),
        DONE,
        OVER_QUOTA,
    ),
    Meant(
        "permissions are 0 to 31",
        (create("/a", b"", (63, "world", "anyone")),),
        DONE,
        INVALID_ACL,
    ),
    Meant(
        "`ip` also takes IPv6",
        (create("/a", b"", (31, "ip", "::1")),),
        INVALID_ACL,
        DONE,
    ),
    Meant(
        "a session's watches at one path stand side by side",
        (
            create("/a"),
            Step(Name.ADD_WATCH, path="/a"),
            Step(Name.GET, path="/a", watch=True),
            Step(Name.SET, path="/a"),
            Step(Name.SET, path="/a"),
        ),
        DONE,
        ((0,), 1),
    ),
]
EACH = pytest.mark.parametrize(
    "number", range(len(MEANT)), ids=lambda n: f"{n} {MEANT[n].row}"
)


def program(number: int) -> Program:
    return Program(f"meant{number}", (Step(Name.OPEN), *MEANT[number].steps))


def shown(answers: list[Answer]) -> tuple[tuple[int, ...], int]:
    """Return what the answer to the last step says."""
    last = answers[-2]
    codes = tuple(part.code for part in last.parts) or (last.code,)
    return codes, len(last.events)


@EACH
def test_coordlib_does_it_in_its_own_way(number: int) -> None:
    [answers] = ask_coordlib([program(number)])
    assert shown(answers) == MEANT[number].ours


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    if not is_installed():
        pytest.skip("no ZooKeeper here")
    with running_servers() as ports:
        yield ports


@EACH
@pytest.mark.zookeeper
def test_zookeeper_does_it_in_another_way(number: int, ports: Ports) -> None:
    [answers] = ask_zookeeper(ports, [program(number)])
    assert shown(answers) == MEANT[number].theirs


@pytest.mark.parametrize(
    "row", sorted({m.row for m in MEANT} | {d.name for d in DIFFERENCES})
)
def test_every_difference_is_in_the_guarantees(row: str) -> None:
    table = GUARANTEES.read_text().partition("## Differences from ZooKeeper")[2]
    assert f"\n| {row}" in table
