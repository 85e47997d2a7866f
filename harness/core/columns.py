"""Text in columns that are as wide as their widest cell."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """One line a row; columns are two spaces apart, and the last one may be of any width.

    Parameters
    ----------
    rows : sequence of sequences of str
        The same number of cells each.
    right : sequence of int
        Columns that are aligned to the right.
    """
    columns = len(rows[0]) if rows else 0
    widths = [max(len(row[column]) for row in rows) for column in range(columns)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
