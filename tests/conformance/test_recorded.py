"""coordlib's answers are those that a real ZooKeeper 3.8 gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.comparison import compare, explain
from conformance.live import ask_coordlib
from conformance.new_tree import NEW_TREE
from conformance.record import SHARDS, read_shard

FILES = sorted(SHARDS.glob("*.xz"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_coordlib_answers_as_zookeeper_did(file: Path) -> None:
    recorded = read_shard(file)
    given = ask_coordlib([program for program, _ in recorded])
    for (program, theirs), ours in zip(recorded, given, strict=True):
        finding, _ = compare(program, theirs, ours)
        assert finding is None, explain(program, finding, theirs, ours)


def test_what_there_is_in_a_new_tree_is_recorded() -> None:
    first, _ = read_shard(FILES[0])[0]
    assert first == NEW_TREE


def test_a_thousand_programs_are_recorded() -> None:
    assert sum(len(read_shard(file)) for file in FILES) >= 1000
    assert sum(file.stat().st_size for file in FILES) < 2_000_000
