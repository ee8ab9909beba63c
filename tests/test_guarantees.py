"""Every deliberate difference from ZooKeeper is held by a test that is named here.

Where a real ZooKeeper is at hand, ``conformance/test_differences.py`` shows both
sides of those that a small program can show.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coordlib import Acl, Ensemble, NoAuthError, Permission, digest_identity

TESTS = Path(__file__).parent
TABLE = (TESTS.parent / "docs" / "guarantees.md").read_text()

# How the row begins, and who would fail if it were not so.
HELD_BY = {
    "`sync` is linearizable": "test_a_leader_that_was_cut_off_does_not_answer_sync",
    "a change of leader is not seen": "test_sessions_survive_changes_of_leader",
    "a session is lost at 2T/3": "test_a_session_is_suspended_then_lost_then_expired",
    "a session is resumed by its own": "test_another_member_does_not_resume_a_session",
    "a session's password is random": "test_a_password_is_random",
    "persistent watches say `RESYNC`": (
        "test_a_member_that_caught_up_by_a_snapshot_tells_to_read_again"
    ),
    "a snapshot consumes watches": "test_a_snapshot_consumes_what_is_told_once",
    "a watch that is told once says": "test_who_may_not_read_is_not_told",
    "a session and a member have a": "test_a_session_and_a_member_have_so_many_watches",
    "a session's watches at one path": "test_coordlib_does_it_in_its_own_way",
    "a deletion tells its cause": (
        "test_a_recursive_watch_reports_all_below_with_causes"
    ),
    "a malformed path": "test_a_malformed_path_is_never_merely_missing",
    "`get_children` is in the order": "test_children_are_in_the_order_of_creation",
    "`delete` and `Check` take": "test_czxid_tells_incarnations_of_a_path_apart",
    "the first start needs all": "test_the_first_start_needs_all_voters_once",
    "a learner tells where": "test_tails_are_the_last_of_each_epoch_with_the_base",
    "snapshots are exact": "test_steps_between_changes_make_what_one_go_makes",
    "the log holds operations": (
        "test_same_transactions_give_the_same_outcomes_and_digest"
    ),
    "at most 1 MiB of data": "test_the_bounds_of_limits_are_those_of_the_tree",
    "hard quotas bind": "test_what_takes_no_more_room_is_never_refused",
    "all quotas on the way": "test_nested_quotas_both_count",
    "`/zookeeper/config`": (
        "test_configuration_is_written_with_its_zxid_in_hexadecimal"
    ),
    "at most 2²⁰ children": "test_a_member_lets_a_znode_have_so_many_children",
    "a malformed or missing number": "test_any_bytes_are_some_limits",
    "a container or a znode with": (
        "test_a_znode_made_anew_since_the_leader_looked_stays"
    ),
    "these are looked for every": (
        "test_after_a_look_that_found_little_there_is_a_pause"
    ),
    "times to live are always": (
        "test_a_time_to_live_ends_at_all_members_and_after_it"
    ),
    "reads give null data": "test_null_data_is_kept_exactly_and_read_as_empty",
    "a refused credential": (
        "test_an_unknown_scheme_is_refused_and_the_session_goes_on"
    ),
    "identities belong to": (
        "test_identities_survive_a_change_of_leader_and_a_snapshot"
    ),
    "`add_auth` of the scheme `ip`": (
        "test_an_unknown_scheme_is_refused_and_the_session_goes_on"
    ),
    "permissions are 0 to 31": (
        "test_an_acl_is_neither_empty_nor_endless_and_grants_known_permissions"
    ),
    "`ip` also takes IPv6": "test_an_identity_that_can_be_in_an_acl",
    "an entry with the scheme of": "test_another_scheme_matches_by_equality",
    "`exists` needs no permission": "test_exists_needs_no_permission",
    "`create` returns the path": "test_create_returns_a_path_and_nobody_reconfigures",
    "no dynamic reconfiguration": "test_create_returns_a_path_and_nobody_reconfigures",
}


def rows() -> list[str]:
    """Return the first cell of each row of the table."""
    table = TABLE.partition("## Differences from ZooKeeper")[2]
    return re.findall(r"^\| (?!coordlib )(.+?) \|", table, re.MULTILINE)


@pytest.mark.parametrize("row", rows())
def test_every_difference_has_a_test(row: str) -> None:
    held = [test for start, test in HELD_BY.items() if row.startswith(start)]

    assert len(held) == 1
    sources = (path.read_text() for path in sorted(TESTS.rglob("test_*.py")))
    assert any(f"def {held[0]}(" in source for source in sources)


def test_every_test_has_a_difference() -> None:
    unknown = [s for s in HELD_BY if not any(row.startswith(s) for row in rows())]

    assert unknown == []


async def test_create_returns_a_path_and_nobody_reconfigures() -> None:
    async with Ensemble() as ensemble, ensemble.session() as session:
        assert await session.create("/a") == "/a"
        assert not hasattr(session, "reconfig")


async def test_exists_needs_no_permission() -> None:
    nobody = [Acl(Permission.READ, digest_identity("nobody", "secret"))]
    async with Ensemble() as ensemble, ensemble.session() as session:
        await session.create("/closed", acl=nobody)
        assert await session.exists("/closed") is not None
        with pytest.raises(NoAuthError):
            await session.get("/closed")
