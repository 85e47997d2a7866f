"""Quantizers of others behind the pass interface, so that one table compares them with ours.

NNCF (Intel's, for OpenVINO) makes a QDQ ONNX of its own form: biases stay float, so LiteRT and ONNX Runtime
compute some of its layers in float. ai-edge-quantizer (Google's, for LiteRT) reads and writes TFLite files;
its pass has no ONNX model to give. Neither heeds CPUs whose int8 kernels overflow: the card names the layers.
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

#: The distribution behind each pass.
LIBRARIES = {"ai_edge_quantizer": "ai-edge-quantizer", "nncf": "nncf"}
#: Names of ai-edge-quantizer's own recipes: bits of weights (wi) and of activations (ai, afp).
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
        The report holds the sizes, ``calibration_feeds``, the nodes by operator that are ``quantized`` and
        those left in ``float``, ``overflow`` and ``output_quantization``, as that of ``quantize``.

    Raises
    ------
    TargetUnavailable
        NNCF is not installed.
    DataError
        There is no calibration sample.
    """
    settings = read_options("nncf", model, options, NncfOptions)
    # None: as if not installed. It forks a process that phones home.
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    library = _library("nncf")
    dense, feeds = expand(model), _listed(calibration, "nncf")
    with _quiet():
        made: onnx.ModelProto = library.quantize(
            dense,
            library.Dataset(feeds),
            preset=library.QuantizationPreset(settings.preset),
            fast_bias_correction=settings.bias_correction == "fast",
            subset_size=len(feeds),
        )
    quantized, in_float = count_operators(made)
    report = {
        **sizes(model, made),
        "calibration_feeds": len(feeds),
        "options": asdict(settings),
        "quantized": quantized,
        "float": in_float,
        "overflow": _overflow(made),
        "output_quantization": output_quantization(made),
    }
    return PassResult(made, report)


def ai_edge_quantizer(
    model: onnx.ModelProto, calibration: Iterable[Feeds], options: Mapping[str, Any]
) -> PassResult:
    """Write the model as TFLite and quantize that file with one of ai-edge-quantizer's own recipes.

    Inputs and outputs stay float, as in every file of ours.

    Parameters
    ----------
    model : onnx.ModelProto
        Canonical float model; it is not changed.
    calibration : iterable of mapping
        Input name to array.
    options : mapping
        ``recipe``: one of ``RECIPES``; left out, ``"static_wi8_ai8"``.

    Returns
    -------
    PassResult
        The model as it was, and the file. The report holds ``calibration_feeds``, ``bytes_before`` and
        ``bytes_after`` of the TFLite file, and ``output_quantization``.

    Raises
    ------
    TargetUnavailable
        ai-edge-quantizer is not installed.
    UnsupportedOperator
        The model has an operator that the TFLite writer lacks.
    DataError
        There is no calibration sample.
    """
    settings = read_options("ai_edge_quantizer", model, options, AiEdgeOptions)
    recipes, quantizers = _library("ai_edge_quantizer.recipe"), _library("ai_edge_quantizer.quantizer")
    plain = export_tflite(model, name="model")
    axes = plain.input_permutation
    feeds = [
        {name: np.transpose(array, axes[name]) if name in axes else array for name, array in feed.items()}
        for feed in _listed(calibration, "ai_edge_quantizer")
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


def _listed(calibration: Iterable[Feeds], pass_name: str) -> list[dict[str, Any]]:
    """Hold all feeds: both libraries ask how many there are."""
    feeds = [dict(feed) for feed in calibration]
    if not feeds:
        raise DataError(
            f"{pass_name} needs calibration samples, and there are none",
            where=pass_name,
            next_step='set data.split = "hash", or give [data.calibration]',
        )
    return feeds


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars, summaries and warnings of the libraries off the screen; what they raise comes."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _overflow(model: onnx.ModelProto) -> list[str]:
    """Name the layers whose integer weights can overflow 16 bits on some CPU."""
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
    """Read the integers behind each float output: those of the tensor that its DEQUANTIZE reads."""
    model = schema.Model.GetRootAs(data)
    graph, signature = model.Subgraphs(0), model.SignatureDefs(0)
    read = {
        graph.Operators(i).Outputs(0): graph.Tensors(graph.Operators(i).Inputs(0))
        for i in range(graph.OperatorsLength())
    }
    types = {number: name.lower() for name, number in vars(schema.TensorType).items()}
    found = {}
    for output in (signature.Outputs(i) for i in range(signature.OutputsLength())):
        source = read.get(output.TensorIndex())
        if source is None or (steps := source.Quantization()) is None or steps.ScaleLength() != 1:
            continue
        found[output.Name().decode()] = {
            "scale": float(steps.Scale(0)),
            "zero_point": int(steps.ZeroPoint(0)),
            "dtype": types[source.Type()],
        }
    return found
