"""What a leader knows of its learners, and which of them may decide. Pure rules.

The record is made by a learner's request to follow and dies with its link, so
whatever it acknowledges counts only for the link and the epoch over which it
came.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from coordlib.ids import NO_ZXID, MemberId, Zxid

from .core import Core
from .messages import AckEpoch, FollowerInfo

__all__ = [
    "Follower",
    "all_are_empty",
    "is_trusted",
    "may_decide",
    "trusted_disks",
]


@attrs.define
class Follower:
    """One learner, over one link."""

    info: FollowerInfo
    heard: float
    # Its answer to LEADERINFO.
    ack_epoch: AckEpoch | None = None
    # Since NEWLEADER was sent, it is sent every proposal; the log ended with
    # ``sent`` then.
    forwarding: bool = False
    # Something of that came from the disk, and takes its time.
    streams: bool = False
    sent: Zxid = NO_ZXID
    # It has acknowledged NEWLEADER: its log held ours when that was sent.
    synchronized: bool = False
    # Invariant: only grows, never beyond what was proposed.
    acked: Zxid = NO_ZXID


def all_are_empty(core: Core, infos: Mapping[MemberId, FollowerInfo]) -> bool:
    """Tell whether every voter is here and none holds anything: a founding.

    A disk whose log was set aside as damaged is not one that holds nothing: an
    ensemble of such members would begin anew, and lose everything.
    """
    voters = core.quorum.voters
    everybody = infos.keys() | {core.me} >= voters
    empty = all(info.empty for member, info in infos.items() if member in voters)
    return everybody and empty and core.is_empty


def is_trusted(core: Core, member: MemberId, info: FollowerInfo) -> bool:
    """Tell whether a member's disk holds what it acknowledged, as far as we know."""
    return info.seasoned and not core.lacks(info, member)


def trusted_disks(core: Core, infos: Mapping[MemberId, FollowerInfo]) -> set[MemberId]:
    """Return who of these and us has a disk that counts, as far as we know."""
    trusted = {m for m, info in infos.items() if is_trusted(core, m, info)}
    if core.metadata.seasoned and not core.lacks(core.vote(), core.me):
        trusted.add(core.me)
    return trusted


def may_decide(core: Core, infos: Mapping[MemberId, FollowerInfo]) -> bool:
    """Tell whether these and we are a quorum whose disks can be trusted.

    A wiped disk has forgotten what it acknowledged, and a new one looks the
    same; so neither counts before it is synchronised (ZOOKEEPER-261). Nor does
    one that was rolled back. The exception is the founding of the ensemble.
    """
    trusted = trusted_disks(core, infos)
    return core.quorum.contains(trusted) or all_are_empty(core, infos)
