"""Two variants whose float weights are other numbers: clustered, pruned, or stored in few bits."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from harness.core.errors import HarnessError
from harness.explain.files.edits import part
from harness.explain.files.graph import Graph
from harness.explain.files.model_file import OnnxFile
from harness.explain.layers.errors import compare
from harness.explain.scene import Finding, Scene, State
from harness.explain.scene.findings import percent_left

#: So many layers are listed.
LISTED = 3
#: A weight with at most so many values is one of a set.
FEW_VALUES = 256
#: Weights that differ by less, relative to their size, were rounded to 8 bits.
EIGHT_BITS = 0.03
#: DequantizeLinear has a scale for each channel from the first version on; onnx.reference has the second.
PER_CHANNEL, IMPLEMENTED = 13, 19
#: A weight of which so much more is zero was pruned.
PRUNED = 0.05


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight of the reference, and the other's in its place."""

    layer: str
    name: str
    right: NDArray[Any]
    other: NDArray[Any]

    @property
    def relative(self) -> float:
        """Root mean square of the difference, over that of the right one."""
        return compare(self.right.astype(np.float64), self.other.astype(np.float64)).relative

    def text(self) -> str:
        """What they became."""
        zeros = float(np.mean(self.other == 0) - np.mean(self.right == 0))
        if zeros > PRUNED:
            return f"{np.mean(self.other == 0):.0%} of its weights are zero"
        values = len(np.unique(self.other))
        if values <= FEW_VALUES and values < len(np.unique(self.right)):
            return f"its weights have {values} values"
        return f"its weights differ by {self.relative:.1%} of their size"


class VariantWeights:
    """The variant has other weights than the reference, in one or more layers."""

    name = "weights of the variant"

    def test(self, scene: Scene) -> Finding:
        """Run the reference's file with the weights of the other variant on this machine."""
        one, two = scene.reference, scene.other
        sources = [scene.onnx_of(side) for side in (one, two)]
        if one.variant == two.variant or one.artifact.precision:
            return Finding(self.name, State.UNTESTED, "not a float file against another variant")
        if sources[0] is None or sources[1] is None:
            return Finding(self.name, State.UNTESTED, "one of the variants has no ONNX file")
        first, second = (OnnxFile(source.path) for source in sources if source is not None)
        least = EIGHT_BITS if two.artifact.precision else 0.0
        weights = [one for one in _other_weights(first.graph, second.graph) if one.relative > least]
        weights.sort(key=lambda one: -one.relative)
        if not weights:
            rounded = " but for 8 bits" * bool(least)
            return Finding(self.name, State.REFUTED, f"both variants have the same weights{rounded}")
        changed = copy.deepcopy(first.model)
        by_name = {weight.name: weight for weight in weights}
        for tensor in changed.graph.initializer:
            if (weight := by_name.get(tensor.name)) is not None:
                given = weight.other.astype(weight.right.dtype)
                tensor.CopyFrom(numpy_helper.from_array(given, tensor.name))
        host = replace(scene.host, artifact=sources[0], variant=one.variant, label="this machine")
        try:
            side = scene.runner.with_file(host, changed.SerializeToString(), sources[0].path.name)
            trace = scene.runner.samples(side, scene.rows)
        except HarnessError as why:
            return Finding(self.name, State.UNTESTED, why.what)
        share = scene.share(trace, scene.second)
        listed = "; ".join(f"{one.layer}: {one.text()}" for one in weights[:LISTED])
        more = f"; and {len(weights) - LISTED} more" if len(weights) > LISTED else ""
        worst, layers = weights[0], {weight.layer for weight in weights}
        return Finding(
            self.name, scene.judged(share, is_exact=False),
            f"{listed}{more}; with these weights in the reference {percent_left(share)} is left",
            max(0.0, share),
            f"{two.label} has other weights in {len(layers)} layers, most in {worst.layer}: {worst.text()}",
            worst.layer, None, (side, two),
        )  # fmt: skip


def _other_weights(first: Graph, second: Graph) -> list[_Weight]:
    """Initializers of the first for which the layer has other numbers in the second; packed ones computed."""
    nodes = {node.name: node for node in second.model.graph.node if node.name}
    wanted = []
    for node in first.model.graph.node:
        other = nodes.get(node.name)
        if other is None or other.op_type != node.op_type:
            continue
        for name, theirs in zip(node.input, other.input, strict=False):
            if name in first.initializers and theirs in second.constants:
                wanted.append((node.name, name, theirs))
    values = _computed(second, [theirs for _, _, theirs in wanted])
    weights = []
    for layer, name, theirs in wanted:
        right, given = numpy_helper.to_array(first.initializers[name]), values[theirs]
        if right.dtype.kind == "f" and right.shape == given.shape and not np.array_equal(right, given):
            weights.append(_Weight(layer, name, right, given))
    return weights


def _computed(graph: Graph, names: list[str]) -> dict[str, NDArray[Any]]:
    """The numbers of constants, packed ones by the definitions of their operators."""
    values = {name: value for name in names if (value := graph.constant(name)) is not None}
    packed = [name for name in dict.fromkeys(names) if name not in values]
    if packed:
        model = copy.deepcopy(graph.model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in packed)
        constants = part(model, *packed)
        for entry in constants.opset_import:
            if entry.domain in ("", "ai.onnx") and entry.version >= PER_CHANNEL:  # the same numbers in both
                entry.version = max(entry.version, IMPLEMENTED)
        values |= dict(zip(packed, ReferenceEvaluator(constants).run(None, {}), strict=True))
    return values
