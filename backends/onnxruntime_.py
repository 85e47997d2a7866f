"""ONNX Runtime: CPU, CUDA and TensorRT."""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np

from backends.nvidia import BoundOnDevice, lack, preload_tensorrt
from harness.core.artifact import Artifact, TensorSpec
from harness.core.commands import install
from harness.core.contracts import Availability, DeviceCall, Profile, Session
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.seam import STRING, absent, check_feeds, confirm, opening, refusal
from harness.core.target import CUDA, DEVICE_ID, NVIDIA, TENSORRT

CPU = "CPUExecutionProvider"
#: While it is 0, NVIDIA's libraries compute float32 in float32 and not in TF32.
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"

#: TensorRT's options that let it compute in less than float32, and how they say yes.
LOWER = {"f16": "trt_fp16_enable", "bf16": "trt_bf16_enable"}
ON = ("1", "True", "true")
#: How the name of a kernel's event ends in a profile.
KERNEL = "_kernel_time"
#: ONNX Runtime's names that are not numpy's.
DTYPES = {"float": "float32", "double": "float64", "string": STRING}


Start = Callable[[str], Any]
"""Opens an ``InferenceSession``; where a prefix is given, one that writes its profile to a file with it."""


class OnnxRuntimeSession:
    """One ``InferenceSession``."""

    def __init__(self, session: Any, effective: Mapping[str, str], start: Start) -> None:  # noqa: ANN401 - lazily imported
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self.effective = effective
        self._names = [spec.name for spec in self.outputs]
        self._session, self._start = session, start

    def run(self, feeds: Feeds) -> Outputs:
        """Run once; shapes are left to the runtime, which does not tell an unknown rank from a scalar."""
        check_feeds(feeds, self.inputs, shapes=False)
        try:
            results = self._session.run(self._names, feeds)
        except Exception as error:
            raise refusal(error, "ONNX Runtime failed to run the model") from error
        return dict(zip(self._names, results, strict=True))

    def bind(self, feeds: Feeds) -> Callable[[], Outputs]:
        """Bind a copy of `feeds` and preallocated outputs.

        On a device other than the CPU a call copies both ways, as a request does; binding would copy the
        inputs once and leave that out.
        """
        import onnxruntime

        outputs = self.run(feeds)  # also checks the feeds and tells the shapes of the outputs
        feeds = {name: array.copy() for name, array in feeds.items()}
        if self.effective["provider"] != CPU or any(
            spec.dtype == STRING for spec in self.inputs + self.outputs
        ):
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
        """Times as ONNX Runtime's profile has them, which are whole microseconds."""
        self.run(feeds)  # checks them, and refuses where the session is closed
        with tempfile.TemporaryDirectory(prefix="harness-profile-") as folder:
            session = self._start(str(Path(folder) / "profile"))
            for _ in range(calls):
                session.run(self._names, feeds)
            events = json.loads(Path(session.end_profiling()).read_text())
        times: dict[tuple[str, str], list[int]] = {}
        for event in events:
            name, what = event["name"].removesuffix(KERNEL), event.get("args", {})
            if name != event["name"] and "op_name" in what:
                times.setdefault((name, what["op_name"]), []).append(1000 * event["dur"])
        return {node: np.array(each, np.int64) for node, each in times.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session = None


class OnnxRuntimeDeviceSession(OnnxRuntimeSession):
    """One on a GPU."""

    #: The memory that buffers are bound in, as ``OrtDevice`` names it.
    memory = "cuda"

    def bind_device(self, feeds: Feeds) -> DeviceCall:
        """Bind copies of `feeds`, and room for the outputs, in the GPU's memory."""
        outputs = self.run(feeds)  # also checks the feeds and tells the shapes of the outputs
        try:
            return BoundOnDevice(self._session, feeds, outputs, (self.memory, int(self.effective[DEVICE_ID])))
        except Exception as error:
            raise refusal(error, f"ONNX Runtime cannot bind buffers in {self.memory} memory") from error


class OnnxRuntimeBackend:
    """Opens ONNX files with ONNX Runtime."""

    name = "onnxruntime"
    formats: tuple[str, ...] = ("onnx",)

    def probe(self) -> Availability:
        """Version and providers; NVIDIA's are left out, with the reason, where they cannot run."""
        try:
            import onnxruntime

            version, providers = onnxruntime.__version__, onnxruntime.get_available_providers()
        except Exception as error:  # noqa: BLE001 - whatever it raises, it cannot be used, and we say why
            return absent(error, install("onnxruntime"))
        library = _provider_library(onnxruntime)
        lacks = {name: why for name in providers if name in NVIDIA and (why := lack(name, library))}
        devices = tuple(name for name in providers if name not in lacks)
        return Availability(
            version, devices, lacks=lacks, device_memory=tuple(name for name in devices if name in NVIDIA)
        )

    def open(self, artifact: Artifact, options: Options) -> Session:
        """Open on one provider, which has to take the whole graph."""
        with opening("ONNX Runtime", install("onnxruntime"), artifact, self.formats):
            import onnxruntime

            # Errors come as exceptions; the log would say them again.
            onnxruntime.set_default_logger_severity(4)
            provider = options.provider or CPU
            if provider not in onnxruntime.get_available_providers():
                raise BackendError(
                    f"this ONNX Runtime has no {provider}",
                    cause=f"it has {', '.join(onnxruntime.get_available_providers())}",
                    next_step="install the onnxruntime wheel with that provider in an environment of its own",
                )
            if provider in NVIDIA and hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # CUDA and cuDNN as wheels lie where no loader looks
            if provider == TENSORRT:
                preload_tensorrt(_provider_library(onnxruntime))
            settings, provider_options = _settings(onnxruntime, provider, options)

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
                "precision": _precision(session, provider, options),
                "threads": str(session.get_session_options().intra_op_num_threads or "default"),
            }
            confirm(options, effective)
            if provider not in NVIDIA:
                return OnnxRuntimeSession(session, effective, start)
            effective[DEVICE_ID] = session.get_provider_options()[provider].get(DEVICE_ID, "0")
            return OnnxRuntimeDeviceSession(session, effective, start)


def _settings(onnxruntime: ModuleType, provider: str, options: Options) -> tuple[Any, dict[str, str]]:
    """Session options and provider options; what is neither is refused."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    provider_options: dict[str, str] = {}
    for key, value in options.extra.items():
        if "." in key:
            if not _known(onnxruntime, key):
                raise BackendError(f"this ONNX Runtime does not know the session option {key}")
            settings.add_session_config_entry(key, value)
        elif hasattr(settings, key) and not callable(getattr(settings, key)):
            setattr(settings, key, _value(getattr(settings, key), key, value))
        elif provider != CPU:  # the CPU provider would ignore it; the others refuse what they do not know
            provider_options[key] = value
        else:
            raise BackendError(f"ONNX Runtime has no option {key}")
    settings.intra_op_num_threads = options.threads or settings.intra_op_num_threads
    if provider != CPU:
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if provider == CUDA and options.precision:
        provider_options["use_tf32"] = "0"
    if provider == TENSORRT and options.precision == "f32" and os.environ.get(TF32_OVERRIDE) != "0":
        raise BackendError(
            "TensorRT computes float32 in TF32",
            cause="that is its default, and the provider has no option against it",
            next_step=f"set {TF32_OVERRIDE}=0 in the environment of the worker",
        )
    return settings, provider_options


def _value(now: Any, key: str, value: str) -> Any:  # noqa: ANN401 - bool, int, str or one of the runtime's enums
    """Convert an option's text to the type that it has now."""
    if isinstance(now, bool):
        allowed: Mapping[str, Any] = {"0": False, "1": True}
    elif isinstance(now, int | str):
        return type(now)(value)
    else:
        allowed = type(now).__members__
    if value not in allowed:
        raise BackendError(f"{key} is one of {', '.join(allowed)}, not {value}")
    return allowed[value]


def _provider_library(onnxruntime: ModuleType) -> Path:
    """ONNX Runtime's own part of the TensorRT provider, which is linked with TensorRT's libraries."""
    return Path(onnxruntime.capi.__file__).parent / "libonnxruntime_providers_tensorrt.so"


def _known(onnxruntime: ModuleType, key: str) -> bool:
    """Whether the runtime's binary holds `key`; the runtime accepts any key and ignores unknown ones."""
    binary = Path(onnxruntime.capi.onnxruntime_pybind11_state.__file__)
    with binary.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\0" + key.encode() + b"\0") >= 0


def _precision(session: Any, provider: str, options: Options) -> str:  # noqa: ANN401 - lazily imported
    """How float32 is computed."""
    if provider == CPU:
        bfloat16 = options.extra.get("mlas.enable_gemm_fastmath_arm64_bfloat16") == "1"
        return "bf16" if bfloat16 else "f32"
    said = session.get_provider_options().get(provider, {})
    if provider == CUDA:
        return "f32" if said.get("use_tf32") == "0" else "tf32"
    if provider == TENSORRT:  # which has no option of its own against TF32
        lower = [kind for kind, option in LOWER.items() if said.get(option) in ON]
        return "+".join(lower) or ("f32" if os.environ.get(TF32_OVERRIDE) == "0" else "tf32")
    return "default"


def _spec(node: Any) -> TensorSpec:  # noqa: ANN401 - lazily imported
    """Describe one ``NodeArg``; its type reads ``tensor(float)``."""
    kind, _, inner = node.type.partition("(")
    if kind != "tensor":
        raise BackendError(f"{node.name} is a {node.type}; only tensors can be carried")
    dtype = inner.removesuffix(")")
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)
    return TensorSpec(node.name, shape, DTYPES.get(dtype, dtype))
