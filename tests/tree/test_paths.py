"""Which paths are refused: the cases of ZooKeeper's ``PathUtilsTest``, and ours."""

from __future__ import annotations

import pytest

from coordlib.errors import BadArgumentsError
from coordlib.tree import name_of, parent_of, validate_path, validate_sequential

GOOD = [
    "/",
    "/a",
    "/this is / a valid/path",
    "/name/with\u0020space.",
    "/.a/..b/c./d../...",
    "/\u00e4\u00f6\u4e2d\uf900",
    "/" + "x" * 1023,
]

BAD = {
    "": "a path begins with '/'",
    "not/valid": "a path begins with '/'",
    "/ends/with/slash/": "a path does not end in '/'",
    "//": "a path does not end in '/'",
    "/double//slash": "a name is not empty, '.' or '..'",
    "//a": "a name is not empty, '.' or '..'",
    "/single/./period": "a name is not empty, '.' or '..'",
    "/double/../period": "a name is not empty, '.' or '..'",
    "/ends/with/.": "a name is not empty, '.' or '..'",
    "/ends/with/..": "a name is not empty, '.' or '..'",
    "/.": "a name is not empty, '.' or '..'",
    "/nul/\0": "U+0000 is not allowed in a path",
    "/line\n": "U+000A is not allowed in a path",
    "/unit\u001fseparator": "U+001F is not allowed in a path",
    "/delete/\u007f": "U+007F is not allowed in a path",
    "/control/\u009f": "U+009F is not allowed in a path",
    "/lone surrogate/\ud800": "U+D800 is not allowed in a path",
    "/private use/\uf8ff": "U+F8FF is not allowed in a path",
    "/specials/\ufff0": "U+FFF0 is not allowed in a path",
    "/not a character/\uffff": "U+FFFF is not allowed in a path",
    "/emoji/\U0001f600": "U+1F600 is not allowed in a path",
    "/" + "x" * 1024: "longer than 1024 characters",
}


@pytest.mark.parametrize("path", GOOD)
def test_good_path_passes(path: str) -> None:
    validate_path(path)


@pytest.mark.parametrize(("path", "reason"), BAD.items())
def test_bad_path_is_refused_with_its_reason(path: str, reason: str) -> None:
    with pytest.raises(BadArgumentsError) as caught:
        validate_path(path)

    assert caught.value.path == path
    assert caught.value.reason == reason


def test_length_limit_is_the_callers() -> None:
    validate_path("/four", chars_max=5)
    with pytest.raises(BadArgumentsError, match="longer than 4"):
        validate_path("/four", chars_max=4)


@pytest.mark.parametrize("path", ["/", "/a/", "/a", "/a/.", "/..", "/" + "x" * 1013])
def test_sequential_path_is_judged_with_its_number(path: str) -> None:
    validate_sequential(path)


@pytest.mark.parametrize("path", ["", "a", "/a//", "/\0", "/../", "/" + "x" * 1014])
def test_bad_sequential_path_is_refused_as_it_was_given(path: str) -> None:
    with pytest.raises(BadArgumentsError) as caught:
        validate_sequential(path)

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("path", "parent", "name"),
    [("/a/b", "/a", "b"), ("/a", "/", "a"), ("/", "/", "")],
)
def test_path_is_its_parent_and_its_name(path: str, parent: str, name: str) -> None:
    assert parent_of(path) == parent
    assert name_of(path) == name
