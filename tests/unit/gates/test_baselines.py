"""A baseline is read back as it was accepted, or refused with the file that is not as it was."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.errors import ResultsError
from harness.core.job import JobKey
from harness.core.measurement import COLUMNS, KEY_COLUMNS, Measurement, Row
from harness.core.verdict import Gate
from harness.gates import baselines
from harness.store import tables
from harness.store.cache import key_of

KEY = JobKey("cpu", "onnxruntime", "deploy", "int8", "accuracy", "clean", 0)
IDENTITY = {
    "run_id": "run-1", "device": "bench", "model": "m", "provider": "CPU", "precision": "f32",
    "artifact_sha256": "a" * 64,
}  # fmt: skip
ROWS = [
    Row(KEY, Measurement("accuracy", "1", 0.75, 0.5, 0.9, 4), IDENTITY),
    Row(
        KEY._replace(case="fog", severity=2),
        Measurement("accuracy_loss", "pt", 25.0, n=4, reference="float32@host", reason="a note"),
        {**IDENTITY, "device": ""},
    ),
]
SAMPLES = {"1": np.array([0, 100, 0, 0], np.int8)}
SETS = {"clean": "c", "fog_2": "f"}


def described(folder: Path, files: dict[str, bytes], **more: Any) -> None:
    body = {
        "schema_version": baselines.SCHEMA_VERSION, "name": "accepted", "model": "m", "target": "cpu",
        "run_id": "run-1", "verdict": "PASS", "accepted_by": "jane", "accepted_utc": "2031-01-01T00:00:00",
        "reason": "release 1", "machine": "a CPU, 2 cores", "sets": SETS, "artifacts": {},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}, **more,
    }  # fmt: skip
    (folder / baselines.DESCRIPTION).write_text(json.dumps({**body, "sha256": key_of(body)}))


def made(results: Path, name: str = "accepted", target: str = "cpu", **more: Any) -> Path:
    folder = baselines.place(results, "m", target, name)
    folder.mkdir(parents=True)
    packed = io.BytesIO()
    np.savez(packed, **more.pop("samples", SAMPLES))
    records = [row.to_record() for row in ROWS]
    files = {baselines.ROWS: tables.csv_bytes(COLUMNS, records), baselines.SAMPLES: packed.getvalue()}
    for file, content in files.items():
        (folder / file).write_bytes(content)
    described(folder, files, name=name, target=target, **more)
    return folder


def test_what_gates_compare_with_is_what_was_accepted(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert folder == tmp_path / "baselines" / "m" / "cpu" / "accepted"
    accepted_ = baselines.read(folder).accepted()
    assert (accepted_.name, accepted_.run_id, accepted_.machine) == ("accepted", "run-1", "a CPU, 2 cores")
    assert accepted_.sets == SETS
    keys = [tuple(row.to_record()[column] for column in KEY_COLUMNS) for row in ROWS]
    assert list(accepted_.rows) == keys
    assert [accepted_.rows[key]["value"] for key in keys] == [0.75, 25.0]
    texts = [[accepted_.rows[key][name] for name in ("reference", "reason", "device")] for key in keys]
    assert texts == [["", "", "bench"], ["float32@host", "a note", ""]]
    assert list(accepted_.per_sample) == [keys[1]]
    column = accepted_.per_sample[keys[1]]
    assert (column.dtype, column.tolist()) == (np.float64, [0.0, 100.0, 0.0, 0.0])


def test_all_baselines_come_by_model_target_and_name(tmp_path: Path) -> None:
    expected = [made(tmp_path, name, target) for target in ("cpu", "pi") for name in ("a", "b")]
    (tmp_path / "baselines" / "m" / "cpu" / "no baseline").mkdir()
    assert baselines.names(tmp_path) == expected
    assert baselines.names(tmp_path / "elsewhere") == []


def test_gates_read_each_baseline_that_they_name_and_is_there(tmp_path: Path) -> None:
    made(tmp_path, "accepted", "cpu")
    made(tmp_path, "special", "pi")
    overrides = ((("pi",), {"baseline": "special"}),)
    gates = [
        Gate("g", "accuracy", "accuracy", of="ratio", baseline="accepted", maximum=1.1, overrides=overrides),
        Gate("h", "accuracy", "accuracy", of="ratio", baseline="absent", maximum=1.1),
        Gate("i", "accuracy", "accuracy", minimum=0.5),
    ]
    by_target = baselines.for_gates(gates, ["cpu", "pi"], "m", tmp_path)
    assert {key: accepted.name for key, accepted in by_target.items()} == {
        ("accepted", "cpu"): "accepted", ("special", "pi"): "special",
    }  # fmt: skip
    assert baselines.for_gates(gates, ["cpu", "pi"], "other", tmp_path) == {}


@pytest.mark.parametrize("file", [baselines.ROWS, baselines.SAMPLES])
def test_a_file_that_was_edited_or_lost_is_named(tmp_path: Path, file: str) -> None:
    folder = made(tmp_path)
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content + b"\n")
    with pytest.raises(ResultsError, match="edited") as caught:
        baselines.read(folder)
    assert caught.value.where == str(folder / file)
    (folder / file).unlink()
    with pytest.raises(ResultsError, match=file):
        baselines.read(folder)


def test_a_description_that_was_edited_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    path = folder / baselines.DESCRIPTION
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "accepted_by": "somebody else"}))
    with pytest.raises(ResultsError, match="edited") as caught:
        baselines.describe(folder)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": "a"}'])
def test_what_is_no_baseline(tmp_path: Path, content: str) -> None:
    (tmp_path / baselines.DESCRIPTION).write_text(content)
    with pytest.raises(ResultsError, match="not the folder of a baseline"):
        baselines.describe(tmp_path)
    with pytest.raises(ResultsError, match="not the folder of a baseline"):
        baselines.describe(tmp_path / "absent")


def test_one_of_a_newer_harness_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path, schema_version=baselines.SCHEMA_VERSION + 1)
    with pytest.raises(ResultsError, match=f"schema version {baselines.SCHEMA_VERSION + 1}"):
        baselines.describe(folder)


@pytest.mark.parametrize("name", ["2", "x"])
def test_samples_of_no_row_are_refused(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path, samples={name: np.zeros(4, np.int8)})
    with pytest.raises(ResultsError, match="samples of the baseline cannot be read"):
        baselines.read(folder)


def test_samples_that_could_run_code_are_not_loaded(tmp_path: Path) -> None:
    folder = made(tmp_path, samples={"1": np.array([object()], dtype=object)})
    with pytest.raises(ResultsError):
        baselines.read(folder)
