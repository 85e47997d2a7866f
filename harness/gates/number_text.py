"""Numbers of the table for people."""

from __future__ import annotations


def number_text(value: float, unit: str, *, more: int = 0) -> str:
    """A number for people: time in the unit that reads best; with `more` digits than they need."""
    digits = 3 + more
    if unit == "ns":
        for size, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if abs(value) >= size:
                return f"{value / size:.{digits}g} {name}"
        return f"{value:.{digits}g} ns"
    if unit == "byte":
        return f"{value / 1e6:.{digits}g} MB"
    return f"{value:.{digits + 1}g}" + ("x" if unit == "x" else f" {unit}" if unit not in ("", "1") else "")
