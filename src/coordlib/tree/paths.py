"""Which strings are paths of znodes.

ZooKeeper's rules (``PathUtils.validatePath``) and a bound on the length. They
also refuse private-use characters and everything beyond U+FFFF, emoji
included, because ZooKeeper's clients do: a path that one member accepts must be
usable through every client.
"""

from __future__ import annotations

import re

from coordlib.errors import BadArgumentsError

__all__ = [
    "PATH_CHARS_MAX",
    "name_of",
    "parent_of",
    "validate_path",
    "validate_sequential",
]

PATH_CHARS_MAX = 1024

# Java sees characters beyond U+FFFF as surrogates, so they are in the range.
_ILLEGAL = "\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff"
_ILLEGAL_CHARACTER = re.compile(f"[{_ILLEGAL}]")
# A name is neither empty nor "." nor "..".
_PATH = re.compile(rf"/|(?:/(?!\.{{1,2}}(?:/|\Z))[^/{_ILLEGAL}]+)+")

# What a sequential name gets: ten digits, see Created.path.
_SUFFIX = "0000000000"


def validate_path(path: str, chars_max: int = PATH_CHARS_MAX) -> None:
    """Check that ``path`` can be the path of a znode.

    Args:
      path: An absolute path, such as ``"/config/limits"``.
      chars_max: The longest path allowed, in characters.

    Raises:
      BadArgumentsError: It cannot; the reason is in the error.

    Source:
      ``PathUtils.validatePath``; the length is ours.

    """
    if _PATH.fullmatch(path) is None or len(path) > chars_max:
        raise BadArgumentsError(path, _fault(path, chars_max))


def validate_sequential(path: str, chars_max: int = PATH_CHARS_MAX) -> None:
    """Check that ``path`` plus a sequence number can be the path of a znode.

    So ``path`` may end in ``"/"``: the number is then the whole name.

    Raises:
      BadArgumentsError: It cannot; the reason is in the error.

    """
    numbered = path + _SUFFIX
    if _PATH.fullmatch(numbered) is None or len(numbered) > chars_max:
        raise BadArgumentsError(path, _fault(numbered, chars_max))


def parent_of(path: str) -> str:
    """Return the path one level up; that of ``"/"`` is ``"/"``."""
    return path[: path.rindex("/")] or "/"


def name_of(path: str) -> str:
    """Return the last part of ``path``; that of ``"/"`` is empty."""
    return path[path.rindex("/") + 1 :]


def _fault(path: str, chars_max: int) -> str:
    """Say what is wrong with a path that is no path."""
    if not path.startswith("/"):
        return "a path begins with '/'"
    if len(path) > chars_max:
        return f"longer than {chars_max} characters"
    if illegal := _ILLEGAL_CHARACTER.search(path):
        return f"U+{ord(illegal.group()):04X} is not allowed in a path"
    if path.endswith("/"):
        return "a path does not end in '/'"
    return "a name is not empty, '.' or '..'"
