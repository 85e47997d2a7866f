"""The other side runs another file."""

from __future__ import annotations

import copy

import numpy as np
from onnx import numpy_helper

from harness.core.errors import HarnessError
from harness.explain.files import OnnxFile
from harness.explain.scene import Finding, Remedy, Scene, State


class OtherWeights:
    """Two files of one variant have other constants."""

    name = "another file"

    def test(self, scene: Scene) -> Finding:
        """Put the reference's constants into the other's file, and run it."""
        if why := _not_comparable(scene):
            return why
        assert scene.files is not None
        first, second = (file.graph for file in scene.files if isinstance(file, OnnxFile))
        differing = [
            name
            for name, tensor in second.initializers.items()
            if name in first.initializers
            and list(tensor.dims) == list(first.initializers[name].dims)
            and not np.array_equal(
                numpy_helper.to_array(tensor),
                numpy_helper.to_array(first.initializers[name]),
                equal_nan=False,
            )
        ]
        if not differing:
            return Finding(self.name, State.REFUTED, "the constants of both files are the same")
        changed = copy.deepcopy(second.model)
        for tensor in changed.graph.initializer:
            if tensor.name in differing:
                tensor.CopyFrom(first.initializers[tensor.name])
        try:
            side = scene.runner.with_file(scene.other, changed.SerializeToString(), scene.files[1].name)
            trace = scene.runner.samples(side, scene.rows)
        except HarnessError as error:
            return Finding(self.name, State.UNTESTED, error.what)
        share = scene.share(scene.first, trace)
        layer = _reader(scene, differing)
        evidence = (
            f"{len(differing)} of {len(second.initializers)} constants differ ({', '.join(differing[:3])}"
            f"{' …' * (len(differing) > 3)}); with the reference's {max(0.0, 1 - share):.1%} is left"
        )
        return Finding(
            self.name, scene.judged(share, is_exact=share == 1), evidence, max(0.0, share),
            f"{scene.other.label} runs a file with other weights, first in {layer}", layer,
            Remedy(f"the file of {scene.reference.label}", "ship that file", scene.other.label),
            scene.replaced(scene.other, side),
        )  # fmt: skip


def _not_comparable(scene: Scene) -> Finding | None:
    one, two = scene.reference.artifact, scene.other.artifact
    if one.sha256 == two.sha256:
        return Finding(OtherWeights.name, State.REFUTED, f"both run the file {one.sha256[:12]}")
    why = ""
    if scene.files is None or not all(isinstance(file, OnnxFile) for file in scene.files):
        why = "the files have different formats, or no readable layers"
    elif scene.reference.variant != scene.other.variant and one.precision != two.precision:
        why = "the files are meant to differ: they are two variants"
    return Finding(OtherWeights.name, State.UNTESTED, why) if why else None


def _reader(scene: Scene, names: list[str]) -> str:
    """The first layer that reads one of some constants, through their DequantizeLinear."""
    assert scene.files is not None
    file = scene.files[1]
    assert isinstance(file, OnnxFile)
    reached = set(names)
    for node in file.model.graph.node:
        if reached & set(node.input):
            if node.op_type in ("DequantizeLinear", "Cast", "Identity", "Transpose", "Reshape"):
                reached |= set(node.output)
            else:
                return str(node.name or node.output[0])
    return names[0]
