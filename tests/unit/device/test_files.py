"""The file store of a device: what it keeps, fetches and evicts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.errors import DataError, WorkerError
from harness.device.files import FileStore


class Host:
    """Has files of given contents, and records what is fetched."""

    def __init__(self, *contents: bytes) -> None:
        self.by_sha = {hashlib.sha256(content).hexdigest(): content for content in contents}
        self.asked: list[str] = []

    def __call__(self, kind: str, name: str) -> np.ndarray:
        self.asked.append(f"{kind}/{name}")
        sha256 = name.partition(".")[0] if kind == "data" else name.rpartition("/")[2]
        return np.frombuffer(self.by_sha[sha256], np.uint8)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def age(path: Path, seconds: float) -> None:
    os.utime(path, (path.stat().st_atime - seconds, path.stat().st_mtime - seconds))


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    host = Host(b"rows")
    for _ in range(2):
        assert FileStore(tmp_path, host).data(sha(b"rows")).read_bytes() == b"rows"
    assert host.asked == [f"data/{sha(b'rows')}.npy"]


def test_a_damaged_file_is_fetched_again(tmp_path: Path) -> None:
    host = Host(b"rows")
    FileStore(tmp_path, host).data(sha(b"rows")).write_bytes(b"r0ws")
    assert FileStore(tmp_path, host).data(sha(b"rows")).read_bytes() == b"rows"
    assert len(host.asked) == 2


def test_a_file_that_arrives_damaged_is_not_kept(tmp_path: Path) -> None:
    wanted = sha(b"rows")
    with pytest.raises(WorkerError, match="arrived damaged"):
        FileStore(tmp_path, lambda kind, name: np.frombuffer(b"r0ws", np.uint8)).data(wanted)
    assert not list((tmp_path / "data").iterdir())


def test_a_missing_file_without_a_host_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing or damaged"):
        FileStore(tmp_path).data("0" * 64)


def test_an_artifact_that_the_device_sees_is_not_copied(tmp_path: Path) -> None:
    artifact = Artifact("float32", "onnx", (File("m.onnx", sha(b"m"), 1),), tmp_path / "there")
    assert FileStore(tmp_path).artifact(artifact) is artifact


def test_all_files_of_an_artifact_are_fetched(tmp_path: Path) -> None:
    contents = (b"model", b"weights")
    files = tuple(File(sha(content), sha(content), len(content)) for content in contents)
    artifact = FileStore(tmp_path, Host(*contents)).artifact(
        Artifact("v", "openvino", files, Path("elsewhere"))
    )
    assert [(artifact.folder / file.name).read_bytes() for file in files] == [b"model", b"weights"]


def test_the_file_used_longest_ago_is_evicted(tmp_path: Path) -> None:
    contents = [bytes([i]) * 100 for i in range(3)]
    host = Host(*contents)
    old, recent = (FileStore(tmp_path, host).data(sha(content)) for content in contents[:2])
    age(recent, 50)
    age(old, 100)
    FileStore(tmp_path, host, room_byte=250).data(sha(contents[0]))  # used again: now the other one is older
    FileStore(tmp_path, host, room_byte=250).data(sha(contents[2]))
    assert old.exists()
    assert not recent.exists()


def test_files_in_use_are_not_evicted(tmp_path: Path) -> None:
    contents = [bytes([i]) * 100 for i in range(3)]
    files = FileStore(tmp_path, Host(*contents), room_byte=250)
    paths = [files.data(sha(content)) for content in contents[:2]]
    with pytest.raises(WorkerError, match="raise disk_mb"):
        files.data(sha(contents[2]))
    assert all(path.exists() for path in paths)
