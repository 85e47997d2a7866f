"""Third-party quantizers behind the pass interface, to compare them with the harness's own passes.

NNCF (Intel, for OpenVINO) writes a QDQ model with float biases, so LiteRT and ONNX Runtime compute some of
its layers in float. ai-edge-quantizer (Google, for LiteRT) reads and writes TFLite files; its pass makes no
ONNX model. Neither considers CPUs whose int8 kernels overflow: the card lists those layers.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import numpy as np
import onnx

from harness.compression.canonical import initializers
from harness.compression.export import TfliteExport, export_tflite, read_operators
from harness.compression.export.schema import load_schema
from harness.compression.options import read_options
from harness.compression.passes import Feeds, PassResult
from harness.compression.quantize import count_operators, output_quantization
from harness.compression.saturation import overflowing, sums_in_16_bits
from harness.compression.storage import expand, sizes
from harness.compression.weights import output_axis
from harness.core.commands import install
from harness.core.errors import DataError, TargetUnavailable
from harness.core.settings import choice, option

#: Distribution that each pass needs.
LIBRARIES = {"ai_edge_quantizer": "ai-edge-quantizer", "nncf": "nncf"}
#: Recipes of ai-edge-quantizer: bits of weights (wi) and of activations (ai, afp).
RECIPES = (
    "static_wi8_ai8", "static_wi8_ai16", "dynamic_wi8_afp32",
    "weight_only_wi8_afp32", "weight_only_wi4_afp32",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NncfOptions:
    """Options of ``nncf``."""

    preset: str = option("performance", choice("performance", "mixed"))
    bias_correction: str = option("fast", choice("fast", "accurate"))


@dataclass(frozen=True, slots=True)
class AiEdgeOptions:
    """Options of ``ai_edge_quantizer``."""

    recipe: str = option("static_wi8_ai8", choice(*RECIPES))


def nncf(model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]) -> PassResult:
    """Quantize with ``nncf.quantize``.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    calibration : iterable of mapping
        Input name to array.
    options : mapping
        ``preset``: ``"performance"`` (default, symmetric activations) or ``"mixed"``; ``bias_correction``:
        ``"fast"`` (default) or ``"accurate"``.

    Returns
    -------
    PassResult
        The report has the same entries as that of ``quantize``, without ``weights``.

    Raises
    ------
    TargetUnavailable
        NNCF is not installed.
    DataError
        There are no calibration samples.
    """
    settings = read_options("nncf", model, options, NncfOptions)
    # None stands for not installed. The package starts a process that sends usage data.
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    library = _library("nncf")
    dense, feeds = expand(model), _as_list(calibration, "nncf")
    with _quiet():
        result: onnx.ModelProto = library.quantize(
            dense,
            library.Dataset(feeds),
            preset=library.QuantizationPreset(settings.preset),
            fast_bias_correction=settings.bias_correction == "fast",
            subset_size=len(feeds),
        )
    quantized, in_float = count_operators(result)
    report = {
        **sizes(model, result),
        "calibration_feeds": len(feeds),
        "options": asdict(settings),
        "quantized": quantized,
        "float": in_float,
        "overflow": _overflow(result),
        "output_quantization": output_quantization(result),
    }
    return PassResult(result, report)


def ai_edge_quantizer(
    model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]
) -> PassResult:
    """Write the model as TFLite and quantize that file with one of ai-edge-quantizer's own recipes.

    Inputs and outputs stay float, as in all TFLite files of the harness.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    calibration : iterable of mapping
        Input name to array.
    options : mapping
        ``recipe``: one of ``RECIPES``, ``"static_wi8_ai8"`` by default.

    Returns
    -------
    PassResult
        The given model, and the file. The report has ``calibration_feeds``, ``bytes_before`` and
        ``bytes_after`` of the TFLite file, and ``output_quantization``.

    Raises
    ------
    TargetUnavailable
        ai-edge-quantizer is not installed.
    UnsupportedOperator
        The TFLite writer does not support an operator of the model.
    DataError
        There are no calibration samples.
    """
    settings = read_options("ai_edge_quantizer", model, options, AiEdgeOptions)
    recipes, quantizers = _library("ai_edge_quantizer.recipe"), _library("ai_edge_quantizer.quantizer")
    plain = export_tflite(model, name="model")
    axes = plain.input_permutation
    feeds = [
        {name: np.transpose(array, axes[name]) if name in axes else array for name, array in feed.items()}
        for feed in _as_list(calibration, "ai_edge_quantizer")
    ]
    with _quiet():
        quantizer = quantizers.Quantizer(plain.data)
        quantizer.load_quantization_recipe(getattr(recipes, settings.recipe)())
        for end in ("INPUT", "OUTPUT"):
            quantizer.update_quantization_recipe(".*", end, algorithm_key="no_quantize")
        statistics = quantizer.calibrate({"serving_default": feeds}) if quantizer.need_calibration else None
        data = bytes(quantizer.quantize(statistics).quantized_model)
    schema = load_schema()
    export = TfliteExport(data, axes, plain.output_permutation, read_operators(schema, data))
    report = {
        "calibration_feeds": len(feeds),
        "options": asdict(settings),
        "bytes_before": len(plain.data),
        "bytes_after": len(data),
        "output_quantization": _tflite_output_quantization(schema, data),
    }
    return PassResult(model, report, export)


def _library(name: str) -> Any:  # noqa: ANN401 - an optional module without types
    try:
        return import_module(name)
    except ImportError as error:
        pass_name = name.split(".", maxsplit=1)[0]
        raise TargetUnavailable(
            f"the pass {pass_name} needs {LIBRARIES[pass_name]}, which is not installed",
            where=name,
            cause=str(error),
            next_step=install("quantizers"),
        ) from error


def _as_list(calibration: Iterable[Feeds], pass_name: str) -> list[dict[str, Any]]:
    """Return all feeds as a list: both libraries need their number."""
    feeds = [dict(feed) for feed in calibration]
    if not feeds:
        raise DataError(
            f"{pass_name} needs calibration samples; there are none",
            where=pass_name,
            next_step='set data.split = "hash", or give [data.calibration]',
        )
    return feeds


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress progress bars, summaries and warnings of the libraries; exceptions pass."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _overflow(model: onnx.ModelProto) -> list[str]:
    """Return the layers whose integer weights can overflow 16 bits on some CPU."""
    constants = initializers(model)
    integers = {
        node.output[0]: constants[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
        and (weights := integers.get(node.input[1])) is not None
        and sums_in_16_bits(node, weights)
        and overflowing(weights, output_axis(node, weights)).any()
    ]


def _tflite_output_quantization(schema: ModuleType, data: bytes) -> dict[str, dict[str, Any]]:
    """Return the quantization of each float output: that of the tensor that its DEQUANTIZE reads."""
    model = schema.Model.GetRootAs(data)
    graph, signature = model.Subgraphs(0), model.SignatureDefs(0)
    inputs = {
        graph.Operators(i).Outputs(0): graph.Tensors(graph.Operators(i).Inputs(0))
        for i in range(graph.OperatorsLength())
    }
    types = {number: name.lower() for name, number in vars(schema.TensorType).items()}
    quantization = {}
    for output in (signature.Outputs(i) for i in range(signature.OutputsLength())):
        source = inputs.get(output.TensorIndex())
        if source is None or (steps := source.Quantization()) is None or steps.ScaleLength() != 1:
            continue
        quantization[output.Name().decode()] = {
            "scale": float(steps.Scale(0)),
            "zero_point": int(steps.ZeroPoint(0)),
            "dtype": types[source.Type()],
        }
    return quantization
