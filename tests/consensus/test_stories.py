"""Stories of several members, each about one rule that implementations broke.

``World`` checks prefix consistency, durability on a quorum and one leader per
epoch after every step; the stories say what should happen besides.
"""

from __future__ import annotations

import attrs
import pytest

from consensus_world import World
from coordlib.consensus import Notification, Role, Settings, Truncate
from coordlib.ids import NO_ZXID, MemberId, epoch_of

ONE, TWO, THREE, FOUR = MemberId(1), MemberId(2), MemberId(3), MemberId(4)


def founded(members: int = 3, settings: Settings | None = None) -> World:
    world = World(members, settings=settings)
    world.heal()
    world.settle(rounds=20)
    assert world.leader() == members
    return world


def payloads(world: World, member: MemberId) -> list[bytes]:
    return [payload for _, payload in world.members[member].tree]


def cut_off(world: World, member: MemberId) -> None:
    for other in world.voters - {member}:
        link = world.link_between(member, other)
        if link is not None:
            world.disconnect(link)


def settle_among(awake: tuple[MemberId, ...], world: World, rounds: int) -> None:
    """Let happen what does not need the others, which are frozen."""
    for _ in range(rounds):
        world.now += 0.05
        for member in awake:
            world.members[member].peer.on_deadline(world.now)
            world._perform(member)
        for link, sender in sorted(world.wires):
            while sender in awake and world.wires.get((link, sender)):
                if world.members[sender].links[link] not in awake:
                    break
                world.deliver(link, sender)
        for member in awake:
            world.persist(member, 100)


def test_a_single_member_leads_at_once_and_commits_by_its_own_disk() -> None:
    world = World(1)
    world.start(ONE)
    while world.members[ONE].pending:
        world.persist(ONE)
    assert world.leader() == ONE

    world.propose(ONE, b"a")
    assert payloads(world, ONE) == []

    world.persist(ONE)
    assert payloads(world, ONE) == [b"a"]


def test_a_new_ensemble_is_not_founded_before_every_voter_was_there() -> None:
    world = World(3)
    world.start(ONE)
    world.start(TWO)
    world.connect(ONE, TWO)
    world.settle(rounds=3000)
    assert world.leader() is None

    world.heal()
    world.settle(rounds=100)
    assert world.leader() is not None
    assert len({d.metadata.ensemble_id for d in world.disks.values()}) == 1


def test_a_wiped_disk_does_not_vote_until_it_is_synchronised() -> None:
    """ZOOKEEPER-261: 3 was cut off while 1 and 2 agreed; then 1's disk is wiped."""
    world = founded()
    leader = THREE
    cut_off(world, leader)
    world.settle(rounds=1500)
    assert world.leader() == TWO
    world.propose(TWO, b"agreed without 3")
    world.settle(rounds=20)
    world.crash(TWO)
    world.crash(ONE)
    world.wipe(ONE)

    world.start(ONE)
    world.connect(ONE, THREE)
    world.settle(rounds=4000)
    assert world.leader() is None

    world.heal()
    world.settle(rounds=1500)
    assert all(payloads(world, m) == [b"agreed without 3"] for m in world.voters)
    assert world.disks[ONE].metadata.seasoned


def test_a_synchronised_wiped_disk_counts_again() -> None:
    world = founded()
    world.crash(ONE)
    world.wipe(ONE)
    world.heal()
    world.settle(rounds=100)
    world.crash(TWO)
    world.settle(rounds=100)

    assert world.leader() == THREE
    world.propose(THREE, b"a")
    world.settle(rounds=20)
    assert payloads(world, ONE) == [b"a"]


def test_what_only_a_deposed_leader_logged_is_cut_and_never_delivered() -> None:
    """ZOOKEEPER-1154: the surplus must be truncated, not built upon."""
    world = founded()
    world.propose(THREE, b"agreed")
    world.settle(rounds=20)
    world.propose(THREE, b"lost")
    for other in (ONE, TWO):
        link = world.link_between(THREE, other)
        assert link is not None
        # It never leaves the old leader's machine.
        world.wires[link, THREE].clear()
    world.persist(THREE)
    world.crash(THREE)
    world.settle(rounds=200)
    assert world.leader() == TWO
    world.propose(TWO, b"instead")
    world.settle(rounds=20)

    seen: list[str] = []
    world.trace = seen.append
    world.heal()
    world.settle(rounds=200)

    assert any(Truncate.__name__ in line for line in seen)
    assert all(payloads(world, m) == [b"agreed", b"instead"] for m in world.voters)
    assert [p for _, p in world.disks[THREE].log] == [b"agreed", b"instead"]


def test_a_greeting_does_not_vote_with_what_was_cut_since() -> None:
    """3 is truncated by 2; then it greets 1, in the same role as before."""
    world = founded()
    world.propose(THREE, b"lost")
    for other in (ONE, TWO):
        link = world.link_between(THREE, other)
        assert link is not None
        world.wires[link, THREE].clear()
    world.persist(THREE)
    world.crash(THREE)
    world.settle(rounds=200)
    assert world.leader() == TWO
    world.start(THREE)
    assert world.disks[THREE].log
    link = world.connect(TWO, THREE)
    while world.disks[THREE].log:
        for sender in (TWO, THREE):
            if world.wires[link, sender]:
                world.deliver(link, sender)
        world.persist(TWO, 100)
        world.persist(THREE)
    link = world.connect(ONE, THREE)
    world.persist(THREE, 100)

    votes = [m.vote for m in world.wires[link, THREE] if isinstance(m, Notification)]
    assert [vote.last_zxid for vote in votes if vote] == [NO_ZXID]


def test_a_member_that_does_not_hear_the_leader_does_not_depose_it() -> None:
    """Etcd's outage of 2020: 1 loses its link to the leader, but not to 2."""
    world = founded()
    epoch = world.members[THREE].role.epoch
    link = world.link_between(ONE, THREE)
    assert link is not None
    world.disconnect(link)

    for _ in range(100):
        world.settle(rounds=10, step=0.1)
        assert world.members[ONE].role.role is not Role.LEADING

    assert world.leader() == THREE
    assert world.members[THREE].role.epoch == epoch
    assert world.propose(THREE, b"still leading")


def test_a_leader_without_a_quorum_steps_down_at_once() -> None:
    world = founded()
    for other in (ONE, TWO):
        link = world.link_between(THREE, other)
        assert link is not None
        world.disconnect(link)

    assert world.members[THREE].role.role is Role.LOOKING
    assert not world.propose(THREE, b"refused")


def test_a_silent_leader_is_replaced_and_its_link_is_cut() -> None:
    """Nothing arrives from 3 any more, but the connections stay."""
    world = founded()

    def silence() -> None:
        for (_, sender), wire in world.wires.items():
            if sender == THREE:
                wire.clear()

    for _ in range(300):
        silence()
        for link, sender in sorted(world.wires):
            while sender != THREE and world.wires.get((link, sender)):
                world.deliver(link, sender)
        for member in sorted(world.members):
            world.persist(member, 100)
        world.pass_time(0.01)

    assert world.leader() == TWO
    assert world.link_between(TWO, THREE) is None


def test_who_freezes_after_its_greeting_is_not_chosen_for_ever() -> None:
    """2 comes back and is told that 3 leads; then 3 freezes, its links still up."""
    world = founded()
    world.crash(TWO)
    world.start(TWO)
    world.connect(ONE, TWO)
    world.deliver(world.connect(TWO, THREE), THREE)
    awake = (ONE, TWO)

    settle_among(awake, world, rounds=100)

    assert max(world.members[m].role.epoch for m in awake) == 2
    assert all(world.members[m].role.leader in awake for m in awake)


def test_who_asked_to_follow_need_not_ask_again_when_the_candidate_starts_over() -> (
    None
):
    """4 has the best vote, 1 asks to follow it, 3 freezes; then 2 comes as well."""
    world = founded(4)
    for member in (ONE, TWO, THREE, FOUR):
        world.crash(member)
    for member in (ONE, THREE, FOUR):
        world.start(member)
    for other in (ONE, FOUR):
        world.deliver(world.connect(THREE, other), THREE)
    world.connect(ONE, FOUR)
    settle_among((ONE, FOUR), world, rounds=21)
    assert world.members[FOUR].role.role is Role.LEADING
    assert not world.leader()

    world.start(TWO)
    world.connect(TWO, ONE)
    world.connect(TWO, FOUR)
    settle_among((ONE, TWO, FOUR), world, rounds=10)

    assert world.leader() == FOUR


def lose_power(world: World, member: MemberId) -> None:
    """End a member's process; nobody is told, so its links look alive."""
    del world.members[member]
    for wire in world.wires.values():
        wire.clear()


def test_who_looks_finds_out_that_a_link_is_dead_by_sending_something() -> None:
    """1 looks, and 2's host is gone; only 2 would have dialled anew."""
    world = World(3)
    world.start(ONE)
    world.start(TWO)
    link = world.connect(ONE, TWO)
    lose_power(world, TWO)

    world.pass_time(0.1)
    assert not world.wires[link, ONE]

    world.pass_time(1.0)
    assert [type(message) for message in world.wires[link, ONE]] == [Notification]


def test_a_leader_finds_out_that_the_link_to_a_stranger_is_dead() -> None:
    """2's host is gone before 2 asked to follow: it is missed by nobody."""
    world = founded()
    world.crash(TWO)
    world.start(TWO)
    link = world.connect(TWO, THREE)
    lose_power(world, TWO)

    world.pass_time(0.1)

    assert [type(message) for message in world.wires[link, THREE]] == [Notification]


def test_a_leader_whose_disk_stalls_gives_up_the_lead() -> None:
    world = founded()
    world.propose(THREE, b"a")
    for _ in range(400):
        for link, sender in sorted(world.wires):
            while world.wires.get((link, sender)):
                world.deliver(link, sender)
        for member in (ONE, TWO):
            world.persist(member, 100)
        world.pass_time(0.01)

    assert world.leader() == TWO
    # The quorum of the others' disks sufficed, and nothing was lost.
    assert payloads(world, TWO) == [b"a"]


def test_a_vote_waits_for_the_disk() -> None:
    world = founded()
    world.propose(THREE, b"a")
    for other in (ONE, TWO):
        link = world.link_between(THREE, other)
        assert link is not None
        while world.wires[link, THREE]:
            world.deliver(link, THREE)
    world.crash(THREE)

    for _ in range(20):
        for link, sender in sorted(world.wires):
            while world.wires.get((link, sender)):
                world.deliver(link, sender)
    assert world.leader() is None

    world.settle(rounds=20)
    assert world.leader() == TWO
    assert payloads(world, ONE) == [b"a"]


def test_when_the_numbers_of_an_epoch_are_used_up_a_new_one_begins() -> None:
    world = founded(settings=Settings(counter_max=3))
    done: list[bytes] = []
    while len(done) < 10:
        leader = world.leader()
        assert leader is not None
        payload = b"%d" % len(done)
        if world.propose(leader, payload):
            done.append(payload)
        world.settle(rounds=50)

    assert payloads(world, ONE) == done
    epochs = {epoch_of(zxid) for zxid, _ in world.members[ONE].tree}
    assert len(epochs) >= 4


@pytest.mark.parametrize("purged", [False, True])
def test_who_is_behind_the_leaders_memory_gets_the_log_or_a_snapshot(
    *, purged: bool
) -> None:
    world = founded(settings=Settings(history_records_max=2))
    world.crash(ONE)
    for i in range(10):
        world.propose(THREE, b"%d" % i)
        world.settle(rounds=5)
    if purged:
        world.snapshot(THREE)

    world.heal()
    world.settle(rounds=50)

    assert (world.disks[ONE].base > 0) == purged
    assert payloads(world, ONE) == [b"%d" % i for i in range(10)]


@pytest.mark.parametrize("members", [3, 5])
def test_a_dead_leader_is_replaced_without_any_fixed_wait(members: int) -> None:
    world = founded(members)
    began = world.now
    world.crash(MemberId(members))

    world.settle(rounds=20, step=0.001)

    assert world.leader() == members - 1
    assert world.now - began < 0.05


def test_a_barrier_is_confirmed_by_a_quorum_that_was_asked_after_it() -> None:
    world = founded()
    world.propose(THREE, b"a")
    world.settle(rounds=5)
    before = list(world.members[THREE].confirmed)
    assert world.barrier(THREE, 7)
    assert world.members[THREE].confirmed == before

    world.settle(rounds=2)
    confirmed = world.members[THREE].confirmed[-1]
    assert confirmed.cookies == [7]
    assert confirmed.zxid == world.committed[-1][0]


def test_a_leader_that_is_cut_off_confirms_no_barrier() -> None:
    world = founded()
    assert world.barrier(THREE, 7)
    cut_off(world, THREE)
    world.settle(rounds=2000)

    assert world.members[THREE].confirmed == []
    assert not world.barrier(THREE, 8)


def test_a_leader_of_another_ensemble_is_refused() -> None:
    world = founded()
    world.crash(ONE)
    world.disks[ONE].metadata = attrs.evolve(
        world.disks[ONE].metadata, ensemble_id=b"another ensemble"
    )
    world.heal()
    world.settle(rounds=200)

    assert world.members[ONE].role.epoch == 0
    assert world.disks[ONE].metadata.ensemble_id == b"another ensemble"


def test_proposals_that_a_learner_got_by_synchronisation_count_too() -> None:
    """Found by a seed: they waited for ever for a later proposal."""
    world = founded()
    world.propose(THREE, b"a")
    for other in (TWO, ONE):
        # Its proposal is lost with the old link, so synchronisation brings it.
        link = world.connect(other, THREE)
        for _ in range(20):
            for sender in (other, THREE):
                while world.wires[link, sender]:
                    world.deliver(link, sender)
            world.persist(other)
            world.persist(THREE)
    assert world.leader() == THREE

    world.settle(rounds=200)

    assert all(payloads(world, m) == [b"a"] for m in world.voters)


FOUR = MemberId(4)


def observed() -> World:
    world = World(3, observers=1)
    world.heal()
    world.settle(rounds=50)
    assert world.leader() == THREE
    return world


def test_an_observer_delivers_everything_and_logs_it() -> None:
    world = observed()
    world.propose(THREE, b"a")
    world.settle(rounds=20)

    assert payloads(world, FOUR) == [b"a"]
    assert [payload for _, payload in world.disks[FOUR].log] == [b"a"]


def test_an_observer_is_in_no_quorum() -> None:
    """ZOOKEEPER-764 and -2959: 3 leads, 4 observes, and both voters are gone."""
    world = observed()
    world.crash(ONE)
    world.crash(TWO)
    world.settle(rounds=3000)

    assert world.leader() is None
    assert not world.propose(THREE, b"refused")


def test_an_observers_disk_commits_nothing() -> None:
    world = observed()
    world.crash(ONE)
    world.propose(THREE, b"a")
    for _ in range(5):
        for link, sender in sorted(world.wires):
            while world.wires.get((link, sender)) and TWO not in (
                sender,
                world.members[sender].links[link],
            ):
                world.deliver(link, sender)
        world.persist(THREE)
        world.persist(FOUR)

    assert payloads(world, FOUR) == []


def test_an_ensemble_is_founded_without_its_observers() -> None:
    world = World(3, observers=1)
    for member in (ONE, TWO, THREE):
        world.start(member)
    for a, b in ((ONE, TWO), (ONE, THREE), (TWO, THREE)):
        world.connect(a, b)
    world.settle(rounds=50)

    assert world.leader() == THREE


def test_an_observer_that_was_ahead_is_truncated_like_a_follower() -> None:
    """ZOOKEEPER-1551 and -5088: one state machine for all learners."""
    world = observed()
    world.propose(THREE, b"agreed")
    world.settle(rounds=20)
    world.propose(THREE, b"lost")
    link = world.link_between(FOUR, THREE)
    assert link is not None
    while world.wires[link, THREE]:
        world.deliver(link, THREE)
    world.persist(FOUR)
    world.crash(THREE)
    assert [payload for _, payload in world.disks[FOUR].log] == [b"agreed", b"lost"]

    world.settle(rounds=200)
    assert world.leader() == TWO
    world.propose(TWO, b"instead")
    world.settle(rounds=50)

    assert payloads(world, FOUR) == [b"agreed", b"instead"]
    assert [payload for _, payload in world.disks[FOUR].log] == [b"agreed", b"instead"]


def test_a_follower_whose_disk_stalls_does_not_fill_its_memory() -> None:
    world = founded()
    for i in range(400):
        world.propose(THREE, b"%d" % i)
        for link, sender in sorted(world.wires):
            while world.wires.get((link, sender)):
                world.deliver(link, sender)
        for member in (TWO, THREE):
            world.persist(member, 100)
        if world.link_between(ONE, THREE) is None:
            world.connect(ONE, THREE)
        world.pass_time(0.01)
    assert len(world.members[ONE].pending) < 150
    assert world.leader() == THREE

    world.settle(rounds=400)
    assert payloads(world, ONE) == [b"%d" % i for i in range(400)]
