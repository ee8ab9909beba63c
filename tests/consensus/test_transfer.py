"""What ends with a lead that is handed over, and what a leader refuses meanwhile."""

from __future__ import annotations

import pytest

from consensus_world import World
from coordlib.consensus import HandOver, LeadKept, Settings
from coordlib.errors import LeadTransferError
from coordlib.ids import MemberId

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)


def founded(settings: Settings | None = None) -> World:
    world = World(3, settings=settings)
    world.heal()
    world.settle()
    assert world.leader() == THREE
    return world


def takes_proposals(world: World) -> bool:
    return world.members[THREE].peer.takes_proposals


def test_no_more_is_proposed_than_may_be_uncommitted() -> None:
    for bounds in (
        Settings(uncommitted_records_max=3),
        Settings(uncommitted_bytes_max=6),
    ):
        world = founded(bounds)

        assert world.propose(THREE, b"aa", b"bb")
        assert takes_proposals(world)
        assert world.propose(THREE, b"cc")
        assert not takes_proposals(world)
        assert not world.propose(THREE, b"dd")

        world.settle(20)
        assert takes_proposals(world)
        assert world.propose(THREE, b"dd")
        world.settle(20)
        assert [payload for _, payload in world.committed] == [
            b"aa",
            b"bb",
            b"cc",
            b"dd",
        ]


def test_a_successor_that_starts_anew_is_no_successor() -> None:
    world = founded()
    world.stalled.add(ONE)
    world.propose(THREE, b"a")
    world.transfer_lead(THREE, ONE)
    assert world.members[THREE].peer.transferring
    kept: list[str] = []
    world.observe = lambda _state, effect: (
        kept.append(effect.why) if isinstance(effect, LeadKept) else None
    )

    world.connect(ONE, THREE)

    assert kept == ["the link to member 1 broke"]
    assert world.propose(THREE, b"b")


def test_a_leader_that_is_not_established_hands_nothing_over() -> None:
    world = World(3)
    world.start(THREE)
    with pytest.raises(LeadTransferError, match="does not lead"):
        world.transfer_lead(THREE, None)


def test_a_lead_that_was_never_taken_is_no_follower_s_to_give() -> None:
    world = founded()
    link = world.link_between(ONE, TWO)
    assert link is not None

    world.receive(ONE, link, HandOver(world.members[ONE].role.epoch, TWO))

    assert world.members[ONE].role.leader == THREE


def test_a_leader_whose_own_disk_lags_still_hands_over() -> None:
    world = founded()
    world.stalled.add(THREE)
    world.propose(THREE, b"a")
    world.settle(5)
    world.transfer_lead(THREE, TWO)
    world.settle(50)

    assert world.leader() == TWO
