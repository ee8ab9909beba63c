"""The house's load-bearing walls: which part may import which (design, section 4)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "coordlib"

# What `from coordlib import Session` reaches: the public face.
FACE = "__init__"

_VALUES = {"ids", "errors"}
_BELOW_REPLICA = {
    *_VALUES,
    "config",
    "encoding",
    "consensus",
    "tree",
    "storage",
    "transport",
}

# Which parts of coordlib each part may import, besides itself; bottom-up.
MAY_IMPORT: dict[str, set[str]] = {
    "ids": set(),
    "errors": {"ids"},
    "config": {"ids", "errors"},
    "encoding": {"errors"},
    "tree": {*_VALUES, "encoding"},
    "consensus": _VALUES,
    "storage": {*_VALUES, "config", "encoding"},
    "transport": {*_VALUES, "config", "encoding"},
    "replica": _BELOW_REPLICA,
    "session": {*_VALUES, "config", "tree", "replica"},
    "ensemble": {*_BELOW_REPLICA, "replica", "session"},
    FACE: {*_BELOW_REPLICA, "replica", "session", "ensemble"},
    "recipes": {FACE, "errors"},
    "testing": {*_BELOW_REPLICA, "replica", "session", "ensemble", "recipes", FACE},
    # Works on what a replica leaves behind; nobody may import it.
    "command": {*_VALUES, "consensus", "tree", "storage", "replica"},
}

PURE = {"ids", "errors", "config", "encoding", "tree", "consensus"}

# A list of what is allowed: a list of what is forbidden is never complete.
PURE_MAY_IMPORT = {
    "__future__",
    "attrs",
    "bisect",
    "cbor2",
    "collections",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "ipaddress",
    "itertools",
    "math",
    "operator",
    "re",
    "sortedcontainers",
    "struct",
    "types",
    "typing",
    "zlib",
}
IMPURE_BUILTINS = {"__import__", "breakpoint", "exec", "input", "open", "print"}


def running_nodes(module: ast.Module) -> Iterator[ast.AST]:
    """Yield everything but what stands under ``if TYPE_CHECKING``."""
    pending: list[ast.AST] = [module]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending.extend(node.orelse)
        else:
            yield node
            pending.extend(ast.iter_child_nodes(node))


def imported(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the absolute names that an import statement may make run."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = list(package[: len(package) - node.level + 1]) if node.level else []
        if node.module:
            base.append(node.module)
        module = ".".join(base)
        if module == "coordlib":
            # Either a part (`from coordlib import encoding`) or the face.
            yield from (f"coordlib.{alias.name}" for alias in node.names)
        else:
            yield module


def part_of(name: str) -> str:
    """Return the part of coordlib to which an absolute module name belongs."""
    part = name.split(".")[1] if "." in name else FACE
    return part if (ROOT / part).is_dir() or (ROOT / f"{part}.py").exists() else FACE


def violations(file: str, source: str) -> list[str]:
    """Return every broken rule in a file at this path below ``src/coordlib``."""
    parts = Path(file).with_suffix("").parts
    layer, package = parts[0], ("coordlib", *parts[:-1])
    found: list[str] = []
    for node in running_nodes(ast.parse(source)):
        for name in imported(node, package):
            if name.split(".")[0] == "coordlib":
                part = part_of(name)
                if part != layer and part not in MAY_IMPORT[layer]:
                    found.append(f"{layer} imports {name}")
            elif layer in PURE and name.split(".")[0] not in PURE_MAY_IMPORT:
                found.append(f"{layer} is pure but imports {name}")
        if layer in PURE and isinstance(node, ast.Name) and node.id in IMPURE_BUILTINS:
            found.append(f"{layer} is pure but uses {node.id}")
    return found


FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_imports_point_downwards(file: str) -> None:
    assert violations(file, (ROOT / file).read_text()) == []


def test_every_part_has_its_rule() -> None:
    assert {Path(file).with_suffix("").parts[0] for file in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tree/paths.py", "import trio"),
        ("tree/paths.py", "import time"),
        ("tree/paths.py", "from random import Random"),
        ("tree/paths.py", "def f():\n    import logging"),
        ("tree/paths.py", "from coordlib.consensus import Peer"),
        ("tree/paths.py", "from coordlib.consensus.peer import Peer"),
        ("tree/paths.py", "from coordlib import consensus"),
        ("tree/paths.py", "from .. import consensus"),
        ("tree/paths.py", "from ..replica.kept import Binding"),
        ("tree/paths.py", "import coordlib"),
        ("tree/paths.py", "from coordlib import Session"),
        ("tree/paths.py", "open('x')"),
        ("consensus/peer.py", "from coordlib.tree import DataTree"),
        ("consensus/peer.py", "from coordlib.encoding import encode"),
        ("consensus/peer.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import trio"),
        ("storage/log.py", "from coordlib.consensus import Peer"),
        ("transport/tcp.py", "from coordlib.tree import DataTree"),
        ("transport/tcp.py", "from coordlib.storage.file import FileStore"),
        ("replica/driver.py", "from coordlib.session import Session"),
        ("recipes/lock.py", "from coordlib.tree import Stat"),
        ("recipes/lock.py", "from coordlib.replica.kept import Binding"),
        ("recipes/lock.py", "from coordlib import replica"),
        ("session.py", "from coordlib.testing import MemoryEnsemble"),
        ("__init__.py", "from coordlib.recipes import Lock"),
        ("command/arguments.py", "from coordlib import Ensemble"),
        ("testing/simulate.py", "from coordlib.command import main"),
    ],
)
def test_a_broken_rule_is_seen(file: str, source: str) -> None:
    assert len(violations(file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tree/paths.py", "from coordlib import encoding"),
        ("tree/paths.py", "from .stat import Stat"),
        ("tree/paths.py", "if TYPE_CHECKING:\n    from coordlib.replica import x"),
        ("consensus/peer.py", "from coordlib.ids import Zxid"),
        ("recipes/lock.py", "from coordlib import Session\nimport trio"),
        ("testing/ensemble.py", "from coordlib.transport.memory import MemoryNetwork"),
    ],
)
def test_an_allowed_import_passes(file: str, source: str) -> None:
    assert violations(file, source) == []
