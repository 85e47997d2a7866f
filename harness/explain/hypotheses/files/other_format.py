"""A file of another format is not the one that the ONNX file of its variant gives."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite
from harness.compression.export.kinds import RUNTIMES
from harness.compression.model_file import load_onnx
from harness.core.artifact import Artifact
from harness.core.errors import HarnessError
from harness.explain.files import tflite_differences
from harness.explain.files.graph import Graph, node_name
from harness.explain.files.model_file import QUANTIZED, OnnxFile
from harness.explain.files.tflite_differences import Difference
from harness.explain.scene import Finding, Remedy, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.sides.side import Side

#: Formats that are written from an ONNX file.
WRITTEN = ("tflite", "openvino")
#: So many differences are listed.
LISTED = 3
#: Ends the name of a constant that is stored in half precision.
_HALVED = "_compressed"
#: A constant as OpenVINO writes it.
_CONSTANT = re.compile(
    r'<layer [^>]*name="([^"]*)" type="Const"[^>]*>\s*'
    r'<data element_type="(\w+)" shape="[^"]*" offset="(\d+)" size="(\d+)"'
)


@dataclass(frozen=True, slots=True)
class _Rewritten:
    """A side with its file written again, and in what its own file differs."""

    side: Side
    differences: Sequence[Difference]


class OtherFormat:
    """The TFLite or OpenVINO file of a side is stale, or was made of something else."""

    name = "file of another format"

    def test(self, scene: Scene) -> Finding:
        """Write the file again from the ONNX file, compare both, and run the new one."""
        sides = [side for side in (scene.other, scene.reference) if side.artifact.format in WRITTEN]
        sources = [(side, source) for side in sides if (source := scene.onnx_of(side)) is not None]
        if not sources:
            why = "no file was written from an ONNX file that is here"
            return Finding(self.name, State.UNTESTED, why)
        evidence = []
        for side, source in sources:
            try:
                new = _again(scene, side, source)
            except HarnessError as error:
                evidence.append(f"{side.label} cannot be written again: {error.what}")
                continue
            if not new.differences:
                evidence.append(f"the file of {side.label} is what its ONNX file gives")
                continue
            return self._tested(scene, side, new, source)
        is_tested = any("is what" in text for text in evidence)
        return Finding(self.name, State.REFUTED if is_tested else State.UNTESTED, "; ".join(evidence))

    def _tested(self, scene: Scene, side: Side, new: _Rewritten, source: Artifact) -> Finding:
        try:
            trace = scene.runner.samples(new.side, scene.rows)
        except HarnessError as error:
            return Finding(self.name, State.UNTESTED, error.what)
        first, second = scene.in_place_of(side, trace)
        share, is_exact = scene.share(first, second), scene.distance(first, second) == 0
        file = OnnxFile(source.path)
        places = [_layer(one, file) for one in new.differences[:LISTED]]
        listed = [
            f"{place or 'the file'}: {one.text}" for place, one in zip(places, new.differences, strict=False)
        ]
        more = f"; and {len(new.differences) - LISTED} more" if len(new.differences) > LISTED else ""
        left = f"with the file written again {percent_left(share)} of the difference is left"
        is_fact = any(one.is_material for one in new.differences)
        kind, where = side.artifact.format, f" {places[0]}" if places[0] else ""
        return Finding(
            self.name, scene.judged(share, is_exact=is_exact, is_fact=is_fact),
            f"{'; '.join(listed)}{more}; {left}", max(0.0, share),
            f"the {kind} file of {side.label} is not what its ONNX file gives, first in{where}: "
            f"{new.differences[0].text}",
            places[0],
            Remedy(
                f"the {kind} file written again from {source.path.name}",
                "ship the file that harness validate writes", side.label,
            ),
            scene.replaced(side, new.side), "" if side is scene.other else side.label,
        )  # fmt: skip


def first_material(scene: Scene) -> str:
    """In what a written file differs from what its ONNX file gives, by more than rounding; else empty."""
    for side in (scene.other, scene.reference):
        source = scene.onnx_of(side)
        if side.artifact.format not in WRITTEN or source is None:
            continue
        try:
            listed = _again(scene, side, source).differences
        except HarnessError:
            continue
        for one in listed:
            if one.is_material:
                return f"{_layer(one, OnnxFile(source.path))}: {one.text}"
    return ""


def _again(scene: Scene, side: Side, source: Artifact) -> _Rewritten:
    if side.artifact.format == "openvino":
        artifact = replace(
            side.artifact, format="onnx", files=source.files, folder=source.folder,
            quantization=source.quantization,
        )  # fmt: skip
        return _Rewritten(replace(side, artifact=artifact), _of_openvino(side.artifact, source))
    model = load_onnx(source.path)
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        model = canonicalise(model)
    content = side.artifact.path.read_bytes()
    best = None
    for runtime in RUNTIMES:
        export = export_tflite(model, name=scene.reference.variant, runtime=runtime)
        listed = tflite_differences.differences(export.data, content)
        if best is None or len(listed) < len(best[1]):
            best = export, listed
        if not listed:
            break
    assert best is not None  # there are runtimes
    export, listed = best
    new = scene.runner.with_file(side, export.data, side.artifact.path.name)
    artifact = replace(
        new.artifact, input_permutation=export.input_permutation,
        output_permutation=export.output_permutation,
    )  # fmt: skip
    return _Rewritten(replace(new, artifact=artifact), listed)


def _layer(difference: Difference, file: OnnxFile) -> str:
    """The ONNX node of a tensor of a file that was written from it."""
    name = difference.tensor
    layers = {point.name: point.layer for point in file.points}
    layers |= {point.value: point.layer for point in file.points if point.value not in layers}
    if name in layers:
        return layers[name]
    plain = QUANTIZED.sub("", name)
    if plain in layers:
        return layers[plain]
    maker = file.graph.maker.get(plain)
    return name if maker is None else node_name(maker)


def _of_openvino(artifact: Artifact, source: Artifact) -> list[Difference]:
    """Constants of an OpenVINO file that are not those of the ONNX file, in the order of their readers."""
    graph = Graph(load_onnx(source.path))
    given = openvino_constants(artifact)
    listed, halved = [], []
    for node in graph.model.graph.node:
        for name in node.input:
            ours, theirs = graph.initializers.get(name), given.get(name)
            if ours is None or theirs is None:
                continue
            right = onnx.numpy_helper.to_array(ours)
            if right.size != theirs.size or right.dtype.kind != theirs.dtype.kind:
                continue
            reader = _through(graph, node)
            wrong = right.astype(theirs.dtype).reshape(-1) != theirs.reshape(-1)
            if wrong.any():
                text = f"{int(wrong.sum())} of {wrong.size} numbers of {name} differ"
                listed.append(Difference(reader, "constant", text))
            elif right.dtype.itemsize > theirs.dtype.itemsize:
                text = f"{name} is stored in half precision (compress_to_fp16)"
                halved.append(Difference(reader, "constant", text, is_material=False))
    return listed or halved


def _through(graph: Graph, node: onnx.NodeProto) -> str:
    """Result of the first node that computes with a constant."""
    while node.op_type in ("DequantizeLinear", "Cast", "Identity", "Transpose", "Reshape"):
        readers = graph.readers[node.output[0]]
        if not readers:
            break
        node = readers[0]
    return str(node.output[0])


def openvino_constants(artifact: Artifact) -> dict[str, NDArray[Any]]:
    """Constants of an OpenVINO file by name; those of types that numpy lacks are left out."""
    weights = artifact.folder / artifact.files[1].name
    kinds = {"f32": "<f4", "f16": "<f2", "f64": "<f8", "i64": "<i8", "i32": "<i4", "i8": "i1", "u8": "u1"}
    constants: dict[str, NDArray[Any]] = {}
    whole = np.memmap(weights, np.uint8, "r") if weights.stat().st_size else np.zeros(0, np.uint8)
    for name, kind, start, size in _CONSTANT.findall(artifact.path.read_text()):
        content = whole[int(start) : int(start) + int(size)]
        if kind in kinds and len(content) == int(size):
            constants[html.unescape(name).removesuffix(_HALVED)] = content.view(kinds[kind])
    return constants
