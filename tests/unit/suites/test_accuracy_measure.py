from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.artifact import Artifact, File, Quantization, TensorSpec
from harness.core.contracts import Session
from harness.core.errors import BackendError, DataError
from harness.core.feeding import Feeding
from harness.core.job import Case, Samples, merge
from harness.core.preprocess import Feeds, Outputs, Preprocess
from harness.core.reductions import hash_rows, limits
from harness.core.task import Block, Need, Reading
from harness.stats import accuracy
from harness.tasks.answers import Answers
from suites.accuracy import measure as measure_module
from suites.accuracy.measure import measure
from suites.accuracy.tasks.classification import classes
from suites.accuracy.tasks.classification.task import Classification

RNG = np.random.default_rng(7)
RAW = RNG.normal(size=(101, 3, 4, 4)).astype(np.float32)
WEIGHTS = RNG.normal(size=(48, 10)).astype(np.float32)


def scores(x: NDArray[Any]) -> NDArray[Any]:
    # Row by row, so that the oracle does not depend on how a BLAS treats a batch.
    return np.stack([np.einsum("i,ij->j", row.ravel(), WEIGHTS) for row in x]).astype(np.float32)


@dataclass
class NumpySession:
    """A runtime whose model is a function of numpy; refuses any batch but a fixed one."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    model: Callable[[Feeds], Outputs]
    effective: Mapping[str, str] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)

    def run(self, feeds: Feeds) -> Outputs:
        (spec,), (x,) = self.inputs, feeds.values()
        assert spec.shape[0] in (None, len(x))
        assert x.flags.c_contiguous
        self.batches.append(len(x))
        return self.model(feeds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


@dataclass
class NumpyBench:
    session: NumpySession
    artifact: Artifact
    clock: Callable[[], int] = field(default_factory=lambda: itertools.count(0, 1000).__next__)

    @property
    def data(self) -> Self:
        return self

    def __contains__(self, name: str) -> bool:
        return name == "clean"

    def feeds(self, name: str, start: int, stop: int) -> Feeds:
        return {"image": RAW[start:stop]}

    def open(self, artifact: Artifact | None = None, *, setting: str = "", **options: Any) -> Session:
        return self.session

    def feeding(self, session: Session) -> Feeding:
        return Feeding(session.inputs, session.outputs, {"image": Preprocess()}, self.artifact)

    def spawn(self, case: Case) -> Samples:
        raise AssertionError("accuracy spawns nothing")

    def scratch(self) -> Path:
        raise AssertionError("accuracy writes nothing")


def artifact(**fields: Any) -> Artifact:
    return Artifact("float32", "onnx", (File("m.onnx", "0", 0),), Path(), **fields)


def bench(batch: int | None = None) -> NumpyBench:
    inputs = (TensorSpec("image", (batch, 3, 4, 4), "float32"),)
    outputs = (TensorSpec("scores", (batch, 10), "float32"),)
    return NumpyBench(
        NumpySession(inputs, outputs, lambda feeds: {"scores": scores(feeds["image"])}), artifact()
    )


def run(on: NumpyBench, *, samples: int = 101, batch: int = 32, keep: str = "outputs") -> Samples:
    case = Case(
        "clean",
        data="clean",
        samples=samples,
        params={"batch": batch, "keep": keep, "task": "classification"},
    )
    return merge(measure(on, case))


@pytest.mark.parametrize("batch", [1, 7, 32, 200])
def test_outputs_are_those_of_the_rows_in_order_whatever_the_batch(batch: int) -> None:
    on = bench()
    result = run(on, batch=batch)
    np.testing.assert_array_equal(result.arrays["output:0"], scores(RAW))
    assert sum(on.session.batches) == 101
    assert set(on.session.batches[:-1]) <= {batch}
    assert result.values["input_sha256"] == preprocess.digest([{"image": RAW}])
    assert result.values["outputs"] == [["scores", (10,)]]


def test_only_the_rows_that_were_asked_for_are_run_and_hashed() -> None:
    result = run(bench(), samples=40)
    np.testing.assert_array_equal(result.arrays["output:0"], scores(RAW[:40]))
    assert result.values["input_sha256"] == preprocess.digest([{"image": RAW[:40]}])


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_a_fixed_batch_is_filled_up_and_what_filled_it_dropped(batch: int) -> None:
    on = bench(batch)
    result = run(on, batch=32)
    assert set(on.session.batches) == {batch}
    np.testing.assert_array_equal(result.arrays["output:0"], scores(RAW))
    # Repeated rows are no input of the data set.
    assert result.values["input_sha256"] == preprocess.digest([{"image": RAW}])


@dataclass
class Watched(NumpyBench):
    """Says how many of its blocks are in memory, and has a damaged row."""

    damaged: int | None = None
    blocks: list[weakref.ref[NDArray[Any]]] = field(default_factory=list)

    def feeds(self, name: str, start: int, stop: int) -> Feeds:
        if self.damaged is not None and start <= self.damaged < stop and stop > start + 1:
            raise DataError("a data file is missing or damaged")
        block = RAW[start:stop].copy()
        self.blocks.append(weakref.ref(block))
        return {"image": block}

    def alive(self) -> int:
        return sum(block() is not None for block in self.blocks)


def watched(damaged: int | None = None) -> Watched:
    on = bench()
    return Watched(on.session, on.artifact, damaged=damaged)


def test_two_blocks_at_most_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_module, "BLOCK_BYTE", 1)
    on, alive = watched(), list[int]()

    def model(feeds: Feeds) -> Outputs:
        alive.append(on.alive())
        return {"scores": scores(feeds["image"])}

    on.session.model = model
    result = run(on, batch=4)
    assert len(alive) == 26
    assert max(alive) <= 2
    np.testing.assert_array_equal(result.arrays["output:0"], scores(RAW))
    assert result.values["input_sha256"] == preprocess.digest([{"image": RAW}])


@pytest.mark.parametrize("side", ["data", "model"])
def test_an_error_on_either_side_is_the_case_s_and_leaves_no_thread(
    side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_module, "BLOCK_BYTE", 1)
    on, before = watched(damaged=50 if side == "data" else None), threading.active_count()

    def model(feeds: Feeds) -> Outputs:
        if side == "model" and len(on.session.batches) == 5:
            raise BackendError("the runtime failed")
        return {"scores": scores(feeds["image"])}

    on.session.model = model
    with pytest.raises((DataError, BackendError), match="damaged" if side == "data" else "failed"):
        run(on, batch=4)
    assert threading.active_count() == before


def test_each_inference_is_timed_alone() -> None:
    result = run(bench(), batch=50)
    np.testing.assert_array_equal(result.arrays["run_ns"], [1000, 1000, 1000])
    assert result.arrays["run_ns"].dtype == np.int64


def test_a_file_with_another_layout_and_integer_tensors_gives_canonical_outputs() -> None:
    step = Quantization(0.05, 3)

    def model(feeds: Feeds) -> Outputs:
        nhwc = feeds["in"]
        assert nhwc.dtype == np.int8
        maps = np.stack([nhwc[..., 0], nhwc[..., 1]], axis=-1)
        return {"second": maps, "first": nhwc.astype(np.int32).sum(axis=(1, 2), dtype=np.int32)}

    session = NumpySession(
        (TensorSpec("in", (None, 4, 4, 3), "int8", step),),
        (TensorSpec("second", (None, 4, 4, 2), "int8", step), TensorSpec("first", (None, 3), "int32")),
        model,
    )
    permuted = artifact(
        input_permutation={"image": (0, 2, 3, 1)}, output_permutation={"second": (0, 2, 3, 1)}
    )
    result = run(NumpyBench(session, permuted))
    q = np.clip(np.rint(RAW / np.float32(0.05)) + 3, -128, 127)
    np.testing.assert_array_equal(
        result.arrays["output:0"], (q[:, :2].astype(np.float32) - 3) * np.float32(0.05)
    )
    np.testing.assert_array_equal(result.arrays["output:1"], q.sum(axis=(2, 3)))
    assert result.values["outputs"] == [["second", (2, 4, 4)], ["first", (3,)]]


def reduce(y: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What the task makes of scores on the device."""
    task = Classification()
    return task.reduce(task.reading("scores"), Block({"scores": y}))


def kept(y: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Names and arrays that a case has of one output that is reduced."""
    of_output = {**limits(y), "row_hash": hash_rows(y)}
    return {
        **{f"{name}:0": array for name, array in of_output.items()},
        **{f"answer:{name}": array for name, array in reduce(y).items()},
    }


def test_reduced_is_what_the_task_makes_of_the_outputs() -> None:
    reduced, result = run(bench(), keep="reduced"), run(bench())
    expected = kept(result.arrays["output:0"])
    assert reduced.arrays.keys() == expected.keys() | {"run_ns"}
    for name, array in expected.items():
        np.testing.assert_array_equal(reduced.arrays[name], array)


SCORES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(2, 8)),
    elements=st.sampled_from([0.0, 0.25, 1.0, -3.0, 80.0, np.nan, np.inf, -np.inf]),
)


@given(SCORES)
def test_reduced_scores_say_what_whole_ones_do(y: NDArray[Any]) -> None:
    older = {f"{name}:0": a for name, a in {**reduce(y), **limits(y), "row_hash": hash_rows(y)}.items()}
    for arrays in (kept(y), older):  # as runs were stored before tasks reduced outputs
        answers = Answers.read(Samples(arrays, {"outputs": [["scores", [y.shape[1]]]]}))
        np.testing.assert_array_equal(classes.predicted(answers), accuracy.predictions(y))
        assert classes.are_probabilities(answers) == accuracy.are_probabilities(y)


def test_the_hash_of_a_row_is_that_of_its_bytes() -> None:
    y = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, np.nextafter(np.float32(2), np.float32(3))]], np.float32)
    first, same, other = hash_rows(y)
    assert first == same != other


@given(SCORES)
def test_the_highest_five_are_those_of_a_stable_sort_of_all(y: NDArray[Any]) -> None:
    for scores in (y, y.astype(np.float32), np.repeat(y, 3, axis=1)):
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :5]
        result = reduce(scores)
        np.testing.assert_array_equal(result["top_index"], order)
        np.testing.assert_array_equal(
            result["top_value"], np.take_along_axis(scores.astype(np.float64), order, axis=1)
        )


def test_of_equal_scores_the_first_five_are_kept_in_order() -> None:
    y = np.array([[0, 7, 7, 1, 7, 2, 1]], np.float32)
    result = reduce(y)
    np.testing.assert_array_equal(result["top_index"], [[1, 2, 4, 5, 3]])
    np.testing.assert_array_equal(result["top_value"], [[7, 7, 7, 2, 1]])
    assert result["logsumexp"][0] == pytest.approx(np.log(np.exp(y.astype(np.float64)).sum()))


class NeedsAll(Classification):
    """Keeps the mean of the input and the label of each sample, and the score of the second output."""

    needs = frozenset({Need.INPUTS, Need.LABELS})

    def reduce(self, reading: Reading, block: Block) -> dict[str, NDArray[Any]]:
        assert block.labels is not None
        means = block.inputs["image"].reshape(len(block.labels), -1).mean(axis=1)
        return {"means": means, "labels": block.labels, "score": block.outputs[reading.output][:, 0]}


@dataclass
class LabelledBench(NumpyBench):
    """Has labels on the device."""

    def targets(self, name: str, start: int, stop: int) -> NDArray[np.int64]:
        return np.arange(start, stop)


@pytest.mark.parametrize("keep", ["outputs", "reduced"])
@pytest.mark.parametrize("names", [("scores", "sums"), ("a", "b")])
def test_a_task_gets_inputs_labels_and_outputs_by_their_own_names(
    keep: str, names: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converter may rename outputs: the task knows them by the names of the canonical model."""
    monkeypatch.setattr(measure_module.plugins, "choose", lambda group, name: NeedsAll)
    inputs = (TensorSpec("image", (None, 3, 4, 4), "float32"),)
    outputs = tuple(TensorSpec(name, (None, 10), "float32") for name in names)
    session = NumpySession(
        inputs,
        outputs,
        lambda feeds: dict(zip(names, (scores(feeds["image"]), -scores(feeds["image"])), strict=True)),
    )
    on = LabelledBench(session, artifact())
    monkeypatch.setattr(measure_module, "BLOCK_BYTE", RAW[:7].nbytes)
    params = {"batch": 7, "keep": keep, "task": "needs-all", "labelled": True}
    params |= {"outputs": ["scores", "sums"], "scored": "sums"}
    result = merge(measure(on, Case("clean", data="clean", samples=101, params=params)))
    np.testing.assert_allclose(result.arrays["answer:means"], RAW.reshape(101, -1).mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(result.arrays["answer:labels"], np.arange(101))
    np.testing.assert_array_equal(result.arrays["answer:score"], -scores(RAW)[:, 0])
    assert ("output:0" in result.arrays) == (keep == "outputs")
