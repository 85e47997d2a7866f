"""Facts from NVIDIA's driver, here one that is compiled for the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.target import CUDA, NVIDIA
from harness.device import gpu
from tests.gpu.driver import NAMES, compiled, plant


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="session")
def old_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("old"), "-DOLD")


def use(monkeypatch: pytest.MonkeyPatch, driver: Path) -> None:
    monkeypatch.setattr(gpu, "DRIVER", str(driver / NAMES[0]))
    monkeypatch.setattr(gpu, "NVML", str(driver / NAMES[1]))


@pytest.fixture
def planted(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the facts of a simulated GPU."""
    use(monkeypatch, driver)
    monkeypatch.setenv("FAKE_GPU", str(tmp_path / "gpu"))
    plant(tmp_path / "gpu")
    return tmp_path / "gpu"


def state(provider: str = CUDA, device_id: str = "0") -> dict[str, Any]:
    card = gpu.find(provider, device_id)
    assert card is not None
    facts = card.state_facts()
    json.dumps(facts)
    return facts["gpu_state"]


def static(device_id: str = "0") -> dict[str, Any]:
    card = gpu.find(CUDA, device_id)
    assert card is not None
    facts = card.static_facts()
    json.dumps(facts)
    return facts["gpu"]


@pytest.mark.parametrize("provider", ["", "CPUExecutionProvider", "GPU"])
def test_nothing_is_loaded_for_a_provider_that_needs_no_gpu(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_load", lambda library: pytest.fail(f"loaded {library}"))
    assert gpu.find(provider) is None


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("provider", NVIDIA)
def test_facts_of_the_driver(provider: str) -> None:
    assert static() == {
        "bus_id": "0000:21:00.0", "name": "NVIDIA H100 80GB HBM3", "driver": "580.65.06",
        "uuid": "GPU-2c2b0b1a-0000-0000-0000-000000000000", "memory_byte": 80 * 2**30,
    }  # fmt: skip
    assert state(provider) == {
        "clock_sm_mhz": 1980, "clock_memory_mhz": 2619, "temperature_celsius": 41, "power_milliwatt": 121500,
        "utilization_percent": 37, "memory_used_byte": 3 * 2**30, "throttle_reasons": 1,
        "throttled_ns": {"power": 5_000_000, "thermal": 0, "sync_boost": 0, "board_limit": 0},
    }  # fmt: skip


@pytest.mark.usefixtures("planted")
def test_cudas_number_is_followed_to_the_card() -> None:
    # NVML orders by bus, and CUDA by speed: NVML's number 0 is the other card.
    assert static("0")["name"] == "NVIDIA H100 80GB HBM3"
    assert static("1")["name"] == "NVIDIA T4"


@pytest.mark.parametrize(("device_id", "says"), [("2", "error 101"), ("first", "'first' is not a number")])
@pytest.mark.usefixtures("planted")
def test_a_card_that_cuda_does_not_have(device_id: str, says: str) -> None:
    assert says in static(device_id)["na"]
    assert says in state(device_id=device_id)["na"]


def test_a_missing_sensor_has_a_reason_and_the_others_have_values(planted: Path) -> None:
    plant(planted, power=None, temperature="error 999", memory_used=None, policy1=None)
    facts = state()
    assert facts["power_milliwatt"] == {"na": "nvmlDeviceGetPowerUsage: Not Supported"}
    assert facts["temperature_celsius"] == {"na": "nvmlDeviceGetTemperature: Unknown Error"}
    assert facts["memory_used_byte"] == {"na": "nvmlDeviceGetMemoryInfo: Not Supported"}
    assert facts["throttled_ns"]["thermal"] == {"na": "nvmlDeviceGetViolationStatus: Not Supported"}
    assert facts["throttled_ns"]["power"] == 5_000_000
    assert facts["clock_sm_mhz"] == 1980


def test_an_older_driver_without_a_function(
    planted: Path, old_driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, old_driver)
    facts = state()
    assert facts["throttle_reasons"] == {"na": "this driver has no nvmlDeviceGetCurrentClocksEventReasons"}
    assert facts["throttled_ns"]["power"] == 5_000_000


def test_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tmp_path)
    card = gpu.find(CUDA)
    assert card is not None
    memory_byte = [static(), state(), card.process_memory_byte()]
    for facts in memory_byte:
        assert isinstance(facts, dict)
        assert set(facts) == {"na"}
        assert "NVIDIA's driver is not here" in facts["na"]
        assert "libcuda.so.1" in facts["na"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"init": "error 9"}, "nvmlInit_v2: Driver Not Loaded"), ({"cuInit": "1"}, "cuInit: error 100")],
)
def test_a_driver_that_does_not_start(planted: Path, changed: dict[str, str], says: str) -> None:
    plant(planted, **changed)
    assert static() == state() == {"na": says}


def test_memory_of_this_process_alone(planted: Path) -> None:
    card = gpu.find(CUDA)
    assert card is not None
    assert card.process_memory_byte() == 600 * 2**20
    plant(planted, process=None)
    facts = card.process_memory_byte()
    assert isinstance(facts, dict)
    assert "container" in facts["na"]
    plant(planted, process=str(2**64 - 1))
    facts = card.process_memory_byte()
    assert isinstance(facts, dict)
    assert "Windows" in facts["na"]
