from __future__ import annotations

import hashlib
from pathlib import Path

from harness.cache import Cache


def test_same_bytes_under_two_names_are_both_there(tmp_path: Path) -> None:
    """A copy of the bundled model under another name: its hash is known, its name is not."""
    cache, content = Cache(tmp_path / "cache"), b"model"
    sha256 = hashlib.sha256(content).hexdigest()
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(content)
    folder = cache.put_artifact(sha256, {"model.onnx": content, "lineage.json": b"first"})
    assert cache.put_artifact(sha256, {"deep/mine.onnx": mine, "lineage.json": b"second"}) == folder
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"model.onnx": content, "deep/mine.onnx": content, "lineage.json": b"first"}
    assert list(folder.parent.iterdir()) == [folder], "nothing temporary is left"
