"""One peer, one input at a time: what it must say, when, and what it must refuse.

The other members are played by the test, so these are the situations that an
election which prefers the best history never leads to by itself.
"""

from __future__ import annotations

from typing import TypeVar

from coordlib.consensus import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Append,
    Close,
    Commit,
    Cut,
    Deliver,
    Effect,
    FollowerInfo,
    Halt,
    History,
    InstallSnapshot,
    KeepSnapshot,
    LeaderInfo,
    Message,
    Metadata,
    NewLeader,
    Notification,
    Peer,
    Ping,
    Pong,
    Proposal,
    Role,
    RoleChanged,
    SaveMetadata,
    Send,
    SendSnapshot,
    Settings,
    Snapshot,
    Stored,
    Truncate,
    UpToDate,
    Vote,
)
from coordlib.ids import (
    EPOCH_MAX,
    NO_EPOCH,
    NO_MEMBER,
    NO_ZXID,
    Epoch,
    MemberId,
    Zxid,
    make_zxid,
)

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)
LINK_TO = {ONE: 11, TWO: 12, THREE: 13}
ID = b"the ensemble's.."
OLD = Metadata(Epoch(4), Epoch(4), seasoned=True, ensemble_id=ID)
Z = [make_zxid(4, i) for i in range(10)]

E = TypeVar("E")


def make_peer(
    me: MemberId,
    *log: Zxid,
    metadata: Metadata = OLD,
    applied: Zxid = NO_ZXID,
    voters: int = 3,
    base: Zxid = NO_ZXID,
) -> Peer:
    peer = Peer(
        me,
        frozenset(map(MemberId, range(1, voters + 1))),
        metadata=metadata,
        history=History.recovered(base, [(z, b"%d" % z) for z in log]),
        applied=applied,
        founding_id=ID,
        settings=Settings(),
    )
    peer.start(0.0)
    return peer


def say(peer: Peer, sender: MemberId, *messages: Message) -> list[Effect]:
    peer.receive(LINK_TO[sender], messages, 0.0)
    return peer.drain()


def looking(
    member: MemberId, last: Zxid, number: int = 1, epoch: int = 4
) -> Notification:
    vote = Vote(
        seasoned=True, current_epoch=Epoch(epoch), last_zxid=last, member=member
    )
    return Notification(number, Role.LOOKING, NO_MEMBER, NO_EPOCH, vote)


def sent(effects: list[Effect], kind: type[E]) -> list[tuple[E, int]]:
    return [
        (effect.message, effect.after)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, kind)
    ]


def of(effects: list[Effect], kind: type[E]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def learner(*log: Zxid, metadata: Metadata = OLD) -> Peer:
    """Return member 1, which has asked to follow member 3."""
    peer = make_peer(ONE, *log, metadata=metadata)
    peer.link_up(LINK_TO[THREE], THREE, 0.0)
    assert sent(say(peer, THREE, looking(THREE, Z[9])), FollowerInfo)
    return peer


def synchronized(*log: Zxid) -> Peer:
    peer = learner(*log)
    say(peer, THREE, LeaderInfo(Epoch(5)), NewLeader(Epoch(5), ID))
    return peer


def leader(*log: Zxid) -> Peer:
    """Return member 3, which has offered epoch 5 to member 1."""
    peer = make_peer(THREE, *log)
    peer.link_up(LINK_TO[ONE], ONE, 0.0)
    say(peer, ONE, looking(ONE, NO_ZXID))
    effects = say(peer, ONE, follower_info())
    (promise,) = of(effects, SaveMetadata)
    assert sent(effects, LeaderInfo) == [(LeaderInfo(Epoch(5)), promise.io)]
    peer.persisted(promise.io, 0.0)
    peer.drain()
    return peer


def follower_info(accepted: int = 4, number: int = 1) -> FollowerInfo:
    return FollowerInfo(
        number,
        Epoch(accepted),
        seasoned=True,
        empty=False,
        current_epoch=Epoch(4),
        last_zxid=NO_ZXID,
    )


def ack_epoch(*tails: Zxid, promised: bool = True, current: int = 4) -> AckEpoch:
    return AckEpoch(Epoch(5), promised, Epoch(current), tails)


def test_a_promise_leaves_when_it_is_durable() -> None:
    effects = say(learner(Z[1]), THREE, LeaderInfo(Epoch(5)))

    (write,) = of(effects, SaveMetadata)
    assert write.metadata.accepted_epoch == 5
    assert write.metadata.current_epoch == 4
    assert sent(effects, AckEpoch) == [(ack_epoch(Z[1]), write.io)]


def test_a_promise_that_was_given_before_does_not_count_again() -> None:
    metadata = Metadata(Epoch(5), Epoch(4), seasoned=True, ensemble_id=ID)

    effects = say(learner(Z[1], metadata=metadata), THREE, LeaderInfo(Epoch(5)))

    assert sent(effects, AckEpoch)[0][0].promised is False
    assert of(effects, SaveMetadata) == []


def test_an_older_epoch_than_promised_is_refused() -> None:
    effects = say(learner(), THREE, LeaderInfo(Epoch(3)))

    assert of(effects, Close)
    assert sent(effects, AckEpoch) == []


def test_history_then_epoch_then_acknowledgement() -> None:
    """ZOOKEEPER-4643 and -4646: in this order in one durable stream."""
    peer = learner(Z[1])

    effects = say(
        peer,
        THREE,
        LeaderInfo(Epoch(5)),
        Proposal(Epoch(5), Z[1], Z[2], [b"2", b"3"]),
        NewLeader(Epoch(5), ID),
    )

    (history,) = of(effects, Append)
    epoch = of(effects, SaveMetadata)[-1]
    assert epoch.metadata.current_epoch == 5
    assert history.io < epoch.io
    assert sent(effects, AckNewLeader) == [(AckNewLeader(Epoch(5)), epoch.io)]
    assert sent(effects, Ack) == []


def test_a_gap_even_before_the_first_proposal_is_refused() -> None:
    """ZOOKEEPER-4925."""
    for proposal in (
        Proposal(Epoch(5), Z[2], Z[3], [b"3"]),
        Proposal(Epoch(5), Z[1], Z[3], [b"3"]),
        Proposal(Epoch(5), Z[1], Z[1], [b"1"]),
        Proposal(Epoch(5), Z[1], make_zxid(6, 1), [b"1"]),
    ):
        effects = say(learner(Z[1]), THREE, LeaderInfo(Epoch(5)), proposal)

        assert of(effects, Close)
        assert of(effects, Append) == []


def test_a_commit_may_come_before_the_leader_says_up_to_date() -> None:
    """ZOOKEEPER-4394."""
    peer = synchronized(Z[1])

    effects = say(
        peer,
        THREE,
        Proposal(Epoch(5), Z[1], make_zxid(5, 1), [b"a"]),
        Commit(Epoch(5), make_zxid(5, 1)),
        UpToDate(Epoch(5), make_zxid(5, 1)),
    )

    assert [t for d in of(effects, Deliver) for t in d.transactions] == [
        (Z[1], b"%d" % Z[1]),
        (make_zxid(5, 1), b"a"),
    ]
    assert of(effects, RoleChanged)[-1] == RoleChanged(Role.FOLLOWING, Epoch(5), THREE)


def test_a_commit_without_its_proposal_is_refused() -> None:
    effects = say(synchronized(Z[1]), THREE, Commit(Epoch(5), make_zxid(5, 1)))

    assert of(effects, Close)
    assert of(effects, Deliver) == []


def delivered_two() -> Peer:
    """Return a learner that has delivered two, and follows the next leader."""
    peer = synchronized(Z[1], Z[2])
    say(peer, THREE, UpToDate(Epoch(5), Z[2]))
    peer.persisted(99, 0.0)
    effects = say(peer, THREE, looking(THREE, Z[9], number=2, epoch=9))
    assert sent(effects, FollowerInfo)
    return peer


def test_what_was_delivered_is_never_cut() -> None:
    effects = say(delivered_two(), THREE, LeaderInfo(Epoch(6)), Truncate(Z[1]))

    assert of(effects, Close)
    assert of(effects, Cut) == []


def test_an_older_snapshot_than_what_is_served_is_refused() -> None:
    snapshot = Snapshot(Z[1], b"")

    effects = say(delivered_two(), THREE, LeaderInfo(Epoch(6)), snapshot)

    assert of(effects, Close)
    assert of(effects, InstallSnapshot) == []


def test_a_truncation_to_what_is_not_held_is_refused() -> None:
    effects = say(learner(Z[1]), THREE, LeaderInfo(Epoch(5)), Truncate(make_zxid(3, 1)))

    assert of(effects, Close)


def test_messages_of_a_member_that_is_not_followed_are_ignored() -> None:
    peer = synchronized(Z[1])
    peer.link_up(LINK_TO[TWO], TWO, 0.0)
    peer.drain()

    effects = say(peer, TWO, LeaderInfo(Epoch(9)), Truncate(Z[1]), Ping(3))

    assert effects == []


def test_a_ping_is_answered_without_waiting_for_the_disk() -> None:
    assert sent(say(synchronized(Z[1]), THREE, Ping(7)), Pong) == [(Pong(7), 0)]


def test_a_vote_waits_for_the_log_it_speaks_of_but_the_change_is_told_at_once() -> None:
    peer = synchronized(Z[1])
    peer.link_up(LINK_TO[TWO], TWO, 0.0)
    peer.drain()

    peer.link_down(LINK_TO[THREE], 0.0)

    told = sent(peer.drain(), Notification)
    assert [(n.role, n.vote is None) for n, _ in told] == [
        (Role.LOOKING, True),
        (Role.LOOKING, False),
    ]
    assert [after for _, after in told] == [0, 2]


def test_a_better_history_among_the_promises_ends_the_lead() -> None:
    effects = say(leader(Z[1]), ONE, ack_epoch(Z[2]))

    assert of(effects, RoleChanged)[0].role is Role.LOOKING
    assert sent(effects, NewLeader) == []


def test_a_newer_epoch_makes_a_shorter_history_the_better_one() -> None:
    effects = say(leader(Z[1]), ONE, ack_epoch(current=5))

    assert of(effects, RoleChanged)[0].role is Role.LOOKING


def test_a_promise_given_to_somebody_else_does_not_count() -> None:
    effects = say(leader(Z[1]), ONE, ack_epoch(Z[1], promised=False))

    assert sent(effects, NewLeader) == []


def test_a_promise_of_another_epoch_does_not_count() -> None:
    promise = AckEpoch(Epoch(4), promised=True, current_epoch=Epoch(4), tails=())

    assert say(leader(Z[1]), ONE, promise) == []


def test_a_leader_is_established_by_its_own_disk_and_anothers() -> None:
    peer = leader(Z[1])
    effects = say(peer, ONE, ack_epoch(Z[1]))
    (write,) = of(effects, SaveMetadata)
    assert sent(effects, NewLeader) == [(NewLeader(Epoch(5), ID), 0)]

    assert of(say(peer, ONE, AckNewLeader(Epoch(5))), RoleChanged) == []

    peer.persisted(write.io, 0.0)
    effects = peer.drain()
    assert of(effects, RoleChanged) == [RoleChanged(Role.LEADING, Epoch(5), THREE)]
    assert sent(effects, UpToDate) == [(UpToDate(Epoch(5), Z[1]), 0)]


def test_a_member_that_promised_a_later_epoch_moves_the_leader_to_a_later_one() -> None:
    peer = leader(Z[1])
    peer.link_up(LINK_TO[TWO], TWO, 0.0)
    peer.drain()

    effects = say(peer, TWO, looking(TWO, Z[1]), follower_info(accepted=8))

    # At once: who asked to follow does not ask twice, and waits for long.
    assert of(effects, RoleChanged)[0].role is Role.LOOKING
    assert of(effects, SaveMetadata)[-1].metadata.accepted_epoch == 9


def test_a_chosen_leader_has_the_silence_timeout_to_answer() -> None:
    peer = learner(Z[1])

    peer.on_deadline(0.9)
    assert peer.drain() == []

    peer.on_deadline(1.0)
    assert of(peer.drain(), Close)


def test_a_frozen_leader_does_not_keep_others_from_choosing_another() -> None:
    """What a frozen process said last made it the best choice for ever."""
    peer = make_peer(TWO, Z[1])
    for member in (ONE, THREE):
        peer.link_up(LINK_TO[member], member, 0.0)
    leads = Notification(1, Role.LEADING, THREE, Epoch(4), None)
    assert sent(say(peer, THREE, leads), FollowerInfo)
    say(peer, ONE, looking(ONE, Z[1]))

    peer.on_deadline(1.0)

    assert of(peer.drain(), RoleChanged)[-1] == RoleChanged(Role.LEADING, NO_EPOCH, TWO)


def test_who_only_greets_is_not_followed_again_when_others_are_silent() -> None:
    """3 has the best history and a disk that stalls: all it says is its greeting.

    4 is linked and says nothing, so nobody decides before silent voters are
    waited for no longer, and then 2 chose 3 again, for ever.
    """
    four = MemberId(4)
    peer = make_peer(TWO, Z[1], voters=5)
    for member, link in {**LINK_TO, four: 14}.items():
        if member != TWO:
            peer.link_up(link, member, 0.0)
    say(peer, ONE, looking(ONE, Z[1]))
    say(peer, THREE, looking(THREE, Z[9]))
    peer.on_deadline(0.1)
    assert of(peer.drain(), RoleChanged)[-1].leader == THREE
    peer.on_deadline(1.1)
    peer.link_down(LINK_TO[THREE], 1.1)
    peer.link_up(23, THREE, 1.1)
    peer.receive(23, [looking(THREE, Z[9])], 1.1)
    peer.drain()

    peer.on_deadline(1.21)

    assert of(peer.drain(), RoleChanged)[-1] == RoleChanged(Role.LEADING, NO_EPOCH, TWO)


def test_a_learner_reminds_those_who_hear_nothing_else_of_it() -> None:
    """Or a link whose other end died stays, and that member cannot come back."""
    peer = learner(Z[1])
    peer.link_up(LINK_TO[TWO], TWO, 0.0)
    peer.drain()
    peer.receive(LINK_TO[THREE], [Ping(1)], 0.9)
    peer.drain()

    peer.on_deadline(1.0)

    reminded = of(peer.drain(), Send)
    assert [(s.links, type(s.message)) for s in reminded] == [
        ((LINK_TO[TWO],), Notification)
    ]
    assert peer.next_deadline() == 1.9


def test_a_would_be_leader_that_gave_up_is_left_for_another() -> None:
    """3 hears 1 alone and tries for ever; 2 hears everybody but 3."""
    peer = make_peer(ONE, Z[1], voters=5)
    for member in (TWO, THREE):
        peer.link_up(LINK_TO[member], member, 0.0)
    vote = looking(TWO, Z[1]).vote
    say(peer, TWO, Notification(1, Role.LEADING, TWO, NO_EPOCH, vote))
    effects = say(peer, THREE, leading_without_epoch(THREE, number=1))
    assert of(effects, RoleChanged)[-1].leader == THREE

    effects = say(peer, THREE, looking(THREE, Z[1], number=2))

    assert of(effects, RoleChanged)[-1].leader == TWO


def test_a_would_be_leader_tries_longer_than_others_wait_for_it() -> None:
    """In one beat with it, they would give it up and follow it anew for ever.

    So they did with one that was deaf (seeds 73 and 495 of five seconds).
    """
    peer = make_peer(THREE, Z[1])
    peer.link_up(LINK_TO[ONE], ONE, 0.0)
    say(peer, ONE, looking(ONE, Z[1]))
    peer.drain()

    for tenths in range(1, 16):
        peer.on_deadline(tenths / 10)
    assert not of(peer.drain(), RoleChanged)

    peer.on_deadline(1.6)
    assert of(peer.drain(), RoleChanged)


def test_a_learner_whose_disk_stalls_does_not_keep_a_would_be_leader_waiting() -> None:
    """Its answers were taken for progress, for ever (seed 526 of five seconds)."""
    peer = synchronized(Z[1])

    peer.receive(LINK_TO[THREE], [Ping(1)], 0.9)
    assert sent(peer.drain(), Pong)
    peer.receive(LINK_TO[THREE], [Ping(2)], 1.1)

    effects = peer.drain()
    assert not sent(effects, Pong)
    assert [close.why for close in of(effects, Close)] == ["the own disk stalls"]


def leading_without_epoch(member: MemberId, number: int) -> Notification:
    vote = looking(member, Z[1]).vote
    return Notification(number, Role.LEADING, member, NO_EPOCH, vote)


def test_an_epoch_after_which_there_is_none_halts_nobody_but_its_own_member() -> None:
    """A member with a bug would end every leader, one after the other."""
    peer = leader(Z[1])
    peer.link_up(LINK_TO[TWO], TWO, 0.0)
    peer.drain()

    effects = say(peer, TWO, looking(TWO, Z[1]), follower_info(accepted=EPOCH_MAX))

    assert [close.link for close in of(effects, Close)] == [LINK_TO[TWO]]
    assert of(effects, RoleChanged) == []
    assert of(effects, Halt) == []


def test_an_observer_does_not_prolong_an_epoch_that_nobody_establishes() -> None:
    peer = leader()
    observer, link = MemberId(4), 9
    peer.link_up(link, observer, 0.0)
    for tenths in range(1, 25):
        now = tenths / 10
        peer.receive(LINK_TO[ONE], [Pong(0)], now)
        peer.receive(link, [follower_info(number=tenths), ack_epoch()], now)
        peer.on_deadline(now)

    roles = [change.role for change in of(peer.drain(), RoleChanged)]
    assert Role.LOOKING in roles


def test_a_voter_that_answers_while_a_snapshot_is_sent_to_it_prolongs_the_epoch() -> (
    None
):
    """Otherwise nobody could lead who first has to send a large one."""
    roles: dict[bool, list[Role]] = {}
    for answers in (True, False):
        peer = make_peer(THREE, Z[4], applied=Z[3], base=Z[3])
        peer.stored(Stored(Z[3], (), (Z[3], 100)))
        peer.link_up(LINK_TO[ONE], ONE, 0.0)
        say(peer, ONE, looking(ONE, NO_ZXID))
        (promise,) = of(say(peer, ONE, follower_info()), SaveMetadata)
        peer.persisted(promise.io, 0.0)
        assert of(say(peer, ONE, ack_epoch()), SendSnapshot) == [
            SendSnapshot(LINK_TO[ONE], Z[3])
        ]
        (epoch,) = [e.io for e in of(peer.drain(), SaveMetadata)] or [promise.io + 1]
        peer.persisted(epoch, 0.0)
        for tenths in range(1, 50):
            now = tenths / 10
            message = Pong(0) if answers else Ack(Epoch(5), Z[3])
            peer.receive(LINK_TO[ONE], [message], now)
            peer.on_deadline(now)
        roles[answers] = [change.role for change in of(peer.drain(), RoleChanged)]

    assert roles[True] == []
    assert Role.LOOKING in roles[False]


def test_who_could_only_be_sent_a_damaged_snapshot_waits_for_another() -> None:
    peer = make_peer(THREE, Z[4], applied=Z[3], base=Z[3])
    peer.stored(Stored(Z[3], (), None))
    peer.link_up(LINK_TO[ONE], ONE, 0.0)
    say(peer, ONE, looking(ONE, NO_ZXID))
    (promise,) = of(say(peer, ONE, follower_info()), SaveMetadata)
    peer.persisted(promise.io, 0.0)
    effects = say(peer, ONE, ack_epoch())

    assert of(effects, KeepSnapshot)
    assert of(effects, Close)
    assert sent(effects, NewLeader) == []


# What each member holds after all of them have imported the same.
IMPORTED = Metadata(Epoch(4), Epoch(4), ensemble_id=ID, start=Z[5])


def importer(me: MemberId, *log: Zxid) -> Peer:
    return make_peer(me, *log, metadata=IMPORTED, applied=Z[5], base=Z[5])


def unseasoned(*, empty: bool) -> FollowerInfo:
    return FollowerInfo(
        number=1,
        accepted_epoch=Epoch(4),
        seasoned=False,
        empty=empty,
        current_epoch=Epoch(4),
        last_zxid=Z[5],
    )


def would_be_leader(peer: Peer, *, empty: bool) -> list[Effect]:
    """Let members 1 and 2, whose disks are not seasoned, follow member 3."""
    effects: list[Effect] = []
    for member in (ONE, TWO):
        peer.link_up(LINK_TO[member], member, 0.0)
    for member in (ONE, TWO):
        vote = Vote(
            seasoned=False, current_epoch=Epoch(4), last_zxid=Z[5], member=member
        )
        said = Notification(1, Role.LOOKING, NO_MEMBER, NO_EPOCH, vote)
        effects += say(peer, member, said)
    for member in (ONE, TWO):
        effects += say(peer, member, unseasoned(empty=empty))
    return effects


def test_an_ensemble_is_founded_upon_what_all_its_voters_imported() -> None:
    effects = would_be_leader(importer(THREE), empty=True)

    assert sent(effects, LeaderInfo)


def test_nothing_is_founded_when_some_of_what_was_imported_went_on() -> None:
    assert not sent(would_be_leader(importer(THREE), empty=False), LeaderInfo)
    assert not sent(would_be_leader(importer(THREE, Z[6]), empty=True), LeaderInfo)


def test_what_was_imported_counts_as_nothing_until_it_goes_on() -> None:
    for log, empty in ((), True), ((Z[6],), False):
        peer = importer(ONE, *log)
        peer.link_up(LINK_TO[THREE], THREE, 0.0)

        ((info, _),) = sent(say(peer, THREE, looking(THREE, Z[9])), FollowerInfo)

        assert (info.seasoned, info.empty) == (False, empty)
