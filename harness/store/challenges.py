"""Challenges on disk: ``RESULTS/challenge/RUN/challenge.json``, beside the run without a fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import ResultsError
from harness.store.cache import write_atomically, writing

FOLDER, FILE = "challenge", "challenge.json"
SCHEMA_VERSION = 1
#: Keys that every challenge has.
KEYS = frozenset({"run_id", "created_utc", "model", "target", "faults", "effects", "score", "state"})


def write(path: Path, challenge: Mapping[str, Any]) -> None:
    """Write a challenge as JSON."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"schema_version": SCHEMA_VERSION, **challenge}, indent=1, allow_nan=False)
        write_atomically(path, text.encode())


def read(path: Path) -> dict[str, Any]:
    """Read a challenge.

    Raises
    ------
    ResultsError
        The file is missing, damaged, or of a newer version.
    """
    try:
        value = json.loads(path.read_text())
        version = value["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError("this is no challenge", where=str(path), next_step="harness challenge") from error
    if version != SCHEMA_VERSION or not isinstance(value, dict) or not value.keys() >= KEYS:
        raise ResultsError(
            f"the challenge has the schema version {version}, this harness reads {SCHEMA_VERSION}",
            where=str(path), next_step="repeat it: harness challenge",
        )  # fmt: skip
    return value


def latest(results: Path, model_sha256: str, target: str) -> dict[str, Any] | None:
    """The newest challenge of a model on a target below a folder of results; None where there is none."""
    newest: dict[str, Any] | None = None
    for path in sorted((results / FOLDER).glob(f"*/{FILE}")):
        try:
            value = read(path)
        except ResultsError:  # of another version: it says nothing here, and its own command names it
            continue
        is_of_it = (value["model"].get("sha256"), value["target"]) == (model_sha256, target)
        if is_of_it and (newest is None or value["created_utc"] >= newest["created_utc"]):
            newest = value
    return newest
