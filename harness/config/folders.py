"""Folders outside the working folder: the cache, and what is shipped with the package."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where artifacts and data sets are kept: ``HARNESS_CACHE``, else the user's cache folder."""
    if named := os.environ.get("HARNESS_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deployment-validation-harness"


def shipped_folder(name: str) -> Path:
    """``targets`` or ``models`` as shipped: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parents[1] / "_shipped" / name
    return inside if inside.is_dir() else Path(__file__).parents[2] / name
