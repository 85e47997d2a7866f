"""Short names for the plug-in's options, where the command line names this folder."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--target``, ``--host``, ``--model``, ``--variant``, ``--results``, ``--budget`` and ``--run``."""
    group = parser.getgroup("harness")
    for name in ("target", "host", "model", "variant", "results", "budget", "run"):
        group.addoption(f"--{name}", dest=f"harness_{name}", default=None, help=f"same as --harness-{name}")
