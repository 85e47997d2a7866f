"""Operator patterns with random weights and shapes, and the comparison of three runtimes on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_node as node

from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite, float_layers
from harness.compression.quantize import quantize

from .graphs import Array, Feeds, feeds_of, feeds_on_grid, graph, run_onnx, run_tflite

FLOAT_TOLERANCE = 1e-5  # of the largest value of an output


@dataclass(frozen=True)
class Dims:
    """Random extents of a pattern; c: channels, o: outputs, h × w: an image."""

    c: int
    o: int
    h: int
    w: int
    seed: int

    def weights(self, *shape: int) -> Array:
        random = np.random.default_rng([self.seed, *shape])
        return (random.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32)


Build = Callable[[Dims], onnx.ModelProto]
# The smallest example, which is the one that is always run, has no two extents alike.
DIMS = st.builds(
    Dims, st.integers(4, 7), st.integers(2, 6), st.integers(5, 9), st.integers(6, 10), st.integers(0, 2**16)
)


@dataclass(frozen=True)
class Pattern:
    """A graph and what is known of it.

    Parameters
    ----------
    lsb, openvino_lsb : int
        The largest difference of the int8 outputs from ONNX Runtime's that is known;
        OpenVINO rounds its integers in its own way and is up to 3 off (facts of the digits model, and here).
    in_float : frozenset of str
        ONNX operators that the int8 file computes in float, all others in integers.
    openvino_wrong : str
        What OpenVINO gets wrong in int8, by far more than rounding; a strict xfail elsewhere watches it.
    quantized : bool
        Whether there is anything in it that the quantize pass takes.
    positive : bool
        Whether its inputs are positive.
    """

    build: Build
    lsb: int = 0
    openvino_lsb: int = 3
    in_float: frozenset[str] = frozenset()
    openvino_wrong: str = ""
    quantized: bool = True
    positive: bool = False

    def feeds(self, model: onnx.ModelProto, random: np.random.Generator, batch: int = 3) -> Feeds:
        feeds = feeds_of(model, random, batch)
        return {name: np.abs(x) + np.float32(0.1) for name, x in feeds.items()} if self.positive else feeds


class Patterns(dict[str, Pattern]):
    """The patterns of a test file, by name."""

    def __call__(
        self,
        lsb: int = 0,
        openvino_lsb: int = 3,
        in_float: tuple[str, ...] = (),
        openvino_wrong: str = "",
        quantized: bool = True,
        positive: bool = False,
    ) -> Callable[[Build], Build]:
        """Register a pattern."""

        def register(build: Build) -> Build:
            bounds = lsb, max(openvino_lsb, lsb)
            kinds = frozenset(in_float)
            self[build.__name__] = Pattern(build, *bounds, kinds, openvino_wrong, quantized, positive)
            return build

        return register

    def tests(self, examples: int, *marks: pytest.MarkDecorator) -> Callable[..., None]:
        """Return the test of every pattern on random extents and weights."""

        @pytest.mark.parametrize("name", self)
        @settings(max_examples=examples, deadline=None)
        @given(d=DIMS)
        def test(name: str, d: Dims) -> None:
            model = canonicalise(self[name].build(d))
            check_float(self[name], model, d.seed)
            if self[name].quantized:
                check_int8(self[name], model, d.seed)

        for mark in marks:
            test = mark(test)
        return test


def run_openvino(model: onnx.ModelProto, feeds: Feeds) -> Feeds:
    """Run on OpenVINO's CPU plug-in in float32 (its default is bf16 where the CPU has it)."""
    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1},
    )
    results = compiled(feeds)
    return {output.name: results[output.name] for output in model.graph.output}


def check_float(pattern: Pattern, model: onnx.ModelProto, seed: int) -> None:
    feeds = pattern.feeds(model, np.random.default_rng(seed))
    expected = run_onnx(model, feeds)
    for actual in (run_tflite(export_tflite(model, name="pattern"), feeds), run_openvino(model, feeds)):
        for name, want in expected.items():
            assert actual[name].shape == want.shape, name
            assert actual[name].dtype == want.dtype, name
            if want.size:
                difference = np.abs(actual[name].astype(np.float64) - want)
                assert difference.max() <= FLOAT_TOLERANCE * np.abs(want).max(), (name, difference.max())


def calibration(pattern: Pattern, model: onnx.ModelProto, seed: int) -> Iterator[Feeds]:
    random = np.random.default_rng([seed, 1])
    return (pattern.feeds(model, random) for _ in range(4))


def check_int8(pattern: Pattern, model: onnx.ModelProto, seed: int) -> None:
    result = quantize(model, calibration(pattern, model, seed), {})
    feeds = feeds_on_grid(result.model, np.random.default_rng([seed, 2]), batch=3)
    expected, written = run_onnx(result.model, feeds), export_tflite(result.model, name="pattern")
    steps = result.report["output_quantization"]
    operators = {operator.name: operator.op_type for operator in result.model.graph.node}
    in_float = {operators[layer] for layer in float_layers(written)}
    assert in_float == pattern.in_float, in_float
    for actual, lsb in (
        (run_tflite(written, feeds), pattern.lsb),
        (run_openvino(result.model, feeds), pattern.openvino_lsb),
    ):
        for name, want in expected.items():
            difference = np.abs(actual[name].astype(np.float64) - want).max()
            if name in steps:
                assert np.rint(difference / steps[name]["scale"]) <= lsb, (name, difference)
            else:  # the model's output is that of an operator left in float
                assert difference <= 10 * FLOAT_TOLERANCE * np.abs(want).max(), (name, difference)
        if pattern.openvino_wrong:
            break


def image(d: Dims) -> dict[str, list[int | str]]:
    return {"x": ["n", d.c, d.h, d.w]}


def rows(d: Dims) -> dict[str, list[int | str]]:
    return {"x": ["n", d.h, d.c]}


def after_conv(
    d: Dims, *nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), **constants: Array
) -> onnx.ModelProto:
    """Nodes that read ``c``, a pointwise convolution of the input."""
    first = node("Conv", ["x", "w", "b"], ["c"])
    weights: Mapping[str, Array] = {"w": d.weights(d.o, d.c, 1, 1), "b": d.weights(d.o)}
    return graph([first, *nodes], {**weights, **constants}, image(d), outputs)


def between_convs(d: Dims, *nodes: onnx.NodeProto, channels: int = 0, **constants: Array) -> onnx.ModelProto:
    """Nodes from ``c``, a convolution, to ``v``, which another convolution reads: no transpose is needed."""
    last = node("Conv", ["v", "w2"], ["y"])
    weights = d.weights(3, channels or d.o, 1, 1)
    return after_conv(d, *nodes, last, w2=weights, **constants)
