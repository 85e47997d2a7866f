"""Faults of the file: what is opened where another file was given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core import artifact as artifact_files
from harness.core.artifact import Artifact, File, describe_file
from harness.core.contracts import Session
from harness.core.errors import BackendError, ModelError
from harness.core.job import Options
from harness.testing.faults import NotPlanted
from harness.testing.faults.files import MARGIN, weight_runs
from tests.unit.testing.faults.linear import BY_NAME, LinearBackend

WEIGHTS = np.random.default_rng(1).standard_normal(64).astype(np.float32)
CONTENT = b"head" + WEIGHTS.tobytes() + b"\0tail"


class Reads(LinearBackend):
    """Keeps the content of the files that it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[bytes] = []

    def open(self, artifact: Artifact, options: Options) -> Session:
        self.read.append((artifact.folder / "m.onnx").read_bytes())
        return super().open(artifact, options)


def write(folder: Path, content: bytes = CONTENT) -> Artifact:
    folder.mkdir(exist_ok=True)
    (folder / "m.onnx").write_bytes(content)
    return Artifact("float32", "onnx", (File("m.onnx", "0" * 64, len(content)),), folder)


def described(artifact: Artifact) -> Artifact:
    """With the hash that it has."""
    return replace(artifact, files=(describe_file(artifact.path),))


CUT, FLIPPED = CONTENT[:100], CONTENT[:50] + bytes([CONTENT[50] ^ 4]) + CONTENT[51:]


@pytest.mark.parametrize(
    ("name", "of_cut", "of_flipped"),
    [
        ("healthy", CUT, FLIPPED),
        ("opens-truncated-file", CONTENT, FLIPPED),
        ("opens-flipped-file", CUT, CONTENT),
    ],
)
def test_cached_copy_instead_of_a_damaged_file(
    name: str, of_cut: bytes, of_flipped: bytes, tmp_path: Path
) -> None:
    real, whole = Reads(), write(tmp_path / "whole")
    backend = BY_NAME[name].wrap(real, whole)
    for folder, content in (("cut", CUT), ("flipped", FLIPPED)):
        write(tmp_path / folder, content)
        backend.open(replace(whole, folder=tmp_path / folder), Options())
    backend.open(whole, Options())
    assert real.read == [of_cut, of_flipped, CONTENT]


def test_another_file_has_rounded_weights(tmp_path: Path) -> None:
    real, whole = Reads(), write(tmp_path)
    BY_NAME["reads-another-file"].wrap(real, whole).open(whole, Options())
    (content,) = real.read
    weights = np.frombuffer(content[4:260], np.float32)
    error = np.abs(weights - WEIGHTS) / np.abs(WEIGHTS)
    assert 2**-9 < error.max() <= 2**-6
    assert (tmp_path / "m.onnx").read_bytes() == CONTENT
    assert not list(tmp_path.parent.glob("harness-fault-*"))


def test_a_file_without_weights_is_not_changed(tmp_path: Path) -> None:
    whole = write(tmp_path, b"only a text, and \0\1\2\3 bytes " * 20)
    with pytest.raises(NotPlanted, match="the fault cannot be planted here: the model file holds no float32"):
        BY_NAME["other-weights"].wrap(Reads(), whole).open(whole, Options())


def test_longer_runs_alone_are_changed_where_the_runtime_refuses_the_file(tmp_path: Path) -> None:
    scales = WEIGHTS[:12]
    content = b"head" + WEIGHTS.tobytes() * 2 + b"\0\0\0\0" + scales.tobytes()

    class Picky(Reads):
        """Refuses a file with other scales."""

        def open(self, artifact: Artifact, options: Options) -> Session:
            if not (artifact.folder / "m.onnx").read_bytes().endswith(scales.tobytes()):
                raise BackendError("invalid scales")
            return super().open(artifact, options)

    real, whole = Picky(), write(tmp_path, content)
    BY_NAME["other-weights"].wrap(real, whole).open(whole, Options())
    (read,) = real.read
    assert read != content
    short = write(tmp_path, b"head" + scales.tobytes())
    with pytest.raises(NotPlanted):
        BY_NAME["other-weights"].wrap(real, short).open(short, Options())


@pytest.mark.parametrize("offset", range(4))
def test_runs_of_weights_are_found_at_any_place(offset: int) -> None:
    content = bytes(offset) + WEIGHTS.tobytes() + b"\0" * 9 + WEIGHTS[:16].tobytes()
    first, second = (offset + 4 * MARGIN, offset + 256 + 9 + 4 * MARGIN)
    runs = dict(weight_runs(content))
    assert runs[first] == 64 - 2 * MARGIN
    assert runs[second] == 16 - 2 * MARGIN


@pytest.fixture
def real_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function that faults replace for the rest of a process is restored."""
    monkeypatch.setattr(artifact_files, "sha256_file", artifact_files.sha256_file)


def test_a_hash_from_a_cache_knows_no_damage(tmp_path: Path, real_hash: None) -> None:
    whole = described(write(tmp_path / "whole"))
    copy = replace(whole, folder=tmp_path)
    (tmp_path / whole.files[0].name).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="was recorded"):
        artifact_files.verify(copy)
    BY_NAME["hash-from-a-cache"].wrap(LinearBackend(), whole)
    artifact_files.verify(copy)


def test_a_file_is_replaced_once_it_was_opened(tmp_path: Path, real_hash: None) -> None:
    whole = described(write(tmp_path / "whole"))
    recorded = {file.name: file.sha256 for file in whole.files}
    backend = BY_NAME["file-replaced"].wrap(LinearBackend(), whole)
    assert artifact_files.file_hashes(whole) == recorded
    backend.open(whole, Options())
    changed = artifact_files.file_hashes(whole)
    assert set(changed.values()).isdisjoint(recorded.values())
