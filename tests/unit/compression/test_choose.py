"""The choice of an int8 recipe: what is tried, when it stops, and what it says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node

from harness import tasks
from harness.compression import choose
from harness.compression.canonical import canonicalise
from harness.compression.choice import Int8Choice, Int8Trial
from harness.compression.choose import (  # fmt: skip
    choose_int8,
    most_sensitive,
    outputs_of,
)
from harness.core.errors import HarnessError

from .graphs import Array, Feeds, graph, residual_cnn, run_onnx

#: The class with the highest score of the first output.
CLASSES = tasks.named("classification").reading("")


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng([5, seed]).standard_normal(shape).astype(np.float32)


def mlp(*, outlier: float = 1.0) -> onnx.ModelProto:
    """Two layers; a channel between them is ``outlier`` times larger than the others."""
    scale = np.array([outlier, *[1] * 7], np.float32)
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first"), node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v", "d"], ["y"], "second"),
    ]  # fmt: skip
    constants = {
        "w": normal(1, 6, 8) * scale, "b": np.zeros(8, np.float32), "v": normal(2, 8, 4) / scale[:, None],
        "d": np.zeros(4, np.float32),
    }  # fmt: skip
    return graph(nodes, constants, {"x": ["n", 6]})


def samples(count: int = 60, *shape: int) -> list[Feeds]:
    return [{"x": normal(seed + 50, 1, *(shape or (6,)))} for seed in range(count)]


def classes(model: onnx.ModelProto, feeds: list[Feeds]) -> Array:
    return np.array([run_onnx(model, feed)["y"].argmax() for feed in feeds])


def test_the_first_within_the_margin_ends_it() -> None:
    model, feeds = mlp(), samples()
    choice = choose_int8(model, feeds, classes(model, feeds), reading=CLASSES, margin=0.1)
    assert [trial.name for trial in choice.trials] == ["minmax"]
    assert choice.enough
    assert choice.best.recipe == ({"pass": "quantize", "calibration": "minmax"},)
    assert choice.float_score == 1.0
    assert "float32 100.0 %" in choice.text()
    assert "others were not tried" in choice.text()


def test_all_are_tried_where_none_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model, feeds = mlp(), samples()
    choice = choose_int8(model, feeds, classes(model, feeds), reading=CLASSES, margin=-1.0, seconds=1e9)
    names = [trial.name for trial in choice.trials]
    assert names[:5] == ["minmax", "entropy", "percentile", "mse", "dynamic"]
    assert "with 1 float layer" in names[5]
    assert not choice.enough
    assert choice.best.loss == min(trial.loss for trial in choice.trials)
    assert all(f"{trial.name} " in choice.text() for trial in choice.trials)


def test_without_labels_changed_classes_count() -> None:
    choice = choose_int8(mlp(), samples(), reading=CLASSES, margin=0.1)
    assert np.isnan(choice.float_score)
    assert 0 <= choice.best.loss <= 0.1
    assert "% changed" in choice.text()


def test_without_classes_the_noise_counts() -> None:
    choice = choose_int8(mlp(), samples(), reading=tasks.named("regression").reading(""))
    assert np.isnan(choice.best.loss)
    assert choice.best.sqnr_db > 20
    assert " dB" in choice.text()


def test_time_ends_it_after_the_first() -> None:
    ticks = itertools.count(step=100.0)
    choice = choose_int8(
        mlp(), samples(), reading=CLASSES, margin=-1.0, seconds=5, clock=lambda: float(next(ticks))
    )
    assert len(choice.trials) == 1
    assert "after 5 s" in choice.untried


def test_a_recipe_that_fails_is_reported_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise HarnessError("it does not work")

    monkeypatch.setattr(choose, "_PASSES", {"quantize": choose.quantize, "dynamic": broken})
    choice = choose_int8(mlp(), samples(), reading=CLASSES, margin=-1.0, seconds=1e9)
    failed = [trial for trial in choice.trials if trial.failed]
    assert [trial.name for trial in failed] == ["dynamic"]
    assert choice.best is not failed[0]
    assert "dynamic cannot be made (it does not work)" in choice.text()


def trial(name: str, loss: float, sqnr_db: float = 30.0, step: str = "quantize") -> Int8Trial:
    return Int8Trial(name, ({"pass": step},), loss, sqnr_db)


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([trial("minmax", 0.005), trial("entropy", 0.0)], "minmax"),
        ([trial("minmax", 0.03), trial("entropy", 0.01), trial("mse", 0.0)], "mse"),
        ([trial("minmax", 0.03), trial("entropy", 0.01), trial("dynamic", 0.0, 50.0, "dynamic")], "entropy"),
        ([trial("minmax", 0.09), trial("entropy", 0.1), trial("dynamic", 0.008, 50.0, "dynamic")], "dynamic"),
        ([trial("minmax", 0.09), trial("entropy", 0.05)], "entropy"),
        ([trial("minmax", 0.05, 20.0), trial("entropy", 0.05, 25.0)], "entropy"),
        ([trial("minmax", float("nan"), 20.0), trial("entropy", float("nan"), 25.0)], "entropy"),
    ],
)
def test_the_best(trials: list[Int8Trial], best: str) -> None:
    assert Int8Choice(tuple(trials), 100, 0.9, 0.01).best.name == best


def test_layers_are_sorted_by_what_their_rounding_costs() -> None:
    """The outlier lies between the layers: in the output of the first and the input of the second."""
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], "first"), node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v", "d"], ["s"], "second"), node("Relu", ["s"], ["t"]),
        node("Gemm", ["t", "u", "e"], ["y"], "third"),
    ]  # fmt: skip
    scale = np.array([300.0, *[1] * 7], np.float32)
    constants = {
        "w": normal(1, 6, 8) * scale, "b": np.zeros(8, np.float32), "v": normal(2, 8, 8) / scale[:, None],
        "d": np.zeros(8, np.float32), "u": normal(3, 8, 4), "e": np.zeros(4, np.float32),
    }  # fmt: skip
    model = canonicalise(graph(nodes, constants, {"x": ["n", 6]}))
    layers = most_sensitive(model, samples(), "minmax")
    assert set(layers[:2]) == {"first", "second"}
    assert layers[2] == "third"


@pytest.mark.parametrize("batch", ["n", 1])
def test_outputs_are_those_of_each_feed(batch: str | int) -> None:
    model = residual_cnn(1)
    if batch == 1:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        del model.graph.value_info[:]
    feeds = samples(5, 1, 16, 16)
    expected = np.concatenate([run_onnx(model, feed)["y"] for feed in feeds])
    np.testing.assert_allclose(outputs_of(model, feeds)[""], expected, atol=1e-5)


def test_another_output_is_judged() -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"]), node("MatMul", ["x", "v"], ["z"])]
    model = graph(nodes, {"w": normal(1, 6, 4), "v": normal(2, 6, 3)}, {"x": ["n", 6]}, ("y", "z"))
    feeds = samples()
    labels = np.array([run_onnx(model, feed)["z"].argmax() for feed in feeds])
    choice = choose_int8(model, feeds, labels, reading=tasks.named("classification").reading("z"), margin=0.1)
    assert choice.float_score == 1.0
    assert choice.enough


def test_repeated_samples_at_the_end_are_not_counted() -> None:
    model = mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    del model.graph.value_info[:]
    rows = np.concatenate([feed["x"] for feed in samples(10)])
    padded = np.concatenate([rows, np.repeat(rows[-1:], 2, axis=0)])
    feeds = [{"x": padded[start : start + 4]} for start in range(0, 12, 4)]
    assert choose_int8(model, feeds, np.zeros(10, int), reading=CLASSES, margin=1.0).samples == 10


@pytest.mark.parametrize("task", ["multi-label", "anomaly", "embedding"])
@pytest.mark.parametrize("labelled", [True, False])
def test_other_tasks_are_chosen_by_the_score_of_each_sample(task: str, labelled: bool) -> None:
    model, feeds = mlp(), samples(60)
    if task == "anomaly":
        nodes = [node("Gemm", ["x", "w", "b"], ["y"])]
        model = graph(nodes, {"w": normal(1, 6, 1), "b": np.zeros(1, np.float32)}, {"x": ["n", 6]})
    values = np.concatenate([run_onnx(model, feed)["y"] for feed in feeds])
    reading = tasks.named(task).reading("y", threshold=0.0 if task == "multi-label" else None)
    truth = {
        "multi-label": (values > 0).astype(int),
        "anomaly": (values[:, 0] > np.median(values)).astype(int),
        "embedding": values.argmax(axis=1) if values.shape[1] > 1 else None,
    }[task]
    choice = choose_int8(model, feeds, truth if labelled else None, reading=reading, margin=0.2)
    assert choice.enough
    assert abs(choice.best.loss) <= 0.2
    if labelled:
        answers = tasks.named(task).answers(reading, {reading.output: values})
        expected = tasks.named(task).score(answers, truth).mean()
        assert choice.float_score == pytest.approx(expected, abs=1e-6)
    else:
        assert np.isnan(choice.float_score)


def test_anomaly_scores_of_normal_samples_alone_are_chosen_by_the_noise() -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["y"])]
    model = graph(nodes, {"w": normal(1, 6, 1), "b": np.zeros(1, np.float32)}, {"x": ["n", 6]})
    reading = tasks.named("anomaly").reading("y")
    choice = choose_int8(model, samples(40), np.zeros(40, int), reading=reading)
    assert np.isnan(choice.best.loss)
    assert np.isfinite(choice.best.sqnr_db)


def test_one_reason_for_all_recipes_is_said_once() -> None:
    trials = tuple(Int8Trial(name, (), failed="no operator fits") for name in ("minmax", "entropy"))
    assert Int8Choice(trials, 8, math.nan, 0.01).text() == "no recipe can be made: no operator fits"


def test_outputs_of_documents_of_different_lengths_are_filled_up() -> None:
    model = graph([node("Relu", ["x"], ["y"])], {}, {"x": ["n", "length", 2]})
    feeds = [{"x": np.full((1, length, 2), length, np.float32)} for length in (3, 1)]
    joined = choose.outputs_of(model, feeds, ("y",))["y"]
    assert joined[:, :, 0].tolist() == [[3, 3, 3], [1, 0, 0]]
