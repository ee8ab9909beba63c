"""Heartbeats and syncs in one exchange: what an answer proves."""

from __future__ import annotations

import pytest

from coordlib.ids import Zxid
from coordlib.replica.contact import Contact
from coordlib.replica.waiter import Waiter


def is_done(waiter: Waiter[None]) -> bool:
    return waiter._filled


def test_an_answer_counts_from_the_sending_of_its_touch() -> None:
    contact = Contact(5.0)
    first, second = contact.touch(10.0), contact.touch(20.0)

    assert contact.confirm(first, Zxid(0), applied=0)
    assert contact.confirmed == 10.0
    assert contact.confirm(second, Zxid(0), applied=0)
    assert contact.confirmed == 20.0


def test_a_late_or_repeated_answer_takes_nothing_back() -> None:
    contact = Contact(5.0)
    first, second = contact.touch(10.0), contact.touch(20.0)
    contact.confirm(second, Zxid(0), applied=0)

    assert not contact.confirm(first, Zxid(0), applied=0)
    assert not contact.confirm(second, Zxid(0), applied=0)
    assert not contact.confirm(99, Zxid(0), applied=0)
    assert contact.confirmed == 20.0


async def test_a_sync_waits_for_a_touch_sent_after_it() -> None:
    contact, waiter = Contact(0.0), Waiter[None]()
    before = contact.touch(1.0)
    contact.add_sync(waiter)
    contact.confirm(before, Zxid(7), applied=9)
    assert not is_done(waiter)

    after = contact.touch(2.0)
    contact.confirm(after, Zxid(8), applied=9)
    assert is_done(waiter)


async def test_a_sync_waits_for_the_tree() -> None:
    contact, waiter = Contact(0.0), Waiter[None]()
    contact.add_sync(waiter)
    contact.confirm(contact.touch(1.0), Zxid(8), applied=6)
    assert not is_done(waiter)
    contact.release(7)
    assert not is_done(waiter)
    contact.release(8)
    assert is_done(waiter)


async def test_a_touch_takes_the_syncs_that_wait() -> None:
    contact = Contact(0.0)
    states = [contact.has_syncs]
    contact.add_sync(Waiter[None]())
    states.append(contact.has_syncs)
    contact.touch(1.0)
    states.append(contact.has_syncs)

    assert states == [False, True, False]


async def test_a_later_answer_covers_earlier_syncs() -> None:
    contact, waiter = Contact(0.0), Waiter[None]()
    contact.add_sync(waiter)
    contact.touch(1.0)
    contact.confirm(contact.touch(2.0), Zxid(3), applied=3)

    assert is_done(waiter)


async def test_starting_over_asks_again_and_believes_no_old_answer() -> None:
    contact, waiter = Contact(0.0), Waiter[None]()
    contact.add_sync(waiter)
    old = contact.touch(10.0)
    contact.start_over()
    assert contact.has_syncs

    assert not contact.confirm(old, Zxid(3), applied=3)
    assert not is_done(waiter)
    assert contact.confirmed == 0.0
    contact.confirm(contact.touch(11.0), Zxid(3), applied=3)
    assert is_done(waiter)


async def test_the_end_fails_every_sync() -> None:
    contact = Contact(0.0)
    waiters = [Waiter[None]() for _ in range(3)]
    contact.add_sync(waiters[0])
    contact.confirm(contact.touch(1.0), Zxid(9), applied=0)
    contact.add_sync(waiters[1])
    contact.touch(2.0)
    contact.add_sync(waiters[2])
    contact.fail_all(lambda: KeyError("over"))

    for waiter in waiters:
        with pytest.raises(KeyError):
            await waiter.wait()


def test_touches_without_answers_do_not_pile_up() -> None:
    contact = Contact(0.0)
    numbers = [contact.touch(float(i)) for i in range(10_000)]

    assert len(contact._sent) <= 600
    assert contact.confirm(numbers[-1], Zxid(0), applied=0)


def test_a_caller_that_has_gone_is_asked_for_no_more() -> None:
    contact = Contact(0.0)
    waiter: Waiter[None] = Waiter()
    contact.add_sync(waiter)

    contact.forget_sync(waiter)

    assert not contact.has_syncs
