"""A device: where it is, how it is reached, what runs on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.core.job import Options

#: Execution providers that compute on an NVIDIA GPU.
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
NVIDIA = (CUDA, TENSORRT, "NvTensorRTRTXExecutionProvider")
#: Their option that says which GPU.
DEVICE_ID = "device_id"
#: Pinned, for comparing numbers between runtimes: float32 stays float32, one thread.
PARITY_OPTIONS = Options(threads=1, precision="f32")


@dataclass(frozen=True, slots=True)
class Target:
    """One file of ``targets/``.

    Parameters
    ----------
    name : str
        The file's name.
    description : str
    backends : tuple of str
        The first is the headline.
    executor : mapping
        ``kind``, the name of an executor, and its settings; see ``harness.executors.abilities``.
    deploy : Options
        What is really shipped.
    max_samples : int, optional
        Samples a case at most.
    disk_mb : int
        Room for data and artifacts on the device.
    for_runtime : str
        The oldest TFLite runtime that must open its TFLite files (see ``harness compress --for-runtime``).
    """

    name: str
    description: str
    backends: tuple[str, ...]
    executor: Mapping[str, Any] = field(default_factory=lambda: {"kind": "local"})
    deploy: Options = field(default_factory=Options)
    max_samples: int | None = None
    disk_mb: int = 2000
    for_runtime: str = "litert"

    def options(self) -> dict[str, Options]:
        """Both settings; the provider that is shipped, and which of several GPUs, is the same in both."""
        place = {key: value for key, value in self.deploy.extra.items() if key == DEVICE_ID}
        parity = replace(PARITY_OPTIONS, provider=self.deploy.provider, extra=place)
        return {"parity": parity, "deploy": self.deploy}

    def to_json(self) -> dict[str, Any]:
        """As the table of ``targets/T.toml``."""
        return {
            "description": self.description,
            "backends": list(self.backends),
            "executor": dict(self.executor),
            "deploy": self.deploy.to_json(),
            "max_samples": self.max_samples,
            "disk_mb": self.disk_mb,
            "for_runtime": self.for_runtime,
        }
