"""Prints each runtime dependency of pyproject.toml pinned to its floor."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    name, floor = re.match(r"([\w-]+)>=([\w.]+)", requirement).groups()
    print(f"{name}=={floor}")  # noqa: T201 - printing is what it is for
