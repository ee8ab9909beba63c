"""What one seed's simulation is like: sizes, speeds, and which faults exist.

Swarm testing (ISSTA 2012): a run that leaves out most faults reaches what a
run with all of them at once never does, so each seed draws its own few.
"""

from __future__ import annotations

from random import Random

import attrs

from coordlib.consensus import Settings
from coordlib.ids import COUNTER_MAX

from .kernel import chance

__all__ = ["FAULTS", "Profile", "draw_profile"]

FAULTS = (
    "kill",
    "kill_leader",
    "kill_would_be_leader",
    "kill_between_effects",
    "power_loss",
    "power_loss_of_all",
    "restart_storm",
    "pause",
    "pause_leader",
    "flood",
    "isolate",
    "isolate_leader",
    "split",
    "one_way",
    "bridge",
    "ring",
    "flap",
    "reset",
    "half_open",
    "second_link",
    "clog",
    "slow_disk",
    "stalled_disk",
    "stalled_leader_disk",
    "disk_error",
    "full_disk",
    "wipe",
    "transfer_lead",
    "bit_rot",
    "kill_while_writing",
    "reset_would_be_leader",
    "rot_everywhere",
    "roll_back",
)
"""Every class of fault; what they do is in ``faults``."""


@attrs.frozen(kw_only=True)
class Profile:
    """One seed's choices. Times are microseconds unless said otherwise.

    Attributes:
      members: How many voters.
      observers: How many members besides them.
      settings: The cores' durations and bounds.
      wire: Frames pass through the codec.
      link_delay: The shortest way of a frame; some take much longer.
      disk_delay: A batch of writes.
      snapshot_interval: Transactions between two snapshots.
      snapshots_kept: How many.
      segment_bytes_max: The log's.
      piece_bytes: A snapshot's pieces on the wire.
      workers: Clients per member, each with a session of its own.
      pause: Between two requests of one client, on average.
      session_timeout: Seconds.
      skew: Clocks run at most this much faster or slower.
      fault_pause: Between two faults, on average.
      faults: Which there are, and how often relative to each other.
      kept_bytes_max: Bytes of files beside those of the newest snapshot.

    """

    members: int
    observers: int
    settings: Settings
    wire: bool
    link_delay: int
    disk_delay: int
    snapshot_interval: int
    snapshots_kept: int
    segment_bytes_max: int
    piece_bytes: int
    workers: int
    pause: int
    session_timeout: float
    skew: float
    fault_pause: int
    faults: dict[str, float]
    kept_bytes_max: int


def draw_profile(random: Random, members: int | None = None) -> Profile:
    """Return the choices of one seed.

    Args:
      random: The seed's stream for this.
      members: How many voters; ``None`` draws that too.

    """
    choice = random.choice
    drawn = choice([1, 3, 3, 3, 3, 4, 5, 5])
    pace = choice([1.0, 1.0, 0.3])
    settings = Settings(
        heartbeat_interval=0.1 * pace,
        silence_timeout=1.0 * pace,
        election_wait=0.1 * pace,
        history_records_max=choice([3, 20, 200, 10_000]),
        history_bytes_max=choice([2_000, 1 << 20]),
        batch_records_max=choice([1, 3, 1024]),
        batch_bytes_max=choice([300, 1 << 20]),
        counter_max=choice([20, 200, COUNTER_MAX, COUNTER_MAX]),
        # Few enough that a flood meets the bound.
        uncommitted_records_max=100,
    )
    return Profile(
        members=members or drawn,
        observers=choice([0, 0, 0, 1, 2]),
        settings=settings,
        wire=choice([True, False]),
        link_delay=choice([100, 1_000, 1_000, 5_000]),
        disk_delay=choice([100, 1_000, 5_000]),
        snapshot_interval=choice([5, 30, 200, 20_000]),
        snapshots_kept=choice([1, 2, 2, 3]),
        segment_bytes_max=choice([300, 4_000, 1 << 20]),
        piece_bytes=choice([100, 2_000, 1 << 18]),
        workers=choice([1, 2, 4]),
        pause=choice([1_000, 5_000, 20_000]),
        session_timeout=choice([0.5, 1.5, 6.0]) * pace,
        skew=choice([0.0, 0.01, 0.05]),
        fault_pause=choice([20_000, 100_000, 400_000]),
        faults=_draw_faults(random),
        kept_bytes_max=choice([1 << 30, 1 << 30, 2_000]),
    )


def _draw_faults(random: Random) -> dict[str, float]:
    # One seed in eight has no faults at all: that is where slowness shows.
    if chance(random, 0.125):
        return {}
    share = random.choice([0.15, 0.3, 0.6])
    return {
        name: random.choice([1.0, 1.0, 3.0]) for name in FAULTS if chance(random, share)
    }
