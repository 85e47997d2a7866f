"""Release gates of the accuracy suite, one item each: ``pytest suites --target cpu``."""

from collections.abc import Callable

SUITE = "accuracy"


def test_gate(harness_gate: Callable[[], None]) -> None:
    """The gate's verdict."""
    harness_gate()
