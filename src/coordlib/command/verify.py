"""``coordlib log verify``: is all that a data directory holds good?"""

from __future__ import annotations

from pathlib import Path

from coordlib.ids import format_zxid

from .survey import Survey, survey
from .terminal import megabytes, note, say

__all__ = ["verify"]


def verify(path: Path) -> int:
    """Read every byte, say what is wrong, and return the exit code.

    Raises:
      StorageError: It is no data directory, or of an unknown version.
      OSError: The operating system refused.

    """
    found = survey(path)
    for finding in found.findings:
        if finding.is_damage:
            note(f"damage: {finding}")
        else:
            say(f"note: {finding}")
    say(f"{path}: {summary(found)}")
    return 1 if found.damage else 0


def summary(found: Survey) -> str:
    """Return what a directory holds, in a line."""
    records = sum(segment.records for segment in found.segments)
    parts = [
        f"{len(found.segments)} segments",
        f"{records:,} records",
        f"{len(found.snapshots)} snapshots",
        megabytes(found.size),
    ]
    if not found.damage:
        first, last = found.course.base, found.course.last
        parts.append(f"history from {format_zxid(first)} to {format_zxid(last)}")
        parts.append(f"member {found.identity.member}")
    count = len(found.damage)
    verdict = "good" if not count else f"{count} damaged place{'s'[: count > 1]}"
    return f"{', '.join(parts)}: {verdict}"
