"""Explanations of a run on disk: ``explanations.json`` in its folder, one for each failing variant."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import ResultsError
from harness.store.cache import write_atomically, writing

FILE = "explanations.json"
SCHEMA_VERSION = 1
#: Keys that every explanation has.
KEYS = frozenset(
    {"target", "backend", "variant", "setting", "gates", "reference", "other", "causes", "reason"}
)


def write(folder: Path, explanations: Sequence[Mapping[str, Any]]) -> None:
    """Write all explanations of a run, in place of those that were there."""
    with writing(folder / FILE):
        content = {"schema_version": SCHEMA_VERSION, "explanations": _finite(explanations)}
        write_atomically(folder / FILE, json.dumps(content, indent=1, allow_nan=False).encode())


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Numbers that JSON has none for become null: no signal, outputs of another shape."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(folder: Path) -> list[dict[str, Any]]:
    """Read the explanations of a run; none where nothing was explained.

    Raises
    ------
    ResultsError
        The file is damaged, or of a newer version.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        value = json.loads(path.read_text())
        version, explanations = value["schema_version"], value["explanations"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError("the explanations cannot be read", where=str(path)) from error
    if version != SCHEMA_VERSION or not all(
        isinstance(one, dict) and one.keys() >= KEYS for one in explanations
    ):
        raise ResultsError(
            f"the explanations have the schema version {version}, this harness reads {SCHEMA_VERSION}",
            where=str(path), next_step="repeat them: harness explain RUN",
        )  # fmt: skip
    return list(explanations)
