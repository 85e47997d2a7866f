"""ONNX Runtime: CPU, CUDA and TensorRT."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from backends.nvidia import BoundOnDevice, preload_tensorrt, unusable
from backends.onnxruntime_options import CPU, precision_in_use, session_settings, variations
from harness.core.artifact import STRING, Artifact, Quantization, TensorSpec
from harness.core.commands import install
from harness.core.contracts import Availability, DeviceCall, Profile, Session, Variation
from harness.core.errors import BackendError, FileRefused
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import absent, check_feeds, confirm, opening, refusal
from harness.core.target import DEVICE_ID, NVIDIA, TENSORRT

#: How the name of a kernel's event ends in a profile.
KERNEL = "_kernel_time"
#: ONNX Runtime's names that are not numpy's.
DTYPES = {"float": "float32", "double": "float64", "string": STRING}
#: What ZipMap gives for the scores of a classifier: for each sample a mapping of class to score.
MAPS = ("seq(map(string,tensor(float)))", "seq(map(int64,tensor(float)))")


Start = Callable[[str], Any]
"""Opens an ``InferenceSession``; with a prefix, its profile is written to a file with that prefix."""


class OnnxRuntimeSession:
    """One ``InferenceSession``."""

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - lazily imported
        effective: Mapping[str, str],
        start: Start,
        quantization: Mapping[str, Quantization],
    ) -> None:
        self.inputs = tuple(_spec(node, quantization) for node in session.get_inputs())
        self.outputs = tuple(_spec(node, quantization) for node in session.get_outputs())
        self.effective = effective
        self._names = [spec.name for spec in self.outputs]
        self._maps = [node.name for node in session.get_outputs() if node.type in MAPS]
        self._session, self._start = session, start

    def in_threads(self) -> Callable[[Feeds], Outputs]:
        """Return ``run``: ONNX Runtime answers threads at once."""
        return self.run

    def run(self, feeds: Feeds) -> Outputs:
        """Run once. The runtime checks shapes: its inputs do not tell an unknown rank from a scalar."""
        check_feeds(feeds, self.inputs, shapes=False)
        try:
            results = self._session.run(self._names, feeds)
        except Exception as error:
            raise refusal(error, "ONNX Runtime failed to run the model") from error
        outputs = dict(zip(self._names, results, strict=True))
        for name in self._maps:
            outputs[name] = _scores(outputs[name])
        return outputs

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """Bind a copy of `feeds` and preallocated outputs.

        On a device other than the CPU a call copies both ways, as a request does; with a binding the inputs
        would be copied only once.
        """
        import onnxruntime

        outputs = self.run(feeds)  # also checks the feeds and gives the shapes of the outputs
        feeds = {name: array.copy() for name, array in feeds.items()}
        strings = any(spec.dtype == STRING for spec in self.inputs + self.outputs)
        if self.effective["provider"] != CPU or strings or self._maps:
            return partial(self.run, feeds)
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        run = self._session.run_with_iobinding

        def call() -> Outputs:
            run(binding)
            return outputs

        return call

    def profile(self, feeds: Feeds, calls: int) -> Profile:
        """Return the times of ONNX Runtime's profile, which are whole microseconds."""
        times: dict[tuple[str, str], list[int]] = {}
        for name, details, duration_ns in self._kernels(feeds, calls):
            times.setdefault((name, details["op_name"]), []).append(duration_ns)
        return {node: np.array(durations_ns, np.int64) for node, durations_ns in times.items()}

    def placement(self, feeds: Feeds) -> Mapping[str, tuple[int, int]]:
        """Return nodes and their time by the provider that the profile names for each."""
        placed: dict[str, tuple[int, int]] = {}
        for _, details, duration_ns in self._kernels(feeds, 1):
            provider = details.get("provider", "")
            nodes, total_ns = placed.get(provider, (0, 0))
            placed[provider] = nodes + 1, total_ns + duration_ns
        return placed

    def _kernels(self, feeds: Feeds, calls: int) -> Iterator[tuple[str, Mapping[str, Any], int]]:
        """Profile some calls: name, details and time in ns of each kernel."""
        self.run(feeds)  # checks them, and fails if the session is closed
        with tempfile.TemporaryDirectory(prefix="harness-profile-") as folder:
            session = self._start(str(Path(folder) / "profile"))
            for _ in range(calls):
                session.run(self._names, feeds)
            events = json.loads(Path(session.end_profiling()).read_text())
        for event in events:
            name, details = event["name"].removesuffix(KERNEL), event.get("args", {})
            if name != event["name"] and "op_name" in details:
                yield name, details, 1000 * event["dur"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session = None


class OnnxRuntimeDeviceSession(OnnxRuntimeSession):
    """A session on a GPU."""

    #: ``OrtDevice``'s name of the memory that buffers are bound in.
    memory = "cuda"

    def bind_device(self, feeds: Feeds) -> DeviceCall:
        """Bind copies of `feeds`, and room for the outputs, in the GPU's memory."""
        outputs = self.run(feeds)  # also checks the feeds and gives the shapes of the outputs
        try:
            return BoundOnDevice(self._session, feeds, outputs, (self.memory, int(self.effective[DEVICE_ID])))
        except Exception as error:
            raise refusal(error, f"ONNX Runtime cannot bind buffers in {self.memory} memory") from error


class OnnxRuntimeBackend:
    """Opens ONNX files with ONNX Runtime."""

    name = "onnxruntime"
    formats: tuple[str, ...] = ("onnx",)

    def probe(self) -> Availability:
        """Return version and providers; those of NVIDIA that cannot run are listed with the reason."""
        try:
            import onnxruntime

            version, providers = onnxruntime.__version__, onnxruntime.get_available_providers()
        except Exception as error:  # noqa: BLE001 - whatever it raises is the reason why it cannot be used
            return absent(error, install("onnxruntime"))
        library = _provider_library(onnxruntime)
        reasons = {name: unusable(name, library) for name in providers if name in NVIDIA}
        refused = {name: reason for name, reason in reasons.items() if reason is not None}
        devices = tuple(name for name in providers if name not in refused)
        gpus = tuple(name for name in devices if name in NVIDIA)
        return Availability(version, devices, unusable=refused, device_memory=gpus)

    def variations(self, options: Options) -> tuple[Variation, ...]:
        """List the options with which it computes other numbers; those of GPUs are not known."""
        return variations(options) if options.provider in ("", CPU) else ()

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open on one provider, which has to run the whole graph."""
        with opening("ONNX Runtime", install("onnxruntime"), artifact, self.formats):
            import onnxruntime

            # Errors are raised as exceptions; the log would repeat them.
            onnxruntime.set_default_logger_severity(4)
            provider = options.provider or CPU
            if provider not in onnxruntime.get_available_providers():
                raise BackendError(
                    f"this ONNX Runtime has no {provider}",
                    cause=f"it has {', '.join(onnxruntime.get_available_providers())}",
                    next_step="install the onnxruntime wheel with that provider in an environment of its own",
                )
            if provider in NVIDIA and hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # no loader finds CUDA and cuDNN in wheels
            if provider == TENSORRT:
                preload_tensorrt(_provider_library(onnxruntime))
            settings, provider_options = session_settings(onnxruntime, provider, options)

            def start(profile: str = "") -> Any:  # noqa: ANN401 - lazily imported
                if profile:
                    settings.enable_profiling, settings.profile_file_prefix = True, profile
                session = onnxruntime.InferenceSession(
                    str(artifact.path),
                    settings,
                    providers=[(provider, provider_options)],
                    enable_fallback=0,  # otherwise Python retries on the CPU when a device fails
                )
                session.disable_fallback()
                return session

            session = start()
            effective = {
                "provider": session.get_providers()[0],
                "precision": precision_in_use(session, provider, options),
                "threads": str(session.get_session_options().intra_op_num_threads or "default"),
            }
            confirm(options, effective)
            if provider not in NVIDIA:
                return OnnxRuntimeSession(session, effective, start, artifact.quantization)
            effective[DEVICE_ID] = session.get_provider_options()[provider].get(DEVICE_ID, "0")
            return OnnxRuntimeDeviceSession(session, effective, start, artifact.quantization)


def _provider_library(onnxruntime: ModuleType) -> Path:
    """Return ONNX Runtime's library of the TensorRT provider, which is linked with TensorRT's."""
    return Path(onnxruntime.capi.__file__).parent / "libonnxruntime_providers_tensorrt.so"


def _spec(node: Any, quantization: Mapping[str, Quantization]) -> TensorSpec:  # noqa: ANN401 - lazily imported
    """Describe one ``NodeArg``; its type reads ``tensor(float)``."""
    if node.type in MAPS:
        return TensorSpec(node.name, (None, None), "float32")
    kind, _, inner = node.type.partition("(")
    if kind != "tensor":
        raise FileRefused(
            f"{node.name} is a {node.type}; only tensors and the maps of ZipMap are supported",
            next_step="export the model with tensors as its inputs and outputs",
        )
    dtype = inner.removesuffix(")")
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)
    return TensorSpec(node.name, shape, DTYPES.get(dtype, dtype), quantization.get(node.name))


def _scores(maps: Sequence[Mapping[str | int, float]]) -> NDArray[np.float32]:
    """Return the scores of each sample in the order of the classes, which ONNX Runtime sorts by their key."""
    return np.array([[scores[key] for key in sorted(scores)] for scores in maps], np.float32)
