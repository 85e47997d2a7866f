"""Claims against facts, case by case; and the facts of this process against what a test knows of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.job import Status
from harness.core.target import CUDA
from suites.reliability import claims, confirm
from tests.unit.suites.planted import spin

NOT_LISTED = {"na": "NVML lists no process with this number: in a container it has other numbers"}
ORT = ["libc.so.6", "onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so"]
WITH_CUDA = [*ORT, "libonnxruntime_providers_cuda.so"]


def gpu(**changed: Any) -> dict[str, Any]:
    return {"missing": "", "memory_byte": NOT_LISTED, "files": []} | changed


@pytest.mark.parametrize(
    ("claimed", "libraries", "driver", "value", "says"),
    [
        ("CPUExecutionProvider", ORT, None, 1, "onnxruntime_pybind11_state.cpython"),
        ("CPUExecutionProvider", ["libc.so.6"], None, 0, "no library of it (onnxruntime_pybind11_state)"),
        ("CPU", ["libopenvino_intel_cpu_plugin.so"], None, 1, "libopenvino_intel_cpu_plugin.so is in"),
        ("GPU.1", ["libopenvino_intel_gpu_plugin.so"], None, 1, "libopenvino_intel_gpu_plugin.so is in"),
        ("GPU.1", ["libopenvino_intel_cpu_plugin.so"], None, 0, "GPU.1 is claimed, and no library of it"),
        ("DnnlExecutionProvider", ORT, None, 0, "onnxruntime_providers_dnnl"),
        ("XNNPACK", ORT, None, None, "nothing outside the runtime tells whether it uses XNNPACK"),
        ("", ORT, None, None, "whether it uses a provider"),
        ("CPU", {"na": "/proc/self/maps cannot be read"}, None, None, "/proc/self/maps cannot be read"),
        (
            CUDA, ORT, gpu(missing="NVIDIA's driver is not here: libcuda.so.1"), 0,
            "CUDAExecutionProvider is claimed on a machine without a GPU: NVIDIA's driver is not here",
        ),
        (CUDA, WITH_CUDA, gpu(memory_byte=300_000_000), 1, "the driver counts 300 MB of GPU memory"),
        (CUDA, ORT, gpu(memory_byte=0), 0, "is claimed, and the driver counts 0 MB of GPU memory"),
        (CUDA, WITH_CUDA, gpu(files=["/dev/nvidia0"]), 1, "the process holds /dev/nvidia0"),
        (CUDA, WITH_CUDA, gpu(), None, "in a container it has other numbers"),
        (CUDA, ORT, gpu(), 0, "no library of it is in the process"),
    ],
)  # fmt: skip
def test_a_provider_is_known_by_libraries_and_by_the_driver(
    claimed: str, libraries: Any, driver: Any, value: float | None, says: str
) -> None:
    found, text = confirm.provider(claimed, libraries, driver)
    assert found == value
    assert says in text


@pytest.mark.parametrize(
    ("claimed", "provider", "shares", "value"),
    [
        ("1", "CPU", [1.0, 0.0], 1),
        ("1", "CPU", [0.97, 0.0, 0.03], 1),
        ("1", "CPU", [0.52, 0.0, 0.48], 0),
        ("1", "CPU", [0.10, 0.0, 0.90], 1),  # the caller waits for the one that computes
        ("1", "CPU", [0.30, 0.0, 0.36, 0.34], 0),
        ("1", "CPU", [0.90, 0.10], 1),  # clocks differ by so much
        ("1", "CPU", [0.45, 0.55], 0),  # a thread for each call
        ("2", "CPU", [0.52, 0.05, 0.43], 1),
        ("2", "CPU", [0.99, 0.0, 0.01], None),
        ("1", CUDA, [0.5, 0.0, 0.5], None),
        ("default", "CPU", [0.5, 0.0, 0.5], None),
        ("", "CPU", [1.0, 0.0], None),
        ("1", "CPU", {"na": "not counted"}, None),
    ],
)
def test_threads_are_those_that_used_cpu_time(
    claimed: str, provider: str, shares: Any, value: float | None
) -> None:
    assert confirm.threads(claimed, provider, shares)[0] == value


ALL = {"beyond f16": 1.0, "beyond bf16": 1.0, "coarse": 1.0}
TO_F16 = ALL | {"beyond f16": 0.0}
TO_BF16 = TO_F16 | {"beyond bf16": 0.0}
TREE = {"beyond f16": 0.0, "beyond bf16": 0.0, "coarse": 0.25}


@pytest.mark.parametrize(
    ("claimed", "answers", "changed", "value"),
    [
        ("f32", "", ALL, 1),
        ("F32", "", ALL, 1),
        ("f32", "", ALL | {"beyond f16": 0.2}, 1),
        ("f32", "f16", ALL, 0),
        ("f32", "bf16", {}, 0),
        ("f32", "", TO_F16, 0),
        ("f32", "", TO_BF16, 0),
        ("f32", "", TREE, None),
        ("f32", "", {}, None),
        ("bf16", "", TO_BF16, 1),
        ("bf16", "bf16", ALL, 1),
        ("bf16", "", TO_F16, 1),  # some layers may keep more
        ("bf16", "", ALL, None),
        ("f16", "", TO_F16, 1),
        ("f16", "", TO_BF16, None),
        ("tf32", "", TO_F16, 1),
        ("default", "", ALL, None),
        ("", "", ALL, None),
    ],
)
def test_a_precision_is_known_by_the_numbers(
    claimed: str, answers: str, changed: Any, value: float | None
) -> None:
    facts = {"answers": answers, "changed": changed, "half_file": False}
    assert confirm.precision(claimed, facts, "")[0] == value
    assert confirm.precision(claimed, facts, "int8")[0] is None
    assert confirm.precision(claimed, facts | {"half_file": True}, "")[0] is None


@pytest.mark.parametrize(
    ("reported", "installed", "of_backend", "value", "text"),
    [
        ("1.32.0", {"onnxruntime": "1.32.0"}, {}, 1.0, "onnxruntime 1.32.0 is installed"),
        ("2026.4.1", {"openvino": "2026.4.1.post1"}, {}, 1.0, "openvino 2026.4.1.post1"),
        ("0.3", {"onnxruntime": "1.32.0"}, {"mine": "0.3"}, 1.0, "mine 0.3 is installed"),
        ("99.0.0", {"onnxruntime": "1.32.0"}, {"mine": "0.3"}, 0.0,
         "version 99.0.0 is claimed, and the library in the process is of onnxruntime 1.32.0"),
        ("", {"onnxruntime": "1.32.0"}, {}, 0.0, "version none is claimed"),
        ("99.0.0", {}, {}, None, "no distribution is installed"),
    ],
)  # fmt: skip
def test_a_version_is_that_of_an_installed_distribution(
    reported: str, installed: dict[str, str], of_backend: dict[str, str], value: float | None, text: str
) -> None:
    confirmed, why = confirm.version(reported, installed, of_backend)
    assert confirmed == value
    assert text in why


def test_distributions_are_those_beside_the_libraries_in_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "lib/python3.11/site-packages"
    for folder in ("onnxruntime_gpu-1.31.1.dist-info", "onnx-1.23.2.dist-info", "numpy-2.4.6.dist-info"):
        (site / folder).mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    names = (
        f"{site}/onnxruntime/capi/onnxruntime_pybind11_state.so",
        f"{site}/numpy/core/x.so",
        "/lib/libc.so",
    )
    (tmp_path / "proc/self/maps").write_text("".join(f"7f00-7f01 r-xp 0 08:01 12 {name}\n" for name in names))
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    assert claims.runtime_packages() == {(site, "onnxruntime")}

    class Bench:
        backend, backend_version = "onnxruntime", "99.0.0"

    assert claims.versions(Bench()) == {
        "reported": "99.0.0", "installed": {"onnxruntime_gpu": "1.31.1"}, "of_backend": {},
    }  # fmt: skip
    monkeypatch.setattr(claims.metadata, "version", lambda name: "99.0.0")
    assert claims.versions(Bench())["installed"] == {
        "onnxruntime_gpu": "1.31.1", "onnxruntime_gpu on the path": "99.0.0",
    }  # fmt: skip


def test_what_nothing_confirms_is_a_skipped_row() -> None:
    facts = {
        "libraries": ORT,
        "gpu": None,
        "placement": {"XNNPACK": [9, 900], "other": [1, 2100]},
        "threads": [1.0, 0.0],
        "precision": {"answers": "", "changed": ALL, "half_file": False},
    }
    effective = {"provider": "XNNPACK", "precision": "f32", "threads": "1"}
    provider, threads, precision, nodes, time = confirm.rows(effective, facts, "")
    assert [(row.metric, row.value, row.n) for row in (nodes, time)] == [
        ("nodes_on_provider", 0.9, 10),
        ("time_on_provider", 0.3, 10),
    ]
    assert time.reason == "9 nodes on XNNPACK, 1 node on other"
    for placement, says in (
        (None, "does not tell where nodes run"),
        ({}, "does not tell the time of its nodes"),
    ):
        *_, nodes, time = confirm.rows(effective, facts | {"placement": placement}, "")
        assert nodes.status is time.status is Status.SKIPPED
        assert says in time.reason
    *_, nodes, time = confirm.rows(effective | {"provider": CUDA}, facts, "")
    assert nodes.value == time.value == 0
    assert (provider.value, provider.reason) == (1, "the runtime's plan has 9 of 10 nodes on XNNPACK")
    other = confirm.rows(effective | {"provider": "reference"}, facts, "")[0]
    assert (other.value, other.reason) == (
        0, "reference is claimed, and the runtime's plan has 0 of 10 nodes on reference",
    )  # fmt: skip
    provider = confirm.rows(effective, facts | {"placement": None}, "")[0]
    assert (provider.metric, provider.status) == ("provider_confirmed", Status.SKIPPED)
    assert provider.reason.startswith("unconfirmed: ")
    assert [(row.metric, row.status, row.value) for row in (threads, precision)] == [
        ("threads_confirmed", Status.OK, 1.0),
        ("precision_confirmed", Status.OK, 1.0),
    ]


@pytest.mark.parametrize(
    ("bits", "lost"), [(8, ("beyond f16", "beyond bf16")), (11, ("beyond f16",)), (24, ())]
)
def test_each_change_is_lost_in_the_formats_that_it_is_named_after(bits: int, lost: tuple[str, ...]) -> None:
    """For every value and not only for most: one that is not lost would hide the rounding of all."""
    x = np.random.default_rng(0).normal(size=(64, 100)).astype(np.float32)
    plain = claims.changed_by({"x": x}, 0.0)["x"]
    for name, change in claims.CHANGES.items():
        other = claims.changed_by({"x": x}, change)["x"]
        assert (other != plain).all()
        mantissas = [np.ldexp(np.frexp(y)[0], bits) for y in (plain, other)]
        same = np.rint(mantissas[0]) == np.rint(mantissas[1])
        assert same.all() if name in lost else not same.any()


def test_libraries_of_this_process_and_of_one_without_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = claims.libraries()
    assert any("_multiarray" in name or "libc.so" in name for name in mapped)
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    assert claims.libraries() == {"na": "/proc/self/maps cannot be read"}


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="the kernel is built without the times of threads"
)
def test_threads_of_this_process() -> None:
    """A thread that computed shows, and one that waits does not."""
    waiting = threading.Event()
    idle = threading.Thread(target=waiting.wait)
    idle.start()
    try:
        before = claims._thread_ns()
        assert before
        spin(20_000_000)
        used = {thread: ran - before.get(thread, 0) for thread, ran in claims._thread_ns().items()}
    finally:
        waiting.set()
        idle.join()
    assert used[threading.get_native_id()] > 10_000_000
    assert idle.native_id is not None
    assert used[idle.native_id] < 1_000_000


def test_no_gpu_is_asked_for_a_provider_of_the_cpu() -> None:
    assert claims.gpu_facts("CPUExecutionProvider", "0") is None


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.device.gpu.DRIVER", "libno-such-driver.so.1")
    facts = claims.gpu_facts(CUDA, "0")
    assert facts is not None
    assert facts["files"] == []
    value, text = confirm.provider(CUDA, ORT, facts)
    assert value == 0
    assert "on a machine without a GPU: NVIDIA's driver is not here" in text
