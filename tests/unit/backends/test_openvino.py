from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from backends.openvino_ import OpenVinoBackend
from harness.core.artifact import Artifact, describe_file
from harness.core.contracts import SupportsPlacement
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.testing.models import AFFINE


@pytest.fixture
def relu(write: Any) -> Any:
    return write([("Relu", ["x"], ["y"])], [("x", "FLOAT", ["N", 3])], [("y", "FLOAT", ["N", 3])])


def test_precision_is_read_back(relu: Any) -> None:
    # Where the CPU has bf16, the hint is what keeps float32 models in float32.
    with OpenVinoBackend().open(relu, Options(precision="f32")) as session:
        compiled = session._compiled  # type: ignore[attr-defined]
        assert session.effective["precision"] == "f32"
        assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
        assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


def test_precision_that_is_overruled_is_refused(relu: Any) -> None:
    with pytest.raises(BackendError, match="precision f32 was asked for, the runtime uses"):
        OpenVinoBackend().open(
            relu, Options(precision="f32", extra={"INFERENCE_PRECISION_HINT": "undefined"})
        )


def test_more_threads_than_cores_are_refused(relu: Any) -> None:
    threads = (os.cpu_count() or 1) + 1
    with pytest.raises(BackendError, match=f"threads {threads} was asked for"):
        OpenVinoBackend().open(relu, Options(threads=threads))


def test_device_that_chooses_by_itself_is_refused(relu: Any) -> None:
    with pytest.raises(BackendError, match="provider AUTO was asked for, the runtime uses CPU"):
        OpenVinoBackend().open(relu, Options(provider="AUTO"))


def test_intermediate_representation_opens(tmp_path: Any) -> None:
    import openvino

    onnx = AFFINE.to_onnx().SerializeToString()
    openvino.save_model(openvino.Core().read_model(onnx), tmp_path / "model.xml", compress_to_fp16=False)
    files = tuple(describe_file(tmp_path / f"model.{suffix}") for suffix in ("xml", "bin"))
    feeds = AFFINE.feeds(3)
    with OpenVinoBackend().open(
        Artifact("float32", "openvino", files, tmp_path), Options(threads=1, precision="f32")
    ) as session:
        assert session.run(feeds)["y"] == pytest.approx(AFFINE.oracle(feeds), abs=1e-6)


def test_external_data_opens(tmp_path: Any) -> None:
    import onnx

    model = AFFINE.to_onnx()
    onnx.save(
        model, tmp_path / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0
    )
    files = tuple(describe_file(tmp_path / name) for name in ("model.onnx", "weights"))
    feeds = AFFINE.feeds(3)
    artifact = Artifact("float32", "onnx", files, tmp_path)
    with OpenVinoBackend().open(artifact, Options(threads=1, precision="f32")) as session:
        assert session.run(feeds)["y"] == pytest.approx(AFFINE.oracle(feeds), abs=1e-6)


def test_unknown_rank_is_refused_at_open(write: Any) -> None:
    artifact = write([("Relu", ["x"], ["y"])], [("x", "FLOAT", None)], [("y", "FLOAT", None)])
    with pytest.raises(BackendError, match="dynamic"):
        OpenVinoBackend().open(artifact, Options())


@pytest.mark.parametrize("precision", ["", "bf16"])
def test_a_default_precision_without_kernels_is_told(
    relu: Any, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenVINO 2026.4 does with some int8 operators on a CPU with AMX."""
    import openvino

    compile_model = openvino.Core.compile_model

    def refuse(core: Any, model: Any, device: str, settings: dict[str, str]) -> Any:
        if settings.get("INFERENCE_PRECISION_HINT") != "f32":
            raise RuntimeError("No suitable implementations.This may indicate …")
        return compile_model(core, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", refuse)
    if precision:  # what was asked for is never replaced
        with pytest.raises(BackendError, match="No suitable implementations"):
            OpenVinoBackend().open(relu, Options(precision=precision))
        return
    with OpenVinoBackend().open(relu, Options()) as session:
        assert session.effective["precision"] == "f32"
        assert "cannot compile" in session.effective["note"]
        assert 'precision = "f32"' in session.effective["note"]


def test_placement_is_that_of_the_kernels(relu: Any) -> None:
    x = {"x": np.ones((4, 3), np.float32)}
    with OpenVinoBackend().open(relu, Options()) as session:
        assert isinstance(session, SupportsPlacement)
        ((device, (nodes, time_ns)),) = session.placement(x).items()
    assert (device, nodes >= 1, time_ns >= 0) == ("CPU", True, True)


def test_kernels_of_another_plugin_are_not_on_the_cpu(relu: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("backends.openvino_.CPU_KERNELS", ("ocl",))
    with OpenVinoBackend().open(relu, Options()) as session:
        assert list(session.placement({"x": np.ones((4, 3), np.float32)})) == ["another device"]
