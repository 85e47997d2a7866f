"""Write the plots of a page as PNG and SVG, drawn by the installed browser."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core.commands import install
from harness.core.errors import UsageError
from harness.report.html.data import Plot, Section
from harness.store.cache import writing

FORMATS = ("svg", "png")
WIDTH, HEIGHT = 900, 500
#: PNG pixels per layout pixel: sharp in print.
SCALE = 2


def write(folder: Path, sections: Sequence[Section]) -> list[Path]:
    """Write every plot of the sections, all or none.

    Returns
    -------
    list of Path
        ``accuracy-under-fog.svg`` and ``.png``: one pair per plot, named after its caption.

    Raises
    ------
    UsageError
        There is no plot, kaleido is not installed, or there is no browser.
    """
    plots = [plot for section in sections for plot in section.plots]
    if not plots:
        raise UsageError("the run has no plots", next_step="leave out --images")
    if importlib.util.find_spec("kaleido") is None:
        raise UsageError("pictures need kaleido", next_step=install("report"))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # In the same file system, so that each file is moved atomically.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as drawn:
            named = [(f"{name}.{kind}", kind, plot) for name, plot in _named(plots) for kind in FORMATS]
            _draw([_request(Path(drawn) / name, kind, plot) for name, kind, plot in named])
            return [(Path(drawn) / name).replace(folder / name) for name, _, _ in named]


def _named(plots: Sequence[Plot]) -> Iterator[tuple[str, Plot]]:
    """Make a unique file name for each plot; captions are untrusted input."""
    seen: dict[str, int] = {}
    for plot in plots:
        name = re.sub(r"[^a-z0-9]+", "-", plot.caption.lower()).strip("-")[:80] or "plot"
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), plot


def _request(path: Path, kind: str, plot: Plot) -> dict[str, Any]:
    layout = {
        "title": {"text": plot.caption, "font": {"size": 16}},
        "paper_bgcolor": "#fff", "plot_bgcolor": "#fff",
        "margin": {"l": 70, "r": 20, "t": 60, "b": 60}, "showlegend": True,
        "legend": {"orientation": "h", "y": -0.2}, **plot.layout,
    }  # fmt: skip
    for axis in ("xaxis", "yaxis"):
        layout[axis] = {
            "gridcolor": "#ddd",
            "linecolor": "#999",
            "automargin": True,
            **plot.layout.get(axis, {}),
        }
    options = {"format": kind, "width": WIDTH, "height": HEIGHT, "scale": SCALE if kind == "png" else 1}
    return {"fig": {"data": list(plot.traces), "layout": layout}, "path": str(path), "opts": options}


def _draw(requests: list[dict[str, Any]]) -> None:
    import kaleido
    from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

    try:
        # Without MathJax, which kaleido would fetch from the network.
        kaleido.write_fig_from_object_sync(requests, cancel_on_error=True, kopts={"n": 1, "mathjax": False})
    except ChromeNotFoundError as error:
        raise UsageError(
            "pictures need Chromium or Chrome, and neither is installed",
            next_step="apt-get install chromium, or set BROWSER_PATH; the page itself needs no browser",
        ) from error
    except (BrowserFailedError, BrowserClosedError) as error:
        raise UsageError(
            f"the browser that draws the pictures cannot start: {error}",
            next_step="try it: chromium --headless --no-sandbox about:blank; BROWSER_PATH names another",
        ) from error
