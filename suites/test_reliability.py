"""Release gates of the reliability suite, one item each: ``pytest suites --target cpu``."""

from collections.abc import Callable

SUITE = "reliability"


def test_gate(harness_gate: Callable[[], None]) -> None:
    """The gate's verdict."""
    harness_gate()
