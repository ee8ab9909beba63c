"""The log in memory."""

from __future__ import annotations

from coordlib.consensus import History
from coordlib.consensus.history import follows
from coordlib.ids import NO_ZXID, Zxid, make_zxid


def history(*zxids: tuple[int, int], base: Zxid = NO_ZXID) -> History:
    return History.recovered(base, [(make_zxid(*z), b"%d.%d" % z) for z in zxids])


def test_the_next_number_or_the_first_of_a_later_epoch_may_follow() -> None:
    assert follows(make_zxid(1, 2), make_zxid(1, 1))
    assert follows(make_zxid(3, 1), make_zxid(1, 7))
    assert follows(make_zxid(1, 1), 0)

    assert not follows(make_zxid(1, 3), make_zxid(1, 1))
    assert not follows(make_zxid(1, 1), make_zxid(1, 1))
    assert not follows(make_zxid(2, 2), make_zxid(1, 1))
    assert not follows(make_zxid(1, 1), make_zxid(2, 1))


def test_tails_are_the_last_of_each_epoch_with_the_base() -> None:
    log = history((2, 1), (2, 2), (4, 1), base=make_zxid(1, 9))

    assert log.tails() == [make_zxid(1, 9), make_zxid(2, 2), make_zxid(4, 1)]
    assert history((2, 3), base=make_zxid(2, 2)).tails() == [make_zxid(2, 3)]
    assert history().tails() == []


def test_the_last_of_an_epoch_may_be_the_base() -> None:
    log = history((2, 1), (2, 2), base=make_zxid(1, 9))

    assert log.last_of_epoch(1) == make_zxid(1, 9)
    assert log.last_of_epoch(2) == make_zxid(2, 2)
    assert log.last_of_epoch(3) is None
    assert history().last_of_epoch(0) is None


def test_between_is_open_below_and_closed_above() -> None:
    log = history((1, 1), (1, 2), (2, 1))

    between = log.between(make_zxid(1, 1), make_zxid(2, 1))

    assert [zxid for zxid, _ in between] == [make_zxid(1, 2), make_zxid(2, 1)]
    assert between[0][1] == b"1.2"


def test_a_cut_keeps_its_zxid_and_a_rebase_nothing() -> None:
    log = history((1, 1), (1, 2), (1, 3))

    log.cut(make_zxid(1, 2))
    assert log.last == make_zxid(1, 2)

    log.rebase(make_zxid(5, 5))
    assert (log.last, len(log), log.holds(make_zxid(5, 5))) == (
        make_zxid(5, 5),
        0,
        True,
    )


def test_trimming_stops_at_what_is_not_delivered_yet() -> None:
    log = history(*((1, i) for i in range(1, 21)))

    for _ in range(20):
        log.trim(make_zxid(1, 6), records_max=4, bytes_max=1 << 20)

    assert log.base == make_zxid(1, 6)
    assert not log.holds(make_zxid(1, 5))
    assert log.holds(make_zxid(1, 7))


def test_trimming_minds_the_bytes() -> None:
    log = history(*((1, i) for i in range(1, 9)))

    while log.base < make_zxid(1, 8):
        log.trim(make_zxid(1, 8), records_max=100, bytes_max=0)

    assert len(log) == 0


def test_ends_of_epochs_outlive_their_records() -> None:
    log = history((1, 1), (1, 2), (3, 1), (4, 1), (4, 2), (4, 3), (6, 1))

    while log.base < make_zxid(4, 2):
        log.trim(make_zxid(4, 2), records_max=0, bytes_max=0)

    ends = [log.last_of_epoch(epoch) for epoch in range(8)]
    assert ends == [
        None,
        make_zxid(1, 2),
        None,
        make_zxid(3, 1),
        make_zxid(4, 3),
        None,
        make_zxid(6, 1),
        None,
    ]
    assert log.tails() == [make_zxid(4, 3), make_zxid(6, 1)]

    log.forget_ended(make_zxid(1, 3))
    assert (log.last_of_epoch(1), log.last_of_epoch(3)) == (None, make_zxid(3, 1))
    log.rebase(make_zxid(7, 7))
    assert log.last_of_epoch(3) is None
