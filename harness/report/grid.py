"""A table for a terminal, as wide as that allows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

Line = Mapping[str, str | Text]


def grid(
    console: Console, names: Sequence[str], lines: Sequence[Line], left: Collection[str], spare: Sequence[str]
) -> Table:
    """Draw a table without lines.

    Parameters
    ----------
    names : sequence of str
        Titles of the columns.
    lines : sequence of mapping
        What a line says, by column.
    left : collection of str
        Columns that are not aligned to the right.
    spare : sequence of str
        Columns that are left out, one after the other, where the terminal is too narrow.
    """
    unbounded = console.options.update(max_width=10_000)
    for without in ("", *spare):
        names = [name for name in names if name != without]
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for name in names:
            table.add_column(Text(name), justify="left" if name in left else "right", no_wrap=True)
        for line in lines:
            table.add_row(*(line[name] for name in names))
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
    return table
