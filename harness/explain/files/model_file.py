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
from harness.explain.files import edits, large_constants, tflite
from harness.explain.files.edits import part
from harness.explain.files.graph import Graph, Point, types

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
        self._lean = large_constants.lean(self.model)
        self.graph = Graph(self.model, types(self._lean))
        self.points = self.graph.points()
        self.read = frozenset(name for name, readers in self.graph.readers.items() if readers)

    def tapped(self, names: Sequence[str]) -> bytes:
        """The file with more outputs."""
        return self._content(edits.tapped(self._lean, names))

    def exploded(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> bytes:
        """The file that returns these points, with each layer fed by itself."""
        return self._content(edits.exploded(self._lean, fed, names))

    def alone(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> tuple[bytes, list[str]]:
        """The same, with nothing but what these points need; and the names of its inputs."""
        model = part(edits.exploded(self._lean, fed, names), *names)
        return self._content(model), [value.name for value in model.graph.input]

    def part(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> onnx.ModelProto:
        """The same as a model."""
        return large_constants.filled(
            part(edits.exploded(self._lean, fed, names), *names), self.graph.initializers
        )

    def returning(self, inputs: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        """The file that returns its inputs, too; and the names of these outputs."""
        content = self._content(edits.returning(self._lean, inputs))
        return content, {name: name + edits.RECEIVED for name in inputs}

    def echoing(self, fed: Mapping[str, NDArray[Any]]) -> bytes:
        """A file without layers, which returns what it is fed under the names of outputs."""
        return bytes(edits.echoing(self.model, fed).SerializeToString())

    def sizes_byte(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Bytes of one call's tensors, for inputs of these shapes."""
        return edits.sizes_byte(self._lean, shapes)

    def _content(self, model: onnx.ModelProto) -> bytes:
        return large_constants.content(model, self.graph.initializers)


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
        model = tflite.read(self._content)
        onnx_points = {point.name: point for point in written_from}
        kinds, steps = tflite.operators(model), tflite.steps(model)
        outputs = tflite.outputs(model)
        self.read = frozenset(tflite.inputs_read(model))
        self.points = tuple(
            self._point(name, kinds[name], steps.get(name), onnx_points)
            for name in tflite.computed(model)
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
        return tflite.tapped(self._content, names)

    def exploded(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> bytes:
        """The file that returns these points, with each layer fed by itself."""
        return tflite.exploded(self._content, fed, names)

    def alone(self, fed: Mapping[str, NDArray[Any]], names: Sequence[str]) -> tuple[bytes, list[str]]:
        """The same, with nothing but what these points need; and the names of its inputs."""
        return tflite.part(self.exploded(fed, names), *names)

    def returning(self, inputs: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        """The file that returns its inputs, too; a tensor has one name."""
        return tflite.tapped(self._content, inputs), {name: name for name in inputs}

    def echoing(self, fed: Mapping[str, NDArray[Any]]) -> bytes:
        """A file without layers, which returns what it is fed under the names of outputs."""
        return tflite.echoing(self._content, list(fed))

    def sizes_byte(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Bytes of one call's tensors: shapes are fixed."""
        return tflite.sizes_byte(tflite.read(self._content))


def read(artifact: Artifact, onnx_artifact: Artifact | None = None) -> ModelFile | None:
    """Read an artifact; None where its format has no readable layers."""
    if artifact.format == "onnx":
        return OnnxFile(artifact.path)
    if artifact.format == "tflite":
        return TfliteFile(artifact.path, () if onnx_artifact is None else OnnxFile(onnx_artifact.path).points)
    return None
