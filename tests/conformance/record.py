"""Programs with a real ZooKeeper's answers, kept in the repository.

So every machine can hold coordlib against ZooKeeper, also without Java. The
programs are kept, too: what the generator makes up may change.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from pathlib import Path

import attrs
import cbor2

from coordlib.tree import Stat

from .answers import Answer
from .live import ask_zookeeper
from .program import OPEN_ACL, Name, Program, Step
from .server import Ports

__all__ = ["SHARDS", "read_shard", "record"]

SHARDS = Path(__file__).parent / "recorded"
_PROGRAMS_IN_SHARD = 25

Recorded = tuple[Program, list[Answer]]


def record(programs: Sequence[Program], ports: Ports) -> None:
    """Write down what a real server answers, in place of what was recorded."""
    for old in SHARDS.glob("*.xz"):
        old.unlink()
    SHARDS.mkdir(exist_ok=True)
    for start in range(0, len(programs), _PROGRAMS_IN_SHARD):
        shard = programs[start : start + _PROGRAMS_IN_SHARD]
        answers = ask_zookeeper(ports, shard)
        content = [
            [
                p.name,
                p.lapsing,
                [_short(step) for step in p.steps],
                [_short(answer) for answer in given],
            ]
            for p, given in zip(shard, answers, strict=True)
        ]
        compressed = lzma.compress(cbor2.dumps(content), preset=lzma.PRESET_EXTREME)
        (SHARDS / f"{start:05}.xz").write_bytes(compressed)


def read_shard(path: Path) -> list[Recorded]:
    """Return the programs of one file, with ZooKeeper's answers."""
    content: list[tuple[str, bool, list[object], list[object]]] = cbor2.loads(
        lzma.decompress(path.read_bytes())
    )
    return [
        (Program(name, tuple(map(_step, steps)), lapsing), list(map(_answer, answers)))
        for name, lapsing, steps, answers in content
    ]


def _short(value: Step | Answer) -> dict[str, object]:
    """Return the attributes that say anything."""
    said: dict[str, object] = {}
    for field in attrs.fields(type(value)):
        content: object = getattr(value, field.name)
        if field.default != content:
            said[field.name] = content
    if value.parts:
        said["parts"] = [_short(part) for part in value.parts]
    match value:
        case Step():
            said["name"] = str(value.name)
        case Answer(stat=Stat() as stat):
            said["stat"] = tuple(stat)
    return said


def _step(said: object) -> Step:
    assert isinstance(said, dict)
    said["name"] = Name(said["name"])
    said["acl"] = tuple(tuple(entry) for entry in said.get("acl", OPEN_ACL))
    said["parts"] = tuple(map(_step, said.get("parts", ())))
    return Step(**said)


def _answer(said: object) -> Answer:
    assert isinstance(said, dict)
    if "stat" in said:
        said["stat"] = Stat(*said["stat"])
    if "names" in said:
        said["names"] = tuple(said["names"])
    for name in ("acl", "identities"):
        if name in said:
            said[name] = tuple(tuple(entry) for entry in said[name])
    said["events"] = tuple((kind, path) for kind, path in said.get("events", ()))
    said["parts"] = tuple(map(_answer, said.get("parts", ())))
    return Answer(**said)
