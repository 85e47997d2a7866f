"""A small model, its files, and a scene of two of them that is run in this process."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.compression.canonical import canonicalise
from harness.compression.export import export_tflite
from harness.compression.export.schema import serialise
from harness.compression.quantize import quantize
from harness.core.artifact import Artifact, describe_file
from harness.core.contracts import Backend, Session
from harness.core.job import Batch, JobResult, Options, Status
from harness.core.preprocess import Preprocess, apply
from harness.device import planted, plugins, trace
from harness.device.files import FileStore
from harness.device.worker import DeviceBench, StoredData, run_case
from harness.explain.files import tflite
from harness.explain.scene import Scene
from harness.explain.sides.runner import Runner
from harness.explain.sides.side import Side
from harness.store.cache import Cache

STEP = Preprocess(scale=1 / 255, mean=(0.45,), std=(0.22,), layout="NCHW")
PARITY = Options(threads=1, precision="f32")
SAMPLES = 48


Edit = Callable[[Any], None]


class Edited:
    """A backend that changes each file before it opens it: its runtime computes something else."""

    def __init__(self, backend: Backend, edit: Edit) -> None:
        self._backend, self._edit = backend, edit
        self.name, self.formats, self.probe = backend.name, backend.formats, backend.probe

    def open(self, artifact: Artifact, options: Options) -> Session:
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"edited.{artifact.format}"
            if artifact.format == "tflite":
                path.write_bytes(with_tflite(artifact.path.read_bytes(), self._edit))
            else:
                model = onnx.load(artifact.path)
                self._edit(model)
                onnx.save(model, path)
            return self._backend.open(
                replace(artifact, files=(describe_file(path),), folder=path.parent), options
            )


class InThisProcess:
    """An executor without processes: what is explained is the same.

    Parameters
    ----------
    store : Path
    plant : callable, optional
        Makes a backend with a cause in it.
    """

    parallel_batches = 1

    def __init__(self, store: Path, plant: Callable[[Backend], Backend] = lambda backend: backend) -> None:
        self._store, self._plant = store, plant

    def run(self, batches: Iterable[Batch]) -> Generator[JobResult]:
        for batch in batches:
            backend = planted.plant(plugins.choose(plugins.BACKENDS, batch.backend)(), batch)
            backend = self._plant(backend)
            data = StoredData(batch, FileStore(self._store))
            for job in batch.jobs:
                header, samples = run_case(DeviceBench(batch, job, backend, data), trace.measure)
                yield JobResult(job.key, Status(header["status"]), header["reason"], samples=samples)


def model() -> onnx.ModelProto:
    """Convolutions, a depthwise one, a sum, a pool, a product; random weights."""
    random = np.random.default_rng(0)
    nodes, constants = [], []

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(x: str, name: str, size: tuple[int, int, int], *, group: int = 1, stride: int = 1) -> str:
        depth, count, extent = size
        scale = 1 / np.sqrt(depth / group * extent**2)
        weight = constant(f"{name}.w", random.normal(0, scale, (count, depth // group, extent, extent)))
        bias = constant(f"{name}.b", random.normal(0, 0.1, count))
        nodes.append(
            helper.make_node(
                "Conv", [x, weight, bias], [f"{name}:c"], name=name, group=group,
                pads=[extent // 2] * 4, strides=[stride] * 2,
            )
        )  # fmt: skip
        nodes.append(helper.make_node("Relu", [f"{name}:c"], [f"{name}:r"], name=f"{name}_relu"))
        return f"{name}:r"

    one = conv("x", "conv1", (3, 8, 3))
    three = conv(conv(one, "depthwise2", (8, 8, 3), group=8), "conv3", (8, 8, 1))
    nodes.append(helper.make_node("Add", [one, three], ["sum"], name="add4"))
    five = conv("sum", "conv5", (8, 16, 3), stride=2)
    nodes.append(helper.make_node("GlobalAveragePool", [five], ["pooled"], name="pool6"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"))
    last = [constant("fc.w", random.normal(0, 0.6, (6, 16))), constant("fc.b", random.normal(0, 0.1, 6))]
    nodes.append(helper.make_node("Gemm", ["flat", *last], ["scores"], name="fc7", transB=1))
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 6])], constants,
    )  # fmt: skip
    return canonicalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def images() -> np.ndarray:
    """Smooth coloured images, uint8, shape (SAMPLES, 12, 12, 3)."""
    random = np.random.default_rng(1)
    coarse = random.normal(0, 45, (SAMPLES, 4, 4, 3)).repeat(3, 1).repeat(3, 2)
    ramp = np.linspace(-40, 40, 12)[None, :, None, None] + np.array([25.0, 0.0, -25.0])
    return np.clip(120 + coarse + ramp + random.normal(0, 6, (SAMPLES, 12, 12, 3)), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Files:
    """The model, its int8 form, and a folder for files that are made of them."""

    folder: Path
    float32: onnx.ModelProto
    int8: onnx.ModelProto

    def side(
        self, what: onnx.ModelProto | bytes, backend: str = "onnxruntime", options: Options = PARITY
    ) -> Side:
        """A side that runs a model on a backend."""
        is_int8 = (
            "int8" in tflite.dtypes(tflite.read(what))
            if isinstance(what, bytes)
            else any(n.op_type == "QuantizeLinear" for n in what.graph.node)
        )
        content = what if isinstance(what, bytes) else what.SerializeToString()
        suffix = "tflite" if isinstance(what, bytes) else "onnx"
        path = self.folder / f"{abs(hash(content))}.{suffix}"
        path.write_bytes(content)
        artifact = Artifact(
            "int8" if is_int8 else "float32", suffix, (describe_file(path),), self.folder,
            input_permutation={"x": (0, 2, 3, 1)} if suffix == "tflite" else {},
            precision="int8" if is_int8 else "",
        )  # fmt: skip
        return Side(
            f"{backend}:{artifact.variant}", backend, backend, artifact.variant, artifact, options,
            InThisProcess(self.folder), {"x": STEP}, {"x": images()},
        )  # fmt: skip

    def edited(self, what: onnx.ModelProto | bytes, edit: Edit, backend: str = "onnxruntime") -> Side:
        """A side whose runtime computes what the edited file says."""
        side = self.side(what, backend)
        return replace(side, executor=InThisProcess(self.folder, partial(Edited, edit=edit)))

    def planted(self, side: Side, plant: Callable[[Backend], Backend]) -> Side:
        """The same side on a backend with a cause in it."""
        return replace(side, label=f"planted:{side.backend}", executor=InThisProcess(self.folder, plant))

    def tflite(self) -> bytes:
        """The int8 model as TFLite."""
        return export_tflite(self.int8, name="small").data

    def openvino(self, what: onnx.ModelProto, options: Options = PARITY) -> Side:
        """A side that runs a model's OpenVINO file."""
        import openvino

        side = self.side(what, "openvino", options)
        path = self.folder / f"{abs(hash(what.SerializeToString()))}.xml"
        openvino.save_model(openvino.Core().read_model(what.SerializeToString()), path)
        files = tuple(map(describe_file, (path, path.with_suffix(".bin"))))
        return replace(side, artifact=replace(side.artifact, format="openvino", files=files))

    def tflite_float32(self) -> bytes:
        """The float model as TFLite."""
        return export_tflite(self.float32, name="small").data

    def scene(self, reference: Side, other: Side) -> Scene:
        """What hypotheses test."""
        cache = Cache(self.folder)
        onnx_files = {"float32": self.side(self.float32).artifact, "int8": self.side(self.int8).artifact}
        onnx_files |= {s.variant: s.artifact for s in (reference, other) if s.artifact.format == "onnx"}
        host = replace(self.side(self.float32), label="this machine")
        bounds = {"scores": 1e-4 if reference.variant == other.variant == "float32" else 0.13}
        return Scene(reference, other, Runner(cache), onnx_files, host, bounds, range(SAMPLES))


def make(folder: Path, float32: onnx.ModelProto | None = None) -> Files:
    """Quantize a model with the images it is explained on."""
    float32 = float32 or model()
    feeds = ({"x": apply(image[None], STEP)} for image in images()[:32])
    return Files(folder, float32, quantize(float32, feeds, {}).model)


def constant(changed: onnx.ModelProto, name: str) -> np.ndarray:
    """The numbers of an initializer."""
    return numpy_helper.to_array(next(t for t in changed.graph.initializer if t.name == name)).copy()


def with_constant(
    original: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> onnx.ModelProto:
    """A copy with one initializer changed, in its own type."""
    changed = copy.deepcopy(original)
    for tensor in changed.graph.initializer:
        if tensor.name == name:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(array), array.dtype), name))
    return changed


def behind(
    original: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto] = ()
) -> onnx.ModelProto:
    """A copy whose input goes through nodes that take ``x`` and return ``changed``."""
    changed = copy.deepcopy(original)
    for node in changed.graph.node:
        node.input[:] = ["changed" if name == "x" else name for name in node.input]
    for place, node in enumerate(nodes):
        changed.graph.node.insert(place, node)
    changed.graph.initializer.extend(constants)
    return changed


def with_tflite(content: bytes, change: Callable[[Any], None]) -> bytes:
    """A TFLite file after a change of its model, as objects of the schema."""
    changed = tflite.read(content)
    change(changed)
    return serialise(changed)


def tensor(changed: Any, name: str) -> Any:
    """A tensor of a TFLite file."""
    tensors = changed.subgraphs[0].tensors
    return next(one for one in tensors if tflite.name_of(one) == name)


def operator(changed: Any, result: str) -> Any:
    """The operator of a TFLite file that gives a result."""
    graph = changed.subgraphs[0]
    return next(one for one in graph.operators if tflite.name_of(graph.tensors[one.outputs[0]]) == result)


def renamed(original: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose constants have other names: another tool exported it."""
    changed = copy.deepcopy(original)
    names = {tensor.name: f"other.{tensor.name}" for tensor in changed.graph.initializer}
    for tensor in changed.graph.initializer:
        tensor.name = names[tensor.name]
    for node in changed.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return changed


def makers(changed: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Who computes each value."""
    return {name: node for node in changed.graph.node for name in node.output}


def with_step(original: onnx.ModelProto, value: str, factor: float) -> onnx.ModelProto:
    """A quantized copy in which one value, and the biases after it, have a scale `factor` times as large."""
    quantizer = next(n for n in original.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == value)
    changed = with_constant(original, quantizer.input[1], lambda scale: scale * factor)
    by_output = makers(changed)
    for node in changed.graph.node:
        source = by_output.get(node.input[0]) if node.input else None
        if node.op_type not in ("Conv", "Gemm") or source is None or source.input[1] != quantizer.input[1]:
            continue
        bias = by_output[node.input[2]]
        changed = with_constant(changed, bias.input[0], lambda codes: np.rint(codes / factor))
        changed = with_constant(changed, bias.input[1], lambda scale: scale * factor)
    return changed
