"""The arguments of the ``coordlib`` command, and its errors as one line each.

Exit codes: 0 for good, 1 for damage, 2 for what could not be done at all.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path

from coordlib.errors import CoordError, CorruptLogError
from coordlib.ids import make_zxid
from coordlib.storage.record import Identity

from .backup import back_up, restore_backup
from .dump import Selection, dump
from .repair import repair
from .terminal import note
from .transfer import export_state, import_state
from .verify import verify

__all__ = ["main"]

_DAMAGED = 1
_FAILED = 2
_INTERRUPTED = 130

_ZXID = re.compile(r"(\d{1,10}):(\d{1,10})|0x([0-9a-f]{1,16})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
      arguments: Those after the command's name; the process's own by default.

    Raises:
      SystemExit: The arguments are wrong, or ask for help.

    """
    chosen = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = chosen.run
    try:
        code = run(chosen)
        sys.stdout.flush()
    except KeyboardInterrupt:
        note("coordlib: interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has had enough; nor must the flush at exit complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CorruptLogError as error:
        note(f"coordlib: {error}")
        return _DAMAGED
    except OSError as error:
        about = f"{error.filename}: " if error.filename is not None else ""
        note(f"coordlib: {about}{error.strerror or error}")
        return _FAILED
    except (BrokenExecutor, MemoryError) as error:
        note(f"coordlib: too little memory, or a process was killed: {error}")
        return _FAILED
    except CoordError as error:
        note(f"coordlib: {error}")
        return _FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coordlib", description="Looks after the data directories of coordlib."
    )
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_log(groups.add_parser("log", help="verify, dump or repair a log"))
    _add_snapshot(groups.add_parser("snapshot", help="export or import a state"))
    _add_backup(groups.add_parser("backup", help="copy a member's data directory"))
    _add_restore(groups.add_parser("restore", help="make a directory of a backup"))
    return parser


def _add_log(group: argparse.ArgumentParser) -> None:
    verbs = group.add_subparsers(required=True, metavar="VERB")

    check = verbs.add_parser(
        "verify", help="read every byte; exit code 1 if any is damaged"
    )
    _add_directory(check)
    check.set_defaults(run=lambda chosen: verify(chosen.dir))

    show = verbs.add_parser("dump", help="show the records of the log, one in a line")
    _add_directory(show)
    show.add_argument("--from", dest="first", type=_zxid, metavar="ZXID", default=0)
    show.add_argument("--to", dest="last", type=_zxid, metavar="ZXID")
    show.add_argument("--json", action="store_true", help="a JSON object for each")
    show.add_argument(
        "--data", action="store_true", help="data of znodes and secrets, too"
    )
    show.set_defaults(
        run=lambda chosen: dump(
            chosen.dir,
            Selection(chosen.first, chosen.last),
            as_json=chosen.json,
            with_data=chosen.data,
        )
    )

    mend = verbs.add_parser(
        "repair", help="make a damaged directory good; without --yes, say how"
    )
    _add_directory(mend)
    mend.add_argument("--yes", action="store_true", help="do it, after a copy")
    mend.add_argument(
        "--drop-acknowledged",
        action="store_true",
        help="even if what may have been acknowledged is lost",
    )
    _add_standalone(mend)
    mend.set_defaults(
        run=lambda chosen: repair(
            chosen.dir,
            yes=chosen.yes,
            drop_acknowledged=chosen.drop_acknowledged,
            standalone=chosen.standalone,
        )
    )


def _add_snapshot(group: argparse.ArgumentParser) -> None:
    verbs = group.add_subparsers(required=True, metavar="VERB")

    leave = verbs.add_parser("export", help="write the newest state into one file")
    _add_directory(leave)
    leave.add_argument("file", type=_path, metavar="FILE", help="a new file")
    leave.add_argument(
        "--with-log",
        action="store_true",
        help="not only the newest snapshot but also the log, whose end may never "
        "have been committed",
    )
    leave.add_argument(
        "--zxid", type=_zxid, help="the state after this transaction, with the log"
    )
    leave.set_defaults(
        run=lambda chosen: export_state(
            chosen.dir, chosen.file, chosen.zxid, with_log=chosen.with_log
        )
    )

    begin = verbs.add_parser(
        "import", help="begin a new ensemble; the same file for each of its members"
    )
    begin.add_argument("file", type=_path, metavar="FILE", help="an exported state")
    _add_directory(begin)
    begin.add_argument("--member", type=int, default=1, help="the member's id")
    begin.add_argument("--name", default="coordlib", help="the ensemble's name")
    begin.add_argument(
        "--token",
        default="",
        help="the same for all members, another each time that a file is imported",
    )
    begin.set_defaults(
        run=lambda chosen: import_state(
            chosen.file,
            chosen.dir,
            Identity(chosen.member, chosen.name),
            chosen.token,
        )
    )


def _add_backup(parser: argparse.ArgumentParser) -> None:
    _add_directory(parser)
    parser.add_argument("target", type=_path, metavar="TARGET", help="a new directory")
    parser.set_defaults(run=lambda chosen: back_up(chosen.dir, chosen.target))


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=_path, metavar="SOURCE", help="the backup")
    _add_directory(parser)
    _add_standalone(parser)
    parser.set_defaults(
        run=lambda chosen: restore_backup(
            chosen.source, chosen.dir, standalone=chosen.standalone
        )
    )


def _add_standalone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--standalone",
        action="store_true",
        help="the member is the only one of its ensemble, and goes on with what it has",
    )


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=_path, metavar="DIR", help="the data directory")


def _path(text: str) -> Path:
    """Return an absolute path, whose name can be told; links in it stay."""
    return Path(os.path.abspath(text))


def _zxid(text: str) -> int:
    """Return the zxid that ``epoch:counter`` or a hexadecimal number stands for."""
    match = _ZXID.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no zxid, such as 3:17 or 0x300000011"
        )
    epoch, counter, number = match.groups()
    return make_zxid(int(epoch), int(counter)) if number is None else int(number, 16)
