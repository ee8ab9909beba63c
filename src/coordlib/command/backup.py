"""``coordlib backup`` and ``restore``: a member's directory, copied and back.

A backup is a data directory whose member does not vote: it has forgotten what
came after it, so the last record in it says that the disk is not what it was.
That holds for plain copies of it, too. A list of its files and their hashes
shows what is missing; the log alone cannot tell that its end is gone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from coordlib.errors import CorruptLogError, StorageError
from coordlib.storage.directory import segment_name, snapshot_name

from .copying import Copied, copy_files, hash_file, new_directory, write_text
from .files import looking
from .rewriting import change_metadata, forgetful, standing_alone
from .survey import Survey, again_if_purged, survey
from .terminal import note, say
from .verify import summary

__all__ = ["back_up", "restore_backup"]

_MANIFEST = "MANIFEST"
_TITLE = "coordlib backup 1"
_LINE = re.compile(r"((?:log|snapshot)\.[0-9a-f]{16}) (\d{1,18}) ([0-9a-f]{128})")


def back_up(path: Path, target: Path) -> int:
    """Copy a member's directory, whose replica may run, and return the exit code.

    Raises:
      CorruptLogError: It is damaged.
      StorageError: It is no data directory, or ``target`` is not empty.
      OSError: The operating system refused.

    """
    found = again_if_purged(partial(_copy, path, target))
    say(f"{target}: {summary(found)}")
    return 0


def _copy(path: Path, target: Path) -> Survey:
    with new_directory(target) as aside:
        with looking(path) as directory:
            contents = directory.contents()
            # In this order: the log has all that a snapshot was made of.
            names = [*map(snapshot_name, contents.snapshots)]
            names += map(segment_name, contents.segments)
            if not contents.segments:
                raise StorageError(f"{path} holds no log")
            copy_files(directory, names, aside, "backup")
        copied = survey(aside)
        _refuse_damage(copied)
        # It cuts off the end of what was being written, as well.
        change_metadata(aside, copied.identity, forgetful)
        found = survey(aside)
        _refuse_damage(found)
        _write_manifest(aside, found)
    return found


def _refuse_damage(found: Survey) -> None:
    for finding in found.damage:
        raise CorruptLogError(finding.file, finding.offset, finding.what)


def _write_manifest(path: Path, found: Survey) -> None:
    names = [snapshot_name(part.zxid) for part in found.snapshots]
    names += [segment_name(part.number) for part in found.segments]
    lines = [_TITLE]
    for name in names:
        size, digest = hash_file(path / name)
        lines.append(f"{name} {size} {digest}")
    lines.append("end")
    write_text(path / _MANIFEST, "".join(f"{line}\n" for line in lines))


def restore_backup(source: Path, path: Path, *, standalone: bool) -> int:
    """Make a data directory from a backup, and return the exit code.

    Args:
      source: What :func:`back_up` made.
      path: The directory; new or empty.
      standalone: The member is the only one of its ensemble, so it goes on with
        what there is. Otherwise the others synchronise it before it votes.

    Raises:
      CorruptLogError: The backup is damaged.
      StorageError: It is no backup, or ``path`` is not empty.
      OSError: The operating system refused.

    """
    listed = _read_manifest(source)
    with new_directory(path) as aside:
        with looking(source) as directory:
            names = [file.name for file in listed]
            copied = copy_files(directory, names, aside, "restore")
        for was, now in zip(listed, copied, strict=True):
            if was != now:
                raise CorruptLogError(now.name, 0, "not what was backed up")
        found = survey(aside)
        _refuse_damage(found)
        if standalone:
            change_metadata(aside, found.identity, standing_alone)
    say(f"{path}: {summary(found)}")
    if not standalone:
        note(
            "note: the member does not vote before the others have synchronised it; "
            "for the only member of an ensemble, restore with --standalone"
        )
    return 0


def _read_manifest(source: Path) -> Sequence[Copied]:
    try:
        text = (source / _MANIFEST).read_text(encoding="ascii")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError) as error:
        raise StorageError(f"{source} is no backup: it has no {_MANIFEST}") from error
    title, *lines = text.splitlines() or [""]
    if title != _TITLE:
        raise StorageError(f"{source} is no backup of a version that is known here")
    matches = [_LINE.fullmatch(line) for line in lines[:-1]]
    files = [
        Copied(match[1], int(match[2]), match[3])
        for match in matches
        if match is not None
    ]
    if lines[-1:] != ["end"] or len(files) != len(matches) or not files:
        raise CorruptLogError(f"{source / _MANIFEST}", 0, "it is damaged")
    return files
