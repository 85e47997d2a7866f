"""What is checked around every step: each planted fault of a pass is caught, and a good pass goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from harness.compression.canonical import canonicalise
from harness.compression.channels import prune_channels
from harness.compression.passes import Feeds, PassResult
from harness.compression.prune import prune
from harness.compression.quantize import quantize
from harness.compression.steps import checked
from harness.core.errors import HarnessError, ModelError, UsageError

from .graphs import residual_cnn

RANDOM = np.random.default_rng(0)
MODEL = canonicalise(residual_cnn(1))
Change = Callable[[onnx.ModelProto], None]


def feeds() -> Iterable[Feeds]:
    for _ in range(6):
        yield {"x": RANDOM.standard_normal((1, 1, 16, 16)).astype(np.float32)}


def faulty(change: Change, promise: Mapping[str, Any]) -> PassResult:
    def pass_(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
        result = onnx.ModelProto()
        result.CopyFrom(model)
        change(result)
        return PassResult(result, {"promise": promise})

    return checked("planted", pass_, MODEL, feeds(), {})


def set_weights(model: onnx.ModelProto, factor: float) -> None:
    for tensor in model.graph.initializer:
        value = (numpy_helper.to_array(tensor) * np.float32(factor)).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "z"


def fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def keep_old_weights(model: onnx.ModelProto) -> None:
    for tensor in list(model.graph.initializer):
        model.graph.initializer.append(
            numpy_helper.from_array(numpy_helper.to_array(tensor), f"{tensor.name}/old")
        )


FAULTS: dict[str, tuple[Change, dict[str, Any], str]] = {
    "invalid": (lambda m: m.graph.node.reverse(), {}, "not valid ONNX"),
    "output renamed": (rename_output, {}, "changed the outputs"),
    "input fixed": (fix_batch, {}, "changed the inputs"),
    "not finite": (lambda m: set_weights(m, 1e38), {}, "not finite"),
    "promise of outputs": (
        lambda m: set_weights(m, 1.001),
        {"max_relative": 1e-5},
        "it promised at most 1e-05",
    ),
    "old weights kept": (keep_old_weights, {"bytes": "same"}, "'same' bytes"),
    "no smaller": (lambda m: None, {"bytes": "smaller"}, "'smaller' bytes"),
    "no fewer": (lambda m: None, {"parameters": "fewer"}, "'fewer' parameters"),
    "more parameters": (keep_old_weights, {"parameters": "same"}, "'same' parameters"),
    "too few zeros": (lambda m: None, {"zeros": 10_000}, "10000 zeros"),
    "unknown promise": (lambda m: None, {"beauty": 1}, "'beauty', which is no known promise"),
    "unknown word": (lambda m: None, {"bytes": "tiny"}, "'tiny' bytes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_caught_and_names_the_step(name: str) -> None:
    change, promise, words = FAULTS[name]
    with pytest.raises(ModelError, match=words) as caught:
        faulty(change, promise)
    assert "planted" in str(caught.value)


def test_kept_promise_passes() -> None:
    promise = {"max_relative": 1e-5, "bytes": "same", "parameters": "same"}
    assert faulty(lambda m: None, promise).report["promise"] == promise


@pytest.mark.parametrize(
    ("pass_", "options"),
    [(prune, {}), (prune_channels, {"round_to": 2}), (prune_channels, {"fraction": 0}), (quantize, {})],
)
def test_our_passes_keep_their_promises(pass_: Any, options: dict[str, Any]) -> None:
    result = checked("ours", pass_, MODEL, feeds(), options)
    seen = result.report.get("calibration_feeds", result.report.get("refit", {}).get("calibration_feeds"))
    assert seen == (0 if options == {"fraction": 0} else 6)  # the sample is not kept from the pass


def test_exception_of_a_pass_becomes_an_error_of_ours() -> None:
    def broken(
        model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]
    ) -> PassResult:
        raise ZeroDivisionError("by nothing")

    with pytest.raises(ModelError, match="'broken' stopped with ZeroDivisionError: by nothing") as caught:
        checked("broken", broken, MODEL, feeds(), {})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(UsageError, match="did you mean sparsity"):
        checked("prune", prune, MODEL, feeds(), {"sparsityy": 0.5})


@pytest.mark.parametrize("promise", [{}, {"max_relative": 0.1}])
def test_rows_that_depend_on_the_sample_may_be_others_unless_outputs_are_promised(promise: Any) -> None:
    def positive(threshold: float) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Greater", ["x", "threshold"], ["is"], "greater"),
            helper.make_node("Compress", ["x", "is"], ["y"], "compress", axis=0),
        ]
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", 1, [8])],
            [helper.make_tensor_value_info("y", 1, ["k"])],
            [numpy_helper.from_array(np.float32(threshold), "threshold")],
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    def pass_(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
        return PassResult(positive(0.5), {"promise": promise})

    sample = [{"x": np.linspace(-1, 1, 8, dtype=np.float32)}]
    if promise:
        with pytest.raises(HarnessError, match=r"changed the shape of 'y' from \(4,\) to \(2,\)"):
            checked("planted", pass_, positive(0.0), sample, {})
    else:
        checked("planted", pass_, positive(0.0), sample, {})
