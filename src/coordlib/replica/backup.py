"""Writes a backup of a running replica's tree, and does not hold it up.

The tree's snapshot is made like any other, see :mod:`.snapshots`; here it becomes
a file, a mebibyte at a time, so that a cancelled caller waits for no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import attrs

from coordlib.errors import StorageError
from coordlib.ids import Zxid
from coordlib.storage.portable import save_portable

from .links import Blocking

__all__ = ["Backup", "write_backup"]


@attrs.frozen
class Backup:
    """What :meth:`coordlib.Ensemble.backup` wrote.

    Attributes:
      zxid: The last transaction that it includes.
      size: Bytes of the file.

    """

    zxid: Zxid
    size: int


async def write_backup(
    target: Path, zxid: int, pieces: Sequence[bytes], blocking: Blocking
) -> int:
    """Write a new file and return its size; cancelled or refused, there is none.

    Raises:
      StorageError: The operating system refused, or ``target`` exists.

    """
    size = 0
    try:
        with closing(save_portable(target, zxid, pieces)) as steps:
            while (step := await blocking(partial(next, steps, None))) is not None:
                size += step
    except OSError as error:
        raise StorageError(f"{target}: {error}") from error
    return size
