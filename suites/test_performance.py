"""Release gates of the performance suite, one item each: ``pytest suites --target cpu``."""

from collections.abc import Callable

SUITE = "performance"


def test_gate(harness_gate: Callable[[], None]) -> None:
    """The gate's verdict."""
    harness_gate()
