"""The catalogue as a whole, and the wrapper without a fault."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness.core.contracts import SupportsBinding, SupportsDeviceBinding, SupportsProfile, SupportsState
from harness.core.job import Options
from harness.testing.fakes import GpuBackend, NullBackend
from harness.testing.faults import FAULTS, HEALTHY, Fault, Kind, Plant
from harness.testing.models import AFFINE, write_artifact
from tests.unit.testing.faults.linear import ARTIFACT, Linear, LinearBackend, opened, planted, right, samples


def test_the_catalogue_has_every_kind_and_at_least_forty_faults() -> None:
    counts = Counter(fault.kind for fault in FAULTS)
    assert set(counts) == set(Kind)
    assert counts.total() - counts[Kind.HEALTHY] >= 40
    assert counts[Kind.HEALTHY] == 1


def test_names_are_unique_and_every_fault_can_be_diagnosed() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert fault.name == fault.name.lower()
        assert " " not in fault.name
        if fault is HEALTHY:
            continue
        assert fault.words, fault.name
        assert fault.advice, fault.name
        assert ("{size}" in fault.sentence) <= bool(fault.size), fault.name
        assert bool(fault.unit) <= bool(fault.size), fault.name
        assert not fault.is_named_in("everything is as it should be"), fault.name


def test_a_sentence_has_the_size_that_was_planted() -> None:
    fault = Fault("a", Kind.TIME, "slower by {size}", Plant, ("slow",), size=0.5)
    assert fault.text() == "slower by 0.5"
    assert fault.text(2.0) == "slower by 2"
    assert fault.is_named_in("p50 is SLOWER")
    assert not fault.is_named_in("p50 is 3 ms")


def test_healthy_wrapper_is_bit_identical() -> None:
    session, x = opened("healthy"), samples()
    with session:
        assert session.run({"x": x})["y"].tobytes() == right(x).tobytes()
        assert session.bind({"x": x})()["y"].tobytes() == right(x).tobytes()
        assert session.effective == Linear(Options(), ARTIFACT).effective
        assert (session.inputs, session.outputs) == (Linear.inputs, Linear.outputs)


def test_wrapper_has_the_abilities_of_the_session_and_no_others(tmp_path: Path) -> None:
    session = opened("healthy")
    assert isinstance(session, SupportsBinding)
    assert session.successor(1) == 2
    for ability in (SupportsState, SupportsProfile, SupportsDeviceBinding):
        assert not isinstance(session, ability)
    artifact = write_artifact(AFFINE.to_onnx().SerializeToString(), tmp_path, "model.onnx")
    on_device = planted("healthy", backend=GpuBackend()).open(artifact, Options())
    assert isinstance(on_device, SupportsDeviceBinding)
    assert not isinstance(on_device, SupportsBinding)
    feeds = AFFINE.feeds(3)
    call = on_device.bind_device(feeds)
    call()
    np.testing.assert_allclose(call.fetch()["y"], AFFINE.oracle(feeds), atol=1e-6)


def test_fault_changes_what_is_fetched_from_a_device(tmp_path: Path) -> None:
    artifact = write_artifact(AFFINE.to_onnx().SerializeToString(), tmp_path, "model.onnx")
    call = planted("offset", backend=GpuBackend()).open(artifact, Options()).bind_device(AFFINE.feeds(3))
    call()
    np.testing.assert_allclose(call.fetch()["y"], AFFINE.oracle(AFFINE.feeds(3)) + 0.02, atol=1e-6)


def test_open_sessions_are_counted_once_each() -> None:
    backend = planted("healthy", backend=LinearBackend())
    with backend.open(ARTIFACT, Options()) as first, backend.open(ARTIFACT, Options()):
        assert backend.open_sessions == 2
    first.__exit__(None, None, None)
    assert backend.open_sessions == 0


ALONE = ("slow-clock", "other-weights", "wrong-preprocessing")
#: The others need a process or a file of their own.
ANYWHERE = [
    fault for fault in FAULTS if fault.kind not in (Kind.PROCESS, Kind.FILE) and fault.name not in ALONE
]


@pytest.mark.parametrize("fault", ANYWHERE, ids=lambda fault: fault.name)
def test_every_fault_wraps_any_backend(fault: Fault) -> None:
    wrapped = fault.wrap(NullBackend(), ARTIFACT)
    assert wrapped.name == "null"
    assert wrapped.probe().version
    with wrapped.open(ARTIFACT, Options(threads=1)) as session:
        assert set(session.run({"x": np.zeros((1, 4), np.float32)})) == {"y"}


def test_a_board_can_import_the_catalogue() -> None:
    absent = (
        "flatbuffers",
        "onnx",
        "onnxruntime",
        "pandas",
        "PIL",
        "pydantic",
        "pytest",
        "rich",
        "scipy",
        "sklearn",
    )
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));"
        "from harness.testing.faults import FAULTS; print(len(FAULTS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(FAULTS)
