"""What a learner gets from our disk: a kept snapshot, then a part of the log.

Read a little at a time and sent no faster than the link takes it, so that
neither memory nor anybody else suffers. The consensus core decides what is
sent; everything else for that learner waits behind it, see :mod:`.links`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from coordlib.consensus import SendRecords, Settings, pack_proposals
from coordlib.errors import ProtocolError
from coordlib.ids import Zxid
from coordlib.storage.interface import LogStore, Reading, Records

from .links import ReplicaLink
from .progress import LongWork
from .wire import SnapshotOffer, SnapshotPiece, encode_body

__all__ = ["Outgoing"]


@attrs.frozen
class Outgoing:
    """Sends what a store holds.

    Attributes:
      store: The own one.
      settings: How large proposals are.
      long_work: Is told how far it is.

    """

    store: LogStore
    settings: Settings
    long_work: LongWork

    async def send_snapshot(self, link: ReplicaLink, zxid: Zxid) -> None:
        """Offer it, send what the learner lacks, wait until it has taken it.

        Raises:
          StorageError: It is gone or damaged.
          ProtocolError: The learner answers nonsense.

        """
        reading = self.store.read_snapshot(zxid)
        try:
            size, digest = await reading.identify()
            await link.send_patiently(encode_body(SnapshotOffer(zxid, size, digest)))
            offset = await _answer(link, zxid, size)
            if offset == size:
                return
            reading.begin_at(offset)
            work = f"sending a snapshot to member {link.member}"
            with self.long_work.doing(work, total=size, unit="bytes") as tell:
                while (part := await reading.next()) is not None:
                    if part:
                        piece = SnapshotPiece(zxid, offset, part)
                        await link.send_patiently(encode_body(piece))
                        offset += len(part)
                        tell(offset)
                # It decodes for as long as that takes. What follows must not
                # pile up there.
                if await _answer(link, zxid, size) != size:
                    raise ProtocolError("a snapshot was not taken after all")
        finally:
            reading.close()

    async def send_records(
        self,
        link: ReplicaLink,
        order: SendRecords,
        wait_durable: Callable[[], Awaitable[None]],
    ) -> None:
        """Send a part of the log, as soon as it is all on the disk.

        Raises:
          StorageError: It is gone or damaged.

        """
        await wait_durable()
        reading = self.store.read_records(order.after, order.upto)
        previous, count = order.after, 0
        work = f"sending the log to member {link.member}"
        try:
            with self.long_work.doing(work, unit="transactions") as tell:
                while (records := await _next_batch(reading)) is not None:
                    transactions = [(Zxid(zxid), payload) for zxid, payload in records]
                    for proposal in pack_proposals(
                        order.epoch, previous, transactions, self.settings
                    ):
                        await link.send_patiently(encode_body(proposal))
                    if transactions:
                        previous = transactions[-1][0]
                        count += len(transactions)
                        tell(count)
        finally:
            reading.close()


async def _answer(link: ReplicaLink, zxid: Zxid, size: int) -> int:
    answer = await link.wait_answer()
    if answer.zxid != zxid or answer.offset > size:
        raise ProtocolError("an answer to another snapshot than was offered")
    return answer.offset


async def _next_batch(reading: Reading[Records]) -> Records | None:
    began = trio.current_time()
    records = await reading.next()
    # The thread that reads is pure Python for the most part: as much time as it
    # had belongs to everybody else.
    await trio.sleep(trio.current_time() - began)
    return records
