"""Configurations that cannot work are refused before anything starts."""

from __future__ import annotations

from math import inf, nan
from typing import Protocol, cast

import attrs
import pytest

from coordlib import digest_identity
from coordlib.config import Config, Limits
from coordlib.errors import ConfigError
from coordlib.tree import DATA_BYTES_MAX
from coordlib.tree.paths import PATH_CHARS_MAX
from coordlib.tree.sessions import OUTCOMES_MAX

DURATIONS = [
    "heartbeat_interval",
    "silence_timeout",
    "election_wait",
    "clean_interval",
    "session_timeout_min",
    "session_timeout_max",
]
COUNTS = [
    "snapshot_interval",
    "snapshot_interval_bytes",
    "snapshots_kept",
    "kept_bytes_max",
    "history_records_max",
    "history_bytes_max",
    "cleaned_per_minute_max",
]


class MakeConfig(Protocol):
    """The class as somebody sees it who picks a field by its name."""

    def __call__(self, **fields: float) -> Config: ...


make_config = cast("MakeConfig", Config)


def test_the_defaults_work() -> None:
    config = Config()

    assert config.session_timeout_min < 10 < config.session_timeout_max
    assert config.limits.transaction_bytes_max < config.limits.frame_bytes_max


def test_the_garbage_collector_can_be_left_alone() -> None:
    assert not Config(gc_freeze=False).gc_freeze


def test_every_field_is_tested_here() -> None:
    fields = {field.name for field in attrs.fields(Config)}

    assert fields == {*DURATIONS, *COUNTS, "gc_freeze", "superuser", "limits"}


@pytest.mark.parametrize(
    "superuser", ["super", "super:password", "super:", "a:b:" + 27 * "x" + "="]
)
def test_a_superuser_without_a_digest_is_refused(superuser: str) -> None:
    Config(superuser=digest_identity("super", "secret").id)
    with pytest.raises(ConfigError, match="superuser"):
        Config(superuser=superuser)
    # Nor does a digest show where a configuration is printed.
    assert "superuser" not in repr(Config())


@pytest.mark.parametrize("field", [*DURATIONS, *COUNTS])
@pytest.mark.parametrize("value", [0, -1, nan])
def test_a_value_that_is_not_positive_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        make_config(**{field: value})


@pytest.mark.parametrize("field", DURATIONS)
def test_an_endless_duration_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        make_config(**{field: inf})


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Limits)])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_is_not_positive_is_refused(field: str, value: int) -> None:
    with pytest.raises(ConfigError, match=field):
        Limits(**{field: value})


def test_silence_shorter_than_three_heartbeats_is_refused() -> None:
    with pytest.raises(ConfigError, match="silence_timeout"):
        Config(heartbeat_interval=0.5, silence_timeout=1.0)


def test_session_timeouts_are_in_order_and_fit_the_log() -> None:
    with pytest.raises(ConfigError, match="session_timeout"):
        Config(session_timeout_min=10, session_timeout_max=5)
    # The log keeps milliseconds, as 32-bit numbers.
    with pytest.raises(ConfigError, match="session_timeout_min"):
        Config(session_timeout_min=0.0001)
    with pytest.raises(ConfigError, match="session_timeout_max"):
        Config(session_timeout_max=1e9)


def test_limits_that_contradict_each_other_are_refused() -> None:
    # A transaction must fit a frame, and the data of a znode a transaction.
    with pytest.raises(ConfigError, match="frame_bytes_max"):
        Limits(transaction_bytes_max=16 << 20)
    with pytest.raises(ConfigError, match="transaction_bytes_max"):
        Limits(transaction_bytes_max=1000)
    # What the tree of every member accepts is not a matter of configuration.
    with pytest.raises(ConfigError, match="data_bytes_max"):
        Limits(data_bytes_max=2 << 20)
    with pytest.raises(ConfigError, match="path_chars_max"):
        Limits(path_chars_max=2000)
    # Nor how many outcomes it keeps: an older one would be lost by a snapshot.
    Limits(outstanding_max=OUTCOMES_MAX)
    with pytest.raises(ConfigError, match="outstanding_max"):
        Limits(outstanding_max=OUTCOMES_MAX + 1)


def test_the_bounds_of_limits_are_those_of_the_tree() -> None:
    limits = Limits()

    assert limits.data_bytes_max == DATA_BYTES_MAX
    assert limits.path_chars_max == PATH_CHARS_MAX
