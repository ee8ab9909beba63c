"""What happens on the stage of :mod:`consensus_stage`, in words. Decides nothing."""

from __future__ import annotations

import attrs

from consensus_world import Member
from coordlib.consensus import (
    Ack,
    AckEpoch,
    AckNewLeader,
    Append,
    Close,
    Commit,
    Cut,
    Deliver,
    Distrust,
    Effect,
    FollowerInfo,
    Halt,
    HandOver,
    InstallSnapshot,
    LeaderInfo,
    LeadKept,
    Message,
    NewLeader,
    Notification,
    Ping,
    Pong,
    Proposal,
    Role,
    RoleChanged,
    SaveMetadata,
    Send,
    SendRecords,
    SendSnapshot,
    Snapshot,
    Transaction,
    Truncate,
    Undecided,
    UpToDate,
)
from coordlib.ids import Zxid, format_zxid

__all__ = ["CHATTER", "Narrator", "show_role"]

CHATTER = (Notification, Ping, Pong)


@attrs.define
class Narrator:
    """Puts effects and messages into words.

    Attributes:
      text_of: What to call a payload, unless it is text itself.
      brief: Only outcomes are worth a line, not every step.

    """

    text_of: dict[bytes, str] = attrs.field(factory=dict)
    brief: bool = False

    def describe(self, state: Member, effect: Effect) -> str:  # noqa: C901 - one match over all effects
        """Say what an effect will do; nothing if it is not worth a line."""
        match effect:
            case Deliver(transactions=transactions):
                return f"delivers {self.transactions(transactions)}"
            case Close(link=link, why=why):
                return f"cuts off {state.links.get(link)}: {why}"
            case Halt(why=why):
                return f"halts: {why}"
            case Distrust(member=member, standing=standing, level=level):
                return (
                    f"distrusts {member}, which has got to {format_zxid(standing)}, "
                    f"not to {format_zxid(level)}"
                )
            case Undecided(doubtful=doubtful):
                return f"cannot lead: doubtful are {', '.join(map(str, doubtful))}"
            case LeadKept(why=why):
                return f"keeps the lead: {why}"
            case RoleChanged(epoch=epoch):
                # Looking is worth telling at the end of another part.
                known = not state.role.epoch if self.brief else not state.role.leader
                if not epoch and known and (self.brief or effect.role is Role.LOOKING):
                    return ""
                return show_role(effect)
            case Send():
                return self._send(state, effect)
            case SendSnapshot(link=link, zxid=zxid):
                return f"to {state.links.get(link)}: Snapshot {format_zxid(zxid)}"
            case SendRecords(link=link, after=after, upto=upto):
                there = f"{format_zxid(after)} to {format_zxid(upto)}"
                return f"to {state.links.get(link)}: from the disk, after {there}"
            case _:
                return "" if self.brief else self._write(effect)

    def _send(self, state: Member, send: Send) -> str:
        message = send.message
        waits = send.after > state.durable_io
        if isinstance(message, CHATTER):
            return ""
        if self.brief and (waits or not isinstance(message, Truncate)):
            return ""
        receivers = ",".join(str(state.links.get(link)) for link in send.links)
        when = ", once on disk" if waits else ""
        return f"to {receivers}: {self.message(message)}{when}"

    def _write(self, effect: Effect) -> str:
        match effect:
            case Append(transactions=transactions):
                return f"writes {self.transactions(transactions)}"
            case Cut(zxid=zxid):
                return f"writes: cut to {format_zxid(zxid)}"
            case SaveMetadata(metadata=metadata):
                return (
                    f"writes: epoch {metadata.current_epoch}, "
                    f"promised {metadata.accepted_epoch}"
                )
            case InstallSnapshot(zxid=zxid):
                return f"writes: snapshot {format_zxid(zxid)}"
            case _:
                return ""

    def payload(self, payload: bytes) -> str:
        return self.text_of.get(payload) or payload.decode()

    def transactions(self, transactions: list[Transaction]) -> str:
        return ", ".join(f"{format_zxid(z)} {self.payload(p)}" for z, p in transactions)

    def message(self, message: Message) -> str:
        kind = type(message).__name__
        match message:
            case Proposal(first=first, payloads=payloads):
                numbered = [(Zxid(first + i), p) for i, p in enumerate(payloads)]
                return f"{kind} {self.transactions(numbered)}"
            case AckEpoch(tails=tails):
                ends = " ".join(map(format_zxid, tails)) or "nothing"
                again = "" if message.promised else " again"
                return (
                    f"{kind} {message.epoch}{again}, "
                    f"epoch {message.current_epoch}, log to {ends}"
                )
            case UpToDate(epoch=epoch, committed=committed):
                return f"{kind} {epoch}, committed {format_zxid(committed)}"
            case Ack(zxid=zxid) | Commit(zxid=zxid) | Truncate(zxid=zxid):
                return f"{kind} {format_zxid(zxid)}"
            case Snapshot(zxid=zxid):
                return f"{kind} {format_zxid(zxid)}"
            case LeaderInfo(epoch) | NewLeader(epoch) | AckNewLeader(epoch):
                return f"{kind} {epoch}"
            case HandOver(epoch=epoch, successor=successor):
                return f"{kind} {epoch} to {successor}"
            case FollowerInfo(accepted_epoch=epoch):
                return f"{kind}, promised {epoch}"
            case _:
                return kind


def show_role(change: RoleChanged) -> str:
    match change:
        case RoleChanged(role=Role.LOOKING):
            return "looks"
        case RoleChanged(role=Role.LEADING, epoch=0):
            return "tries to lead"
        case RoleChanged(role=Role.LEADING):
            return f"leads epoch {change.epoch}"
        case RoleChanged(epoch=0):
            return f"turns to {change.leader}"
        case _:
            return f"follows {change.leader} in epoch {change.epoch}"
