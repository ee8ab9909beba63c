"""Fixtures and hooks shared by all tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("scenario")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what came out into the transcripts in tests/scenarios",
    )
