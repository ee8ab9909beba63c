"""The documentation says what is so: its code runs, its names and links exist."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

import coordlib.errors
from test_architecture import MAY_IMPORT, PURE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def name_of(page: Path) -> str:
    return page.name


EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)

# Where a path in the docs may begin.
BASES = [ROOT, ROOT / "src" / "coordlib"]

FENCE = re.compile(r"^```(?P<kind>.*)\n(?P<body>(?:.*\n)*?)```$", re.MULTILINE)
FILE = re.compile(r"`([\w./-]+(?:\.(?:py|md|toml)|/)|Makefile|LICENSE)`")
# A step and where it happens: (`file.py`, `Class.name`, `name`).
PLACE = re.compile(r"\(`([\w./-]+\.py)`((?:, `[\w.]+`)+)\)")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def blocks(page: Path, kind: str) -> list[str]:
    """Return the code blocks of a page that begin with ```` ```kind ````."""
    found = FENCE.finditer(page.read_text())
    return [match["body"] for match in found if match["kind"] == kind]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text())


def resolve(path: str) -> Path | None:
    """Return what a path in the docs names, or ``None`` if there is no such thing."""
    return next((base / path for base in BASES if (base / path).exists()), None)


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page can be linked by."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python run")], ids=name_of
)
def test_code_marked_run_runs(page: Path) -> None:
    """All such blocks of a page share their names, as a reader would expect."""
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python run"):
        exec(compile(block, str(page), "exec"), names)
    for name, value in names.items():
        if name.startswith("test_") and inspect.iscoroutinefunction(value):
            clock = MockClock(autojump_threshold=0)
            trio.run(value, clock, clock=clock)


@EACH_PAGE
def test_all_code_is_python(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@EACH_PAGE
def test_the_files_named_exist(page: Path) -> None:
    assert [path for path in FILE.findall(prose(page)) if not resolve(path)] == []


@EACH_PAGE
def test_what_is_said_to_be_in_a_file_is_in_it(page: Path) -> None:
    missing: list[tuple[str, str]] = []
    for path, names in PLACE.findall(prose(page)):
        file = resolve(path)
        text = file.read_text() if file else ""
        for name in re.findall(r"`([\w.]+)`", names):
            parts = name.split(".")
            if not all(re.search(rf"(class|def) {p}\b", text) for p in parts):
                missing.append((path, name))
    assert missing == []


@EACH_PAGE
def test_the_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(prose(page)):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_guarantees_name_every_error() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text()
    errors = [n for n in coordlib.errors.__all__ if n[0].isupper() and n != "ErrorCode"]

    assert [name for name in errors if f"`{name}`" not in text] == []


def test_the_code_map_is_the_one_that_is_enforced() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `([\w]+)` \|(.*)\|(.*)\|(.*)\|$", text, re.MULTILINE)
    drawn = {name: set(re.findall(r"`(\w+)`", may)) for name, _, may, _ in rows}

    assert drawn == MAY_IMPORT
    assert {name for name, *_, pure in rows if pure.strip()} == PURE
