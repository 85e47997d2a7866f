"""Pages and pictures, from the runs to the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.compare.history import History
from harness.report.html import images, page, read, trends


def report(runs: Sequence[str], results: Path, out: Path, pictures: Path | None) -> list[str]:
    """Write the page of some runs, and before it its plots as pictures where a folder is given.

    Returns
    -------
    list of str
        What was written, a line each.
    """
    data = read.read(runs, results)
    said = []
    if pictures is not None:
        drawn = images.write(pictures, page.sections(data))
        said.append(f"images  {len(drawn)} in {pictures}")
    page.write(out, page.report(data))
    return [*said, f"report  {out}"]


def history(found: History, out: Path) -> str:
    """Write the page of a history; the line that says so."""
    page.write(out, trends.history(found))
    return f"page  {out}"
