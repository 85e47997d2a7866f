"""Pictures of plots: real ones by the Chromium that is here, and the reason where there are none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from harness.core.errors import UsageError
from harness.report.html import images
from harness.report.html.data import Plot, Section

LINE = {"type": "scatter", "x": [1, 2], "y": [3, 4], "name": "one"}


def section(*captions: str) -> Section:
    return Section("S", 1, "", tuple(Plot(caption, "a line", [LINE]) for caption in captions))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here: apt-get install chromium")
def test_every_plot_is_a_png_and_an_svg_named_after_it(tmp_path: Path) -> None:
    captions = ("Accuracy under fog", "Größe: <b>=1+1</b>", "Accuracy under fog")
    written = images.write(tmp_path / "out", [section(*captions)])
    names = ["accuracy-under-fog", "gr-e-b-1-1-b", "accuracy-under-fog-2"]
    assert [path.name for path in written] == [f"{name}.{kind}" for name in names for kind in ("svg", "png")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)
    for svg, png in zip(written[::2], written[1::2], strict=True):
        assert svg.read_text().startswith("<svg")
        assert "js-line" in svg.read_text()
        with Image.open(png) as picture:
            assert picture.size == (images.WIDTH * images.SCALE, images.HEIGHT * images.SCALE)
            assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 2
    assert "Accuracy under fog" in written[0].read_text()


def test_without_a_browser_the_error_says_how_to_get_one_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"Chromium|does not run") as caught:
        images.write(tmp_path / "out", [section("A")])
    assert "BROWSER_PATH" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_without_a_plot_or_kaleido_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="the run has no plots"):
        images.write(tmp_path / "out", [Section("S", 1)])
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="kaleido"):
        images.write(tmp_path / "out", [section("A")])
    assert not (tmp_path / "out").exists()
