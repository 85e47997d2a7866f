"""TFLite files: ai-edge-litert, or tflite-runtime on armv7l, for which it has no wheel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from types import ModuleType
from typing import Any, Self

import numpy as np

from harness.core.artifact import STRING, Artifact, Quantization, TensorSpec
from harness.core.commands import install
from harness.core.contracts import Availability, Session, Variation
from harness.core.errors import BackendError, FileRefused
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import absent, check_feeds, confirm, opening, refusal
from harness.core.tflite_file import read_tflite, refuse_resources

XNNPACK = "XNNPACK"
DELEGATE = "DELEGATE"  # the operator that stands for those that XNNPACK runs
#: The kernels of the runtime itself: the optimized ones, and the plain ones that these are tested with. Both
#: round twice where XNNPACK rounds once, and each in its own way.
BUILTIN, REFERENCE = "builtin", "reference"
#: Names in ``OpResolverType``.
RESOLVERS = {
    XNNPACK: "AUTO",
    BUILTIN: "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    REFERENCE: "BUILTIN_REF",
}

Shapes = tuple[tuple[int, ...], ...]


class TfliteSession:
    """One interpreter; its tensors have the shapes of the last run.

    Parameters
    ----------
    interpreter : Interpreter
    effective : mapping
    keeps_state : bool
        Its variable tensors are reset before each call, so that no sample depends on the ones before it. They
        have a fixed batch, so the inputs keep the shapes in the file.
    """

    def __init__(
        self,
        interpreter: Any,  # noqa: ANN401 - lazily imported
        effective: Mapping[str, str],
        *,
        keeps_state: bool = False,
    ) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(_spec(tensor, is_fixed=keeps_state) for tensor in inputs)
        self.outputs = tuple(_spec(tensor, is_fixed=keeps_state) for tensor in outputs)
        self._invoke = partial(_reset_and_invoke, interpreter) if keeps_state else interpreter.invoke
        self.effective = effective
        self._into = tuple((tensor["name"], tensor["index"]) for tensor in inputs)
        self._from = tuple((tensor["name"], tensor["index"]) for tensor in outputs)
        self._shapes: tuple[tuple[int, ...], ...] | None = tuple(
            tuple(tensor["shape"].tolist()) for tensor in inputs
        )
        self._interpreter = interpreter

    def run(self, feeds: Feeds) -> Outputs:
        """Run once; tensors are allocated again only if a shape changed."""
        return self._run(feeds, self._invoke)

    def proceed(self, feeds: Feeds) -> Outputs:
        """Run once without a reset of the variable tensors."""
        return self._run(feeds, self._interpreter.invoke)

    def _run(self, feeds: Feeds, invoke: Callable[[], None]) -> Outputs:
        check_feeds(feeds, self.inputs)
        interpreter = self._interpreter
        try:
            shapes = tuple(feeds[name].shape for name, _ in self._into)
            if shapes != self._shapes:
                self._resize(shapes)
            for name, index in self._into:
                interpreter.set_tensor(index, feeds[name])
            invoke()
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
        invoke = self._invoke
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

    def placement(self, feeds: Feeds) -> Mapping[str, tuple[int, int]]:
        """Return operators by what runs them, from the interpreter's plan; it does not tell their time."""
        self.run(feeds)
        steps = self._interpreter._get_ops_details()
        delegated = len(_replaced(steps))
        others = sum(step["op_name"] != DELEGATE for step in steps) - delegated
        kernels = REFERENCE if self.effective["provider"] == REFERENCE else BUILTIN
        counts = {XNNPACK: delegated, kernels: others}
        return {provider: (count, 0) for provider, count in counts.items() if count}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._interpreter = self._invoke = None


def _reset_and_invoke(interpreter: Any) -> None:  # noqa: ANN401 - lazily imported
    interpreter.reset_all_variables()
    interpreter.invoke()


class TfliteBackend:
    """Opens TFLite files with the interpreter, on the CPU."""

    name = "tflite"
    formats: tuple[str, ...] = ("tflite",)

    def probe(self) -> Availability:
        """Return the version of the installed package; it has one device, the CPU."""
        try:
            package, _ = _runtime()
            return Availability(version(package), tuple(RESOLVERS))
        except Exception as error:  # noqa: BLE001 - whatever it raises is the reason why it cannot be used
            return absent(error, install("tflite"))

    def variations(self, options: Options) -> tuple[Variation, ...]:
        """List the other kernels: each rounds otherwise."""
        texts = {
            XNNPACK: "the kernels of XNNPACK",
            BUILTIN: "LiteRT's own optimized kernels",
            REFERENCE: "LiteRT's reference kernels",
        }
        return tuple(
            Variation("kernels", text, replace(options, provider=provider), f'provider = "{provider}"')
            for provider, text in texts.items()
            if provider != (options.provider or XNNPACK)
        )

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open with XNNPACK, which has to run at least one operator, or with the runtime's own kernels."""
        with opening("TFLite", install("tflite"), artifact, self.formats):
            _, module = _runtime()
            provider = options.provider or XNNPACK
            if provider not in RESOLVERS:
                raise BackendError(f"the tflite backend has {', '.join(RESOLVERS)}, not {provider}")
            threads = options.threads or 1  # the interpreter's own default
            interpreter = module.Interpreter(
                str(artifact.path),
                num_threads=threads,
                experimental_op_resolver_type=module.OpResolverType[RESOLVERS[provider]],
                **_extra(module, options),
            )
            interpreter.allocate_tensors()
            # The interpreter names no delegate; XNNPACK is the only one that it applies by itself.
            steps = interpreter._get_ops_details()
            delegated = any(step["op_name"] == DELEGATE for step in steps)
            effective = {
                "provider": XNNPACK if delegated else BUILTIN if provider == XNNPACK else provider,
                "precision": "f32",  # float16 arithmetic needs an option of a delegate
                "threads": str(threads),
            }
            if provider == XNNPACK and not delegated:
                raise FileRefused(
                    f"provider {XNNPACK} was asked for, the runtime uses {BUILTIN}",
                    where=str(artifact.path),
                    cause=f"{XNNPACK} takes none of the operators of this file",
                    next_step=f'measure it on a target with [deploy] provider = "{BUILTIN}"',
                )
            confirm(Options(options.threads, options.precision, provider), effective)
            if delegated and (builtin := builtin_operators(steps)):
                effective["builtin"] = ", ".join(builtin)
            facts = read_tflite(artifact.path)
            refuse_resources(facts, artifact.path)
            return TfliteSession(interpreter, effective, keeps_state=facts.keeps_state)


def builtin_operators(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the operators that XNNPACK leaves to the builtin kernels, which round differently.

    Parameters
    ----------
    steps : sequence of mapping
        The interpreter's ``_get_ops_details()``: ``index``, ``op_name``, ``inputs`` and ``outputs`` of each
        operator. Those that a delegate replaced are still listed: they lie between its inputs and outputs.
    """
    replaced = _replaced(steps)
    names = {step["op_name"] for step in steps if step["index"] not in replaced}
    return sorted(names - {DELEGATE})


def _replaced(steps: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the indices of the operators that the delegate runs."""
    producers = {
        tensor: step for step in steps if step["op_name"] != DELEGATE for tensor in map(int, step["outputs"])
    }
    replaced = set()
    for delegate in (step for step in steps if step["op_name"] == DELEGATE):
        inputs, waiting = set(map(int, delegate["inputs"])), list(map(int, delegate["outputs"]))
        while waiting:
            tensor = waiting.pop()
            step = producers.get(tensor)
            if step is not None and tensor not in inputs and step["index"] not in replaced:
                replaced.add(step["index"])
                waiting += map(int, step["inputs"])
    return replaced


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


def _spec(tensor: Mapping[str, Any], *, is_fixed: bool = False) -> TensorSpec:
    """Describe one entry of ``get_input_details``; where `is_fixed`, by its shape as it is."""
    dtype = np.dtype(tensor["dtype"])
    has_signature = len(tensor["shape_signature"]) and not is_fixed
    signature = tensor["shape_signature"] if has_signature else tensor["shape"]
    steps = tensor["quantization_parameters"]
    step = None
    if len(steps["scales"]) == 1:
        step = Quantization(float(steps["scales"][0]), int(steps["zero_points"][0]))
    shape = tuple(None if size < 0 else int(size) for size in signature)
    return TensorSpec(tensor["name"], shape, STRING if dtype.kind in "SUO" else dtype.name, step)
