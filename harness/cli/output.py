"""Where a command prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not imported at start
    from rich.console import Console


def tell(text: str) -> None:
    """Print what is no result: progress and notes."""
    print(text, file=sys.stderr)


def stdout() -> Console:
    """Return the console of the results."""
    from rich.console import Console

    # Off a terminal, lines are not cut to a width that nobody chose.
    return Console() if sys.stdout.isatty() else Console(width=200, no_color=True)
