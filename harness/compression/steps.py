"""Checks before and after every step of a recipe.

A pass may state properties of its result in its report under ``promise``; they are checked on the model:

- ``max_relative``: outputs differ by at most this fraction of the largest output;
- ``bytes``: ``"smaller"``, or ``"same"`` (within 1 %);
- ``parameters``: ``"fewer"``, or ``"same"``;
- ``zeros``: at least this many weights are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import onnx

from harness.compression.canonical import Array, check, initializers
from harness.compression.model_file import inspect_onnx
from harness.compression.passes import Feeds, Pass, PassResult
from harness.compression.refit import runner
from harness.core.errors import HarnessError, ModelError, PassFailed, UnsupportedOperator

_SAMPLE_FEEDS = 4
_SAME_BYTES = 0.01
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_QUANTIZED_ALREADY = ("QuantizeLinear", "DequantizeLinear", "QLinear", "ConvInteger", "MatMulInteger")
# Operators in which an infinite constant is a mask or a missing bound.
_TAKES_INFINITY = frozenset(
    {"Add", "Clip", "Concat", "Expand", "Gather", "Max", "Min", "Pad", "Slice", "Where"}
)
_PROMISES = frozenset({"bytes", "max_relative", "parameters", "zeros"})


def checked(
    step_name: str,
    pass_: Pass,
    model: onnx.ModelProto,
    calibration: Iterable[Feeds],
    options: Mapping[str, Any],
) -> PassResult:
    """Run a pass and check its result.

    Parameters
    ----------
    step_name : str
        Names the step in errors.
    pass_ : Pass
    model : onnx.ModelProto
        Canonical float model, or the result of the previous step.
    calibration : iterable of mapping
        Read once; outputs are compared on its first four feeds.
    options : mapping

    Raises
    ------
    ModelError
        The pass raised an unexpected exception, or its model is invalid, has other inputs or outputs, has
        an output that is no longer finite, or breaks a promise.
    HarnessError
        Raised by the pass.
    """
    feeds = iter(calibration)
    sample = list(islice(feeds, _SAMPLE_FEEDS))
    try:
        result = pass_(model, chain(sample, feeds), options)
    except HarnessError:
        raise
    except Exception as error:
        raise _failed(
            step_name, f"stopped with {type(error).__name__}: {error}", "a bug in the pass"
        ) from error
    check(result.model, f"the result of step {step_name!r}")
    _compare_signatures(step_name, model, result.model)
    promise = dict(result.report.get("promise", {}))
    if unknown := sorted(set(promise) - _PROMISES):
        raise _failed(step_name, f"promises {unknown[0]!r}, which is no known promise", "a bug in the pass")
    _compare_outputs(step_name, model, result.model, sample, promise.get("max_relative"))
    _compare_weights(step_name, model, result.model, promise)
    return result


def refuse_unfit(model: onnx.ModelProto, pass_name: str) -> None:
    """Raise for a model that a pass on float weights cannot handle.

    Raises
    ------
    ModelError
        The model is already quantized, or a weight is not finite; infinity in a mask is no weight.
    UnsupportedOperator
        The model has control flow, custom operators, or weights of another type than float32.
    """
    constants = initializers(model)
    for node in model.graph.node:
        where = f"node {node.name!r}"
        if node.op_type.startswith(_QUANTIZED_ALREADY):
            raise ModelError(
                f"the model is quantized already: it has {node.op_type}",
                where=where,
                next_step="start from the float model; quantization is the last step of a recipe",
            )
        if node.op_type in _CONTROL_FLOW or node.domain not in ("", "ai.onnx"):
            raise UnsupportedOperator(
                f"{pass_name} does not support {node.op_type}",
                where=where,
                cause="control flow and custom operators cannot be analysed",
                next_step=f"export the model without it, or remove {pass_name} from the recipe",
            )
        other = next((d for name in node.input if (d := _other_float(constants.get(name)))), "")
        if other:
            raise UnsupportedOperator(
                f"{pass_name} works on float32 weights, and those of the model are {other}",
                where=where,
                next_step=f"export the model in float32, or remove {pass_name} from the recipe",
            )
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    for name, value in constants.items():
        if not np.issubdtype(value.dtype, np.floating) or np.isfinite(value).all():
            continue
        if np.isnan(value).any() or not readers.get(name, set()) <= _TAKES_INFINITY:
            raise ModelError(
                f"weight {name!r} contains NaN or infinity",
                where=f"initializer {name!r}",
                cause="training diverged, or an earlier step divided by zero",
                next_step="train or export the model again",
            )


def _other_float(weights: Array | None) -> str:
    """Name the type of weights that an operator takes as they are, unless it is float32 or no float."""
    if weights is None or weights.ndim < 2 or weights.dtype.name not in ("bfloat16", "float16", "float64"):
        return ""
    return str(weights.dtype.name)


def count_weights(model: onnx.ModelProto) -> tuple[int, int]:
    """Return the number of elements of all constants, and the number of zeros among the floats."""
    values = initializers(model).values()
    floats = [value for value in values if np.issubdtype(value.dtype, np.floating)]
    zeros = sum(int(value.size - np.count_nonzero(value)) for value in floats)
    return sum(int(value.size) for value in values), zeros


def _failed(step_name: str, what: str, cause: str = "") -> PassFailed:
    return PassFailed(
        f"step {step_name!r} {what}",
        where=f"recipe step {step_name!r}",
        cause=cause,
        next_step="remove the step, or change its options",
    )


def _compare_signatures(step_name: str, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    old, new = inspect_onnx(before), inspect_onnx(after)
    for kind, before_specs, after_specs in (
        ("inputs", old.inputs, new.inputs),
        ("outputs", old.outputs, new.outputs),
    ):
        if before_specs != after_specs:
            lists = [
                ", ".join(f"{t.name} {t.dtype} {t.shape}" for t in specs)
                for specs in (before_specs, after_specs)
            ]
            raise _failed(step_name, f"changed the {kind} from {lists[0]} to {lists[1]}", "a bug in the pass")


def _compare_outputs(
    step_name: str,
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    sample: list[Feeds],
    max_relative: float | None,
) -> None:
    run_before, run_after = runner(before), runner(after)
    open_rows = {spec.name for spec in inspect_onnx(before).outputs if spec.shape and spec.shape[0] is None}
    for index, feed in enumerate(sample):
        where = f"calibration feed {index}"
        expected, actual = run_before(feed, where), run_after(feed, where)
        for name, reference in expected.items():
            value = actual[name]
            # A model with its own suppression of boxes may return another number of them.
            may_differ = name in open_rows and max_relative is None
            if reference.shape[may_differ:] != value.shape[may_differ:]:
                raise _failed(
                    step_name, f"changed the shape of {name!r} from {reference.shape} to {value.shape}"
                )
            if np.isfinite(reference).all() and not np.isfinite(value).all():
                raise _failed(step_name, f"produced a model whose output {name!r} is not finite on {where}")
            if max_relative is not None and _relative(reference, value) > max_relative:
                share = f"{_relative(reference, value):.3g} of its largest value"
                raise _failed(
                    step_name,
                    f"changed output {name!r} by {share} on {where}; it promised at most {max_relative:g}",
                )


def _relative(reference: Array, value: Array) -> float:
    """Return the largest difference relative to the largest value."""
    difference = np.abs(reference.astype(np.float64) - value.astype(np.float64)).max(initial=0.0)
    largest = np.abs(reference.astype(np.float64)).max(initial=0.0)
    return float(difference / largest) if largest else (float("inf") if difference else 0.0)


def _compare_weights(
    step_name: str, before: onnx.ModelProto, after: onnx.ModelProto, promise: Mapping[str, Any]
) -> None:
    old_bytes, new_bytes = before.ByteSize(), after.ByteSize()
    bytes_promises = {
        "smaller": new_bytes < old_bytes,
        "same": abs(new_bytes - old_bytes) <= _SAME_BYTES * old_bytes,
        None: True,
    }
    if not bytes_promises.get(promise.get("bytes"), False):
        raise _failed(
            step_name,
            f"promised {promise['bytes']!r} bytes and went from {old_bytes} to {new_bytes}",
            "the file still contains unused weights",
        )
    (old_count, _), (new_count, zeros) = count_weights(before), count_weights(after)
    count_promises = {"fewer": new_count < old_count, "same": new_count == old_count, None: True}
    if not count_promises.get(promise.get("parameters"), False):
        raise _failed(
            step_name,
            f"promised {promise['parameters']!r} parameters and went from {old_count} to {new_count}",
        )
    if zeros < promise.get("zeros", 0):
        raise _failed(step_name, f"promised {promise['zeros']} zeros; the model has {zeros}")
