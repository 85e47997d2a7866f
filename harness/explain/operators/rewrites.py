"""The same operator in another form, for runtimes that compute one of the two wrongly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from harness.compression.canonical import attribute
from harness.explain.files.graph import node_name

_Nodes = tuple[list[onnx.NodeProto], dict[str, NDArray[np.generic]]]


def rewrites(model: onnx.ModelProto, layer: str) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield what one node can be replaced by, and the model with it.

    Parameters
    ----------
    layer : str
        Name of the node.
    """
    names = [node_name(node) for node in model.graph.node]
    if layer not in names:
        return
    place = names.index(layer)
    node = model.graph.node[place]
    makers = {name: each for each in model.graph.node for name in each.output}
    for kinds, text, form in FORMS:
        if node.op_type not in kinds:
            continue
        source = makers.get(node.input[0])
        made = form(node) if form is not _padded else _padded(node, source)
        if made is None:
            continue
        nodes, constants = made
        changed = copy.deepcopy(model)
        del changed.graph.node[place]
        for offset, new in enumerate(nodes):
            changed.graph.node.insert(place + offset, new)
        changed.graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in constants.items()
        )
        yield text.format(node.op_type), changed


def _padded(node: onnx.NodeProto, source: onnx.NodeProto | None = None) -> _Nodes | None:
    """A Pad before it, where its padding counts as numbers.

    What is padded is quantized again where `source`, its input, was: runtimes make one operator of a Pad and
    a pool that are side by side.
    """
    pads: list[int] = list(attribute(node, "pads", []))
    is_mean = node.op_type == "AveragePool"
    if not any(pads) or (is_mean and not attribute(node, "count_include_pad", 0)):
        return None
    half = len(pads) // 2
    prefix = f"{node_name(node)}:pad"
    widths = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64)
    lowest = np.float32(np.finfo(np.float32).min if node.op_type == "MaxPool" else 0)
    new = copy.deepcopy(node)
    new.input[0] = prefix
    del new.attribute[:]
    new.attribute.extend(
        one for one in node.attribute if one.name not in ("pads", "auto_pad", "count_include_pad")
    )
    names = [f"{prefix}:widths", f"{prefix}:value"]
    nodes = [helper.make_node("Pad", [node.input[0], *names], [prefix], name=prefix)]
    if source is not None and source.op_type == "DequantizeLinear":
        step = list(source.input[1:])
        codes, new.input[0] = f"{prefix}:codes", f"{prefix}:real"
        nodes.append(helper.make_node("QuantizeLinear", [prefix, *step], [codes], name=codes))
        nodes.append(helper.make_node("DequantizeLinear", [codes, *step], [new.input[0]], name=new.input[0]))
    return [*nodes, new], {names[0]: widths, names[1]: np.asarray(lowest)}


def _mean(node: onnx.NodeProto) -> _Nodes:
    """A mean over rows and columns."""
    return [helper.make_node("ReduceMean", node.input, node.output, name=node.name, axes=[2, 3])], {}


def _product(node: onnx.NodeProto) -> _Nodes | None:
    """A product and a sum."""
    plain = all(attribute(node, name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if not plain or attribute(node, "transA", 0) or len(node.input) < 3:
        return None
    name = node_name(node)
    weight, nodes = node.input[1], []
    if attribute(node, "transB", 0):
        weight = f"{name}:transposed"
        nodes.append(helper.make_node("Transpose", [node.input[1]], [weight], name=weight, perm=[1, 0]))
    product = f"{name}:product"
    nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], name=product))
    nodes.append(helper.make_node("Add", [product, node.input[2]], node.output, name=node.name))
    return nodes, {}


def _bounded(node: onnx.NodeProto) -> _Nodes:
    """The larger of it and 0."""
    zero = f"{node_name(node)}:zero"
    return [helper.make_node("Max", [node.input[0], zero], node.output, name=node.name)], {
        zero: np.zeros((), np.float32)
    }


def _sloped(node: onnx.NodeProto) -> _Nodes:
    """The larger of it and a multiple, or the smaller."""
    name, alpha = node_name(node), float(attribute(node, "alpha", 0.01))
    scaled, factor = f"{name}:scaled", f"{name}:alpha"
    kind = "Max" if alpha <= 1 else "Min"
    return [
        helper.make_node("Mul", [node.input[0], factor], [scaled], name=scaled),
        helper.make_node(kind, [node.input[0], scaled], node.output, name=node.name),
    ], {factor: np.asarray(alpha, np.float32)}


#: Operators, the text, and what makes the form.
FORMS: tuple[tuple[frozenset[str], str, Callable[[onnx.NodeProto], _Nodes | None]], ...] = (
    (frozenset({"Conv", "AveragePool", "MaxPool"}), "a Pad before {}", _padded),
    (frozenset({"GlobalAveragePool"}), "ReduceMean instead of {}", _mean),
    (frozenset({"Gemm"}), "MatMul and Add instead of {}", _product),
    (frozenset({"Relu"}), "Max instead of {}", _bounded),
    (frozenset({"LeakyRelu"}), "Mul and Max instead of {}", _sloped),
)
