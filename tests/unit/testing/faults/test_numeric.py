"""Faults of the numbers, against what numpy computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, Quantization, TensorSpec
from harness.core.contracts import Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.testing.faults.numeric import to_bfloat16
from tests.unit.testing.faults.linear import ARTIFACT, Linear, LinearBackend, opened, planted, right, samples

MANY = 2000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("offset", lambda y: y + np.float32(0.02)),
        ("scale", lambda y: y * np.float32(1.01)),
        ("float16", lambda y: y.astype(np.float16).astype(np.float32)),
        ("permuted-classes", lambda y: y[:, [3, 0, 1, 2]]),
        ("zero-channel", lambda y: y * np.array([0, 1, 1, 1], np.float32)),
        ("last-bit", lambda y: np.nextafter(y, np.float32(np.inf))),
        ("saturated", lambda y: np.clip(y, *(s * np.abs(y).max(1, keepdims=True) / 2 for s in (-1, 1)))),
    ],
)
def test_each_answer_is_changed_as_the_sentence_says(name: str, expected: object) -> None:
    assert callable(expected)
    x = samples()
    session = opened(name)
    for answer in (session.run({"x": x})["y"], session.bind({"x": x})()["y"]):
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, expected(right(x)), atol=1e-6)


def test_bfloat16_keeps_eight_bits_and_rounds_to_the_nearest() -> None:
    y = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-7, np.nan, np.inf], np.float32)
    assert to_bfloat16(y)[:4].tolist() == [1.0, 1.0, 1 + 2**-6, -1 - 2**-7]
    assert np.isnan(to_bfloat16(y)[4])
    assert np.isposinf(to_bfloat16(y)[5])
    x = samples()
    error = np.abs(opened("bfloat16").run({"x": x})["y"] - right(x))
    assert 0 < error.max() <= 2**-8 * np.abs(right(x)).max()


def test_two_highest_scores_are_swapped_in_the_share_of_samples() -> None:
    x = samples(MANY)
    answer, true = opened("swapped-scores", 0.1).run({"x": x})["y"], right(x)
    changed = (answer != true).any(axis=1)
    assert 0.07 < changed.mean() < 0.13
    order = np.argsort(true, axis=1)
    assert (answer[changed].argmax(axis=1) == order[changed, -2]).all()
    assert (np.sort(answer, axis=1) == np.sort(true, axis=1)).all()


def test_the_same_samples_are_changed_alone_and_in_a_batch() -> None:
    x = samples(200)
    session = opened("swapped-scores", 0.1)
    alone = np.concatenate([session.run({"x": row[None]})["y"] for row in x])
    true = np.concatenate([right(row[None]) for row in x])
    in_batch = (opened("swapped-scores", 0.1).run({"x": x})["y"] != right(x)).any(axis=1)
    assert (alone != true).any(axis=1).sum() > 5
    assert in_batch.sum() > 5


def test_last_class_is_never_the_answer() -> None:
    x = samples(MANY)
    assert (right(x).argmax(axis=1) == 3).any()
    answer = opened("class-never-answered").run({"x": x})["y"]
    assert not (answer.argmax(axis=1) == 3).any()
    assert (answer[:, :3] == right(x)[:, :3]).all()


def test_noise_is_at_most_one_step_and_the_same_each_time() -> None:
    x = samples(64)
    session = opened("noise-one-step")
    answer, true = session.run({"x": x})["y"], right(x)
    steps = (answer - true) / (np.abs(true).max(axis=1, keepdims=True) / 127)
    assert set(np.rint(steps).ravel().tolist()) == {-1.0, 0.0, 1.0}
    assert (session.run({"x": x})["y"] == answer).all()


def test_nan_on_few_rows_only() -> None:
    x = samples(MANY)
    rows = np.isnan(opened("nan", 0.02).run({"x": x})["y"])
    assert 0.01 < rows.any(axis=1).mean() < 0.03
    assert (rows.all(axis=1) == rows.any(axis=1)).all()


def test_ties_of_the_highest_score() -> None:
    x = samples(MANY)
    answer = np.sort(opened("ties", 0.1).run({"x": x})["y"], axis=1)
    assert 0.07 < (answer[:, -1] == answer[:, -2]).mean() < 0.13


def test_codes_of_a_quantized_output_are_changed_as_real_numbers() -> None:
    step = Quantization(0.01, 3)

    class Quantized(Linear):
        outputs = (TensorSpec("y", (None, 4), "int8", step),)

        def run(self, feeds: Feeds) -> Outputs:
            return {"y": np.array([[3, 10, 127, -128]], np.int8)}

    class Backend(LinearBackend):
        def open(self, artifact: Artifact, options: Options) -> Session:
            return Quantized(options, artifact)

    answer = planted("offset", 0.02, Backend()).open(ARTIFACT, Options()).run({})["y"]
    assert answer.dtype == np.int8
    assert answer.tolist() == [[5, 12, 127, -126]]  # two steps more, and clipped


def test_other_weights_are_those_of_the_file_times_the_factor(tmp_path: Path) -> None:
    weights = np.random.default_rng(1).standard_normal(64).astype(np.float32)
    (tmp_path / "m.onnx").write_bytes(b"a text before " + weights.tobytes() + b"\0 and behind")
    read: list[np.ndarray] = []

    class Reads(LinearBackend):
        def open(self, artifact: Artifact, options: Options) -> Session:
            content = (artifact.folder / "m.onnx").read_bytes()
            read.append(np.frombuffer(content[14 : 14 + 256], np.float32))
            assert content[:14] + content[-12:] == b"a text before \0 and behind"
            return super().open(artifact, options)

    planted("other-weights", 2.0, Reads()).open(replace(ARTIFACT, folder=tmp_path), Options())
    ratio = read[0] / weights
    assert set(np.round(ratio, 6).tolist()) == {1.0, 2.0}
    assert (ratio == 2).mean() > 0.9
    assert (tmp_path / "m.onnx").read_bytes().startswith(b"a text before " + weights.tobytes())
