"""Accepted runs: ``RESULTS/baselines/MODEL/TARGET/NAME/``, small enough to be committed.

Each holds ``baseline.json`` (who accepted what, when and why, and the hashes of the rest), the target's rows
as ``measurements.csv``, and ``samples.npz``: what each sample contributed, so that a later run is compared
with it sample by sample. A file that was edited since is refused.
"""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.cache import key_of, write_atomically, writing
from harness.compare import Side
from harness.core.errors import ResultsError, UsageError
from harness.core.measurement import COLUMNS, KEY_COLUMNS
from harness.core.verdict import Gate
from harness.report import tables
from harness.report.relative import Accepted
from harness.stats.difference import Values

FOLDER = "baselines"
SCHEMA_VERSION = 1
DESCRIPTION, ROWS, SAMPLES = "baseline.json", "measurements.csv", "samples.npz"


@dataclass(frozen=True, slots=True)
class Description:
    """``baseline.json``.

    Parameters
    ----------
    name, model, target : str
    run_id, verdict : str
        The run that was accepted, and what it came to.
    accepted_by, accepted_utc, reason : str
    sets : mapping of name to str
        Digest of each data set.
    artifacts : mapping of ``backend/variant`` to sha256
    files : mapping of name to sha256
    """

    name: str
    model: str
    target: str
    run_id: str
    verdict: str
    accepted_by: str
    accepted_utc: str
    reason: str
    sets: Mapping[str, str]
    artifacts: Mapping[str, str]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Baseline:
    """One accepted run of one target, read back and whole."""

    folder: Path
    told: Description
    side: Side

    def accepted(self) -> Accepted:
        """What a gate compares with."""
        records = {
            tuple(record[column] for column in KEY_COLUMNS): record
            for record in self.side.frame.to_dict("records")
        }
        return Accepted(
            self.told.name, self.told.run_id, self.told.sets, records, self.side.per_sample
        )  # fmt: skip


def save(
    side: Side, *, results: Path, name: str, model: str, run_id: str, verdict: str, reason: str,
    by: str = "", targets: Collection[str] = (), replace: bool = False,
) -> list[Path]:  # fmt: skip
    """Keep a run as a baseline, target by target.

    Parameters
    ----------
    side : Side
        The run's rows, as ``harness.report.sides.read`` gives them.
    targets : collection of str
        Empty for all that the run has.

    Returns
    -------
    list of Path
        The folders, one a target.

    Raises
    ------
    UsageError
        The run has no such target, the name is taken, or nobody said why.
    """
    if not reason.strip():
        raise UsageError("a baseline needs a reason", next_step='--reason "why this run is accepted"')
    found = list(dict.fromkeys(side.frame["target"]))
    if absent := [target for target in targets if target not in found]:
        raise UsageError(f"{side.label} has no rows of {', '.join(absent)}", next_step=_one_of(found))
    chosen = list(targets) or found
    folders = [results / FOLDER / model / target / name for target in chosen]
    if taken := [folder for folder in folders if folder.exists() and not replace]:
        raise UsageError(
            f"there is a baseline {name} of {taken[0].parent.name}", where=str(taken[0]),
            next_step="--replace, or another --name",
        )  # fmt: skip
    for target, folder in zip(chosen, folders, strict=True):
        rows = side.frame[side.frame["target"] == target]
        files = {ROWS: tables.csv_bytes(COLUMNS, rows.to_dict("records")), SAMPLES: _pack(side, rows)}
        artifacts = rows[rows["artifact_sha256"].astype(str) != ""]
        told = Description(
            name=name, model=model, target=target, run_id=run_id, verdict=verdict,
            accepted_by=by or getpass.getuser(), accepted_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            reason=reason.strip(), sets=dict(side.sets or {}),
            artifacts={
                f"{backend}/{variant}": str(sha)
                for backend, variant, sha in zip(
                    artifacts["backend"], artifacts["variant"], artifacts["artifact_sha256"], strict=True
                )
            },
            files={each: hashlib.sha256(content).hexdigest() for each, content in files.items()},
        )  # fmt: skip
        body = {"schema_version": SCHEMA_VERSION, **asdict(told)}
        text = json.dumps({**body, "sha256": key_of(body)}, indent=1, sort_keys=True)
        with writing(folder):
            # The description last: without it, or with hashes of other files, the folder is no baseline.
            for each, content in files.items():
                write_atomically(folder / each, content)
            write_atomically(folder / DESCRIPTION, text.encode())
    return folders


def names(results: Path) -> list[Path]:
    """Folders of all baselines of a results folder, by model, target and name."""
    return sorted(path.parent for path in (results / FOLDER).glob(f"*/*/*/{DESCRIPTION}"))


def describe(folder: Path) -> Description:
    """Read and check ``baseline.json``.

    Raises
    ------
    ResultsError
        It is missing, of a newer version, or was edited.
    """
    path = folder / DESCRIPTION
    try:
        body = json.loads(path.read_text())
        digest, version = body.pop("sha256"), body.pop("schema_version")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ResultsError("this is not the folder of a baseline", where=str(path)) from error
    if version != SCHEMA_VERSION:
        raise ResultsError(
            f"the baseline has the schema version {version}, this harness reads {SCHEMA_VERSION}",
            where=str(path), next_step="update the harness",
        )  # fmt: skip
    if digest != key_of({"schema_version": version, **body}):
        raise _edited(path)
    return Description(**body)


def read(folder: Path) -> Baseline:
    """Read a baseline whole.

    Raises
    ------
    ResultsError
        A file of it is missing or was edited since it was accepted.
    """
    told = describe(folder)
    for each, digest in told.files.items():
        try:
            content = (folder / each).read_bytes()
        except OSError as error:
            raise ResultsError(f"the baseline lacks {each}", where=str(folder)) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise _edited(folder / each)
    text = ("reference", "reason", "unit", "artifact_sha256", "device", "provider", "precision")
    frame = tables.read(folder / ROWS)
    frame = frame.assign(**{name: frame[name].fillna("") for name in text})
    side = Side(f"baseline {told.name}", frame, dict(told.sets), _unpack(folder / SAMPLES, frame))
    return Baseline(folder, told, side)


def for_gates(
    gates: Iterable[Gate], targets: Iterable[str], model: str, results: Path
) -> dict[tuple[str, str], Accepted]:
    """Read every baseline that a gate names, by name and target; one that is not there is left out."""
    targets = tuple(targets)
    wanted = {(gate.on(target).baseline, target) for gate in gates for target in targets}
    return {
        (name, target): read(folder).accepted()
        for name, target in sorted(wanted)
        if name and (folder := results / FOLDER / model / target / name).exists()
    }


def _edited(path: Path) -> ResultsError:
    return ResultsError(
        "the baseline was edited since it was accepted", where=str(path),
        cause=f"its hash is not the one in {DESCRIPTION}",
        next_step="take it back from version control, or accept a run anew: harness baseline save --replace",
    )  # fmt: skip


def _one_of(names_: Iterable[str]) -> str:
    return f"take one of {', '.join(names_)}"


def _pack(side: Side, rows: pd.DataFrame) -> bytes:
    """What each sample contributed, by the row's place in the table; shares as single bytes."""
    arrays = {}
    for place, record in enumerate(rows[list(KEY_COLUMNS)].to_dict("records")):
        values = side.per_sample.get(tuple(record[column] for column in KEY_COLUMNS))
        if values is not None:
            whole = np.isin(values, (-1.0, 0.0, 1.0)).all()
            arrays[str(place)] = values.astype(np.int8) if whole else values
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _unpack(path: Path, frame: pd.DataFrame) -> dict[tuple[object, ...], Values]:
    keys = list(frame[list(KEY_COLUMNS)].itertuples(index=False, name=None))
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {keys[int(place)]: arrays[place].astype(np.float64) for place in arrays.files}
    except (OSError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise ResultsError(f"the samples of the baseline cannot be read: {error}", where=str(path)) from error


def as_record(told: Description) -> dict[str, Any]:
    """A baseline as a line of ``harness baseline list``."""
    keys = ("model", "target", "name", "run_id", "verdict", "accepted_by", "accepted_utc", "reason")
    return {key: getattr(told, key) for key in keys}
