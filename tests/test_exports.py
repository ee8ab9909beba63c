"""The public face is complete, documented, and free of accidents."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import coordlib
import coordlib.command
import coordlib.errors
import coordlib.recipes
import coordlib.testing

MODULES = [
    coordlib,
    coordlib.command,
    coordlib.errors,
    coordlib.recipes,
    coordlib.testing,
]


def exported(module: ModuleType) -> list[str]:
    names: object = getattr(module, "__all__", None)
    assert isinstance(names, list), f"{module.__name__} says nothing of what is public"
    return [str(name) for name in names]


NAMES = [(module, name) for module in MODULES for name in exported(module)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_names_are_listed_once_and_in_order(module: ModuleType) -> None:
    names = exported(module)

    assert len(set(names)) == len(names)
    if module is not coordlib.errors:
        assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    assert module.__doc__


@pytest.mark.parametrize(
    ("module", "name"), NAMES, ids=[f"{m.__name__}.{n}" for m, n in NAMES]
)
def test_a_public_name_exists_and_has_a_docstring(
    module: ModuleType, name: str
) -> None:
    value: object = getattr(module, name)

    # A number has its docstring in the source, where only readers find it.
    if not isinstance(value, int):
        assert own_docstring(value), f"{name} has no docstring of its own"


@pytest.mark.parametrize(
    ("module", "name"), NAMES, ids=[f"{m.__name__}.{n}" for m, n in NAMES]
)
def test_the_public_methods_of_a_public_class_have_docstrings(
    module: ModuleType, name: str
) -> None:
    value: object = getattr(module, name)
    if not inspect.isclass(value) or not value.__module__.startswith("coordlib"):
        return

    missing = [
        attribute
        for attribute, member in vars(value).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property))
        and not member.__doc__
    ]

    assert missing == []


def test_every_error_is_public() -> None:
    errors = {name for name in exported(coordlib.errors) if name[0].isupper()}

    assert errors <= set(exported(coordlib))


def own_docstring(value: object) -> str | None:
    """Return a docstring that was written, not inherited or made up by a library."""
    if inspect.isclass(value):
        written = vars(value).get("__doc__")
        return written if isinstance(written, str) else None
    return value.__doc__
