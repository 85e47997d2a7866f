"""Write the files of ``harness report`` and of ``harness history --html``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.compare.history import History
from harness.report.html import images, page, read, trends


def report(runs: Sequence[str], results: Path, out: Path, pictures: Path | None) -> list[str]:
    """Write the page of some runs; with a folder for `pictures`, its plots too.

    Returns
    -------
    list of str
        One line per thing written.
    """
    data = read.read(runs, results)
    sections = page.sections(data)
    lines = []
    if pictures is not None:
        drawn = images.write(pictures, sections)
        lines.append(f"images  {len(drawn)} in {pictures}")
    page.write(out, page.with_sections(data, sections))
    gaps = [f"missing  {section.intro}" for section in sections if section.title.endswith(page.MISSING)]
    return [*lines, *gaps, f"report  {out}"]


def history(shown: History, out: Path) -> str:
    """Write the page of a history and return a line that says so."""
    page.write(out, trends.history(shown))
    return f"page  {out}"
