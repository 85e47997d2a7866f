"""ONNX models of one node, of any type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from harness.core.artifact import Artifact
from harness.testing.models import write_artifact

Write = Callable[..., Artifact]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a model; nodes are (operator, inputs, outputs[, attributes]), values (name, type, shape)."""

    def write(nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Artifact:
        def value(name: str, kind: str, shape: Any) -> Any:
            return helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape)

        graph = helper.make_graph(
            [
                helper.make_node(kind, taken, given, **dict(*attributes))
                for kind, taken, given, *attributes in nodes
            ],
            "model",
            [value(*tensor) for tensor in inputs],
            [value(*tensor) for tensor in outputs],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return write_artifact(model.SerializeToString(), tmp_path, "model.onnx")

    return write
