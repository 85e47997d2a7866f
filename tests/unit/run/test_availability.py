"""What a runtime lacks for a target comes with the command that fixes it."""

from __future__ import annotations

import pytest

from harness.core.contracts import Availability
from harness.core.job import Options
from harness.core.target import CUDA, TENSORRT, Target
from harness.run.availability import for_target

FOUND = Availability(
    "1.31.1", ("CPU",), unusable={TENSORRT: ("libnvinfer.so.10 is missing", "pip install tensorrt")}
)


def on(provider: str) -> Target:
    return Target("t", "", ("onnxruntime",), deploy=Options(provider=provider))


def test_a_provider_that_is_there() -> None:
    assert for_target(on("CPU"), FOUND) is FOUND
    assert for_target(on(""), FOUND) is FOUND


@pytest.mark.parametrize(
    ("provider", "why", "fix"),
    [
        (TENSORRT, "cannot use its TensorrtExecutionProvider: libnvinfer.so.10 is", "pip install tensorrt"),
        (CUDA, "has no CUDAExecutionProvider (it has CPU)", "[cuda]"),
        ("Other", "has no Other (it has CPU)", ""),
    ],
)  # fmt: skip
def test_a_provider_that_is_not(provider: str, why: str, fix: str) -> None:
    availability = for_target(on(provider), FOUND)
    assert why in availability.reason
    assert fix in availability.install
    assert (availability.version, availability.devices) == ("1.31.1", ("CPU",))
