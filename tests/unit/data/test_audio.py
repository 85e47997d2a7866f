"""Audio files as windows: rates and channels that are not the model's are refused, never resampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from harness.core.errors import DataError
from harness.data.audio.files import AudioRecipe, common_rate, decode, is_audio, windows
from harness.data.audio.sets import Reading, format_of, read
from harness.data.sources import DataSource, load
from harness.data.tables import Columns

RATE_HZ = 1000
RECIPE = AudioRecipe(RATE_HZ, 100, 50)


def write(path: Path, n: int = 250, *, rate_hz: int = RATE_HZ, channels: int = 1) -> Path:
    """A ramp in steps of 1/1000, which every window tells its place by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.arange(n) / 1000
    soundfile.write(path, np.stack([ramp * (1 - c) for c in range(channels)], 1), rate_hz, subtype="PCM_24")
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_file_is_cut_into_windows(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"a{suffix}")
    signal = decode(file, RECIPE)
    np.testing.assert_allclose(signal, np.arange(250) / 1000, atol=1e-6)
    cut, starts = windows(signal, RECIPE, file)
    assert starts.tolist() == [0, 50, 100, 150]
    np.testing.assert_array_equal(cut, [signal[start : start + 100] for start in starts])
    padded, _ = windows(signal[:30], RECIPE, file)
    np.testing.assert_array_equal(padded[0], [*signal[:30], *[0] * 70])
    with pytest.raises(DataError, match=r"a.* has 250 samples, and a window 100") as caught:
        windows(signal, AudioRecipe(RATE_HZ, 100), file)
    assert "hop_samples" in caught.value.next_step


def test_another_rate_is_refused_and_not_resampled(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", rate_hz=2000)
    with pytest.raises(DataError, match="has 2000 samples a second, and the model takes 1000"):
        decode(file, RECIPE)
    write(tmp_path / "b.wav")
    with pytest.raises(DataError, match="several sample rates") as caught:
        common_rate([file, tmp_path / "b.wav"])
    assert caught.value.cause == "1000 Hz: 1 files, such as b.wav; 2000 Hz: 1 files, such as a.wav"


def test_channels_are_not_mixed_unless_that_is_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", channels=2)
    with pytest.raises(DataError, match="has 2 channels, and the model takes one"):
        decode(file, RECIPE)
    ramp = np.arange(250) / 1000
    for channels, expected in (("first", ramp), ("mean", ramp / 2)):
        got = decode(file, AudioRecipe(RATE_HZ, 100, 50, channels))  # type: ignore[arg-type]
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_damaged_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF no audio")
    with pytest.raises(DataError, match=r"a\.wav cannot be decoded"):
        decode(tmp_path / "a.wav", RECIPE)
    with pytest.raises(DataError, match="has no samples"):
        decode(write(tmp_path / "b.wav", 0), RECIPE)


def loaded(path: Path, labels: Path | None = None, **changes: Any) -> Any:
    return load(DataSource(path, labels, audio=RECIPE, **changes))


def test_a_folder_is_a_class(tmp_path: Path) -> None:
    for name, n in (("no/a.wav", 100), ("no/b.wav", 60), ("yes/c.wav", 150)):
        write(tmp_path / name, n)
    data = loaded(tmp_path)
    assert data.class_names == ("no", "yes")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.inputs["input"].shape == (4, 100)
    assert "1 of 3 files are shorter than a window and end in silence" in data.notes
    described = loaded(tmp_path, metadata=Columns(("file",)), skip=("no/a.wav",))
    assert described.metadata["file"].tolist() == ["no/b.wav", "yes/c.wav", "yes/c.wav"]
    write(tmp_path / "d.wav")
    with pytest.raises(DataError, match=r"1 files lie beside the class folders, such as d\.wav"):
        loaded(tmp_path)


def test_a_table_labels_clips(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write(tmp_path / "clips" / name, 100)
    labels = tmp_path / "labels.csv"
    labels.write_text("file;label\nb.wav;yes\na.wav;no\n")
    data = loaded(tmp_path / "clips", labels)
    assert [data.class_names[label] for label in data.labels] == ["yes", "no"]
    assert "left out: 1 of 3 files without a label" in data.notes


def test_a_window_has_the_class_of_the_event_at_its_centre(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write(tmp_path / "streams" / name, 400)
    labels = tmp_path / "events.csv"
    # Centres lie at 0.05, 0.1 … 0.35 s.
    labels.write_text("file,start_s,stop_s,label\na.wav,0.09,0.16,wake\na.wav,0.3,0.31,stop\n")
    assert format_of(labels) == "audio-events"
    data = loaded(tmp_path / "streams", labels, metadata=Columns(("file",)))
    assert data.class_names == ("background", "stop", "wake")
    assert data.labels.tolist() == [0, 2, 2, 0, 0, 1, 0, *[0] * 7]
    assert data.metadata["file"].tolist() == ["a.wav"] * 7 + ["b.wav"] * 7


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav,0.2,0.1,wake", "events.csv:2: an event from 0.2 s to 0.1 s in 0.4 s of audio"),
        ("a.wav,200,300,wake", "an event from 200 s to 300 s in 0.4 s of audio"),
        ("z.wav,0.1,0.2,wake", "events.csv names 1 files that are not there: z.wav"),
        ("a.wav,x,0.2,wake", "events.csv:2: start_s is 'x', no number of seconds"),
        ("a.wav,0.1,0.2", "events.csv:2: 4 columns are named"),
    ],
)
def test_events_that_do_not_fit_are_refused(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path / "streams" / "a.wav", 400)
    labels = tmp_path / "events.csv"
    labels.write_text(f"file,start_s,stop_s,label\n{line}\n")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "streams", labels, "audio-events", Reading(RECIPE))


def test_a_table_without_its_columns_and_audio_without_a_recipe_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 100)
    (tmp_path / "labels.csv").write_text("name,kind\na.wav,no\n")
    with pytest.raises(DataError, match="has the columns name, kind, and none of file, path"):
        loaded(tmp_path, tmp_path / "labels.csv")
    with pytest.raises(DataError, match="nothing says how they are cut") as caught:
        load(DataSource(tmp_path))
    assert "[data.audio]" in caught.value.next_step
    with pytest.raises(DataError, match=r"skip names 1 files that are not there: z\.wav"):
        loaded(tmp_path, skip=("z.wav",))


def test_a_folder_with_images_is_no_audio(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 100)
    assert is_audio(tmp_path)
    (tmp_path / "b.png").touch()
    assert not is_audio(tmp_path)
