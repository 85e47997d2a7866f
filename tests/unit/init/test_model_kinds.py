"""Models with their samples on any axis, and models that are quantized already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from harness.compression.model_file import load_onnx
from harness.config.load import load_validation
from harness.config.validation import Validation
from harness.core.errors import DataError, UsageError
from harness.init import init

from .models import save


def written(path: Path) -> Validation:
    return load_validation(path)[0]


def _linear(folder: Path, shape: Any, out: Any, equation: str) -> NDArray[Any]:
    """A model of one Einsum, and data of shape (200, 5, 3) with the labels that it gives."""
    rng = np.random.default_rng(0)
    x, weights = (
        rng.normal(size=(200, 5, 3)).astype(np.float32),
        rng.normal(size=(5, 3, 4)).astype(np.float32),
    )
    nodes = [helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)]
    save(nodes, {"w": weights}, {"x": shape}, {"y": out}, folder / "m.onnx")
    np.savez(folder / "d.npz", x=x, labels=np.einsum("ntf,tfc->nc", x, weights).argmax(axis=1))
    return x


@pytest.mark.parametrize(
    ("shape", "out", "equation", "axis"),
    [
        ((5, "n", 3), ("n", 4), "tnf,tfc->nc", 1), ((5, 6, 3), (6, 4), "tnf,tfc->nc", 1),
        ((5, 3), (4,), "tf,tfc->c", "none"), ((4, 5, 3), (4, 4), "ntf,tfc->nc", 0),
    ],
)  # fmt: skip
def test_the_axis_of_the_samples_is_found_and_written(
    tmp_path: Path, shape: Any, out: Any, equation: str, axis: int | str
) -> None:
    _linear(tmp_path, shape, out, equation)
    report = init(tmp_path / "m.onnx", str(tmp_path / "d.npz"))
    assert report.findings.trials[0].score == 1
    assert written(tmp_path).input["x"].batch_axis == axis
    assert any("batch_axis" in note or "takes one a call" in note for note in report.notes) == (axis != 0)


def test_a_model_that_is_quantized_already_gets_no_int8_variant(tmp_path: Path) -> None:
    _linear(tmp_path, ("n", 5, 3), ("n", 4), "ntf,tfc->nc")
    model = load_onnx(tmp_path / "m.onnx")
    model.graph.node[0].output[0] = "f"
    model.graph.initializer.extend([
        numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z"),
    ])  # fmt: skip
    model.graph.node.extend([
        helper.make_node("QuantizeLinear", ["f", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ])  # fmt: skip
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    report = init(tmp_path / "m.onnx", str(tmp_path / "d.npz"))
    assert "int8" not in written(tmp_path).variants
    assert any("is an int8 model already" in note for note in report.notes)
    assert not any(gate.variant == "int8" for gate in written(tmp_path).gate)


def test_an_input_without_samples_is_the_number_that_the_user_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, weights = (rng.normal(size=s).astype(np.float32) for s in ((200, 6), (6, 4)))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "state"], ["s"]),
        helper.make_node("Mul", ["s", "alpha"], ["y"]),
    ]  # fmt: skip
    inputs: dict[str, Any] = {"state": ("n", 4), "x": ("n", 6), "alpha": ()}
    save(nodes, {"w": weights}, inputs, {"y": ("n", 4)}, tmp_path / "m.onnx")
    # With a negative factor the smallest score is the answer.
    np.savez(tmp_path / "d.npz", x=x, labels=(x @ weights).argmin(axis=1))
    with pytest.raises(DataError, match="no array for the input 'state'") as caught:
        init(tmp_path / "m.onnx", str(tmp_path / "d.npz"))
    assert "--value NAME=NUMBER" in caught.value.next_step
    report = init(tmp_path / "m.onnx", str(tmp_path / "d.npz"), values=("state=0", "alpha=-0.5"))
    assert report.findings.trials[0].score == 1
    tables = written(tmp_path).input
    assert (tables["state"].value, tables["alpha"].value, tables["x"].value) == (0, -0.5, None)


@pytest.mark.parametrize(("text", "said"), [("alpha", "is not NAME=NUMBER"), ("beta=1", "no input 'beta'")])
def test_a_value_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    _linear(tmp_path, ("n", 5, 3), ("n", 4), "ntf,tfc->nc")
    with pytest.raises(UsageError, match=said):
        init(tmp_path / "m.onnx", str(tmp_path / "d.npz"), values=(text,))


def test_documents_of_tokens_are_recognised(tmp_path: Path) -> None:
    """A table of the next token: documents of different lengths, and no labels."""
    rng = np.random.default_rng(0)
    follows = rng.permutation(12)
    lengths = rng.integers(4, 9, 80)
    rows = [rng.integers(0, 12, 1)]
    for size in lengths:
        document = [int(rng.integers(0, 12))]
        while len(document) < size:
            document.append(int(follows[document[-1]]))
        rows.append(np.array(document))
    np.savez(tmp_path / "d.npz", ids=np.concatenate(rows[1:]).astype(np.uint8), lengths=lengths)
    table = 4 * np.eye(12, dtype=np.float32)[follows]
    nodes = [helper.make_node("Gather", ["table", "ids"], ["logits"])]
    shapes: Any = {"ids": ("n", "t")}, {"logits": ("n", "t", 12)}
    save(nodes, {"table": table}, *shapes, tmp_path / "m.onnx", ids=["ids"])
    report = init(tmp_path / "m.onnx", str(tmp_path / "d.npz"))
    assert written(tmp_path).model.task == "tokens"
    assert report.findings.trials[0].score == 1
    assert any("the target of a token is the next one" in note for note in report.notes)
