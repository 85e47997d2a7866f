from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.tflite_ import BUILTIN, REFERENCE, XNNPACK, TfliteBackend
from harness.compression.export.schema import load_schema, serialise
from harness.core.artifact import Artifact, Quantization
from harness.core.contracts import SupportsPlacement
from harness.core.errors import BackendError
from harness.core.job import Options
from harness.testing.models import write_artifact


def _write(folder: Path, operator: str, *, kinds: tuple[str, str], steps: tuple[Any, Any]) -> Artifact:
    """Write a file of one operator, from ``x`` to ``y``, [1, 4] with a dynamic batch."""
    schema = load_schema()
    tensors = []
    for name, kind, step in zip("xy", kinds, steps, strict=True):
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, getattr(schema.TensorType, kind), 0
        tensor.shape, tensor.shapeSignature = np.array([1, 4], np.int32), np.array([-1, 4], np.int32)
        if step is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array([step.scale], np.float32)
            tensor.quantization.zeroPoint = np.array([step.zero_point], np.int64)
        tensors.append(tensor)
    code, node, graph, model = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = 2 if operator == "DEQUANTIZE" else 1
    node.inputs, node.outputs = np.array([0], np.int32), np.array([1], np.int32)
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [node], node.inputs, node.outputs
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]
    return write_artifact(serialise(model), folder, f"{operator}.tflite")


def test_integer_input_says_its_step(tmp_path: Path) -> None:
    step = Quantization(0.5, 3)
    artifact = _write(tmp_path, "DEQUANTIZE", kinds=("INT8", "FLOAT32"), steps=(step, None))
    with TfliteBackend().open(artifact, Options()) as session:
        (x,), (y,) = session.inputs, session.outputs
        assert (x.name, x.dtype, x.shape, x.quantization) == ("x", "int8", (None, 4), step)
        assert (y.name, y.dtype, y.shape, y.quantization) == ("y", "float32", (None, 4), None)
        q = np.array([[-128, 0, 3, 127]], np.int8)
        np.testing.assert_array_equal(session.run({"x": q})["y"], 0.5 * (q.astype(np.float32) - 3))
        with pytest.raises(BackendError, match="takes int8, not uint8"):
            session.run({"x": q.view(np.uint8)})


@pytest.mark.parametrize("provider", [XNNPACK, BUILTIN, REFERENCE])
def test_provider_is_what_was_asked_for(tmp_path: Path, provider: str) -> None:
    artifact = _write(tmp_path, "ABS", kinds=("FLOAT32", "FLOAT32"), steps=(None, None))
    with TfliteBackend().open(artifact, Options(provider=provider)) as session:
        assert session.effective == {"provider": provider, "precision": "f32", "threads": "1"}
        assert isinstance(session, SupportsPlacement)
        assert session.placement({"x": np.ones((2, 4), np.float32)}) == {provider: (1, 0)}


def test_model_that_xnnpack_does_not_take_is_refused(tmp_path: Path) -> None:
    artifact = _write(tmp_path, "ZEROS_LIKE", kinds=("FLOAT32", "FLOAT32"), steps=(None, None))
    for provider in ("", XNNPACK):
        with pytest.raises(BackendError, match="XNNPACK was asked for, the runtime uses builtin"):
            TfliteBackend().open(artifact, Options(provider=provider))
    with TfliteBackend().open(artifact, Options(provider=BUILTIN)) as session:
        assert not session.run({"x": np.ones((2, 4), np.float32)})["y"].any()


@pytest.mark.parametrize("value", ["0", "1"])
def test_switch_of_the_interpreter_is_passed_on(tmp_path: Path, value: str) -> None:
    artifact = _write(tmp_path, "ABS", kinds=("FLOAT32", "FLOAT32"), steps=(None, None))
    extra = {"experimental_disable_delegate_clustering": value}
    with TfliteBackend().open(artifact, Options(extra=extra)) as session:
        assert session.run({"x": -np.ones((1, 4), np.float32)})["y"].all()


@pytest.mark.parametrize("extra", [{"num_threads": "2"}, {"experimental_disable_delegate_clustering": "yes"}])
def test_option_that_is_no_switch_is_refused(tmp_path: Path, extra: dict[str, str]) -> None:
    artifact = _write(tmp_path, "ABS", kinds=("FLOAT32", "FLOAT32"), steps=(None, None))
    with pytest.raises(BackendError, match="no option"):
        TfliteBackend().open(artifact, Options(extra=extra))
