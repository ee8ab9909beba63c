"""What a learner gets from our disk: a kept snapshot, then a part of the log.

Read a little at a time and sent no faster than the link takes it, so that
neither memory nor anybody else suffers. The consensus core decides what is
sent; everything else for that learner waits behind it, see :mod:`.links`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from coordlib.consensus import SendRecords, Settings, pack_proposals
from coordlib.errors import ProtocolError
from coordlib.ids import Zxid
from coordlib.storage.interface import LogStore

from .links import ReplicaLink
from .wire import SnapshotOffer, SnapshotPiece, encode_body

__all__ = ["send_records", "send_snapshot"]


async def send_snapshot(link: ReplicaLink, store: LogStore, zxid: Zxid) -> None:
    """Offer the snapshot, send what the learner lacks, wait until it has taken it.

    Raises:
      StorageError: It is gone or damaged.
      ProtocolError: The learner answers nonsense.

    """
    reading = store.read_snapshot(zxid)
    try:
        size, digest = await reading.identify()
        await link.send_patiently(encode_body(SnapshotOffer(zxid, size, digest)))
        offset = await _answer(link, zxid, size)
        if offset < size:
            reading.begin_at(offset)
            while (part := await reading.next()) is not None:
                if part:
                    piece = SnapshotPiece(zxid, offset, part)
                    await link.send_patiently(encode_body(piece))
                    offset += len(part)
            # It decodes for as long as that takes. What follows must not pile
            # up there.
            if await _answer(link, zxid, size) != size:
                raise ProtocolError("a snapshot was not taken after all")
    finally:
        reading.close()


async def _answer(link: ReplicaLink, zxid: Zxid, size: int) -> int:
    answer = await link.wait_answer()
    if answer.zxid != zxid or answer.offset > size:
        raise ProtocolError("an answer to another snapshot than was offered")
    return answer.offset


async def send_records(
    link: ReplicaLink,
    store: LogStore,
    order: SendRecords,
    settings: Settings,
    wait_durable: Callable[[], Awaitable[None]],
) -> None:
    """Send a part of the log, as soon as it is all on the disk.

    Raises:
      StorageError: It is gone or damaged.

    """
    await wait_durable()
    reading = store.read_records(order.after, order.upto)
    previous = order.after
    try:
        while True:
            began = trio.current_time()
            records = await reading.next()
            if records is None:
                return
            # The thread that reads is pure Python for the most part: as much
            # time as it had belongs to everybody else.
            await trio.sleep(trio.current_time() - began)
            transactions = [(Zxid(zxid), payload) for zxid, payload in records]
            for proposal in pack_proposals(
                order.epoch, previous, transactions, settings
            ):
                await link.send_patiently(encode_body(proposal))
            if transactions:
                previous = transactions[-1][0]
    finally:
        reading.close()
