"""The ways to read the data that are tried."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config.schema import DataTable


@dataclass(frozen=True, slots=True)
class Source:
    """One table ``[data]``, or several that resize images in different ways, the most likely first.

    Parameters
    ----------
    tables : tuple of DataTable
    notes : tuple of str
    other_order : Source, optional
        The same with the class folders in alphabetical order, if their numeric order is another one.
    other_columns : tuple of DataTable
        The same with other label columns, where several are possible.
    last_columns : tuple of DataTable
        The same with the other columns, where none of those has the labels.
    """

    tables: tuple[DataTable, ...]
    notes: tuple[str, ...] = ()
    other_order: Source | None = None
    other_columns: tuple[DataTable, ...] = ()
    last_columns: tuple[DataTable, ...] = ()
