"""NVIDIA's part of ONNX Runtime: finding the GPU and TensorRT, and buffers in the GPU's memory."""

from __future__ import annotations

import ctypes
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.core.commands import install
from harness.core.errors import BackendError
from harness.core.preprocess import Feeds, Outputs
from harness.core.target import TENSORRT

#: NVIDIA's driver, on Linux and on Windows; tests replace it.
DRIVERS = ("libcuda.so.1", "nvcuda.dll")
#: TensorRT's libraries that the provider needs, in the order in which they need each other.
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")


class BoundOnDevice:
    """A ``DeviceCall``: an ``InferenceSession`` bound to buffers on a device.

    Parameters
    ----------
    session : InferenceSession
    feeds : mapping of input name to ndarray
    outputs : mapping of output name to ndarray
        Of the shapes and dtypes that the feeds give.
    device : (str, int)
        Memory and number, as ``OrtDevice`` names them.
    """

    def __init__(self, session: Any, feeds: Feeds, outputs: Outputs, device: tuple[str, int]) -> None:  # noqa: ANN401 - lazily imported
        from onnxruntime import OrtValue

        self._binding, self._run = session.io_binding(), session.run_with_iobinding
        for name, array in feeds.items():
            self._binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array.copy(), *device))
        self._outputs = {
            name: OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, *device)
            for name, array in outputs.items()
        }
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._binding.synchronize_inputs()  # copied before the first call

    def __call__(self) -> None:
        """Run once and wait for the device.

        A run ends by waiting for its stream (``OnRunEnd``, ``DeviceStreamCollection::CleanUp``), unless a run
        option says otherwise. Waiting for the device too costs microseconds; without it, a time could be
        wrong.
        """
        self._run(self._binding)
        self._binding.synchronize_outputs()

    def fetch(self) -> Outputs:
        """Copy the outputs of the last call to the host."""
        return {name: value.numpy().copy() for name, value in self._outputs.items()}


def unusable(provider: str, linked: Path) -> tuple[str, str] | None:
    """Return why a provider of NVIDIA's cannot run here and how to fix it; None if it may run."""
    if not devices():
        return "NVIDIA's driver shows no GPU", "run it on a machine with an NVIDIA GPU and its driver"
    if provider == TENSORRT:
        try:
            preload_tensorrt(linked)
        except BackendError as error:
            return f"{error.what}: {error.cause}", error.next_step
    return None


def preload_tensorrt(linked: Path) -> None:
    """Load TensorRT in the version that the provider was linked with, from the system or from its wheel.

    A loaded library is found by its name when ONNX Runtime loads the provider. If it is not found, ONNX
    Runtime runs everything on the CPU and writes a line to its log.

    Raises
    ------
    BackendError
        It is not installed, or only in another version.
    """
    content = linked.read_bytes() if linked.is_file() else b""
    versions = [re.search(rb"lib%s\.so\.(\d+)" % name, content) for name in (b"nvinfer", b"cudart")]
    if None in versions:
        raise BackendError("this ONNX Runtime has no TensorRT provider", cause=f"there is no {linked.name}",
                           next_step=install("cuda"))  # fmt: skip
    tensorrt, cuda = (int(match[1]) for match in versions if match)
    wheel = find_spec("tensorrt_libs")
    folders = ["", *(f"{folder}/" for folder in (wheel and wheel.submodule_search_locations) or ())]
    for name in LIBRARIES:
        library, cause = f"lib{name}.so.{tensorrt}", ""
        for folder in folders:
            try:
                ctypes.CDLL(f"{folder}{library}")
                break
            except OSError as error:
                cause = str(error)
        else:
            raise BackendError(
                f"TensorRT {tensorrt}, with which this ONNX Runtime was built, cannot be loaded",
                cause=cause,
                next_step=f"add 'tensorrt-cu{cuda}=={tensorrt}.*' to [executor] requirements of the target",
            )


def devices() -> int:
    """Return the number of GPUs; ONNX Runtime lists CUDA even without one."""
    count = ctypes.c_int(0)
    for library in DRIVERS:
        try:
            driver = ctypes.CDLL(library)
        except OSError:
            continue
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0
