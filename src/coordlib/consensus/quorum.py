"""Which sets of members may decide for the whole ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Set as AbstractSet

import attrs

from coordlib.ids import MemberId, Zxid

__all__ = ["Majority"]


@attrs.frozen
class Majority:
    """More than half of the voters.

    Any two quorums share a member, so a new leader always meets one that
    saw the last committed transaction (ZooKeeper Internals, "Summary").
    """

    voters: frozenset[MemberId] = attrs.field(validator=attrs.validators.min_len(1))

    def contains(self, members: AbstractSet[MemberId]) -> bool:
        """Tell whether ``members`` include a quorum; non-voters do not count."""
        return 2 * len(self.voters & members) > len(self.voters)

    def reached(self, values: Mapping[MemberId, int]) -> int:
        """Return the highest value which a quorum has reached.

        Args:
          values: A number that only grows for each member, such as the last
            zxid on its disk. A missing member has reached 0.

        """
        highest_first = sorted((values.get(m, 0) for m in self.voters), reverse=True)
        return highest_first[len(self.voters) // 2]

    def committed(self, acked: Mapping[MemberId, Zxid]) -> Zxid:
        """Return the highest zxid which a quorum has acknowledged."""
        return Zxid(self.reached(acked))
