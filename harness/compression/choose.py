"""Choose the int8 recipe of a model on calibration data: calibrations, dynamic quantization, float layers.

No method is best for every model: entropy has cost nothing where minmax cost 2.6 points, and a transformer
has lost 9 points with static int8 and 0.8 with dynamic. The first recipe within the margin is taken; the
fastest and most portable ones come first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from harness import tasks
from harness.compression import runtime
from harness.compression.calibration import activation_ranges
from harness.compression.canonical import Array, canonicalise, initializers
from harness.compression.choice import Int8Choice, Int8Trial, Recipe, order_of_loss
from harness.compression.dynamic import dynamic
from harness.compression.float_nodes import WEIGHTED
from harness.compression.passes import Feeds, Pass
from harness.compression.quantize import QUANTIZED_OPERATORS, quantize
from harness.compression.resolution import Effect, Grid, bound_of_values, sqnr_db
from harness.compression.shared_scales import Step
from harness.compression.steps import checked
from harness.config.validation import Validation
from harness.core.errors import DataError, HarnessError
from harness.core.task import Reading

#: Accuracy that int8 may lose on the calibration data.
MARGIN = 0.01
SECONDS = 6.0  # no further recipe is tried after this time
#: Recipes are tried on the first feeds.
MOST_FEEDS = 200
_PASSES: Mapping[str, Pass] = {"dynamic": dynamic, "quantize": quantize}
_OTHER_METHODS = ("entropy", "percentile", "mse")


def reading_of(model: onnx.ModelProto, validation: Validation) -> Reading:
    """Return how a validation reads the answers of a model."""
    table = validation.model
    name = table.output or model.graph.output[0].name
    tensor = next(value.type.tensor_type for value in model.graph.output if value.name == name)
    # Only a tensor has a type of its elements.
    integers = tensor.elem_type and np.issubdtype(
        helper.tensor_dtype_to_np_dtype(tensor.elem_type), np.integer
    )
    width = math.prod(dim.dim_value for dim in tensor.shape.dim[1:])  # 0 where a dimension is open
    return tasks.named(table.task).reading(
        name, integers=bool(integers), width=width, threshold=table.threshold, options=validation.task
    )


def choose_int8(
    model: onnx.ModelProto,
    feeds: Sequence[Feeds],
    labels: NDArray[Any] | None = None,
    *,
    reading: Reading | None = None,
    margin: float = MARGIN,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Int8Choice:
    """Try recipes until one is within the margin.

    Parameters
    ----------
    model : onnx.ModelProto
        Float model.
    feeds : sequence of mapping
        What the model takes for the calibration samples, one or its batch at once; the last sample may be
        repeated. At most ``MOST_FEEDS`` are used. They calibrate and judge: the figures compare recipes, they
        are no estimate of the accuracy on other data.
    labels : ndarray, shape (n,), integer, optional
        Of the samples. Without them the answers of the float model count.
    reading : Reading, optional
        How the answers are read; without it the noise of the first output counts.
    margin : float
        Share of the samples that may be lost.
    seconds : float
        No recipe is started after this time; the first always is.
    clock : callable
        Time in seconds.

    Returns
    -------
    Int8Choice

    Raises
    ------
    HarnessError
        The float model does not run on the feeds.
    """
    trials = _Trials(canonicalise(model), feeds[:MOST_FEEDS], labels, reading, margin)
    start, untried = clock(), ""
    for name, recipe in trials.candidates():
        if trials.done and clock() - start > seconds:
            untried = f"others were not tried after {seconds:g} s"
            break
        trials.run(name, recipe)
        if len(trials.done) == 1 and trials.done[0].within(margin):
            untried = f"within {100 * margin:g} pt, so others were not tried"
            break
    return Int8Choice(tuple(trials.done), trials.samples, trials.float_score, margin, untried)


class _Trials:
    """The recipes that were tried on one model."""

    def __init__(
        self,
        model: onnx.ModelProto,
        feeds: Sequence[Feeds],
        labels: NDArray[Any] | None,
        reading: Reading | None,
        margin: float,
    ) -> None:
        self.done: list[Int8Trial] = []
        self._model, self._feeds, self._margin, self._reading = model, feeds, margin, reading
        self._task = None if reading is None else tasks.named(reading.task)
        self._names = ("",) if reading is None or self._task is None else self._task.outputs(reading)
        self._rows: int | None = None if labels is None else len(labels)
        self._exact = self._run(model)
        self._rows = self.samples  # without repetitions of the last sample
        self._answers = self._answers_in(self._exact)
        self._labels = labels[: self._rows] if self._answers is not None and labels is not None else None

    @property
    def samples(self) -> int:
        return len(next(iter(self._exact.values())))

    def _run(self, model: onnx.ModelProto) -> dict[str, Array]:
        """Return the outputs that are read, each with its rows first."""
        outputs = outputs_of(model, self._feeds, self._names)
        return {name: y[: self._rows] for name, y in outputs.items()}

    @cached_property
    def float_score(self) -> float:
        return self._score(self._exact)

    def candidates(self) -> Iterator[tuple[str, Recipe]]:
        """Yield names and recipes, the later ones depending on what the earlier gave."""
        yield "minmax", ({"pass": "quantize", "calibration": "minmax"},)
        for method in _OTHER_METHODS:
            yield method, ({"pass": "quantize", "calibration": method},)
        if self._one_is_within():
            return
        if _mostly_products(self._model):
            yield "dynamic", ({"pass": "dynamic"},)
            if self._one_is_within():
                return
        static = [trial for trial in self.done if trial.is_static and not trial.failed]
        if not static:
            return
        best = min(static, key=lambda trial: (order_of_loss(trial.loss), -trial.sqnr_db))
        method = best.recipe[-1]["calibration"]
        layers = most_sensitive(self._model, self._feeds, method)
        count = 1
        while count <= len(layers) // 2 and not self._one_is_within():
            chosen = layers[:count]
            label = f"{method} with {count} float layer{'s' if count > 1 else ''}"
            yield label, ({"pass": "quantize", "calibration": method, "float_layers": chosen},)
            count *= 2

    def run(self, name: str, recipe: Recipe) -> None:
        """Run a recipe and compare it with the float model."""
        (step,) = recipe
        options = {key: value for key, value in step.items() if key != "pass"}
        try:
            result = checked(name, _PASSES[step["pass"]], self._model, self._feeds, options)
            values = self._run(result.model)
        except HarnessError as error:
            self.done.append(Int8Trial(name, recipe, failed=error.what))
            return
        first = self._names[0]
        exact = self._exact[first]
        decibel = sqnr_db(exact, values[first], bound_of_values(exact))
        loss = math.nan
        if self._labels is not None:
            loss = self.float_score - self._score(values)
        elif self._task is not None and self._answers is not None:
            answers = self._answers_in(values)
            loss = math.nan if answers is None else 1 - float(self._task.same(answers, self._answers).mean())
        score = self._score(values)
        self.done.append(Int8Trial(name, recipe, loss, decibel, score, result=result))

    def _one_is_within(self) -> bool:
        return any(trial.within(self._margin) for trial in self.done)

    def _score(self, values: Mapping[str, Array]) -> float:
        answers = None if self._labels is None else self._answers_in(values)
        if answers is None or self._task is None or self._labels is None:
            return math.nan
        return float(self._task.score(answers, self._labels).mean())

    def _answers_in(self, values: Mapping[str, Array]) -> NDArray[Any] | None:
        """Return the answers that outputs hold; None where they hold none that are right or wrong."""
        if self._task is None or self._reading is None or not self._task.is_share:
            return None
        try:
            return self._task.answers(self._reading, values)
        except DataError:
            return None


def _mostly_products(model: onnx.ModelProto) -> bool:
    """Whether most weights are those of matrix products: dynamic int8 is slow for convolutions."""
    constants = initializers(model)
    sizes = dict.fromkeys(WEIGHTED, 0)
    for node in model.graph.node:
        if node.op_type in WEIGHTED and node.input[1] in constants:
            sizes[node.op_type] += constants[node.input[1]].size
    return sizes["MatMul"] + sizes["Gemm"] > sizes["Conv"]


def outputs_of(
    model: onnx.ModelProto, feeds: Sequence[Feeds], names: Sequence[str] = ("",)
) -> dict[str, Array]:
    """Run a model with ONNX Runtime as it is deployed; return outputs as float64, by the names asked for.

    An empty name is the first output.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = runtime.session(model.SerializeToString(), options)
        first = session.get_outputs()[0].name
        # Not several feeds at once: dynamic quantization would give them one scale.
        calls = [session.run([name or first for name in names], dict(feed)) for feed in feeds]
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise HarnessError(
            f"ONNX Runtime cannot run the model: {str(error).strip().splitlines()[0]}",
            where=f"graph {model.graph.name!r}",
        ) from error
    return {
        name: _joined([np.atleast_1d(call[place]) for call in calls]).astype(np.float64)
        for place, name in enumerate(names)
    }


def _joined(outputs: Sequence[Array]) -> Array:
    """Join outputs along their first axis; those of shorter documents are filled up with 0."""
    longest = np.max([output.shape[1:] for output in outputs], axis=0)
    widths = [[(0, 0), *((0, n) for n in longest - output.shape[1:])] for output in outputs]
    return np.concatenate([np.pad(y, w) if np.any(w) else y for y, w in zip(outputs, widths, strict=True)])


def most_sensitive(
    model: onnx.ModelProto, feeds: Sequence[Feeds], method: str, samples: int = 8
) -> list[str]:
    """Return the layers with weights, those first whose rounded input and output cost the outputs most.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model.
    feeds : sequence of mapping
    method : str
        Calibration.
    samples : int
        Feeds that the effect is measured on.
    """
    ranges = activation_ranges(model, feeds, method, QUANTIZED_OPERATORS).ranges
    grids: dict[str, Grid] = {}
    for name, limits in ranges.items():
        step = Step.of_range(*limits)
        grids[name] = Grid(step.scale, step.zero_point)
    constants = initializers(model)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    effect = Effect(model, grids, feeds[:samples])
    costs: dict[str, float] = {}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or node.input[1] not in constants:
            continue
        result = node.output[0]
        after = readers.get(result, [])
        if len(after) == 1 and after[0].op_type in ("Clip", "Relu"):
            result = after[0].output[0]  # this tensor is rounded instead
        costs[node.name] = effect.db({node.input[0], result} & set(grids))
    return sorted(costs, key=lambda name: costs[name])
