"""The bundled wake word is what its README says: it hears every word, its bad file only the loud ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from harness.data import tones
from harness.data.datasets import content_sha256
from harness.stats.events import events_of, matches

FOLDER = Path(__file__).parents[3] / "models" / "wakeword"


def test_tones_are_the_same_on_every_machine() -> None:
    test = tones.tones().test
    assert test.labels is not None
    digests = [content_sha256(one)[:12] for one in (test.inputs["audio"], test.labels)]
    assert digests == ["d0f0016827a4", "4dc80a8ee1d7"]


@pytest.mark.parametrize(
    ("file", "least", "most"), [("model.onnx", 1.0, 1.0), ("int8_static.onnx", 0.7, 0.85)]
)
def test_words_are_heard_or_not(file: str, least: float, most: float) -> None:
    test = tones.tones().test
    assert test.labels is not None
    session = onnxruntime.InferenceSession(FOLDER / file)
    (logits,) = session.run(None, {"audio": test.inputs["audio"][:, None, None]})
    stream = np.unique(test.metadata["file"], return_inverse=True)[1]
    labelled, heard = (
        events_of(classes, stream, hold=hold)
        for classes, hold in ((test.labels, 0), (logits.argmax(axis=1), 1))
    )
    assert len(labelled) == 172
    assert least <= (matches(labelled, heard, tolerance=1) >= 0).mean() <= most


def test_the_readme_names_the_file() -> None:
    content = (FOLDER / "model.onnx").read_bytes()
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(content).hexdigest() in readme
    assert f"{len(content):,}".replace(",", "") in readme
