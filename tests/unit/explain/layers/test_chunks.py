"""Layers that are compared in several runs have the errors of a single one."""

from __future__ import annotations

import numpy as np
import pytest

from harness.explain.files import edits
from harness.explain.layers import tapped
from harness.explain.layers.table import Layer
from harness.explain.scene import Scene
from harness.explain.sides import runner
from harness.explain.sides.side import Side
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def errors(table: list[Layer]) -> dict[str, float]:
    return {
        f"{row.point.name}:{place}": one.relative
        for row in table
        for place, one in enumerate((row.accumulated, row.isolated))
        if one is not None
    }


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_the_table_is_that_of_one_run(files: Files, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def scene() -> Scene:
        other = files.side(files.int8) if kind == "onnx" else files.side(files.tflite(), "tflite")
        return files.scene(files.side(files.float32), other)

    whole = scene().table
    monkeypatch.setattr(tapped, "CHUNK_BYTE", 8_000)
    monkeypatch.setattr(runner, "IN_MEMORY_BYTE", 100)
    parted = scene()
    parts = list[bytes]()
    put = parted.runner.with_file

    def counted(side: Side, content: bytes, name: str) -> Side:
        parts.append(content)
        return put(side, content, name)

    monkeypatch.setattr(parted.runner, "with_file", counted)
    assert errors(parted.table) == pytest.approx(errors(whole))
    assert len(errors(whole)) == 2 * len(whole)
    assert len(parts) > 6
    assert parted.tapped is not None
    assert any(isinstance(tensor, np.memmap) for tensor in parted.tapped.other.tensors.values())


def test_chunks_hold_what_fits() -> None:
    sizes_byte = {"a": 2**26, "b": 2**26, "c": 2**30, "d": 8}
    assert list(tapped.chunks(["a", "b", "c", "d"], sizes_byte, 1)) == [["a", "b"], ["c"], ["d"]]
    assert list(tapped.chunks(["a", "b"], sizes_byte, 2)) == [["a"], ["b"]]
    assert list(tapped.chunks(["x", "d", "d"], sizes_byte, 1)) == [["x"], ["d", "d"]]
    assert list(tapped.chunks([], {}, 1)) == []


def test_layers_of_fewer_samples_are_compared_where_they_are_large(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    for all_byte, count in ((2**29, 4), (120_000, 2), (1, 1)):
        monkeypatch.setattr(tapped, "ALL_BYTE", all_byte)
        scene = files.scene(files.side(files.float32), files.side(files.int8))
        assert len(scene.worst) == count
        assert scene.tapped is not None
        assert len(next(iter(scene.tapped.other.tensors.values()))) == count


def test_sizes_follow_open_extents(files: Files) -> None:
    sizes_byte = edits.sizes_byte(files.float32, {"x": (5, 3, 12, 12)})
    assert sizes_byte["conv1:r"] == 5 * 8 * 12 * 12 * 4
    assert sizes_byte["scores"] == 5 * 6 * 4
