"""Every choice and every limit, in one place, checked once.

Values only: nothing here starts anything. Durations are seconds.
"""

from __future__ import annotations

import attrs

from coordlib.errors import ConfigError

__all__ = ["Config", "Limits"]


@attrs.frozen(kw_only=True)
class Limits:
    """What one member accepts, each bound with its reason.

    Attributes:
      data_bytes_max: A znode's data: 1 MiB, ZooKeeper's ``jute.maxbuffer``.
      path_chars_max: A path's length; bounds what one log record needs.
      transaction_bytes_max: A whole transaction, such as a multi, checked
        before it is proposed, so that every member can read what one accepted
        (ZOOKEEPER-2101).
      frame_bytes_max: A frame between members; larger than a transaction.
      outstanding_max: Operations a session may have without an answer.
      events_max: Events a watch may hold for a slow reader.

    """

    data_bytes_max: int = 1 << 20
    path_chars_max: int = 1024
    transaction_bytes_max: int = 4 << 20
    frame_bytes_max: int = 16 << 20
    outstanding_max: int = 4096
    events_max: int = 16384


@attrs.frozen(kw_only=True)
class Config:
    """How a member behaves in time.

    Attributes:
      heartbeat_interval: How often a leader and its learners show each other
        that they live.
      silence_timeout: A silent member counts as dead after this. A dead
        *process* is noticed sooner, by its closed link. Longer than any pause
        of your event loop; a leader whose disk takes longer gives up the lead.
      election_wait: How long an election waits for linked voters that have
        not voted yet. When all have, it decides at once.
      session_timeout_min: The shortest session timeout a caller may ask for.
      session_timeout_max: The longest.
      snapshot_interval: Transactions between two snapshots of the tree.
      history_records_max: Transactions kept in memory for learners that lag;
        who lags more gets a snapshot.
      history_bytes_max: The same bound in bytes of payload.
      limits: Sizes and counts.

    """

    heartbeat_interval: float = 0.1
    silence_timeout: float = 1.0
    election_wait: float = 0.1
    session_timeout_min: float = 0.5
    session_timeout_max: float = 3600.0
    snapshot_interval: int = 20_000
    history_records_max: int = 50_000
    history_bytes_max: int = 64 << 20
    limits: Limits = Limits()

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
          ConfigError: A duration or count is not positive, or two contradict.

        """
        for field in attrs.fields(Config):
            value: object = getattr(self, field.name)
            if isinstance(value, int | float) and not value > 0:
                raise ConfigError(f"{field.name} must be positive, not {value}")
        if self.silence_timeout < 3 * self.heartbeat_interval:
            raise ConfigError(
                "silence_timeout must be at least three heartbeat intervals, or one "
                f"late heartbeat looks like a death: {self.silence_timeout} < "
                f"3 * {self.heartbeat_interval}"
            )
