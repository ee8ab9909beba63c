"""A few programs on a real ZooKeeper, where there is one."""

from __future__ import annotations

import pytest

from conformance.generate import generate
from conformance.live import compare_live
from conformance.new_tree import NEW_TREE
from conformance.server import is_installed, running_servers


@pytest.mark.zookeeper
@pytest.mark.skipif(not is_installed(), reason="no ZooKeeper here")
def test_coordlib_answers_as_a_real_zookeeper() -> None:
    with running_servers() as ports:
        new = compare_live([NEW_TREE], ports)
        assert not new.differing, "\n\n".join(new.told)
        report = compare_live((generate(0, number) for number in range(30)), ports)
    assert report.programs == 30
    assert not report.differing, "\n\n".join(report.told)
