from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from backends import nvidia
from backends.onnxruntime_ import CPU, OnnxRuntimeBackend
from harness.core.contracts import SupportsPlacement
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.core.target import CUDA, TENSORRT
from tests.gpu.driver import NAMES, compiled, plant


@pytest.fixture
def relu(write: Any) -> Any:
    return write([("Relu", ["x"], ["y"])], [("x", "FLOAT", ["N", 3])], [("y", "FLOAT", ["N", 3])])


def test_provider_is_asserted(relu: Any) -> None:
    with OnnxRuntimeBackend().open(relu, Options()) as session:
        assert session.effective["provider"] == CPU


def test_placement_is_that_of_the_profile(write: Any) -> None:
    nodes = [("Relu", ["x"], ["h"]), ("Exp", ["h"], ["y"])]
    model = write(nodes, [("x", "FLOAT", ["N", 3])], [("y", "FLOAT", ["N", 3])])
    with OnnxRuntimeBackend().open(model, Options()) as session:
        assert isinstance(session, SupportsPlacement)
        ((provider, (count, time_ns)),) = session.placement({"x": np.ones((4, 3), np.float32)}).items()
    assert (provider, count) == (CPU, 2)
    assert time_ns >= 0
    assert time_ns % 1000 == 0


def test_provider_that_is_not_built_in_is_refused(relu: Any) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this wheel has CUDA")
    with pytest.raises(BackendError, match=CUDA):
        OnnxRuntimeBackend().open(relu, Options(provider=CUDA))


def test_provider_that_leaves_nodes_to_the_cpu_is_refused(relu: Any) -> None:
    # Azure's provider is in the CPU wheel, takes no node, and would leave all of them to the CPU.
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this wheel has no Azure provider")
    with pytest.raises(BackendError, match="fallback"):
        OnnxRuntimeBackend().open(relu, Options(provider="AzureExecutionProvider"))


def test_cuda_without_a_device_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # The GPU wheel says so wherever it is installed.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    expected = (CUDA, CPU) if nvidia.devices() else (CPU,)
    assert OnnxRuntimeBackend().probe().devices == expected


def test_a_gpu_that_the_driver_lists_has_device_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nvidia, "DRIVERS", (str(compiled(tmp_path) / NAMES[0]),))
    monkeypatch.setenv("FAKE_GPU", str(tmp_path / "gpu"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    plant(tmp_path / "gpu")
    availability = OnnxRuntimeBackend().probe()
    assert (availability.devices, availability.device_memory) == ((CUDA, CPU), (CUDA,))
    assert "TensorRT" in availability.unusable[TENSORRT][0]  # the wheel of the tests has no such provider
    plant(tmp_path / "gpu", devices="0")
    availability = OnnxRuntimeBackend().probe()
    assert (availability.devices, availability.device_memory) == ((CPU,), ())
    assert availability.unusable[CUDA][0] == "NVIDIA's driver shows no GPU"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("session.disable_quant_qdq", "1"),
        ("session.intra_op.allow_spinning", "0"),
        ("graph_optimization_level", "ORT_DISABLE_ALL"),
        ("enable_cpu_mem_arena", "0"),
        ("inter_op_num_threads", "1"),
    ],
)
def test_option_of_the_runtime_is_passed_on(relu: Any, key: str, value: str) -> None:
    with OnnxRuntimeBackend().open(relu, Options(extra={key: value})) as session:
        settings = session._session.get_session_options()  # type: ignore[attr-defined]
        current = settings.get_session_config_entry(key) if "." in key else getattr(settings, key)
    assert str(getattr(current, "name", int(current) if isinstance(current, bool) else current)) == value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("session.disable_quant_qdqs", "1", "no session option"),
        ("graph_optimization_levels", "ORT_DISABLE_ALL", "no option"),
        ("graph_optimization_level", "ORT_DISABLE", "ORT_DISABLE_ALL"),
        ("enable_cpu_mem_arena", "yes", "0, 1"),
        ("inter_op_num_threads", "two", "invalid literal"),
        ("add_session_config_entry", "1", "no option"),
    ],
)
def test_option_that_would_be_ignored_is_refused(relu: Any, key: str, value: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        OnnxRuntimeBackend().open(relu, Options(extra={key: value}))


def test_sequence_is_refused(write: Any, tmp_path: Any) -> None:
    from onnx import TensorProto, helper

    from harness.testing.models import write_artifact

    graph = helper.make_graph(
        [helper.make_node("SplitToSequence", ["x"], ["y"])],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    artifact = write_artifact(model.SerializeToString(), tmp_path, "sequence.onnx")
    with pytest.raises(BackendError, match="only tensors"):
        OnnxRuntimeBackend().open(artifact, Options())


@pytest.mark.parametrize("classes", [["b", "c", "a"], [7, 10, 3]])
def test_maps_of_zipmap_are_scores_in_the_order_of_the_classes(
    tmp_path: Any, classes: list[str] | list[int]
) -> None:
    from onnx import TensorProto, helper

    from harness.testing.models import write_artifact

    kind = "strings" if isinstance(classes[0], str) else "int64s"
    node = helper.make_node("ZipMap", ["x"], ["p"], domain="ai.onnx.ml", **{f"classlabels_{kind}": classes})
    key = TensorProto.STRING if kind == "strings" else TensorProto.INT64
    maps = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    graph = helper.make_graph(
        [node], "model", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_value_info("p", helper.make_sequence_type_proto(maps))],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    artifact = write_artifact(model.SerializeToString(), tmp_path, "maps.onnx")
    x = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], np.float32)
    with OnnxRuntimeBackend().open(artifact, Options()) as session:
        assert [spec.shape for spec in session.outputs] == [(None, None)]
        for outputs in (session.run({"x": x}), session.bind({"x": x})()):  # type: ignore[attr-defined]
            np.testing.assert_array_equal(outputs["p"], x[:, [2, 0, 1]])
            assert outputs["p"].dtype == np.float32


def test_input_of_unknown_rank_takes_any(write: Any) -> None:
    artifact = write([("Relu", ["x"], ["y"])], [("x", "FLOAT", None)], [("y", "FLOAT", None)])
    with OnnxRuntimeBackend().open(artifact, Options(threads=1)) as session:
        assert session.run({"x": np.ones((2, 3), np.float32)})["y"].shape == (2, 3)
