"""TFLite files: ai-edge-litert, or tflite-runtime on armv7l, for which it has no wheel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import ModuleType
from typing import Any, Self

import numpy as np

from harness.core.artifact import Artifact, Quantization, TensorSpec
from harness.core.commands import install
from harness.core.contracts import Availability, Session
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import STRING, absent, check_feeds, confirm, opening, refusal

XNNPACK = "XNNPACK"
REFERENCE = "reference"

Shapes = tuple[tuple[int, ...], ...]


class TfliteSession:
    """One interpreter; its tensors have the shapes of the last run."""

    def __init__(self, interpreter: Any, effective: Mapping[str, str]) -> None:  # noqa: ANN401 - lazily imported
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(_spec(tensor) for tensor in inputs)
        self.outputs = tuple(_spec(tensor) for tensor in outputs)
        self.effective = effective
        self._into = tuple((tensor["name"], tensor["index"]) for tensor in inputs)
        self._from = tuple((tensor["name"], tensor["index"]) for tensor in outputs)
        self._shapes: tuple[tuple[int, ...], ...] | None = tuple(
            tuple(tensor["shape"].tolist()) for tensor in inputs
        )
        self._interpreter = interpreter

    def run(self, feeds: Feeds) -> Outputs:
        """Run once; tensors are allocated again only if a shape changed."""
        check_feeds(feeds, self.inputs)
        interpreter = self._interpreter
        try:
            shapes = tuple(feeds[name].shape for name, _ in self._into)
            if shapes != self._shapes:
                self._resize(shapes)
            for name, index in self._into:
                interpreter.set_tensor(index, feeds[name])
            interpreter.invoke()
            return {name: interpreter.get_tensor(index) for name, index in self._from}
        except Exception as error:
            raise refusal(error, "TFLite failed to run the model") from error

    def _resize(self, shapes: Shapes) -> None:
        self._shapes = None  # unknown until the allocation succeeded
        for (_, index), shape in zip(self._into, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """Set, invoke and get, on a copy of `feeds`: views of the tensors would gain nothing."""
        self.run(feeds)
        shapes = self._shapes
        pairs = [(index, np.array(feeds[name], order="C")) for name, index in self._into]
        results = self._from
        set_tensor, get_tensor = self._interpreter.set_tensor, self._interpreter.get_tensor
        invoke = self._interpreter.invoke
        outputs: Outputs = {}  # one dict for all calls: a new one costs 1 % of a small model

        def call() -> Outputs:
            if self._shapes is not shapes and shapes is not None:  # another run has used another shape
                self._resize(shapes)
            for index, array in pairs:
                set_tensor(index, array)
            invoke()
            for name, index in results:
                outputs[name] = get_tensor(index)
            return outputs

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._interpreter = None


class TfliteBackend:
    """Opens TFLite files with the interpreter, on the CPU."""

    name = "tflite"
    formats: tuple[str, ...] = ("tflite",)

    def probe(self) -> Availability:
        """Return the version of the installed package; it has one device, the CPU."""
        try:
            package, _ = _runtime()
            return Availability(version(package), (XNNPACK, REFERENCE))
        except Exception as error:  # noqa: BLE001 - whatever it raises is the reason why it cannot be used
            return absent(error, install("tflite"))

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open with XNNPACK, which has to run at least one operator, or with the reference kernels."""
        with opening("TFLite", install("tflite"), artifact, self.formats):
            _, module = _runtime()
            provider = options.provider or XNNPACK
            if provider not in (XNNPACK, REFERENCE):
                raise BackendError(f"the tflite backend has {XNNPACK} and {REFERENCE}, not {provider}")
            resolver = module.OpResolverType
            threads = options.threads or 1  # the interpreter's own default
            interpreter = module.Interpreter(
                str(artifact.path),
                num_threads=threads,
                experimental_op_resolver_type=(
                    resolver.AUTO if provider == XNNPACK else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                ),
                **_extra(module, options),
            )
            interpreter.allocate_tensors()
            # The interpreter names no delegate; XNNPACK is the only one that it applies by itself.
            delegated = any(step["op_name"] == "DELEGATE" for step in interpreter._get_ops_details())
            effective = {
                "provider": XNNPACK if delegated else REFERENCE,
                "precision": "f32",  # float16 arithmetic needs an option of a delegate
                "threads": str(threads),
            }
            confirm(Options(options.threads, options.precision, provider), effective)
            return TfliteSession(interpreter, effective)


def _runtime() -> tuple[str, ModuleType]:
    """Import the interpreter; returns the name of its distribution and its module."""
    try:
        from ai_edge_litert import interpreter
    except ImportError as missing:
        try:
            from tflite_runtime import interpreter
        except ImportError:
            raise missing from None
        return "tflite-runtime", interpreter
    return "ai-edge-litert", interpreter


def _extra(module: ModuleType, options: Options) -> dict[str, bool]:
    """Switches of the interpreter's constructor."""
    parameters = inspect.signature(module.Interpreter.__init__).parameters.values()
    switches = {parameter.name for parameter in parameters if isinstance(parameter.default, bool)}
    for key, value in options.extra.items():
        if key not in switches or value not in ("0", "1"):
            raise BackendError(
                f"TFLite has no option {key}={value}",
                next_step=f"0 or 1 for one of: {', '.join(sorted(switches))}",
            )
    return {key: value == "1" for key, value in options.extra.items()}


def _spec(tensor: Mapping[str, Any]) -> TensorSpec:
    """Describe one entry of ``get_input_details``."""
    dtype = np.dtype(tensor["dtype"])
    signature = tensor["shape_signature"] if len(tensor["shape_signature"]) else tensor["shape"]
    steps = tensor["quantization_parameters"]
    step = None
    if len(steps["scales"]) == 1:
        step = Quantization(float(steps["scales"][0]), int(steps["zero_points"][0]))
    shape = tuple(None if size < 0 else int(size) for size in signature)
    return TensorSpec(tensor["name"], shape, STRING if dtype.kind in "SUO" else dtype.name, step)
