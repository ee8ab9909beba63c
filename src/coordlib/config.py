"""Every choice and every limit, in one place, checked once.

Values only: nothing here starts anything. Durations are seconds.
"""

from __future__ import annotations

import re
from math import isfinite

import attrs

from coordlib.errors import ConfigError

__all__ = ["Config", "Limits"]

# What the tree of every member accepts at most, whatever its configuration
# (tree.DATA_BYTES_MAX, tree.CHILDREN_MAX, tree.paths.PATH_CHARS_MAX), how many
# outcomes it keeps for a session (tree.sessions.OUTCOMES_MAX), and how the log
# keeps a session timeout: milliseconds in 32 bits.
_DATA_BYTES_MAX = 1 << 20
_PATH_CHARS_MAX = 1024
_CHILDREN_MAX = 1 << 20
_OUTCOMES_MAX = 8192
_SESSION_TIMEOUT_BOUNDS = (0.001, 2_000_000.0)

# Around the data: a path, at three bytes a character, and some numbers.
_OPERATION_BYTES = 3 * _PATH_CHARS_MAX + 1024
# Around a transaction in a frame: the batch before it, and the frame's head.
_FRAME_BYTES = 2 << 20


# A user, and 20 bytes in base64.
_DIGEST = re.compile(r"[^:]*:[A-Za-z0-9+/]{27}=")


def _at_most(name: str, value: float, highest: float) -> None:
    if value > highest:
        raise ConfigError(f"{name} is at most {highest}, not {value}")


@attrs.frozen(kw_only=True)
class Limits:
    """What one member accepts, each bound with its reason.

    Attributes:
      data_bytes_max: A znode's data: 1 MiB, ZooKeeper's ``jute.maxbuffer``.
      path_chars_max: A path's length; bounds what one log record needs.
      transaction_bytes_max: A whole transaction, such as a multi, checked
        before it is proposed, so that every member can read what one accepted
        (ZOOKEEPER-2101).
      operations_max: Operations in one multi. All of them are applied at one go,
        some 7 microseconds each, and nothing else runs meanwhile.
      frame_bytes_max: A frame between members; larger than a transaction.
      backlog_bytes_max: What waits for a member that reads too slowly, before
        its link is cut and it has to be brought level anew. While it is sent a
        snapshot, the snapshot's size more.
      children_max: Children of one znode, 2^20 at most: the ensemble refuses more
        whatever the configuration. Listing so many takes some 0.2 s, and
        nothing else runs meanwhile. Checked against this member's tree; what
        comes from several members at once may go a little beyond a lower one.
      outstanding_max: Operations a session may have without an answer; at most
        as many as the ensemble keeps outcomes of, 8192.
      requests_max: Requests of all sessions of a member without an answer; at
        some 1 KB each, 32 MiB of memory while no quorum answers. Also what a
        leader proposes before it is committed: each member has an equal share
        of that under way, and keeps the rest to itself.
      requests_bytes_max: The same bound in bytes of what is asked; less than
        ``backlog_bytes_max``, so that sending all of it cuts no link.
      events_max: Events a watch may hold for a slow reader.
      sessions_max: Sessions that live at this member. Each costs a microsecond of
        every heartbeat, so these cost it a tenth.
      session_watches_max: Watches a session may have.
      watches_max: Watches a member may have. If all were of one znode, telling
        them would take some 0.1 s, and nothing else runs meanwhile.

    """

    data_bytes_max: int = 1 << 20
    path_chars_max: int = 1024
    transaction_bytes_max: int = 4 << 20
    operations_max: int = 10_000
    frame_bytes_max: int = 16 << 20
    backlog_bytes_max: int = 64 << 20
    children_max: int = 1 << 20
    outstanding_max: int = 4096
    requests_max: int = 32_768
    requests_bytes_max: int = 32 << 20
    events_max: int = 16384
    sessions_max: int = 10_000
    session_watches_max: int = 50_000
    watches_max: int = 200_000

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
          ConfigError: A limit is not positive, too high, or contradicts another.

        """
        for field in attrs.fields(Limits):
            value: int = getattr(self, field.name)
            if value < 1:
                raise ConfigError(f"{field.name} must be positive, not {value}")
        _at_most("data_bytes_max", self.data_bytes_max, _DATA_BYTES_MAX)
        _at_most("path_chars_max", self.path_chars_max, _PATH_CHARS_MAX)
        _at_most("children_max", self.children_max, _CHILDREN_MAX)
        _at_most("outstanding_max", self.outstanding_max, _OUTCOMES_MAX)
        if self.transaction_bytes_max < self.data_bytes_max + _OPERATION_BYTES:
            raise ConfigError(
                f"transaction_bytes_max {self.transaction_bytes_max} has no room for "
                f"data_bytes_max {self.data_bytes_max} and a path"
            )
        if self.frame_bytes_max < self.transaction_bytes_max + _FRAME_BYTES:
            raise ConfigError(
                f"frame_bytes_max {self.frame_bytes_max} has no room for "
                f"transaction_bytes_max {self.transaction_bytes_max} and {_FRAME_BYTES}"
            )


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
      clean_interval: How often a leader looks for containers without children
        and for znodes that have outlived their time to live. ZooKeeper's
        ``znode.container.checkIntervalMs`` is a minute, because it looks at all
        of them; here only those are looked at that may go. At most once in a
        ``heartbeat_interval``.
      cleaned_per_minute_max: How many of these a leader deletes, so that those
        who watch them are not all woken at once: ZooKeeper's
        ``znode.container.maxPerMinute``.
      snapshot_interval: Transactions between two snapshots of the tree.
      snapshot_interval_bytes: The same bound in bytes of transactions; a snapshot
        is begun when either is reached.
      snapshots_kept: Snapshots that stay on the disk, and the log since the
        oldest of them: the older ones are for the day when the newest turns out
        to be damaged, and the log is for members that were away.
      kept_bytes_max: Fewer than ``snapshots_kept`` stay if the files that are not
        needed for the newest are larger than this. The newest, and the log
        since, always stay.
      history_records_max: Transactions kept in memory for learners that lag;
        who lags more gets the log on the disk, or a snapshot.
      history_bytes_max: The same bound in bytes of payload.
      gc_freeze: Whether a member that loads a large tree, of some 100,000 znodes,
        calls :func:`gc.freeze` when it is loaded: the garbage collector
        then never looks at anything again that the process holds at that time.
        Otherwise it stops the process for some 0.3 s with 1,000,000 znodes, now
        and then.
      superuser: Who may do everything, whatever the ACLs: the id of a
        :func:`coordlib.digest_identity`, such as ``"super:<hash>"``. A session
        becomes the superuser by :meth:`coordlib.Session.add_auth` with that
        user and password. Empty: nobody. The same on all members, for each
        judges its own sessions.
      limits: Sizes and counts.

    """

    heartbeat_interval: float = 0.1
    silence_timeout: float = 1.0
    election_wait: float = 0.1
    session_timeout_min: float = 0.5
    session_timeout_max: float = 3600.0
    clean_interval: float = 1.0
    cleaned_per_minute_max: int = 10_000
    snapshot_interval: int = 20_000
    snapshot_interval_bytes: int = 64 << 20
    snapshots_kept: int = 2
    kept_bytes_max: int = 1 << 30
    history_records_max: int = 50_000
    history_bytes_max: int = 64 << 20
    gc_freeze: bool = True
    superuser: str = attrs.field(default="", repr=False)
    limits: Limits = Limits()

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
          ConfigError: A duration or count is not positive, two contradict, or
            the superuser's digest is none.

        """
        if self.superuser and _DIGEST.fullmatch(self.superuser) is None:
            raise ConfigError("superuser is not the id of a digest_identity")
        for field in attrs.fields(Config):
            value: object = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not (value > 0 and isfinite(value)):
                raise ConfigError(f"{field.name} must be positive, not {value}")
        if self.silence_timeout < 3 * self.heartbeat_interval:
            raise ConfigError(
                "silence_timeout must be at least three heartbeat intervals, or one "
                f"late heartbeat looks like a death: {self.silence_timeout} < "
                f"3 * {self.heartbeat_interval}"
            )
        low, high = _SESSION_TIMEOUT_BOUNDS
        if self.session_timeout_min < low:
            raise ConfigError(
                f"session_timeout_min {self.session_timeout_min} is less than {low}"
            )
        _at_most("session_timeout_max", self.session_timeout_max, high)
        if self.session_timeout_min > self.session_timeout_max:
            raise ConfigError(
                f"session_timeout_min {self.session_timeout_min} is above "
                f"session_timeout_max {self.session_timeout_max}"
            )
