"""``harness init`` of streams of audio: rate, window, hop, task and streams are read from files and model."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import soundfile

from harness.config.load import load_validation
from harness.data import tones
from harness.init import init

MODEL = Path(__file__).parents[3] / "models" / "wakeword" / "model.onnx"


def test_streams_with_events_are_read_as_windows_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "streams").mkdir()
    rows = [["file", "start_s", "stop_s", "label"]]
    for number, stream in enumerate(tones.streams(12, seed=5)):
        name = f"{number}.flac"
        soundfile.write(tmp_path / "streams" / name, stream.signal, tones.RATE_HZ, subtype="PCM_16")
        rows += [[name, str(start), str(stop), "wake"] for start, stop in stream.events]
    with (tmp_path / "events.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    report = init(MODEL, str(tmp_path / "streams"), tmp_path / "events.csv", out=tmp_path)
    validation = load_validation(tmp_path / "validation.toml")[0]
    assert (validation.model.task, validation.task) == ("events", {"hop_s": 0.25})
    assert validation.data.sequence == "file"
    audio = validation.data.audio
    assert audio is not None
    assert (audio.rate_hz, audio.window_samples, audio.hop_samples) == (4000, 2000, 1000)
    assert validation.input["audio"].shape == (1, 1, 2000)
    assert "rate_hz = 4000 is the rate of the files" in report.text()
    assert '# metric = "false_accepts"' in (tmp_path / "validation.toml").read_text()
