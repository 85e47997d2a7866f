"""Folders outside the working folder: the cache, and what is shipped with the package."""

from __future__ import annotations

import os
from pathlib import Path

#: Folder of an installed package with what is shipped.
INSTALLED = "_shipped"


def cache_folder() -> Path:
    """Return the folder of artifacts and data sets: ``HARNESS_CACHE``, else the user's cache folder."""
    if folder := os.environ.get("HARNESS_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deployment-validation-harness"


def shipped_folder(name: str) -> Path:
    """Return the shipped folder ``targets`` or ``models``: in an installed package, or in a checkout."""
    inside = Path(__file__).parents[1] / INSTALLED / name
    return inside if inside.is_dir() else Path(__file__).parents[2] / name
