"""A comparison side by side on disk: every time of every process, and each look."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import ResultsError
from harness.gates.timed import Finding
from harness.store.cache import write_atomically, writing
from harness.timing.interleave import ARMS, Demand, Interleaved
from harness.timing.interleave import look as look_at

FACTS, SAMPLES = "live.json", "samples.npz"
SCHEMA_VERSION = 1


def finding(live: Interleaved) -> Finding:
    """What was just measured, as it is told."""
    return Finding(
        live.demand.metric, live.demand.limit, live.arms[0].label, live.arms[1].label,
        None if live.hopeless else live.looks[-1], len(live.times_ns["base"]), tuple(live.disturbed),
    )  # fmt: skip


def write(live: Interleaved, folder: Path, **more: Any) -> None:  # noqa: ANN401 - any JSON
    """Keep the facts, and `more` beside them."""
    facts: dict[str, Any] = {
        **more,
        "schema_version": SCHEMA_VERSION,
        "metric": live.demand.metric, "limit": live.demand.limit, "seconds": round(live.seconds, 3),
        "hopeless": live.hopeless, "disturbed": live.disturbed, "memory_byte": live.memory_byte,
        "looks": [
            {
                "ratio": [look.ratio.value, look.ratio.low, look.ratio.high],
                "control": [look.control.value, look.control.low, look.control.high],
                "processes": look.ratio.n, "state": look.state.value, "why": look.why,
            }
            for look in live.looks
        ],
        "state": live.state.value, "sentence": finding(live).sentence(),
        "sides": {
            name: {
                "label": arm.label, "target": arm.batch.target, "backend": arm.batch.backend,
                "variant": arm.batch.variant, "artifact_sha256": arm.batch.artifact.sha256,
                "effective": dict(live.effective.get(name, {})),
            }
            for name, arm in zip(("base", "new"), live.arms, strict=True)
        },
    }  # fmt: skip
    stream = io.BytesIO()
    arrays = {f"{arm}_{index}": times for arm in ARMS for index, times in enumerate(live.times_ns[arm])}
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    with writing(folder):
        write_atomically(folder / SAMPLES, stream.getvalue())
        write_atomically(folder / FACTS, json.dumps(facts, indent=1, sort_keys=True).encode())


def read(folder: Path) -> tuple[Mapping[str, Any], Finding]:
    """The facts, and what they come to: looked at again, from the times.

    Raises
    ------
    ResultsError
        A file is missing or damaged, or of a newer version.
    """
    try:
        facts = json.loads((folder / FACTS).read_text())
        if facts["schema_version"] != SCHEMA_VERSION:
            raise ResultsError(
                f"the comparison has the schema version {facts['schema_version']}, this harness reads "
                f"{SCHEMA_VERSION}",
                where=str(folder), next_step="update the harness",
            )  # fmt: skip
        with np.load(folder / SAMPLES, allow_pickle=False) as arrays:
            counts = {arm: sum(name.startswith(f"{arm}_") for name in arrays.files) for arm in ARMS}
            times = {arm: [arrays[f"{arm}_{index}"] for index in range(counts[arm])] for arm in ARMS}
        last = (
            None
            if facts["hopeless"]
            else look_at(times, Demand(facts["metric"], facts["limit"]), len(facts["looks"]))
        )
        sides = facts["sides"]
        found = Finding(
            facts["metric"], facts["limit"], sides["base"]["label"], sides["new"]["label"], last,
            counts["base"], tuple(facts["disturbed"]),
        )  # fmt: skip
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ResultsError(
            "a comparison side by side is damaged", where=str(folder), cause=str(error)
        ) from error
    return facts, found
