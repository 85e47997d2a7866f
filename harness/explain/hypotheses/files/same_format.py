"""Two files that should be the same one: their constants or operators differ."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import numpy_helper

from harness.core.errors import HarnessError
from harness.explain.files.graph import Graph, node_name
from harness.explain.files.model_file import OnnxFile
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left

#: Operators that hand a constant on to the one that computes with it.
HANDING_ON = ("DequantizeLinear", "Cast", "Identity", "Transpose", "Reshape")
#: Constants that differ by less, relative to the largest number, are the same but for rounding.
MATERIAL = 1e-4
#: What the inputs of operators are, by their place.
ROLES = {
    "Conv": ("", "weights", "bias"), "ConvTranspose": ("", "weights", "bias"),
    "Gemm": ("", "weights", "bias"), "MatMul": ("", "weights"),
    "QuantizeLinear": ("", "scale", "zero point"), "DequantizeLinear": ("", "scale", "zero point"),
}  # fmt: skip


class OtherWeights:
    """The files of both sides have different constants."""

    name = "constants of the file"

    def test(self, scene: Scene) -> Finding:
        """Put the reference's constants into the other's file, and run it."""
        graphs = _graphs(self.name, scene)
        if isinstance(graphs, Finding):
            return graphs
        first, second = graphs
        differing = [
            name
            for name, tensor in second.initializers.items()
            if name in first.initializers
            and list(tensor.dims) == list(first.initializers[name].dims)
            and not _is_same(tensor, first.initializers[name])
        ]
        if not differing:
            return Finding(self.name, State.REFUTED, "the constants of both files are the same")
        changed = copy.deepcopy(second.model)
        for tensor in changed.graph.initializer:
            if tensor.name in differing:
                tensor.CopyFrom(first.initializers[tensor.name])
        try:
            side = scene.runner.with_file(scene.other, changed.SerializeToString(), "explained.onnx")
            trace = scene.runner.samples(side, scene.rows)
        except HarnessError as error:
            return Finding(self.name, State.UNTESTED, error.what)
        share = scene.share(scene.first, trace)
        is_material = any(_is_other(second.initializers[one], first.initializers[one]) for one in differing)
        layer, what = first_reader(second, differing)
        evidence = (
            f"{len(differing)} of {len(second.initializers)} constants differ ({', '.join(differing[:3])}"
            f"{' …' * (len(differing) > 3)}); with the reference's {percent_left(share)} is left"
        )
        return Finding(
            self.name, scene.judged(share, is_exact=share == 1, is_fact=is_material), evidence,
            max(0.0, share),
            f"the file of {scene.other.label} has different constants, first in {layer}: {what}", layer,
            _that_file(scene),
            scene.replaced(scene.other, side),
        )  # fmt: skip


class OtherGraph:
    """The files of both sides have different operators, attributes, or numbers at the same place."""

    name = "operators of the file"

    def test(self, scene: Scene) -> Finding:
        """Run the reference's file on the other side."""
        graphs = _graphs(self.name, scene)
        if isinstance(graphs, Finding):
            return graphs
        if scene.is_within_rounding:
            return Finding(self.name, State.REFUTED, "the difference is one of rounding")
        layer, text = _first_other(*graphs)
        if not text:
            return Finding(self.name, State.REFUTED, "both files have the same operators and numbers")
        side = replace(scene.other, artifact=scene.reference.artifact)
        try:
            trace = scene.runner.samples(side, scene.rows)
        except HarnessError as error:
            return Finding(self.name, State.UNTESTED, error.what)
        share, is_exact = scene.share(scene.first, trace), scene.distance(scene.first, trace) == 0
        return Finding(
            self.name, scene.judged(share, is_exact=is_exact),
            f"{text}; with the file of {scene.reference.label} {percent_left(share)} is left",
            max(0.0, share), f"the file of {scene.other.label} differs: {text}", layer,
            _that_file(scene), scene.replaced(scene.other, side),
        )  # fmt: skip


def _that_file(scene: Scene) -> Remedy | None:
    """The reference's file in the place of the other's; two variants are meant to differ."""
    if scene.reference.variant != scene.other.variant and scene.other.variant in scene.onnx:
        return None
    return Remedy(f"the file of {scene.reference.label}", "ship that file", scene.other.label)


def _graphs(name: str, scene: Scene) -> tuple[Graph, Graph] | Finding:
    """Both graphs; else what the hypothesis comes to."""
    one, two = scene.reference.artifact, scene.other.artifact
    if one.sha256 == two.sha256:
        return Finding(name, State.REFUTED, f"both run the file {one.sha256[:12]}")
    first, second = scene.files or (None, None)
    if not isinstance(first, OnnxFile) or not isinstance(second, OnnxFile):
        why = "the files have different formats, or no readable layers"
    elif scene.reference.variant != scene.other.variant and one.precision != two.precision:
        why = "the files are meant to differ: they are two variants"
    else:
        return first.graph, second.graph
    return Finding(name, State.UNTESTED, why)


def _is_same(one: onnx.TensorProto, two: onnx.TensorProto) -> bool:
    return bool(np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(two)))


def _is_other(one: onnx.TensorProto, two: onnx.TensorProto) -> bool:
    """Whether two constants differ by more than the rounding of an export."""
    first, second = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in (one, two))
    return bool(np.abs(first - second).max(initial=0.0) > MATERIAL * np.abs(first).max(initial=0.0))


def first_reader(graph: Graph, names: Sequence[str]) -> tuple[str, str]:
    """The first layer that computes with one of some constants, and what the constant is to it."""
    layers = {point.name: point.layer for point in graph.points()}
    reached = dict.fromkeys(names, "")
    for node in graph.model.graph.node:
        for place, name in enumerate(node.input):
            if name not in reached:
                continue
            roles = ROLES.get(node.op_type, ())
            role = roles[place] if place < len(roles) else ""
            is_of_weights = node.op_type != "QuantizeLinear" and node.input[0] in graph.constants
            if node.op_type in HANDING_ON and is_of_weights:
                of = role and f"{role} of its weights"
                reached |= dict.fromkeys(node.output, reached[name] or of)
                continue
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and place:
                value = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
                return layers.get(value, value), f"{role} of its result"
            return node_name(node), reached[name] or role or "constants"
    return names[0], "constants"


def _first_other(first: Graph, second: Graph) -> tuple[str, str]:
    """The first node of the second graph that the first one does not have, and in what it differs."""
    ours = [node for node in first.model.graph.node if node.op_type != "Constant"]
    theirs = [node for node in second.model.graph.node if node.op_type != "Constant"]
    by_output = {name: node for node in ours for name in node.output}
    same_value = {name: name for name in first.inputs}
    for place, node in enumerate(theirs):
        name = node_name(node)
        same = by_output.get(node.output[0])
        if same is None and place < len(ours):
            same = ours[place]  # another tool gives other names
        if same is None or same.op_type != node.op_type:
            instead = f" in the place of {same.op_type}" if same is not None else ""
            return name, f"{node.op_type} {name}{instead}"
        if text := _other_attribute(same, node):
            return name, f"{text[0]} of {node.op_type} {name} is {text[1]}, and not {text[2]}"
        is_wired = all(same_value.get(b, a) == a for a, b in zip(same.input, node.input, strict=False))
        if not is_wired or len(same.input) != len(node.input):
            return name, f"{node.op_type} {name} reads {', '.join(node.input)}"
        same_value |= dict(zip(node.output, same.output, strict=False))
        if role := _other_numbers((first, second), same, node):
            layer, what = first_reader(second, [role])
            return layer, f"{what} of {layer} are not the same numbers"
    if len(theirs) < len(ours):
        missing = ours[len(theirs)]
        return node_name(missing), f"{missing.op_type} {missing.name} is missing"
    return "", ""


def _other_attribute(*nodes: onnx.NodeProto) -> tuple[str, object, object] | None:
    """The first attribute that differs: its name, the second value, the first."""
    one, two = (
        {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        for node in nodes
    )
    names = sorted(one.keys() | two.keys())
    return next(
        ((key, two.get(key), one.get(key)) for key in names if not _is_equal(one.get(key), two.get(key))),
        None,
    )


def _other_numbers(graphs: tuple[Graph, Graph], *nodes: onnx.NodeProto) -> str:
    """The first constant of the second node that differs from the one at its place."""
    for ours, theirs in zip(*(node.input for node in nodes), strict=False):
        one, two = graphs[0].initializers.get(ours), graphs[1].initializers.get(theirs)
        if one is not None and two is not None and not _is_same(one, two):
            return str(theirs)
    return ""


def _is_equal(one: object, two: object) -> bool:
    if isinstance(one, onnx.TensorProto) and isinstance(two, onnx.TensorProto):
        return _is_same(one, two)
    return one == two
