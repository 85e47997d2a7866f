"""Short names for the plug-in's options, where the command line names this folder."""

from __future__ import annotations

import pytest

from harness.pytest_plugin import OPTIONS


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `harness.pytest_plugin`, without their prefix."""
    group = parser.getgroup("harness")
    for name in OPTIONS:
        group.addoption(f"--{name}", dest=f"harness_{name}", default=None, help=f"same as --harness-{name}")
