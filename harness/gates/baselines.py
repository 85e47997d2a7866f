"""Accepted runs, read back: ``RESULTS/baselines/MODEL/TARGET/NAME/``, small enough to be committed.

Each holds ``baseline.json`` (who accepted what, when and why, and the hashes of the rest), the target's rows
as ``measurements.csv``, and ``samples.npz``: what each sample contributed, so that a later run is compared
with it sample by sample; where it was asked for, the artifacts under ``artifacts/<sha256>/``. A file that was
edited since is refused.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from harness.core.errors import ResultsError
from harness.core.measurement import KEY_COLUMNS
from harness.core.verdict import Gate
from harness.gates.relative import Accepted
from harness.stats.difference import Values
from harness.stats.table_changes import Side
from harness.store import tables
from harness.store.cache import key_of

FOLDER = "baselines"
SCHEMA_VERSION = 1
DESCRIPTION, ROWS, SAMPLES = "baseline.json", "measurements.csv", "samples.npz"
ARTIFACTS = "artifacts"


@dataclass(frozen=True, slots=True)
class Description:
    """``baseline.json``.

    Parameters
    ----------
    name, model, target : str
    run_id, verdict : str
        The run that was accepted, and what it came to.
    accepted_by, accepted_utc, reason : str
    machine : str
        What its times belong to: CPU model and cores.
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
    machine: str
    sets: Mapping[str, str]
    artifacts: Mapping[str, str]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Baseline:
    """One accepted run of one target, read back and whole."""

    folder: Path
    description: Description
    side: Side

    def accepted(self) -> Accepted:
        """What a gate compares with."""
        records = {
            tuple(record[column] for column in KEY_COLUMNS): record
            for record in self.side.frame.to_dict("records")
        }
        return Accepted(
            self.description.name, self.description.run_id, self.description.machine,
            self.description.sets, records,
            self.side.per_sample,
        )  # fmt: skip


def place(results: Path, model: str, target: str, name: str) -> Path:
    """Folder of a baseline, whether or not it is there."""
    return results / FOLDER / model / target / name


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
    description = describe(folder)
    for name, digest in description.files.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise ResultsError(f"the baseline lacks {name}", where=str(folder)) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise _edited(folder / name)
    text = ("reference", "reason", "unit", "artifact_sha256", "device", "provider", "precision")
    frame = tables.read(folder / ROWS)
    frame = frame.assign(**{name: frame[name].fillna("") for name in text})
    side = Side(
        f"baseline {description.name}", frame, dict(description.sets), _unpack(folder / SAMPLES, frame)
    )
    return Baseline(folder, description, side)


def for_gates(
    gates: Iterable[Gate], targets: Iterable[str], model: str, results: Path
) -> dict[tuple[str, str], Accepted]:
    """Read every baseline that a gate names, by name and target; one that is not there is left out."""
    targets = tuple(targets)
    wanted = {(gate.on(target).baseline, target) for gate in gates for target in targets}
    return {
        (name, target): read(folder).accepted()
        for name, target in sorted(wanted)
        if name and (folder := place(results, model, target, name)).exists()
    }


def _edited(path: Path) -> ResultsError:
    return ResultsError(
        "the baseline was edited since it was accepted", where=str(path),
        cause=f"its hash is not the one in {DESCRIPTION}",
        next_step="take it back from version control, or accept a run anew: harness baseline save --replace",
    )  # fmt: skip


def _unpack(path: Path, frame: pd.DataFrame) -> dict[tuple[object, ...], Values]:
    keys = list(frame[list(KEY_COLUMNS)].itertuples(index=False, name=None))
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {keys[int(place)]: arrays[place].astype(np.float64) for place in arrays.files}
    except (OSError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise ResultsError(f"the samples of the baseline cannot be read: {error}", where=str(path)) from error
