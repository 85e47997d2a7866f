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

from harness.core.commands import DISTRIBUTION, install
from harness.core.errors import UsageError
from harness.core.unexpected import full_text, one_line
from harness.core.verdict import State
from harness.device import plugins
from harness.report.html.data import Plot, ReportData, Section, Table
from harness.report.html.front import Front, front
from harness.run.outcome import passed_text
from harness.store.cache import write_atomically, writing

#: Sections that are missing come last.
GAP_ORDER = 1_000_000
#: End of the title of a section that is missing.
MISSING = " (missing)"
#: The browser may load nothing from outside the file.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def sections(data: ReportData) -> list[Section]:
    """What each plug-in of ``harness.sections`` has to say of the run, in the order of the page."""
    made = [_section(plugin, data) for plugin in plugins.catalogue(plugins.SECTIONS).values()]
    return sorted((s for s in made if s is not None), key=lambda s: (s.order, s.title))


def _section(plugin: plugins.Plugin, data: ReportData) -> Section | None:
    """A plug-in's section; one that raises leaves a named gap, and all others are written."""
    try:
        section: Section | None = plugin.load()(data)
        if section is not None and not isinstance(section, Section):
            raise TypeError(f"it gave a {type(section).__name__}, not a Section")
        if section is not None and plugin.distribution != DISTRIBUTION:
            parts: list[Plot | Table] = [*section.plots, *section.tables]
            for part in parts:
                json.dumps(part.packed())  # here, so that a part that cannot be drawn is a gap as well
    except UsageError:
        raise  # a package that the report needs is not installed
    except Exception as error:  # noqa: BLE001 - a section may be a third-party plug-in
        gap = f"The section {plugin.name} of {plugin.distribution} is missing: {one_line(error)}"
        rows = tuple((line,) for line in full_text(error).splitlines())
        table = Table(f"traceback_{plugin.name}", "Traceback", ("line",), rows)
        return Section(f"{plugin.name}{MISSING}", GAP_ORDER, gap, tables=(table,))
    return section


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
    front : Front, optional
        The first screen of a report.
    """

    label: str
    sentence: str
    state: str = ""
    notes: tuple[str, ...] = ()
    front: Front | None = None


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
    return with_sections(data, sections(data))


def with_sections(data: ReportData, made: Sequence[Section]) -> str:
    """Make the page of a report of sections that were made already."""
    head = Head(", ".join(data.run_ids), sentence(data), data.state.value, data.notes, front(data))
    return html(head, made)


def sentence(data: ReportData) -> str:
    """The verdict in a sentence."""
    blocking = [verdict for verdict in data.verdicts if verdict.blocks]
    share = f"{passed_text(data.verdicts)} passed"
    if not blocking:
        what = "nothing blocks" if data.state is State.PASS else "what was not measured blocks"
        return f"{share}; {what} the release."
    return f"{share}; {'1 blocks' if len(blocking) == 1 else f'{len(blocking)} block'} the release."


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
