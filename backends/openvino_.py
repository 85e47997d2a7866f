"""OpenVINO."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import STRING, Artifact, Quantization, TensorSpec
from harness.core.commands import install
from harness.core.contracts import Availability, Profile, Session, Variation
from harness.core.errors import FileRefused
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import absent, check_feeds, confirm, opening, refusal
from harness.core.tflite_file import read_tflite

CPU, OTHER = "CPU", "another device"
#: What the kernels of the CPU plugin are called: implementation_isa_precision (impl_desc_type.h).
CPU_KERNELS = (
    "acl", "brgconv", "brgemm", "convert", "dw", "gemm", "gemv", "jit", "kleidiai", "mlas", "ref", "reorder",
    "shl", "simple", "sparse", "unknown", "winograd",
)  # fmt: skip


class OpenVinoSession:
    """One compiled model and one request of it."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - lazily imported
        compile_with: Callable[..., Any],
        compiled: Any,  # noqa: ANN401
        effective: Mapping[str, str],
        quantization: Mapping[str, Quantization],
    ) -> None:
        from openvino import Tensor

        self.inputs = tuple(_spec(port, quantization) for port in model.inputs)
        self.outputs = tuple(_spec(port, quantization) for port in model.outputs)
        _check_names(self.inputs + self.outputs, quantization)
        self.effective = effective
        self._strings = any(spec.dtype == STRING for spec in self.inputs + self.outputs)
        self._names = tuple(spec.name for spec in self.outputs)
        self._tensor = Tensor
        self._compile_with, self._compiled = compile_with, compiled
        self._request = compiled.create_infer_request()
        self._keeps_state = bool(self._request.query_state())

    def run(self, feeds: Feeds) -> Outputs:
        """Run once and copy the outputs; the inputs are not copied."""
        return self._run(feeds, is_reset=self._keeps_state)  # no sample depends on the ones before it

    def proceed(self, feeds: Feeds) -> Outputs:
        """Run once without a reset of the state."""
        return self._run(feeds, is_reset=False)

    def _run(self, feeds: Feeds, *, is_reset: bool) -> Outputs:
        check_feeds(feeds, self.inputs)
        try:
            self._fill(self._request, feeds)
            if is_reset:
                self._request.reset_state()
            results = self._request.infer().to_tuple()
        except Exception as error:
            raise refusal(error, "OpenVINO failed to run the model") from error
        if self._strings:
            results = tuple(array.astype(STRING) if array.dtype.kind == "U" else array for array in results)
        return dict(zip(self._names, results, strict=True))

    def bind(self, feeds: Feeds) -> Callable[[], Mapping[str, NDArray[Any]]]:
        """Set a copy of `feeds` once, on a request of its own; the outputs are views of its memory."""
        self.run(feeds)  # checks them
        feeds = {name: array.copy() for name, array in feeds.items()}
        if self._strings:  # the runtime cannot share the memory of strings
            return partial(self.run, feeds)
        request = self._compiled.create_infer_request()
        self._fill(request, feeds)
        infer, latest = request.infer, _Latest(self._names)
        if self._keeps_state:
            infer = partial(_reset_and_infer, request)

        def call(_memory: object = feeds) -> _Latest:  # a shared tensor does not keep its array alive
            latest.results = infer(share_outputs=True)
            return latest

        return call

    def profile(self, feeds: Feeds, calls: int) -> Profile:
        """Return the times that OpenVINO counts, by node, operator and kind of kernel."""
        self.run(feeds)  # checks them, and fails if the session is closed
        request = self._compile_with(PERF_COUNT="YES").create_infer_request()
        self._fill(request, feeds)
        times: dict[tuple[str, str], list[int]] = {}
        for _ in range(calls):
            request.infer()
            for kernel in request.profiling_info:
                node = kernel.node_name, f"{kernel.node_type} ({kernel.exec_type})"
                times.setdefault(node, []).append(round(kernel.real_time.total_seconds() * 1e9))
        # A node that was fused always takes 0; a kernel below a microsecond only sometimes.
        return {node: np.array(durations, np.int64) for node, durations in times.items() if any(durations)}

    def placement(self, feeds: Feeds) -> Mapping[str, tuple[int, int]]:
        """Return nodes and their time by device, told by the kernels; none where it is not the CPU alone."""
        self.run(feeds)
        if tuple(self._compiled.get_property("EXECUTION_DEVICES")) != (CPU,):
            return {}  # the kernels of other plugins have no names that tell the device
        request = self._compile_with(PERF_COUNT="YES").create_infer_request()
        self._fill(request, feeds)
        request.infer()
        placed: dict[str, tuple[int, int]] = {}
        for kernel in request.profiling_info:
            if kernel.status == kernel.Status.EXECUTED:
                device = CPU if kernel.exec_type.startswith(CPU_KERNELS) else OTHER
                nodes, total_ns = placed.get(device, (0, 0))
                placed[device] = nodes + 1, total_ns + round(kernel.real_time.total_seconds() * 1e9)
        return placed

    def _fill(self, request: Any, feeds: Feeds) -> None:  # noqa: ANN401 - lazily imported
        """Set the inputs by position: a compiled model can have other names than the file."""
        for index, spec in enumerate(self.inputs):
            array = feeds[spec.name]
            if array.dtype.kind == "O":
                tensor = self._tensor(array.astype(np.str_))
            else:
                # Only an aligned, contiguous and writeable array can be shared.
                tensor = self._tensor(array, shared_memory=array.flags.carray)
            request.set_input_tensor(index, tensor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._request = self._compiled = None


def _reset_and_infer(request: Any, *, share_outputs: bool) -> Any:  # noqa: ANN401 - lazily imported
    request.reset_state()
    return request.infer(share_outputs=share_outputs)


class _Latest(Mapping[str, NDArray[Any]]):
    """Outputs of the latest call, named when they are read: a dict each call costs 2 % of a small model."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._positions = {name: position for position, name in enumerate(names)}
        self.results: Any = None  # what infer returned

    def __getitem__(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self.results.to_tuple()[self._positions[name]]
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)


class OpenVinoBackend:
    """Opens OpenVINO IR, ONNX and TFLite files with OpenVINO."""

    name = "openvino"
    formats: tuple[str, ...] = ("openvino", "onnx", "tflite")

    def probe(self) -> Availability:
        """Return version and devices."""
        try:
            openvino = _import()
            version = openvino.get_version().partition("-")[0]  # without the build's number
            return Availability(version, tuple(openvino.Core().available_devices))
        except Exception as error:  # noqa: BLE001 - whatever it raises is the reason why it cannot be used
            return absent(error, install("openvino"))

    def variations(self, options: Options) -> tuple[Variation, ...]:
        """List the options with which it computes other numbers."""
        if options.precision == "f32" and "INFERENCE_PRECISION_HINT" not in options.extra:
            return ()
        extra = {key: value for key, value in options.extra.items() if key != "INFERENCE_PRECISION_HINT"}
        changed = replace(options, precision="f32", extra=extra)
        return (Variation("precision", "float32 arithmetic", changed, 'precision = "f32"'),)

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Compile for one device, for latency, in one stream."""
        with opening("OpenVINO", install("openvino"), artifact, self.formats):
            openvino = _import()
            core = openvino.Core()
            device = options.provider or CPU
            model = core.read_model(_source(artifact))
            settings = _settings(core, device, options)

            def compile_with(**more: str) -> Any:  # noqa: ANN401 - lazily imported
                return core.compile_model(model, device, settings | more)

            note = ""
            try:
                compiled = compile_with()
            except Exception as error:
                # On a CPU with AMX, OpenVINO 2026.4 has no kernel for some int8 operators beside bf16.
                if options.precision or "No suitable implementations" not in str(error):
                    raise
                settings["INFERENCE_PRECISION_HINT"] = "f32"
                compiled = compile_with()
                note = (
                    f"OpenVINO cannot compile {artifact.path.name} at its default precision on this CPU; "
                    'it is measured with INFERENCE_PRECISION_HINT=f32: ship that, [deploy] precision = "f32"'
                )
            effective = {
                "provider": ",".join(compiled.get_property("EXECUTION_DEVICES")),
                "precision": _property(compiled, "INFERENCE_PRECISION_HINT"),
                "threads": _property(compiled, "INFERENCE_NUM_THREADS"),
                **({"note": note} if note else {}),
            }
            confirm(options, effective)
            return OpenVinoSession(model, compile_with, compiled, effective, _quantization(artifact))


def _quantization(artifact: Artifact) -> Mapping[str, Quantization]:
    """Return the steps of integer inputs and outputs: OpenVINO's model of a TFLite file has none."""
    if artifact.format == "tflite":
        return read_tflite(artifact.path).quantization
    return artifact.quantization


def _check_names(specs: tuple[TensorSpec, ...], quantization: Mapping[str, Quantization]) -> None:
    """Refuse a file whose integers would be taken for real numbers."""
    missing = set(quantization) - {spec.name for spec in specs if spec.quantization is not None}
    if missing:
        raise FileRefused(
            f"OpenVINO's model has no quantized input or output called {', '.join(sorted(missing))}",
            cause=f"it has {', '.join(spec.name for spec in specs)}, and does not tell their scales",
            next_step="measure the file with LiteRT (target tflite)",
        )


def _source(artifact: Artifact) -> bytes | str:
    """Return the bytes of an ONNX model without external data, else the path.

    OpenVINO 2026.4 reads ONNX from a path with another reader than from memory. That reader drops inputs
    without effect and ignores some attributes (31 of the ONNX backend tests); only it reads external data.
    """
    if artifact.format == "onnx" and len(artifact.files) == 1:
        return artifact.path.read_bytes()
    return str(artifact.path)


def _settings(core: Any, device: str, options: Options) -> dict[str, str]:  # noqa: ANN401 - lazily imported
    """Return the properties of the compiled model; OpenVINO refuses unknown ones."""
    settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
    if options.threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(options.threads)
    if options.precision:
        # Without it a CPU with bf16 computes float32 models in bf16.
        settings["INFERENCE_PRECISION_HINT"] = options.precision
        # Otherwise activations of layers with compressed weights would be quantized.
        if "DYNAMIC_QUANTIZATION_GROUP_SIZE" in core.get_property(device, "SUPPORTED_PROPERTIES"):
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"
    return {**settings, **options.extra}


def _property(compiled: Any, name: str) -> str:  # noqa: ANN401 - lazily imported
    """Return the value in use; not every device has the property."""
    if name not in compiled.get_property("SUPPORTED_PROPERTIES"):
        return "default"
    value = compiled.get_property(name)
    return str(value.get_type_name() if hasattr(value, "get_type_name") else value)


def _spec(port: Any, quantization: Mapping[str, Quantization]) -> TensorSpec:  # noqa: ANN401 - lazily imported
    """Describe one input or output of the model as it was read."""
    node_name = port.get_node().get_friendly_name().removesuffix("/sink_port_0")
    # A tensor can have several names; the one in the file is then that of the node.
    name = node_name if node_name in port.names or not port.names else min(port.names)
    name = next((tensor for tensor in quantization if tensor in port.names), name)
    kind = port.get_element_type()
    dtype = STRING if kind.get_type_name() == "string" else kind.to_dtype().name
    return TensorSpec(
        name,
        tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape()),
        dtype,
        quantization.get(name) if kind.is_integral() else None,
    )


def _import() -> ModuleType:
    """Import OpenVINO without its telemetry, which starts a process that sends data during measurements."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))  # None: as if not installed
    import openvino

    return openvino  # type: ignore[no-any-return]
