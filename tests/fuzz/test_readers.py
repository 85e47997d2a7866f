"""Damaged files and streams are one error of the harness, wherever they are cut or changed.

``make fuzz`` looks further, with coverage; what it once saw is in ``corpus/`` and read here each time.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.readers import READERS

CORPUS = Path(__file__).parent / "corpus"
#: Positions of a long file at which it is cut.
CUTS = 150


@pytest.mark.parametrize("name", READERS)
def test_valid_content_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    for number, seed in enumerate(reader.seeds):
        (tmp_path / str(number)).mkdir()
        reader.read(seed, tmp_path / str(number))


@pytest.mark.parametrize("name", READERS)
def test_cut_content_is_no_crash(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    for seed in reader.seeds:
        for length in range(0, len(seed), max(1, len(seed) // CUTS)):
            reader.is_safe(seed[:length], tmp_path)


@pytest.mark.filterwarnings("ignore:Ignoring unknown external data key")  # onnx says so of changed names
@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_changed_content_is_no_crash(name: str, data: st.DataObject, tmp_path: Path) -> None:
    reader = READERS[name]
    content = bytearray(data.draw(st.sampled_from(reader.seeds)))
    piece = st.binary(max_size=8)
    if reader.words:
        piece |= st.sampled_from(reader.words)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(start + 16, len(content))))
        content[start:stop] = data.draw(piece)
    reader.is_safe(bytes(content), tmp_path)


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_the_kept_corpus_is_no_crash(path: Path, tmp_path: Path) -> None:
    READERS[path.parent.name].is_safe(path.read_bytes(), tmp_path)
