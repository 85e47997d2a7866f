"""Sessions with a cause that ``harness explain`` has to name: each wraps a real session of any runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from harness.compression.model_file import load_onnx
from harness.core.artifact import Artifact
from harness.core.contracts import Backend, Session
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.device import planted
from harness.testing import faults
from harness.testing.faults.arrays import changed
from harness.testing.faults.calls import ByPosition, SharedBuffer
from harness.testing.faults.fault import Call, Compute, Plant

Real = NDArray[np.float32]
Change = Callable[[onnx.ModelProto], None]
#: The input of the model, channels first.
INPUT, SHAPE = "x", (3, 12, 12)
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


class OnInput(Plant):
    """Changes the images that the session gets, in whichever layout it takes them.

    Parameters
    ----------
    change : callable
        Of float32 images, shape (n, 3, 12, 12).
    """

    def __init__(self, change: Callable[[Real], Real]) -> None:
        super().__init__()
        self._change = change

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run on other images."""
        return compute({name: self._changed(call, name, x) for name, x in feeds.items()})

    def _changed(self, call: Call, name: str, x: NDArray[np.generic]) -> NDArray[np.generic]:
        is_last = x.ndim == 4 and x.shape[1:] == (*SHAPE[1:], SHAPE[0])
        if not (is_last or (x.ndim == 4 and x.shape[1:] == SHAPE)) or name.endswith(":fed"):
            return x
        spec = next(spec for spec in call.inputs if spec.name == name)
        step = spec.quantization
        real = x.astype(np.float32) if step is None else np.float32((x - step.zero_point) * step.scale)
        real = np.moveaxis(real, -1, 1) if is_last else real
        real = np.moveaxis(self._change(real), 1, -1) if is_last else self._change(real)
        if step is not None:
            limits = np.iinfo(x.dtype)
            real = np.clip(np.rint(real / step.scale) + step.zero_point, limits.min, limits.max)
        return np.ascontiguousarray(real).astype(x.dtype)


class InFile(Plant):
    """Opens a copy of every ONNX file in which its layers are computed otherwise."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self._change = change

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Change the file, and open it."""
        model = load_onnx(artifact.path)
        self._change(model)
        folder = Path(tempfile.mkdtemp(dir=artifact.folder))
        (folder / artifact.path.name).write_bytes(model.SerializeToString())
        return backend.open(replace(artifact, folder=folder), options)


class Stateful(Plant):
    """Adds a part of what the call before returned."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and mix."""
        fresh = {name: np.array(y) for name, y in compute(feeds).items()}
        before, call.previous = call.previous, fresh
        if before is None or {name: y.shape for name, y in before.items()} != {
            name: y.shape for name, y in fresh.items()
        }:
            return fresh
        return changed(call, fresh, lambda y: y + 0.3 * _like(before, y))


def _like(before: Outputs, y: NDArray[np.generic]) -> NDArray[np.generic]:
    return next(np.asarray(one) for one in before.values() if np.asarray(one).shape == y.shape)


class Noisy(Plant):
    """Adds noise that is another one at each call."""

    def __init__(self) -> None:
        super().__init__()
        self._random = np.random.default_rng()

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and add."""
        return changed(call, compute(feeds), lambda y: y + self._random.normal(0, 0.1 * np.std(y), y.shape))


class WithThreads(Plant):
    """Wrong where more than one thread is asked for."""

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and change."""
        outputs = compute(feeds)
        if call.options.threads == 1:
            return outputs
        return changed(call, outputs, lambda y: np.where(y > np.median(y), 1.2 * y, y))


class OnOutput(Plant):
    """Changes the real numbers of each output."""

    def __init__(self, change: Callable[[NDArray[np.generic]], NDArray[np.generic]]) -> None:
        super().__init__()
        self._change = change

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Run, and change."""
        outputs = compute(feeds)
        last = {name: y for name, y in outputs.items() if np.asarray(y).shape[1:] == (6,)}
        return {**outputs, **changed(call, last, self._change)}


# Layers


def after(model: onnx.ModelProto, layer: str, kind: str, constants: list[NDArray[np.generic]],
          **attributes: object) -> None:  # fmt: skip
    """Put an operator behind a layer; nothing is done in files that do not have it."""
    node = next((node for node in model.graph.node if node.name == layer), None)
    if node is None:
        return
    name, raw = node.output[0], f"{node.output[0]}:raw"
    node.output[0] = raw
    names = [f"{name}:{kind}:{place}" for place in range(len(constants))]
    model.graph.initializer.extend(map(numpy_helper.from_array, constants, names))
    place = list(model.graph.node).index(node)
    model.graph.node.insert(
        place + 1, helper.make_node(kind, [raw, *names], [name], name=f"{layer}:{kind}", **attributes)
    )


def rounded(model: onnx.ModelProto, kinds: tuple[str, ...], bits: int, *, only: str = "") -> None:
    """Round what some operators read to so many bits of mantissa, by Veltkamp's split."""
    factor = f"split{bits}"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(2**bits + 1), factor))
    for node in list(model.graph.node):
        if node.op_type not in kinds or only not in ("", node.name):
            continue
        for place, name in enumerate(node.input[:2]):
            parts = [f"{node.output[0]}:{name}:{what}" for what in ("wide", "rest", "rounded")]
            steps = [
                helper.make_node("Mul", [name, factor], [parts[0]]),
                helper.make_node("Sub", [parts[0], name], [parts[1]]),
                helper.make_node("Sub", [parts[0], parts[1]], [parts[2]]),
            ]
            at = list(model.graph.node).index(node)
            for step in reversed(steps):
                model.graph.node.insert(at, step)
            node.input[place] = parts[2]


def stored(model: onnx.ModelProto, bits: int, *, only: Collection[str] = ()) -> None:
    """Store the result of each layer, or of some, with so many bits less of mantissa."""
    factor = f"split{bits}"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(2**bits + 1), factor))
    for node in list(model.graph.node):
        if node.op_type not in ("Conv", "Gemm", "MatMul", "Add", "GlobalAveragePool", "Mul"):
            continue
        if only and node.name not in only:
            continue
        name, raw = node.output[0], f"{node.output[0]}:raw"
        node.output[0] = raw
        parts = [f"{name}:wide", f"{name}:rest"]
        steps = [
            helper.make_node("Mul", [raw, factor], [parts[0]]),
            helper.make_node("Sub", [parts[0], raw], [parts[1]]),
            helper.make_node("Sub", parts, [name]),
        ]
        at = list(model.graph.node).index(node)
        for step in reversed(steps):
            model.graph.node.insert(at + 1, step)


def border(model: onnx.ModelProto, layer: str) -> None:
    """Pad the input of a convolution with its edge instead of zero."""
    node = next((node for node in model.graph.node if node.name == layer), None)
    if node is None:
        return
    pads = next(attribute for attribute in node.attribute if attribute.name == "pads")
    before, after_ = pads.ints[:2], pads.ints[2:]
    name = f"{layer}:pads"
    sizes = np.array([0, 0, *before, 0, 0, *after_], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(sizes, name))
    pads.ints[:] = [0] * len(pads.ints)
    at = list(model.graph.node).index(node)
    padded = helper.make_node("Pad", [node.input[0], name], [f"{layer}:padded"], mode="edge")
    node.input[0] = f"{layer}:padded"
    model.graph.node.insert(at, padded)


def without(model: onnx.ModelProto, layer: str) -> None:
    """Leave an activation out."""
    for node in model.graph.node:
        if node.name == layer:
            node.op_type = "Identity"
            del node.attribute[:]
            del node.input[1:]


def per_channel(values: list[float]) -> NDArray[np.float32]:
    """Numbers of the channels of an image."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


# Images


def blurred(x: Real) -> Real:
    """Half the size by the mean of four pixels, and back by repeating them."""
    small = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(axis=(3, 5))
    return small.repeat(2, 2).repeat(2, 3)


def cropped(x: Real) -> Real:
    """The middle, without a border of two pixels, by the nearest pixel."""
    size = x.shape[2]
    places = np.clip(np.rint(np.linspace(2, size - 3, size)), 0, size - 1).astype(int)
    return x[:, :, places][:, :, :, places]


def grey(x: Real) -> Real:
    """Luma of Rec. 601 in all channels, which have one mean and one deviation."""
    luma = np.tensordot(np.float32([0.299, 0.587, 0.114]), x, (0, 1))
    return np.repeat(luma[:, None], 3, 1)


def flushed(x: Real) -> Real:
    """Without denormal numbers."""
    return np.where(np.abs(x) < SMALLEST_NORMAL, np.float32(0), x)


PLANTS: dict[str, Callable[[], Plant]] = {
    "bgr": partial(OnInput, lambda x: x[:, ::-1]),
    "times-255": partial(OnInput, lambda x: 255 * x),
    "over-255": partial(OnInput, lambda x: x / 255),
    "no-mean": partial(OnInput, lambda x: x + 0.45 / 0.22),
    "no-deviation": partial(OnInput, lambda x: 0.22 * x),
    "transposed": partial(OnInput, lambda x: x.swapaxes(2, 3)),
    "turned": partial(OnInput, lambda x: np.rot90(x, 1, (2, 3))),
    "mirrored": partial(OnInput, lambda x: x[..., ::-1]),
    "moved": partial(OnInput, lambda x: np.roll(x, 1, 3)),
    "grey": partial(OnInput, grey),
    "blurred": partial(OnInput, blurred),
    "cropped": partial(OnInput, cropped),
    "bgr-and-over-255": partial(OnInput, lambda x: x[:, ::-1] / 255),
    "state": Stateful,
    "noise": Noisy,
    "threads": WithThreads,
    "position": partial(ByPosition, 0.0),
    "buffer": partial(SharedBuffer, 0.0),
    "order": partial(OnOutput, lambda y: np.roll(y, 1, -1)),
    "two-classes": partial(OnOutput, lambda y: y[..., [0, 4, 2, 3, 1, 5]]),
    "output-offset": partial(OnOutput, lambda y: y + 0.5),
    "output-clipped": partial(OnOutput, lambda y: np.clip(y, -0.3, 0.3)),
    "output-rows": partial(OnOutput, lambda y: np.where(y[:, :1] > 0, y[:, ::-1], y)),
    "tf32": partial(InFile, lambda m: rounded(m, ("Conv", "Gemm"), 13)),
    "bf16": partial(InFile, lambda m: rounded(m, ("Conv", "Gemm"), 16)),
    "bf16-one": partial(InFile, lambda m: rounded(m, ("Conv",), 16, only="conv3")),
    "f16": partial(InFile, lambda m: stored(m, 13)),
    "f16-from": partial(InFile, lambda m: stored(m, 13, only=("conv5", "pool6", "fc7"))),
    "f16-outputs": partial(OnOutput, lambda y: y.astype(np.float16)),
    "layer-offset": partial(
        InFile, lambda m: after(m, "conv3", "Add", [per_channel([0.2, 0, 0, 0, 0, 0, 0, 0])])
    ),
    "layer-factor": partial(InFile, lambda m: after(m, "conv5", "Mul", [np.float32(1.25)])),
    "channel": partial(
        InFile, lambda m: after(m, "conv5", "Mul", [per_channel([1, 1, 0, *[1] * 13])])
    ),
    "clipped": partial(
        InFile, lambda m: after(m, "add4", "Clip", [np.float32(-10), np.float32(1)])
    ),
    "padding": partial(InFile, lambda m: border(m, "conv5")),
    "activation": partial(InFile, lambda m: without(m, "conv3_relu")),
    "pooled": partial(InFile, lambda m: after(m, "pool6", "Mul", [np.float32(36 / 25)])),
}  # fmt: skip


def asking(name: str, options: Options) -> Options:
    """Options with which a session has one of these causes."""
    return replace(options, extra={**options.extra, planted.OPTION: f"explain-{name} 0.0"})


@contextmanager
def registered() -> Iterator[None]:
    """Let batches ask for these plants by name, as for those of ``harness challenge``."""
    before = faults.FAULTS
    listed = tuple(
        faults.Fault(f"explain-{name}", faults.Kind.NUMERIC, name, _maker(make), ())
        for name, make in PLANTS.items()
    )
    faults.FAULTS = (*before, *listed)
    try:
        yield
    finally:
        faults.FAULTS = before


def _maker(make: Callable[[], Plant]) -> Callable[[float], Plant]:
    return lambda size: make()
