"""What members remember of each other's disks, and who does not count because of it."""

from __future__ import annotations

import attrs
import pytest

from consensus.test_roles import (
    ID,
    LINK_TO,
    OLD,
    ONE,
    THREE,
    TWO,
    Z,
    ack_epoch,
    follower_info,
    leader,
    learner,
    looking,
    make_peer,
    of,
    say,
    sent,
)
from coordlib.consensus import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Distrust,
    Effect,
    FollowerInfo,
    LeaderInfo,
    Metadata,
    NewLeader,
    Notification,
    Peer,
    Ping,
    Proposal,
    Role,
    RoleChanged,
    SaveMetadata,
    Vote,
)
from coordlib.consensus.levels import Level, Levels, standing
from coordlib.ids import (
    NO_EPOCH,
    NO_MEMBER,
    NO_ZXID,
    Epoch,
    MemberId,
    Zxid,
    make_zxid,
)

NEW = Metadata()
FIVE = [make_zxid(5, i) for i in range(10)]


def remembering(*levels: Level, metadata: Metadata = OLD) -> Metadata:
    return attrs.evolve(metadata, levels=levels)


def info(last: Zxid, *, seasoned: bool = True, empty: bool = False) -> FollowerInfo:
    return attrs.evolve(follower_info(), last_zxid=last, seasoned=seasoned, empty=empty)


def would_be_leader(metadata: Metadata, request: FollowerInfo) -> list[Effect]:
    """Return what member 3 does when member 1 asks to follow it."""
    peer = make_peer(THREE, Z[1], metadata=metadata)
    peer.link_up(LINK_TO[ONE], ONE, 0.0)
    return [*say(peer, ONE, looking(ONE, Z[1])), *say(peer, ONE, request)]


def established() -> Peer:
    """Return member 3, which leads epoch 5 with member 1."""
    peer = leader(Z[1])
    (epoch,) = of(say(peer, ONE, ack_epoch(Z[1])), SaveMetadata)
    peer.persisted(epoch.io, 0.0)
    say(peer, ONE, AckNewLeader(Epoch(5)))
    assert peer.statistics().epoch == 5
    return peer


def propose(peer: Peer, *payloads: bytes) -> None:
    assert peer.propose(payloads, 0.0)
    peer.persisted(max(e.io for e in peer.drain() if hasattr(e, "io")), 0.0)
    peer.drain()


def pinged(peer: Peer) -> dict[MemberId, Zxid]:
    peer.on_deadline(peer.next_deadline())
    ((ping, _),) = sent(peer.drain(), Ping)
    return dict(ping.levels)


@pytest.mark.parametrize(
    ("epoch", "last", "expected"),
    [(4, Z[3], Z[3]), (5, Z[3], FIVE[0]), (4, FIVE[2], FIVE[2]), (0, 0, 0)],
)
def test_a_standing_is_the_log_or_the_epoch(
    epoch: int, last: int, expected: int
) -> None:
    assert standing(Epoch(epoch), Zxid(last)) == expected


def test_levels_only_grow() -> None:
    levels = Levels({})
    assert not levels
    levels.learn([(TWO, Z[2]), (ONE, Z[5])])
    levels.learn([(TWO, Z[1]), (ONE, Z[6])])

    assert levels.all() == ((ONE, Z[6]), (TWO, Z[2]))
    assert levels.of(THREE) == NO_ZXID


def test_a_heartbeat_says_what_is_acknowledged_and_committed() -> None:
    peer = established()
    assert pinged(peer) == {ONE: FIVE[0], THREE: FIVE[0]}

    propose(peer, b"one", b"two")
    assert pinged(peer) == {ONE: FIVE[0], THREE: FIVE[0]}

    say(peer, ONE, Ack(Epoch(5), FIVE[2]))
    propose(peer, b"three")
    assert pinged(peer) == {ONE: FIVE[2], THREE: FIVE[2]}


def test_what_is_not_committed_may_still_be_cut_and_is_no_level() -> None:
    peer = make_peer(THREE, Z[1], voters=5)
    for member in (ONE, TWO, MemberId(4)):
        link = 10 + member
        peer.link_up(link, member, 0.0)
        peer.receive(link, [looking(member, NO_ZXID), follower_info()], 0.0)
    peer.persisted(1, 0.0)
    for member in (ONE, TWO, MemberId(4)):
        peer.receive(10 + member, [ack_epoch(Z[1])], 0.0)
    peer.persisted(2, 0.0)
    for member in (ONE, TWO, MemberId(4)):
        peer.receive(10 + member, [AckNewLeader(Epoch(5))], 0.0)
    peer.drain()
    propose(peer, b"one")
    peer.receive(10 + ONE, [Ack(Epoch(5), FIVE[1])], 0.0)
    peer.drain()

    assert pinged(peer)[ONE] == FIVE[0]


def test_a_leader_remembers_exactly_who_goes() -> None:
    peer = established()
    propose(peer, b"one")
    say(peer, ONE, Ack(Epoch(5), FIVE[1]))
    peer.link_down(LINK_TO[ONE], 0.0)

    assert dict(peer.levels)[ONE] == FIVE[1]


def test_what_is_heard_with_a_heartbeat_is_saved_with_the_next_promise() -> None:
    peer = learner(Z[1])
    say(peer, THREE, LeaderInfo(Epoch(5)), NewLeader(Epoch(5), ID))
    say(peer, THREE, Ping(1, ((TWO, FIVE[3]),)))
    peer.persisted(2, 0.0)
    peer.link_down(LINK_TO[THREE], 0.0)
    peer.link_up(LINK_TO[TWO], TWO, 0.0)
    effects = say(peer, TWO, looking(TWO, FIVE[9], epoch=5))
    effects += say(peer, TWO, LeaderInfo(Epoch(6)))

    assert sent(effects, FollowerInfo)[0][0].levels == ((TWO, FIVE[3]),)
    assert of(effects, SaveMetadata)[0].metadata.levels == ((TWO, FIVE[3]),)


def test_who_lost_what_it_acknowledged_does_not_count() -> None:
    told = would_be_leader(remembering((ONE, Z[2])), info(Z[1]))
    level = would_be_leader(remembering((ONE, Z[1])), info(Z[1]))

    assert of(told, Distrust) == [Distrust(ONE, Z[1], Z[2])]
    assert not sent(told, LeaderInfo)
    assert not of(level, Distrust)
    assert of(level, SaveMetadata)


def test_what_followers_remember_counts_for_their_leader() -> None:
    peer = make_peer(THREE, Z[1], voters=5)
    for member in (ONE, TWO):
        peer.link_up(LINK_TO[member], member, 0.0)
        say(peer, member, looking(member, Z[1]))
    request = attrs.evolve(info(Z[1]), levels=((ONE, Z[4]),))
    say(peer, TWO, request)
    effects = say(peer, ONE, info(Z[1]))

    assert of(effects, Distrust) == [Distrust(ONE, Z[1], Z[4])]
    assert not sent(effects, LeaderInfo)


def test_nobody_follows_a_candidate_that_lost_something() -> None:
    for level, wanted in ((Z[9], Role.FOLLOWING), (FIVE[1], Role.LEADING)):
        peer = make_peer(ONE, Z[1], metadata=remembering((THREE, level)))
        peer.link_up(LINK_TO[THREE], THREE, 0.0)
        effects = say(peer, THREE, looking(THREE, Z[9]))

        assert of(effects, RoleChanged)[-1].role is wanted


def test_who_is_told_that_it_lost_something_writes_it_down_before_it_gets_it_back() -> (
    None
):
    peer = learner(Z[1])
    missing = Proposal(Epoch(5), Z[1], Z[2], [b"2"])
    effects = say(peer, THREE, LeaderInfo(Epoch(5), ((ONE, Z[3]),)), missing)

    assert of(effects, Distrust) == [Distrust(ONE, Z[1], Z[3])]
    (save,) = of(effects, SaveMetadata)
    assert not save.metadata.seasoned
    ((_, after),) = sent(effects, AckEpoch)
    assert after == save.io
    assert effects.index(save) < len(effects) - 1, "and the proposal comes later"
    (again,) = of(say(peer, THREE, NewLeader(Epoch(5), ID)), SaveMetadata)
    assert again.metadata.seasoned
    assert peer.statistics().distrusted == ()


def test_only_who_counts_may_object_to_a_leaders_history() -> None:
    peer = make_peer(THREE, Z[1], voters=5)
    for member in (ONE, TWO, MemberId(4)):
        peer.link_up(10 + member, member, 0.0)
        peer.receive(10 + member, [looking(member, NO_ZXID)], 0.0)
    for member in (ONE, TWO):
        peer.receive(10 + member, [follower_info()], 0.0)
    peer.receive(14, [info(Z[9], seasoned=False)], 0.0)
    peer.persisted(1, 0.0)
    peer.drain()

    peer.receive(14, [ack_epoch(Z[9])], 0.0)
    assert not of(peer.drain(), RoleChanged)

    peer.receive(11, [ack_epoch(Z[9])], 0.0)
    assert of(peer.drain(), RoleChanged)[0].role is Role.LOOKING


@pytest.mark.parametrize(
    ("metadata", "empty", "founds"),
    [
        (NEW, True, True),
        (NEW, False, False),
        (attrs.evolve(NEW, damaged=True), True, False),
        (remembering((ONE, Z[1]), metadata=NEW), True, False),
    ],
)
def test_only_who_never_held_anything_founds_an_ensemble(
    metadata: Metadata, *, empty: bool, founds: bool
) -> None:
    peer = make_peer(THREE, metadata=metadata)
    for member in (ONE, TWO):
        peer.link_up(LINK_TO[member], member, 0.0)
        vote = Vote(False, Epoch(0), NO_ZXID, member)  # noqa: FBT003 - as it ranks
        say(peer, member, Notification(1, Role.LOOKING, NO_MEMBER, NO_EPOCH, vote))
    effects = say(peer, ONE, info(NO_ZXID, seasoned=False, empty=empty))
    effects += say(peer, TWO, info(NO_ZXID, seasoned=False, empty=True))

    assert bool(of(effects, SaveMetadata)) == founds


def test_a_damaged_disk_stays_damaged_until_it_is_synchronised() -> None:
    peer = learner(metadata=attrs.evolve(NEW, damaged=True))
    (promise,) = of(say(peer, THREE, LeaderInfo(Epoch(5))), SaveMetadata)
    (epoch,) = of(say(peer, THREE, NewLeader(Epoch(5), ID)), SaveMetadata)

    assert promise.metadata.damaged
    assert not promise.metadata.seasoned
    assert not epoch.metadata.damaged
    assert epoch.metadata.seasoned
