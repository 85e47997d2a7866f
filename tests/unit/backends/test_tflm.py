"""TensorFlow Lite for Microcontrollers: what it refuses, how much memory it takes, and its numbers."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.tflite_ import TfliteBackend
from backends.tflm_ import TflmBackend
from harness.core.artifact import Artifact
from harness.core.contracts import StandsIn, SupportsFootprint, SupportsState
from harness.core.errors import BackendError, FileRefused
from harness.core.job import Options
from harness.core.target import Target
from harness.executors.abilities import abilities_of
from harness.testing.models import AFFINE, write_artifact
from tests.unit.backends import test_state_and_codes as state_files

remembering = state_files.remembering  # the fixture
pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="there is no wheel of tflite-micro"
)
X = np.array([[-1.0, 0.0, 2.0, 3.0]], np.float32)


def chain(folder: Path, *operators: str) -> Artifact:
    """Write a file of operators one after the other, from ``x`` to ``y``."""
    writer = state_files.Writer()
    places = [
        writer.tensor(name, "FLOAT32", [1, 4])
        for name in ("x", *(f"t{place}" for place in range(len(operators) - 1)), "y")
    ]
    for place, operator in enumerate(operators):
        writer.operator(operator, [places[place]], places[place + 1])
    return writer.write(folder, places[0], places[-1])


def test_operators_without_a_kernel_are_named(tmp_path: Path) -> None:
    artifact = chain(tmp_path, "ABS", "RANK", "ABS", "TOPK_V2")
    with pytest.raises(FileRefused, match=r"(?m)no kernel for RANK, TOPK_V2$") as refused:
        TflmBackend().open(artifact, Options())
    assert str(artifact.path) in str(refused.value)


def test_footprint_is_what_the_arena_needs(tmp_path: Path) -> None:
    artifact = chain(tmp_path, "ABS")
    with TflmBackend().open(artifact, Options()) as session:
        assert isinstance(session, SupportsFootprint)
        footprint = session.footprint()
        assert footprint.flash_byte == artifact.size_byte
    enough = {"arena_byte": str(footprint.arena_byte + 256)}  # temporary memory, while it is opened
    with TflmBackend().open(artifact, Options(extra=enough)) as session:
        np.testing.assert_array_equal(session.run({"x": X})["y"], np.abs(X))
    with pytest.raises(FileRefused, match="does not fit an arena of") as refused:
        TflmBackend().open(artifact, Options(extra={"arena_byte": str(footprint.arena_byte - 64)}))
    assert "Requested" in str(refused.value)


@pytest.mark.parametrize("extra", [{"arena_byte": "0"}, {"arena_byte": "1e5"}, {"arena_byte": "-1"}])
def test_arena_that_is_no_number_is_refused(tmp_path: Path, extra: dict[str, str]) -> None:
    artifact = chain(tmp_path, "ABS")
    with pytest.raises(BackendError, match="no option arena_byte="):
        TflmBackend().open(artifact, Options(extra=extra))


def test_messages_of_others_are_not_lost(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before\n")
    artifact = chain(tmp_path, "RANK")
    with pytest.raises(FileRefused):
        TflmBackend().open(artifact, Options())
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_state_is_reset_before_each_call(remembering: Artifact) -> None:
    samples = [np.full((1, 1), value, np.float32) for value in (1, 2, 4)]
    with TflmBackend().open(remembering, Options()) as session:
        assert session.inputs[0].shape == (1, 1)
        assert [float(session.run({"x": x})["y"][0, 0]) for x in samples] == [1, 2, 4]
        assert isinstance(session, SupportsState)
        session.run({"x": samples[0]})
        assert [float(session.proceed({"x": x})["y"][0, 0]) for x in samples[1:]] == [12, 124]


def test_times_on_a_target_that_stands_in_say_nothing() -> None:
    assert isinstance(TflmBackend(), StandsIn)
    assert not isinstance(TfliteBackend(), StandsIn)
    assert abilities_of(Target("t", "", ("tflm",))).emulated
    assert abilities_of(Target("t", "", ("tflite", "tflm"))).emulated
    assert not abilities_of(Target("t", "", ("tflite",))).emulated


def test_bytes_behind_the_end_are_not_read(tmp_path: Path) -> None:
    from harness.compression.export import export_tflite

    data = export_tflite(AFFINE.to_onnx(), name="known").data
    for length in range(0, len(data), 7):
        artifact = write_artifact(data[:length], tmp_path, "short.tflite")
        with pytest.raises(BackendError):
            TflmBackend().open(artifact, Options())
