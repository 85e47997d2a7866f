"""Render the sections as one HTML file that opens from disk."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.commands import install
from harness.core.errors import UsageError
from harness.core.verdict import State
from harness.device import plugins
from harness.report.html.data import ReportData, Section
from harness.store.cache import write_atomically, writing

#: The browser may load nothing from outside the file.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def sections(data: ReportData) -> list[Section]:
    """What each plug-in of ``harness.sections`` has to say of the run, in the order of the page."""
    made = [plugin.load()(data) for plugin in plugins.catalogue(plugins.SECTIONS).values()]
    return sorted((s for s in made if s is not None), key=lambda s: (s.order, s.title))


@dataclass(frozen=True, slots=True)
class Head:
    """The header of the page.

    Parameters
    ----------
    label : str
        Title: the run ids, or ``History``.
    sentence : str
    state : str
        Shown before the sentence; empty where nothing was judged.
    notes : tuple of str
    """

    label: str
    sentence: str
    state: str = ""
    notes: tuple[str, ...] = ()


def html(head: Head, parts: Sequence[Section]) -> str:
    """Make the page.

    Raises
    ------
    UsageError
        jinja2 or plotly is not installed.
    """
    _need_packages()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("harness.report.html", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    drawn = any(section.plots for section in parts)
    text = environment.get_template("page.html.j2").render(
        head=head, sections=parts, policy=POLICY, plotly=_compressed(get_plotlyjs()) if drawn else "",
        packed=lambda part: _compressed(json.dumps(part.packed(), separators=(",", ":"))),
    )  # fmt: skip
    assert isinstance(text, str)
    return text


def report(data: ReportData) -> str:
    """Make the page of a report."""
    head = Head(", ".join(data.run_ids), sentence(data), data.state.value, data.notes)
    return html(head, sections(data))


def sentence(data: ReportData) -> str:
    """The verdict in a sentence."""
    blocking = [verdict for verdict in data.verdicts if verdict.blocks]
    counted = [verdict for verdict in data.verdicts if verdict.state is not State.NOT_APPLICABLE]
    passed = sum(verdict.state is State.PASS for verdict in counted)
    share = f"{passed} of {len(counted)} gates passed"
    if not blocking:
        what = "nothing blocks" if data.state is State.PASS else "what was not measured blocks"
        return f"{share}; {what} the release."
    first = next((v for v in blocking if v.state is data.state), blocking[0])
    count = "1 blocks the release" if len(blocking) == 1 else f"{len(blocking)} block the release, first"
    return f"{share}; {count}: {first.sentence}."


def write(path: Path, content: str) -> None:
    """Write the page atomically."""
    with writing(path):
        write_atomically(path, content.encode())


def _compressed(text: str) -> str:
    """Compress for the page's ``unpack``; the same text gives the same bytes."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _need_packages() -> None:
    absent: list[Any] = [name for name in ("jinja2", "plotly") if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(
            f"a report needs {' and '.join(absent)}",
            next_step=install("report"),
        )
