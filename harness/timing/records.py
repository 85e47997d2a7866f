"""A side-by-side timing on disk: every time of every process, and every look."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import ResultsError
from harness.core.metric import Timed
from harness.gates.timed import TimingSummary
from harness.store.cache import write_atomically, writing
from harness.timing.interleave import SERIES, Criterion, InterleavedTiming
from harness.timing.interleave import look as look_at

#: Folder of the timings of one run, or of all of them in a results folder.
FOLDER = "side_by_side"
FACTS, SAMPLES = "side_by_side.json", "samples.npz"
#: Harnesses before 1.0 wrote the facts under this name.
OLD_FACTS = "live.json"
SCHEMA_VERSION = 1


def summary(timing: InterleavedTiming) -> TimingSummary:
    """What was just measured, as it is reported."""
    return TimingSummary(
        timing.criterion.metric.name, timing.criterion.limit, timing.sides[0].label, timing.sides[1].label,
        None if timing.mostly_disturbed else timing.looks[-1], len(timing.times_ns["base"]),
        tuple(timing.disturbances),
    )  # fmt: skip


def write_new(timing: InterleavedTiming, results: Path) -> Path:
    """Write a timing that belongs to no run.

    Returns
    -------
    Path
        Its new folder in the results folder.
    """
    now = datetime.now(UTC)
    folder = results / FOLDER / f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    write(timing, folder, created_utc=now.isoformat(timespec="seconds"))
    return folder


def write(timing: InterleavedTiming, folder: Path, **more: Any) -> None:  # noqa: ANN401 - any JSON
    """Write the times, and the facts with the JSON values `more` added."""
    facts: dict[str, Any] = {
        **more,
        "schema_version": SCHEMA_VERSION,
        "metric": timing.criterion.metric.name, "timed": asdict(timing.criterion.metric),
        "limit": timing.criterion.limit,
        "seconds": round(timing.seconds, 3), "hopeless": timing.mostly_disturbed,
        "disturbed": timing.disturbances, "memory_byte": timing.memory_byte,
        "looks": [
            {
                "ratio": [look.ratio.value, look.ratio.low, look.ratio.high],
                "control": [look.control.value, look.control.low, look.control.high],
                "processes": look.ratio.n, "state": look.state.value, "why": look.why,
            }
            for look in timing.looks
        ],
        "state": timing.state.value, "sentence": summary(timing).sentence(),
        "sides": {
            name: {
                "label": side.label, "target": side.batch.target, "backend": side.batch.backend,
                "variant": side.batch.variant, "artifact_sha256": side.batch.artifact.sha256,
                "effective": dict(timing.effective.get(name, {})),
            }
            for name, side in zip(("base", "new"), timing.sides, strict=True)
        },
    }  # fmt: skip
    stream = io.BytesIO()
    arrays = {
        f"{series}_{index}": times for series in SERIES for index, times in enumerate(timing.times_ns[series])
    }
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    with writing(folder):
        write_atomically(folder / SAMPLES, stream.getvalue())
        write_atomically(folder / FACTS, json.dumps(facts, indent=1, sort_keys=True).encode())


def facts_file(folder: Path) -> Path:
    """The file of the facts in a timing's folder, under its present or its old name; it may not exist."""
    old = folder / OLD_FACTS
    return old if old.is_file() else folder / FACTS


def read(folder: Path) -> tuple[Mapping[str, Any], TimingSummary]:
    """Read a timing back, and judge its times again.

    Returns
    -------
    facts : mapping
        The JSON file.
    summary : TimingSummary

    Raises
    ------
    ResultsError
        A file is missing or damaged, or was written by a newer harness.
    """
    try:
        facts = json.loads(facts_file(folder).read_text())
        if facts["schema_version"] != SCHEMA_VERSION:
            raise ResultsError(
                f"the timing has the schema version {facts['schema_version']}, this harness reads "
                f"{SCHEMA_VERSION}",
                where=str(folder), next_step="update the harness",
            )  # fmt: skip
        with np.load(folder / SAMPLES, allow_pickle=False) as arrays:
            counts = {
                series: sum(name.startswith(f"{series}_") for name in arrays.files) for series in SERIES
            }
            times_ns = {
                series: [arrays[f"{series}_{index}"] for index in range(counts[series])] for series in SERIES
            }
        last = None
        if not facts["hopeless"]:
            last = look_at(times_ns, Criterion(_timed(facts), facts["limit"]), len(facts["looks"]))
        sides = facts["sides"]
        timing = TimingSummary(
            facts["metric"], facts["limit"], sides["base"]["label"], sides["new"]["label"], last,
            counts["base"], tuple(facts["disturbed"]),
        )  # fmt: skip
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ResultsError("a side-by-side timing is damaged", where=str(folder), cause=str(error)) from error
    return facts, timing


def _timed(facts: Mapping[str, Any]) -> Timed:
    """The metric; files of earlier versions have its name alone, which ends in the percentile (``p50``)."""
    if "timed" in facts:
        return Timed(**facts["timed"])
    name = str(facts["metric"])
    return Timed("", name, "", int(name.rpartition("p")[2]) / 100)
