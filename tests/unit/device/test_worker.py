"""What a worker gives a measure: data with a checked hash, sessions, a scratch folder."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, describe_file, sha256_file
from harness.core.contracts import Bench
from harness.core.errors import DataError
from harness.core.job import Batch, Case, DataRef, Options, Samples
from harness.core.preprocess import Preprocess
from harness.device import process_end, worker
from harness.device.files import FileStore
from harness.testing.fakes import NumpyBackend
from harness.testing.models import AFFINE

X = np.arange(20, dtype=np.uint8).reshape(5, 4)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    (tmp_path / "m.onnx").write_bytes(AFFINE.to_onnx().SerializeToString())
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "x.npy", X)
    digest = sha256_file(tmp_path / "x.npy")
    (tmp_path / "x.npy").rename(tmp_path / "data" / f"{digest}.npy")
    return Batch(
        "cpu", "numpy", "float32", "s",
        Artifact("float32", "onnx", (describe_file(tmp_path / "m.onnx"),), tmp_path),
        {"deploy": Options(), "parity": Options(threads=1)}, {"x": Preprocess(scale=0.5, mean=(1.0,))},
        {"clean": DataRef({"x": digest}, 5, X.nbytes)}, (Case("c"),),
    )  # fmt: skip


def bench(batch: Batch, store: Path) -> worker.DeviceBench:
    return worker.DeviceBench(
        batch, batch.jobs[0], NumpyBackend(), worker.StoredData(batch, FileStore(store))
    )


def test_feeds_are_canonical(batch: Batch, tmp_path: Path) -> None:
    data = worker.StoredData(batch, FileStore(tmp_path))
    assert "clean" in data
    assert "fog" not in data
    np.testing.assert_array_equal(data.feeds("clean", 1, 3)["x"], X[1:3] * 0.5 - 1)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_damaged_data_are_never_read(batch: Batch, tmp_path: Path, damage: str) -> None:
    (file,) = (tmp_path / "data").iterdir()
    file.unlink() if damage == "missing" else file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DataError, match="missing or damaged"):
        worker.StoredData(batch, FileStore(tmp_path)).feeds("clean", 0, 1)


def test_the_effective_options_are_those_of_the_first_session(batch: Batch, tmp_path: Path) -> None:
    opened = bench(batch, tmp_path)
    with opened.open() as session:
        np.testing.assert_array_equal(
            session.run({"x": np.ones((1, 4), np.float32)})["y"],
            AFFINE.oracle({"x": np.ones((1, 4), np.float32)}),
        )
    assert opened.effective == {"provider": "numpy", "precision": "f32", "threads": "1"}


def test_the_scratch_folder_is_deleted_after_the_case(batch: Batch, tmp_path: Path) -> None:
    places: list[Path] = []

    def measure(bench: Bench, case: Case) -> Iterator[Samples]:
        places.append(bench.scratch())
        assert bench.scratch() == places[0]
        (places[0] / "file").write_text("")
        yield Samples()
        raise ValueError("planted")

    header, samples = worker.run_case(bench(batch, tmp_path), measure)
    assert header["status"] == "ERROR"
    assert header["reason"].startswith("ValueError: planted (test_worker.py:")
    assert samples == Samples()
    assert not places[0].exists()


def test_the_key_and_times_of_a_result(batch: Batch, tmp_path: Path) -> None:
    header, samples = worker.run_case(
        bench(batch, tmp_path), lambda bench, case: iter([Samples(values={"a": 1})])
    )
    assert header["key"] == list(batch.jobs[0].key)
    assert header["status"] == "OK"
    assert header["values"] == {"a": 1} == dict(samples.values)
    assert header["duration_ns"] > 0
    assert header["started_utc"].endswith("+00:00")


def test_tail_keeps_the_last_lines() -> None:
    lines = [f"line {i}" for i in range(50)]
    assert process_end.tail(io.BytesIO("\n".join(lines).encode())) == "\n".join(
        lines[-process_end.STDERR_TAIL_LINES :]
    )
    assert process_end.tail(io.BytesIO(b"")) == ""
    assert process_end.tail(io.BytesIO(b"\xff\xfe")) == "\ufffd\ufffd"


def test_tail_of_a_crash_begins_with_the_call_that_crashed() -> None:
    stack = [f'  File "f.py", line {i} in f{i}' for i in range(30)]
    text = "\n".join(
        ["earlier", "before", "Fatal Python error: Segmentation fault", "",
         "Thread 0x1 (most recent call first):", "  File other",
         "Current thread 0x2 (most recent call first):", *stack, "Extension modules: numpy"]
    )  # fmt: skip
    lines = process_end.tail(io.BytesIO(text.encode())).splitlines()
    assert lines[:2] == ["earlier", "before"]
    assert lines[2:4] == [
        "Fatal Python error: Segmentation fault",
        "Current thread 0x2 (most recent call first):",
    ]
    assert lines[4] == stack[0]
    assert len(lines) == process_end.STDERR_TAIL_LINES


def test_a_request_is_one_line(batch: Batch, tmp_path: Path) -> None:
    text = worker.request(replace(batch, variant="a\nb"), tmp_path)
    assert text.count(b"\n") == 1
    assert text.endswith(b"\n")


def test_a_child_does_not_have_the_working_folder_on_its_path() -> None:
    command = worker.command(["python"], "harness.device.probe", "{}")
    assert command[:2] == ["python", "-P"]
    assert command[-3:] == ["-m", "harness.device.probe", "{}"]


def test_a_file_that_the_runtime_cannot_open_is_skipped_with_what_it_said(
    batch: Batch, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")

    def measure(bench: Bench, case: Case) -> Iterator[Samples]:
        with bench.open():
            yield Samples()

    header, _ = worker.run_case(bench(batch, tmp_path), measure)
    assert (header["status"], header["cause"]) == ("SKIPPED", "runtime refused")
    assert "cannot open m.onnx" in header["reason"]
    assert header["raw"]


def test_how_samples_go_into_the_file(batch: Batch, tmp_path: Path) -> None:
    opened = bench(batch, tmp_path)
    with opened.open() as session:
        feeding = opened.feeding(session)
        feeds = feeding.feeds(opened.data.feeds("clean", 0, 3))
        answers = feeding.answers(session.run(feeds), 3)
    np.testing.assert_array_equal(answers["y"], AFFINE.oracle({"x": X[:3].astype(np.float32) * 0.5 - 1}))
