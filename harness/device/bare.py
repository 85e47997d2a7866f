"""The runtimes by their vendors' own interfaces, without a backend: what a backend is compared with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from harness.core.artifact import Artifact
from harness.core.contracts import BareModel, Unsupported
from harness.core.job import Options
from harness.core.preprocess import Feeds
from harness.core.tflite_file import read_tflite

#: Providers on which the comparison is made: what a GPU does between two calls is not seen from here.
PROVIDERS = ("", "CPUExecutionProvider", "CPU", "XNNPACK", "builtin", "reference")
#: By the runtime: formats that it opens, and what the names of its libraries contain, one of them at least.
RUNTIMES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "onnxruntime": (("onnx",), ("onnxruntime_pybind11_state", "libonnxruntime.so")),
    "openvino": (("openvino", "onnx", "tflite"), ("libopenvino.",)),
    "tflite": (("tflite",), ("_pywrap_litert_interpreter", "_pywrap_tensorflow_interpreter")),
}


def runtime_of(backend: str, model_format: str, libraries: Collection[str]) -> str:
    """Which runtime a backend loads: that of its name, else the only one in the process that opens the file.

    Parameters
    ----------
    backend : str
        Its name.
    model_format : str
        Of the file.
    libraries : collection of str
        Names of the shared libraries that are mapped into the process, with the model open.

    Raises
    ------
    Unsupported
        Nothing tells.
    """
    if backend in RUNTIMES:
        return backend
    mapped = [
        name
        for name, (formats, stems) in RUNTIMES.items()
        if model_format in formats and any(stem in library for stem in stems for library in libraries)
    ]
    if len(mapped) != 1:
        which = " and ".join(mapped) + " are" if mapped else f"no runtime that opens {model_format} files is"
        raise Unsupported(f"{which} in the process: nothing tells what {backend} loads")
    return mapped[0]


def open_bare(backend: str, artifact: Artifact, options: Options) -> BareModel:
    """Open a file in the runtime that a backend loads, with the settings that the backend was asked for.

    Raises
    ------
    Unsupported
        Nothing tells which runtime that is, or the settings have no counterpart here.
    """
    if options.provider not in PROVIDERS:
        raise Unsupported(f"{options.provider} does not compute on the CPU")
    runtime = runtime_of(backend, artifact.format, mapped_libraries())
    # From a path, OpenVINO reads ONNX with another reader than from memory, the only one for external data.
    is_content = runtime == "openvino" and artifact.format == "onnx" and len(artifact.files) == 1
    source = artifact.path.read_bytes() if is_content else str(artifact.path)
    return KINDS[runtime].open(source, options)


def mapped_libraries(maps: Path = Path("/proc/self/maps")) -> set[str]:
    """Names of the shared libraries that are mapped into this process; none where it cannot be read."""
    try:
        lines = maps.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {name for name in (line.rpartition("/")[2] for line in lines if "/" in line) if ".so" in name}


class OnnxRuntime:
    """``onnxruntime.InferenceSession`` on the CPU."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401 - lazily imported
        self._session = session
        self.names = [node.name for node in session.get_inputs()]

    @classmethod
    def open(cls, source: bytes | str, options: Options) -> Self:
        """Open."""
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4
        settings.intra_op_num_threads = options.threads or 0
        if options.precision not in ("", "f32"):
            raise Unsupported(f"the comparison has no precision {options.precision}")
        for key, value in options.extra.items():
            if "." not in key:
                raise Unsupported(f"the option {key} is set, which the comparison does not know")
            settings.add_session_config_entry(key, value)
        return cls(onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"]))

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once."""
        return list(self._session.run(None, feeds))

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Bind inputs and outputs, which have to be numbers."""
        from onnxruntime import OrtValue

        outputs = self.run(feeds)
        binding, run = self._session.io_binding(), self._session.run_with_iobinding
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array))
        for output, array in zip(self._session.get_outputs(), outputs, strict=True):
            binding.bind_ortvalue_output(output.name, OrtValue.ortvalue_from_numpy(array))

        def call(_memory: object = (feeds, outputs)) -> None:
            run(binding)

        return call


class OpenVino:
    """A request of a compiled model on the CPU."""

    def __init__(self, model: Any, compiled: Any) -> None:  # noqa: ANN401 - lazily imported
        self._compiled, self._request = compiled, compiled.create_infer_request()
        # What the file calls an input is one of the port's names, or that of its node.
        self._inputs = [{*port.names, port.get_node().get_friendly_name()} for port in model.inputs]
        self.names = [min(names) for names in self._inputs]
        self._keeps_state = bool(self._request.query_state())

    @classmethod
    def open(cls, source: bytes | str, options: Options) -> Self:
        """Open for latency, in one stream."""
        import openvino

        core = openvino.Core()
        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", **options.extra}
        if options.threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(options.threads)
        if options.precision:
            settings |= {
                "INFERENCE_PRECISION_HINT": options.precision,
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
            }
        model = core.read_model(source)
        return cls(model, core.compile_model(model, "CPU", settings))

    def _infer(self, request: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the runtime's own
        if self._keeps_state:
            request.reset_state()
        return request.infer(*arguments, **options)

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once; inputs that have no effect are dropped when the model is read."""
        positions = {
            position: feeds[name]
            for position, names in enumerate(self._inputs)
            for name in names.intersection(feeds)
        }
        return list(self._infer(self._request, positions).to_tuple())

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Set the inputs once, and read the outputs where they are."""
        from openvino import Tensor

        request = self._compiled.create_infer_request()
        for position, names in enumerate(self._inputs):
            (name,) = names.intersection(feeds)
            request.set_input_tensor(position, Tensor(feeds[name], shared_memory=True))
        infer = partial(self._infer, request) if self._keeps_state else request.infer

        def call(_memory: object = feeds) -> None:
            infer(share_outputs=True)

        return call


class Tflite:
    """``Interpreter`` of LiteRT, or of tflite-runtime."""

    def __init__(self, interpreter: Any, *, keeps_state: bool) -> None:  # noqa: ANN401 - lazily imported
        self._interpreter, self._keeps_state = interpreter, keeps_state
        self._inputs = {tensor["name"]: tensor["index"] for tensor in interpreter.get_input_details()}
        self.names = [*self._inputs]
        self._outputs = [tensor["index"] for tensor in interpreter.get_output_details()]
        self._shapes: list[tuple[int, ...]] = []

    @classmethod
    def open(cls, source: bytes | str, options: Options) -> Self:
        """Open with XNNPACK, or with the runtime's own kernels where they were asked for."""
        try:
            from ai_edge_litert import interpreter as module
        except ImportError:
            from tflite_runtime import interpreter as module

        kinds = module.OpResolverType
        resolvers = {"builtin": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES, "reference": kinds.BUILTIN_REF}
        interpreter = module.Interpreter(
            source,
            num_threads=options.threads or 1,
            experimental_op_resolver_type=resolvers.get(options.provider, kinds.AUTO),
            **{key: value == "1" for key, value in options.extra.items()},
        )
        interpreter.allocate_tensors()
        return cls(interpreter, keeps_state=isinstance(source, str) and read_tflite(Path(source)).keeps_state)

    def _invoke(self) -> None:
        if self._keeps_state:
            self._interpreter.reset_all_variables()
        self._interpreter.invoke()

    def _allocate(self, feeds: Feeds) -> None:
        shapes = [feeds[name].shape for name in self._inputs]
        if not self._keeps_state and shapes != self._shapes:
            for index, shape in zip(self._inputs.values(), shapes, strict=True):
                self._interpreter.resize_tensor_input(index, shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes

    def run(self, feeds: Feeds) -> list[Any]:
        """Run once."""
        self._allocate(feeds)
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, feeds[name])
        self._invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Set, invoke and get: views of the tensors gain nothing."""
        self._allocate(feeds)
        pairs = [(index, feeds[name]) for name, index in self._inputs.items()]
        set_tensor, get_tensor = self._interpreter.set_tensor, self._interpreter.get_tensor
        invoke = self._invoke if self._keeps_state else self._interpreter.invoke

        def call() -> None:
            for index, array in pairs:
                set_tensor(index, array)
            invoke()
            for index in self._outputs:
                get_tensor(index)

        return call


KINDS: Mapping[str, type[OnnxRuntime | OpenVino | Tflite]] = {
    "onnxruntime": OnnxRuntime, "openvino": OpenVino, "tflite": Tflite,
}  # fmt: skip
