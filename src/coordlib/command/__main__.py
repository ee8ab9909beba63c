"""Runs the command as ``python -m coordlib.command``."""

from __future__ import annotations

import sys

from .arguments import main

if __name__ == "__main__":
    sys.exit(main())
