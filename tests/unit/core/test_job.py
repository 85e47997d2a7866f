"""Jobs, their names, and the parts of their samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.artifact import Artifact, File, Quantization, describe_file, verify
from harness.core.errors import ModelError
from harness.core.job import Batch, Case, DataRef, Job, Options, Samples, merge
from harness.core.preprocess import Preprocess
from harness.core.target import Target


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_merge_joins_arrays_in_order_and_keeps_later_values(lengths: list[int]) -> None:
    parts = [
        Samples({"x": np.full((length, 2), i)}, {"last": i, f"only {i}": i})
        for i, length in enumerate(lengths)
    ]
    joined = merge(parts)
    np.testing.assert_array_equal(joined.arrays["x"][:, 0], np.repeat(np.arange(len(lengths)), lengths))
    assert joined.values["last"] == len(lengths) - 1
    assert len(joined.values) == 1 + len(lengths)


def test_merge_of_nothing_is_nothing() -> None:
    assert merge([]) == Samples()
    assert merge([Samples()]) == Samples()


def test_merge_takes_arrays_that_only_some_parts_have() -> None:
    joined = merge([Samples({"x": np.arange(2)}), Samples({"y": np.arange(3)}), Samples({"x": np.arange(1)})])
    assert {name: len(array) for name, array in joined.arrays.items()} == {"x": 3, "y": 3}


def test_merge_refuses_parts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="dimension"):
        merge([Samples({"x": np.zeros((1, 2))}), Samples({"x": np.zeros((1, 3))})])


def batch() -> Batch:
    artifact = Artifact(
        "int8", "tflite", (File("a", "1" * 64, 10), File("b", "2" * 64, 20)), Path("somewhere"),
        {"x": (0, 2, 3, 1)}, {"y": (0, 2, 1)}, {"y": Quantization(0.5, -3)},
    )  # fmt: skip
    return Batch(
        "cpu", "tflite", "int8", "accuracy", artifact,
        {"deploy": Options(2, "f32", "XNNPACK", {"a": "b"}), "parity": Options()},
        {"x": Preprocess(mean=(1.0, 2.0), shape=(3,))}, {"clean": DataRef({"x": "3" * 64}, 5, 99)},
        (Case("fog", 3, "parity", "fog_3", 5, 2.5, {"batch": 4}), Case("clean")),
    )  # fmt: skip


def test_a_batch_survives_json() -> None:
    made = batch()
    text = json.dumps(made.to_json())
    assert (
        Batch.from_json(json.loads(text), Artifact.from_json(json.loads(text)["artifact"], Path("somewhere")))
        == made
    )
    assert "somewhere" not in text  # the folder is another on each machine


def test_keys_name_jobs() -> None:
    keys = [job.key for job in batch().jobs]
    assert keys[0] == ("cpu", "tflite", "parity", "int8", "accuracy", "fog", 3)
    assert len(set(keys)) == 2
    assert Job("cpu", "b", "v", "s", Case("c", 1)).key != Job("cpu", "b", "v", "s", Case("c", 2)).key


def test_artifact_hash_and_size() -> None:
    several = batch().artifact
    one = Artifact("v", "onnx", several.files[:1], Path())
    assert one.sha256 == "1" * 64
    assert several.size_byte == 30
    assert several.path == Path("somewhere/a")
    renamed = Artifact("v", "onnx", (several.files[0], File("c", "2" * 64, 20)), Path())
    assert len({several.sha256, one.sha256, renamed.sha256}) == 3


def test_verify(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"model")
    artifact = Artifact("v", "onnx", (describe_file(tmp_path / "m"),), tmp_path)
    verify(artifact)
    (tmp_path / "m").write_bytes(b"mod3l")
    with pytest.raises(ModelError, match="was recorded"):
        verify(artifact)
    (tmp_path / "m").unlink()
    with pytest.raises(ModelError, match="is missing"):
        verify(artifact)


def test_the_provider_that_ships_is_asserted_in_parity_too() -> None:
    target = Target("t", "", ("tflite",), deploy=Options(4, "", "XNNPACK", {"k": "v"}))
    options = target.options()
    assert options["deploy"] == target.deploy
    assert options["parity"] == Options(1, "f32", "XNNPACK")


def test_parity_runs_on_the_gpu_that_ships_and_takes_nothing_else_of_it() -> None:
    deploy = Options(threads=4, provider="CUDA", extra={"device_id": "1", "use_tf32": "1"})
    parity = Target("t", "", ("onnxruntime",), deploy=deploy).options()["parity"]
    assert parity == Options(threads=1, precision="f32", provider="CUDA", extra={"device_id": "1"})
