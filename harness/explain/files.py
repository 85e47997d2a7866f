"""A model file as points: which it has, and the files made of it that return or replace them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import onnx
from numpy.typing import NDArray

from harness.compression.model_file import load_onnx
from harness.core.artifact import Artifact, Quantization
from harness.explain import lean, points, tflite_points
from harness.explain.points import Point

#: TFLite operators that move numbers.
MOVING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PAD", "PADV2", "DELEGATE"})
#: What ONNX Runtime's quantizer adds to the name of a value.
QUANTIZED = re.compile(r"_QuantizeLinear_Output$")


class LayeredFile(Protocol):
    """A file whose layers can be fed one by one."""

    name: str
    read: frozenset[str]
    """Names that any operator reads; what none reads need not be fed."""

    def exploded(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> bytes:
        """The file that returns these points, with each layer fed by itself."""
        ...

    def alone(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> tuple[bytes, list[str]]:
        """The same, with nothing but what these points need; and the names of its inputs."""
        ...


class ModelFile(LayeredFile, Protocol):
    """What both formats can do."""

    points: tuple[Point, ...]

    def tapped(self, names: Sequence[str]) -> bytes:
        """The file with more outputs."""
        ...

    def returning(self, inputs: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        """The file that returns its inputs, too; and the names of these outputs."""
        ...

    def echoing(self, fed: Mapping[str, NDArray[Any]]) -> bytes:
        """A file without layers, which returns what it is fed under the names of outputs."""
        ...

    def sizes_byte(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Bytes of one call's tensors, for inputs of these shapes."""
        ...


class OnnxFile:
    """An ONNX file; external data are written inside."""

    name = "explained.onnx"

    def __init__(self, path: Path) -> None:
        self.model = load_onnx(path)
        self._lean = lean.lean(self.model)
        self.graph = points.Graph(self.model, points.types(self._lean))
        self.points = self.graph.points()
        self.read = frozenset(name for name, readers in self.graph.readers.items() if readers)

    def tapped(self, names: Sequence[str]) -> bytes:
        """The file with more outputs."""
        return self._content(points.tapped(self._lean, names))

    def exploded(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> bytes:
        """The file that returns these points, with each layer fed by itself."""
        return self._content(points.exploded(self._lean, fed, names))

    def alone(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> tuple[bytes, list[str]]:
        """The same, with nothing but what these points need; and the names of its inputs."""
        model = part(points.exploded(self._lean, fed, names), *names)
        return self._content(model), [value.name for value in model.graph.input]

    def part(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> onnx.ModelProto:
        """The same as a model."""
        return lean.filled(part(points.exploded(self._lean, fed, names), *names), self.graph.initializers)

    def returning(self, inputs: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        """The file that returns its inputs, too; and the names of these outputs."""
        content = self._content(points.returning(self._lean, inputs))
        return content, {name: name + points.RECEIVED for name in inputs}

    def echoing(self, fed: Mapping[str, NDArray[Any]]) -> bytes:
        """A file without layers, which returns what it is fed under the names of outputs."""
        return bytes(points.echoing(self.model, fed).SerializeToString())

    def sizes_byte(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Bytes of one call's tensors, for inputs of these shapes."""
        return points.sizes_byte(self._lean, shapes)

    def _content(self, model: onnx.ModelProto) -> bytes:
        return lean.content(model, self.graph.initializers)


class TfliteFile:
    """A TFLite file.

    Parameters
    ----------
    path : Path
    written_from : sequence of Point
        Points of the ONNX file that it was written from, which name its layers; empty where it is foreign.
    """

    name = "explained.tflite"

    def __init__(self, path: Path, written_from: Sequence[Point] = ()) -> None:
        self._content = path.read_bytes()
        model = tflite_points.read(self._content)
        onnx_points = {point.name: point for point in written_from}
        kinds, steps = tflite_points.operators(model), tflite_points.steps(model)
        outputs = tflite_points.outputs(model)
        self.read = frozenset(tflite_points.inputs_read(model))
        self.points = tuple(
            self._point(name, kinds[name], steps.get(name), onnx_points)
            for name in tflite_points.computed(model)
            if kinds[name] not in MOVING or name in outputs
        )

    def _point(
        self, name: str, kind: str, step: Quantization | None, onnx_points: Mapping[str, Point]
    ) -> Point:
        if name in onnx_points:
            return replace(onnx_points[name], step=step)
        return Point(name, QUANTIZED.sub("", name), name, kind, step)

    def tapped(self, names: Sequence[str]) -> bytes:
        """The file with more outputs."""
        return tflite_points.tapped(self._content, names)

    def exploded(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> bytes:
        """The file that returns these points, with each layer fed by itself."""
        return tflite_points.exploded(self._content, fed, names)

    def alone(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> tuple[bytes, list[str]]:
        """The same, with nothing but what these points need; and the names of its inputs."""
        return tflite_points.part(self.exploded(fed, names), *names)

    def returning(self, inputs: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        """The file that returns its inputs, too; a tensor has one name."""
        return tflite_points.tapped(self._content, inputs), {name: name for name in inputs}

    def echoing(self, fed: Mapping[str, NDArray[Any]]) -> bytes:
        """A file without layers, which returns what it is fed under the names of outputs."""
        return tflite_points.echoing(self._content, list(fed))

    def sizes_byte(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Bytes of one call's tensors: shapes are fixed."""
        return tflite_points.sizes_byte(tflite_points.read(self._content))


def read(artifact: Artifact, onnx_artifact: Artifact | None = None) -> ModelFile | None:
    """Read an artifact; None where its format has no readable layers."""
    if artifact.format == "onnx":
        return OnnxFile(artifact.path)
    if artifact.format == "tflite":
        return TfliteFile(artifact.path, () if onnx_artifact is None else OnnxFile(onnx_artifact.path).points)
    return None


def part(model: onnx.ModelProto, *outputs: str) -> onnx.ModelProto:
    """Cut out what computes some outputs of a file whose layers are fed one by one."""
    nodes = list(model.graph.node)
    makers = {name: place for place, node in enumerate(nodes) for name in node.output}
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    waiting, places, names = [*outputs], set[int](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in names:
            continue
        names.add(name)
        if name in makers and makers[name] not in places:
            places.add(makers[name])
            waiting += points.read_by(nodes[makers[name]])
    graph = onnx.helper.make_graph(
        [nodes[place] for place in sorted(places)],
        "part",
        [value for value in model.graph.input if value.name in names],
        [value for value in model.graph.output if value.name in outputs],
        [tensor for name, tensor in initializers.items() if name in names],
    )
    return onnx.helper.make_model(
        graph,
        opset_imports=list(model.opset_import),
        functions=list(model.functions),
        ir_version=model.ir_version,
    )
