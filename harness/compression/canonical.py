"""The canonical form of a float model, which passes and exporters rely on.

Standard ONNX operators of opset 17 or later, no initializers among the inputs, constants and
BatchNormalization folded, a name for every node, every Gemm as ``x @ w.T + b`` with a bias of one axis,
inferred shapes, and the same bytes for the same input.
"""

from __future__ import annotations

import tempfile
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference, version_converter

from harness.compression import runtime
from harness.compression.model_file import has_weights
from harness.core.errors import HarnessError, ModelError
from harness.core.unexpected import one_line

if TYPE_CHECKING:
    import onnxruntime as ort

OPSET = 17
IR_VERSION = 8
RELATIVE_TOLERANCE, HALF_TOLERANCE = 2e-5, 1e-2
_STANDARD_DOMAINS = ("", "ai.onnx")
# Extents of dynamic axes when the result is checked; the second is for models that declare a dynamic batch
# but have a batch of 1 in a Reshape.
_TRIAL_EXTENTS = (2, 1)

Array = np.ndarray[Any, Any]
T = TypeVar("T")


def canonicalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a float model to its canonical form.

    Parameters
    ----------
    model : onnx.ModelProto
        With external data loaded; it is not changed.

    Returns
    -------
    onnx.ModelProto
        On random input its outputs differ by at most 2e-5 of the largest output, of a model with float16 or
        bfloat16 inside by at most 1e-2.

    Raises
    ------
    ModelError
        The model is invalid, does not run, or has operators that are not standard.
    """
    if not has_weights(model):
        raise ModelError(
            "the model has more than 2 GB, which no pass can hold in memory",
            where=f"graph {model.graph.name!r}",
            cause="protobuf messages end at 2 GB",
            next_step="compress the model with its exporter, and name the result in variants.NAME.files",
        )
    original = onnx.ModelProto()
    original.CopyFrom(model)
    # A newer version than onnx knows: what it could express is refused below, where it is there.
    original.ir_version = min(original.ir_version, onnx.IR_VERSION)
    try:
        return _canonicalise(original)
    except HarnessError:
        raise
    except Exception as error:  # exceptions of onnx and ONNX Runtime have no common base
        raise ModelError(
            f"the model has no canonical form: {one_line(error)}",
            where=f"graph {model.graph.name!r}",
            cause="an operator or a type that the compression passes do not support",
            next_step="export the model in float32 with standard ONNX operators",
        ) from error


def _canonicalise(original: onnx.ModelProto) -> onnx.ModelProto:
    check(original, "the model")
    _drop_initializer_inputs(original)
    result = _optimise(_lift_opset(original))
    _strip(result)
    _lower_batch_normalization(result)
    _normalise_gemm(result)
    _drop_dead(result)
    _drop_unused(result)
    sort_fields(result)
    result = shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)
    check(result, "the canonical form of the model")
    _verify(original, result)
    return result


def initializers(model: onnx.ModelProto) -> dict[str, Array]:
    """Return the constants of a model by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def attribute(node: onnx.NodeProto, name: str, default: T) -> T:
    """Return an attribute of a node, or `default` if it is absent."""
    return cast("T", next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default))


def check(model: onnx.ModelProto, what: str) -> None:
    """Raise ModelError unless ``onnx.checker`` accepts a model."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(
            f"{what} is not valid ONNX: {str(error).strip().splitlines()[0]}",
            where=f"graph {model.graph.name!r}",
            cause="a truncated file, or an exporter that violates the standard",
            next_step="export the model again",
        ) from error


def _drop_initializer_inputs(model: onnx.ModelProto) -> None:
    """Remove initializers from the inputs: before IR 4 they were listed there, which prevents folding."""
    names = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, IR_VERSION)


def _lift_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in _STANDARD_DOMAINS), OPSET)
    if version >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise ModelError(
            f"the model cannot be converted from opset {version} to {OPSET}: {error}",
            where=f"graph {model.graph.name!r}",
            cause="the ONNX version converter has no rule for one of its operators",
            next_step=f"export the model again with opset {OPSET} or later",
        ) from error


def open_session(model: onnx.ModelProto, what: str, optimised_path: str = "") -> ort.InferenceSession:
    """Open a model in ONNX Runtime on one thread; if a path is given, write the optimized model there."""
    runtime.begin()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if optimised_path:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = optimised_path
    else:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return runtime.session(model.SerializeToString(), options)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(
            f"ONNX Runtime cannot open {what}: {error}",
            where=f"graph {model.graph.name!r}",
            cause="an operator or a type that ONNX Runtime does not support on the CPU",
            next_step="export the model with standard ONNX operators only",
        ) from error


def _optimise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, BatchNormalization and bias adds with ONNX Runtime's basic offline optimization.

    The basic level uses standard operators only; higher levels use Microsoft's own operators.
    """
    with tempfile.TemporaryDirectory(prefix="harness-canonical-") as folder:
        path = Path(folder) / "optimised.onnx"
        open_session(model, "the model", str(path))
        result = onnx.load(path)
    foreign = [node for node in result.graph.node if node.domain not in _STANDARD_DOMAINS]
    if foreign:
        raise ModelError(
            f"operator {foreign[0].domain}.{foreign[0].op_type} is not a standard ONNX operator",
            where=f"node {foreign[0].name!r}",
            next_step="export the model with standard ONNX operators only",
        )
    return result


def _strip(model: onnx.ModelProto) -> None:
    """Remove the metadata that ONNX Runtime adds, and give a name to nodes without one."""
    standard = [o for o in model.opset_import if o.domain in _STANDARD_DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.producer_name, model.producer_version = "harness", ""
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        del node.metadata_props[:]
        if not node.name:
            node.name = _unused(f"{node.op_type}_{index}", taken)
            taken.add(node.name)


def _lower_batch_normalization(model: onnx.ModelProto) -> None:
    """Replace a BatchNormalization that was not folded by Mul and Add, which can be quantized."""
    constants = initializers(model)
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in [*model.graph.value_info, *model.graph.input]}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        is_constant = (
            all(name in constants for name in node.input[1:]) and node.input and node.input[0] in ranks
        )
        if node.op_type != "BatchNormalization" or not is_constant or len(node.output) > 1:
            nodes.append(node)
            continue
        gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in node.input[1:])
        factor = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        axes = (-1, *(1,) * (ranks[node.input[0]] - 2))
        factor_name, shift_name, scaled = (f"{node.name}/{part}" for part in ("factor", "shift", "scaled"))
        for name, value in ((factor_name, factor), (shift_name, beta - mean * factor)):
            dtype = constants[node.input[1]].dtype
            tensor = numpy_helper.from_array(value.astype(dtype).reshape(axes), name)
            model.graph.initializer.append(tensor)
        nodes.append(helper.make_node("Mul", [node.input[0], factor_name], [scaled], f"{node.name}/Mul"))
        nodes.append(helper.make_node("Add", [scaled, shift_name], node.output, f"{node.name}/Add"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _normalise_gemm(model: onnx.ModelProto) -> None:
    """Rewrite every Gemm with constant weights as ``x @ w.T + b``: weights (out, in), bias (out,)."""
    constants = initializers(model)
    for node in model.graph.node:
        if node.op_type != "Gemm" or node.input[1] not in constants or attribute(node, "transA", 0):
            continue
        weights = constants[node.input[1]]
        if not attribute(node, "transB", 0):
            weights = weights.T
        weights = weights * weights.dtype.type(attribute(node, "alpha", 1.0))
        parts = [weights]
        if len(node.input) == 3 and node.input[2]:
            bias = constants.get(node.input[2])
            if bias is None or bias.size not in (1, len(weights)) or (bias.size > 1 and bias.shape[-1] == 1):
                continue
            factor = bias.dtype.type(attribute(node, "beta", 1.0))
            parts.append(np.broadcast_to(bias.reshape(-1) * factor, (len(weights),)))
        names: list[str] = []
        for old_name, value in zip(node.input[1:], parts, strict=False):
            name = old_name
            if not np.array_equal(constants[old_name], value):
                name = _unused(f"{node.name}/{'bias' if names else 'weights'}", constants)
                constants[name] = np.ascontiguousarray(value)
                model.graph.initializer.append(numpy_helper.from_array(constants[name], name))
            names.append(name)
        source = node.input[0]
        del node.input[:], node.attribute[:]
        node.input.extend([source, *names])
        node.attribute.append(helper.make_attribute("transB", 1))


def _unused(name: str, taken: Container[str]) -> str:
    """Return `name`, changed if it is taken."""
    while name in taken:
        name += "_"
    return name


def _drop_dead(model: onnx.ModelProto) -> None:
    """Remove nodes whose outputs are not used; ONNX Runtime's optimizer keeps some."""
    used = {value.name for value in model.graph.output}
    live: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):  # in topological order: readers come last
        if used.intersection(node.output):
            live.append(node)
            inner = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
            used.update(node.input, *(nested.input for graph in inner for nested in _nodes(graph)))
            used.update(value.name for graph in inner for value in graph.output)
    del model.graph.node[:]
    model.graph.node.extend(reversed(live))


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in _nodes(model.graph) for name in node.input}
    used |= {value.name for value in model.graph.output}
    live = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(live)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for subgraph in (a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH):
            yield from _nodes(subgraph)


def sort_fields(model: onnx.ModelProto) -> None:
    """Sort what ONNX Runtime writes in the order of a hash table, so that equal inputs give equal bytes."""
    for field in (model.graph.initializer, model.graph.value_info):
        ordered = sorted(field, key=lambda item: item.name)
        del field[:]
        field.extend(ordered)
    for node in model.graph.node:
        attributes = sorted(node.attribute, key=lambda item: item.name)
        del node.attribute[:]
        node.attribute.extend(attributes)


def random_feeds(model: onnx.ModelProto, extent: int, seed: int = 0) -> dict[str, Array]:
    """Return random inputs of a model, with ``extent`` for every dynamic axis.

    Floats are standard normal; integers are 0 or 1, which are valid indices of any table of two rows.
    """
    random = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else extent for dim in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        drawn = random.standard_normal(shape)
        feeds[value.name] = (drawn if np.issubdtype(dtype, np.floating) else drawn > 0).astype(dtype)
    return feeds


def _verify(original: onnx.ModelProto, result: onnx.ModelProto) -> None:
    before, after = open_session(original, "the model"), open_session(result, "its canonical form")
    failure: Exception | None = None
    for extent in _TRIAL_EXTENTS:
        feeds = random_feeds(original, extent)
        try:
            expected = before.run(None, feeds)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common base
            failure = error
            continue
        names = [value.name for value in original.graph.output]
        _compare(names, expected, after.run(None, feeds), _tolerance(original))
        return
    raise ModelError(
        f"the model does not run on random input: {failure}",
        where=f"graph {original.graph.name!r}",
        cause="the model allows only some extents of a dynamic axis",
        next_step="fix the axis under [shapes] in validation.toml",
    ) from failure


def _tolerance(model: onnx.ModelProto) -> float:
    """Half precision has 8 or 11 bits, and folding changes the order of additions."""
    short = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    kinds |= {value.type.tensor_type.elem_type for value in values}
    kinds |= {a.i for node in _nodes(model.graph) if node.op_type == "Cast" for a in node.attribute}
    return HALF_TOLERANCE if kinds & set(short) else RELATIVE_TOLERANCE


def _compare(
    names: Sequence[str], expected: Sequence[Array], actual: Sequence[Array], tolerance: float
) -> None:
    for name, reference, value in zip(names, expected, actual, strict=True):
        if reference.shape == value.shape:
            difference = np.abs(reference.astype(np.float64) - value.astype(np.float64))
            finite = np.isfinite(reference)
            largest = np.max(np.abs(reference), initial=0.0, where=finite) if reference.size else 0.0
            same = np.array_equal(finite, np.isfinite(value))
            if same and np.all(difference[finite] <= tolerance * largest):
                continue
        raise ModelError(
            f"folding changed output {name!r} by more than {tolerance:g} of its largest value",
            where=f"output {name!r}",
            cause="the model draws random numbers, or a BatchNormalization with a variance near zero",
            next_step="export the model for inference, with BatchNormalization folded",
        )
