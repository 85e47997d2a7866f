"""Accept a run: keep what later runs are compared with, small enough to be committed."""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import shutil
from collections.abc import Collection
from dataclasses import asdict
from dataclasses import replace as with_changes
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.compare import sides
from harness.config.fields import is_name
from harness.config.folders import cache_folder
from harness.core.artifact import verify
from harness.core.errors import ModelError, ResultsError, UsageError
from harness.core.measurement import COLUMNS, KEY_COLUMNS
from harness.core.plan import Plan
from harness.gates import baselines
from harness.gates.baselines import ARTIFACTS, DESCRIPTION, ROWS, SAMPLES, SCHEMA_VERSION, Description
from harness.run import stages, summarise
from harness.stats.table_changes import Side
from harness.store import run_folder, tables
from harness.store.cache import Cache, key_of, write_atomically, writing


def accept(
    name: str, results: Path, baseline: str, *, reason: str, by: str = "", targets: Collection[str] = (),
    replace: bool = False, artifacts: bool = False,
) -> list[Path]:  # fmt: skip
    """Keep a run as a baseline, target by target.

    Parameters
    ----------
    name : str
        The run: id, unique prefix, folder or ``latest``.
    results : Path
        Where runs and baselines are kept.
    baseline : str
        What gates call it.
    reason, by : str
        Why it is accepted, and by whom: the user, where nobody is named.
    targets : collection of str
        Empty for all that the run has.
    artifacts : bool
        Keep what ran besides, for gates that time it beside a later run on another machine.

    Returns
    -------
    list of Path
        The folders, one a target.

    Raises
    ------
    UsageError
        The run has no such target, or the name is taken or no name; nobody said why.
    ResultsError
        It is no run, is being written, or was cut; an artifact is not in the cache any more.
    """
    if not reason.strip():
        raise UsageError("a baseline needs a reason", next_step='--reason "why this run is accepted"')
    try:
        is_name(baseline)
    except ValueError as error:
        raise UsageError(str(error), where="--name") from error
    folder = run_folder.find_run(name, results)
    side = sides.read(str(folder.path), results).side
    facts = folder.facts()
    stored_targets = list(dict.fromkeys(side.frame["target"]))
    if absent := [target for target in targets if target not in stored_targets]:
        raise UsageError(
            f"{side.label} has no rows of {', '.join(absent)}",
            next_step=f"take one of {', '.join(stored_targets)}",
        )
    model = facts.run["model"]["name"]
    folders = {
        target: baselines.place(results, model, target, baseline) for target in (targets or stored_targets)
    }
    for target, place in folders.items():
        if place.exists() and not replace:
            raise UsageError(
                f"there is a baseline {baseline} of {target}", where=str(place),
                next_step="--replace, or another --name",
            )  # fmt: skip
        if place.exists():
            _drop_damaged(place)
    outcome, machines = stages.finish(folder, facts), summarise.machines(facts)
    if outcome.missing:
        raise ResultsError(
            f"{outcome.missing} jobs of the run were not measured", where=str(folder.path),
            next_step=f"harness validate --resume {folder.run_id}",
        )  # fmt: skip
    for target, place in folders.items():
        rows = side.frame[side.frame["target"] == target]
        files = {ROWS: tables.csv_bytes(COLUMNS, _records(rows)), SAMPLES: _pack(side, rows)}
        if artifacts:
            files |= _artifacts(facts.plan, target)
        made = rows[rows["artifact_sha256"].notna() & (rows["artifact_sha256"] != "")]
        description = Description(
            name=baseline, model=model, target=target, run_id=folder.run_id, verdict=outcome.state.value,
            accepted_by=by or getpass.getuser(), accepted_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            reason=reason.strip(), machine=machines.get(target, ""), sets=summarise.set_digests(outcome.run),
            artifacts={
                f"{backend}/{variant}": str(sha)
                for backend, variant, sha in made[["backend", "variant", "artifact_sha256"]].itertuples(
                    index=False, name=None
                )
            },
            files={file_name: hashlib.sha256(content).hexdigest() for file_name, content in files.items()},
        )  # fmt: skip
        _write(place, description, files)
    return list(folders.values())


def _drop_damaged(place: Path) -> None:
    """What was edited cannot be compared with, and would keep the run itself from being judged."""
    try:
        baselines.read(place)
    except ResultsError:
        shutil.rmtree(place)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in record.items()} for record in rows.to_dict("records")]


def _write(place: Path, description: Description, files: dict[str, bytes]) -> None:
    body = {"schema_version": SCHEMA_VERSION, **asdict(description)}
    text = json.dumps({**body, "sha256": key_of(body)}, indent=1, sort_keys=True)
    with writing(place):
        # The description last: without it, or with hashes of other files, the folder is no baseline.
        for name, content in files.items():
            write_atomically(place / name, content)
        write_atomically(place / DESCRIPTION, text.encode())


def _artifacts(plan: Plan, target: str) -> dict[str, bytes]:
    """What ran on the target, by the path that it is kept under."""
    cache, files = Cache(cache_folder()), {}
    for batch in plan.batches:
        if batch.target == target:
            artifact = batch.artifact
            here = with_changes(artifact, folder=cache.artifact_folder(artifact.sha256))
            try:
                verify(here)
            except ModelError as error:
                raise ResultsError(
                    f"the {artifact.variant} artifact of the run is not in the cache any more: {error.what}",
                    where=str(here.folder), next_step="measure it again: harness validate",
                ) from error  # fmt: skip
            for file in artifact.files:
                files[f"{ARTIFACTS}/{artifact.sha256}/{file.name}"] = (here.folder / file.name).read_bytes()
    return files


def _pack(side: Side, rows: pd.DataFrame) -> bytes:
    """What each sample contributed, by the row's place in the table; whole numbers as single bytes."""
    arrays = {}
    for place, record in enumerate(rows[list(KEY_COLUMNS)].to_dict("records")):
        values = side.per_sample.get(tuple(record[column] for column in KEY_COLUMNS))
        if values is not None:
            small = np.isfinite(values).all() and bool(np.all(values == np.clip(np.round(values), -100, 100)))
            arrays[str(place)] = values.astype(np.int8) if small else values
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()
