"""Sizes after gzip are those of gzip, and each content is compressed once."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.compression import zipped


@settings(max_examples=20)
@given(seed=st.integers(0, 999), size=st.sampled_from([0, 1, 1000, 2**20 + 7]), letters=st.integers(1, 256))
def test_sizes_are_those_of_gzip(seed: int, size: int, letters: int) -> None:
    data = np.random.default_rng(seed).integers(0, letters, size, np.uint8).tobytes()
    assert zipped.gzip_bytes([data, data[:10]]) == [
        len(gzip.compress(part, 9, mtime=0)) for part in (data, data[:10])
    ]


def test_a_file_has_the_size_of_its_content_and_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = np.random.default_rng(3).bytes(3 * 2**20 + 1) + bytes(2**20)
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    size = zipped.gzip_byte_of_file(path, hashlib.sha256(data).hexdigest())
    assert size == len(gzip.compress(data, 9, mtime=0))
    monkeypatch.setattr(zlib, "compressobj", None)
    assert zipped.gzip_byte(data) == size
