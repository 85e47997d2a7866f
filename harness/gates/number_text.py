"""Numbers of the table for people."""

from __future__ import annotations

#: Units by size, the largest first; the last one is for everything below.
SIZES = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")),
    "byte": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "byte")),
}


def number_text(value: float, unit: str, *, more: int = 0) -> str:
    """A number for people: times and sizes in the unit that reads best; with `more` digits than they need."""
    digits = 3 + more
    if sizes := SIZES.get(unit):
        # As it is rounded: 999.9 kB are 1 MB.
        rounded = abs(float(f"{value:.{digits}g}"))
        size, name = next((pair for pair in sizes if rounded >= pair[0]), sizes[-1])
        return f"{value / size:.{digits}g} {name}"
    return f"{value:.{digits + 1}g}" + ("x" if unit == "x" else f" {unit}" if unit not in ("", "1") else "")
