"""Read and check model files, and return their inputs and outputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message

from harness import tasks
from harness.compression.file_facts import onnx_facts
from harness.config.validation import Validation
from harness.core.artifact import File, Quantization, TensorSpec, describe_file
from harness.core.errors import ModelError, UsageError

#: What protobuf, and so one ONNX message with its data, can hold.
MOST_BYTE = 2**31 - 1
#: Opens the file in the first argument with ONNX Runtime.
_OPEN = """
import sys, onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 4
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""
_OPEN_S = 300.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Inputs and outputs of a model.

    Parameters
    ----------
    inputs, outputs : tuple of TensorSpec
        As in the ONNX file.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def scored(self, output: str = "") -> TensorSpec:
        """Return the output that holds the answers: the one with that name, or the first.

        Raises
        ------
        UsageError
            There is no output of that name.
        """
        if not output:
            return self.outputs[0]
        for spec in self.outputs:
            if spec.name == output:
                return spec
        raise UsageError(
            f"the model has no output {output!r}",
            where="validation.toml: model.output",
            cause=f"its outputs are {', '.join(spec.name for spec in self.outputs)}",
            next_step="name one of them",
        )

    def scores(self, validation: Validation) -> int | None:
        """Number of classes or labels of the output that is scored; None if that is unknown."""
        table = validation.model
        task = tasks.named(table.task)
        return task.scores(self.scored(table.output), table.threshold, validation.task)


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file and its external data; beyond 2 GB the data stay in their files.

    What ``onnx.checker`` refuses is accepted if ONNX Runtime opens it: newer IR versions, for example.

    Raises
    ------
    ModelError
        The file is missing, not ONNX, truncated, or refers to data outside its folder.
    """
    if not path.is_file():
        raise ModelError("there is no such model file", where=str(path), next_step="name it in model.file")
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{path.name} is not an ONNX model, or is truncated",
            where=str(path),
            cause=f"{path.stat().st_size} bytes that cannot be decoded: {error}",
            next_step="export or copy the file again",
        ) from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(
            f"{path.name} contains no graph",
            where=str(path),
            cause="the file is empty, truncated, or not ONNX",
            next_step="export or copy the file again",
        )
    is_large = (
        path.stat().st_size + sum(file.stat().st_size for file in external_files(model, path)) > MOST_BYTE
    )
    try:
        if is_large:  # protobuf cannot hold it in one message; the checker reads it from its files
            onnx.checker.check_model(str(path))
            return model
        onnx.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        if isinstance(error, onnx.checker.ValidationError) and _opens(path):
            return model
        first = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{path.name} is not a valid ONNX model: {first}",
            where=str(path),
            next_step="export the model again",
        ) from error
    return model


def _opens(path: Path) -> bool:
    """Whether ONNX Runtime opens a file: asked in a process of its own, which it may crash."""
    command = [sys.executable, "-P", "-c", _OPEN, str(path)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_OPEN_S, check=False,
            start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def has_weights(model: onnx.ModelProto) -> bool:
    """Whether the data of all tensors are in memory: those of a model beyond 2 GB are not."""
    return all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in _tensors(model))


def external_files(model: onnx.ModelProto, path: Path) -> tuple[Path, ...]:
    """Return the files in the model's folder that contain its external data.

    Raises
    ------
    ModelError
        A file is outside the folder, which untrusted input must not reach, or is missing.
    """
    root = path.parent.resolve()
    files: dict[str, Path] = {}
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        file = (root / location).resolve()
        if not file.is_relative_to(root):
            raise ModelError(
                f"the tensor {tensor.name} keeps its data outside the model's folder: {location}",
                where=str(path),
                cause="the path could name any file of this machine",
                next_step="save the model with its data in one file or in its own folder",
            )
        if not file.is_file():
            raise ModelError(
                f"the external data {location} are missing",
                where=str(path),
                next_step="copy them beside the model",
            )
        files[location] = file
    return tuple(files.values())


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model: in initializers, attributes, subgraphs and functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if isinstance(value, Message) else value:
                yield from _tensors(part)


def onnx_files(path: Path) -> tuple[File, ...]:
    """Return the files of an ONNX model relative to its folder, the model first."""
    model = onnx.load(path, load_external_data=False)
    root = path.parent.resolve()
    companions = [
        File(str(file.relative_to(root)), *_hash_and_size(file)) for file in external_files(model, path)
    ]
    return (describe_file(path), *companions)


def companions_of(path: Path, fmt: str) -> tuple[File, ...]:
    """Return the files of a prebuilt artifact of any format, first the one to open."""
    if not path.is_file():
        raise ModelError(
            "there is no such artifact", where=str(path), next_step="name it in variants.NAME.files"
        )
    if fmt == "onnx":
        load_onnx(path)
        return onnx_files(path)
    if fmt == "openvino":
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise ModelError(f"the weights {weights.name} are missing", where=str(path))
        return (describe_file(path), describe_file(weights))
    return (describe_file(path),)


def inspect_onnx(model: onnx.ModelProto) -> ModelInfo:
    """Return inputs, without the weights that old files list there, and outputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    steps = onnx_facts(model).quantization
    return ModelInfo(
        inputs=_specs((value for value in model.graph.input if value.name not in weights), steps),
        outputs=_specs(model.graph.output, steps),
    )


def table_rows(model: onnx.ModelProto) -> dict[str, int]:
    """Return the inputs that are rows of a constant table, such as ids of tokens, and its number of rows."""
    tables = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    origin = {value.name: value.name for value in model.graph.input}
    rows: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type != "Gather" or any(one.name == "axis" and one.i for one in node.attribute):
            continue
        table, indices = node.input
        if table in tables and indices in origin:
            name = origin[indices]
            rows[name] = min(tables[table], rows.get(name, tables[table]))
    return rows


def fix_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Return a copy of a model with fixed shapes of some inputs.

    Raises
    ------
    ModelError
        An input does not exist, or has another rank or another fixed size.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    by_name = {value.name: value for value in fixed.graph.input}
    for name, shape in shapes.items():
        if name not in by_name:
            raise ModelError(
                f"the model has no input {name!r}",
                where=f"shapes.{name}",
                cause=f"inputs: {', '.join(by_name)}",
            )
        dims = by_name[name].type.tensor_type.shape.dim
        declared = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
        if len(declared) != len(shape) or any(
            k not in (None, size) for k, size in zip(declared, shape, strict=False)
        ):
            raise ModelError(
                f"{list(shape)} does not fit the input's shape {declared}", where=f"shapes.{name}"
            )
        for dim, size in zip(dims, shape, strict=True):
            dim.dim_value = size
    return fixed


def _hash_and_size(file: Path) -> tuple[str, int]:
    described = describe_file(file)
    return described.sha256, described.size_byte


def _specs(
    values: Iterable[onnx.ValueInfoProto], quantization: Mapping[str, Quantization]
) -> tuple[TensorSpec, ...]:
    specs = []
    for value in values:
        tensor = value.type.tensor_type
        if is_zipmap(value):
            specs.append(TensorSpec(value.name, (None, None), "float32"))
            continue
        if not value.type.HasField("tensor_type"):
            raise ModelError(
                f"{value.name} is not a tensor",
                cause="sequences, and maps other than those of ZipMap, are not supported",
                next_step="export the model with tensors as its inputs and outputs",
            )
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
        if tensor.elem_type == onnx.TensorProto.STRING:  # class names; no runtime is asked for them
            continue
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        specs.append(TensorSpec(value.name, shape, dtype, quantization.get(value.name)))
    return tuple(specs)


def is_zipmap(value: onnx.ValueInfoProto) -> bool:
    """Whether an output is what ZipMap gives: for each sample a mapping of class to score."""
    kind = value.type
    return kind.HasField("sequence_type") and bool(kind.sequence_type.elem_type.HasField("map_type"))
