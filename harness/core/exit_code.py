"""The exit codes of ``harness``, and their order."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command ends with.

    ``FAILED`` means that a blocking gate failed, and nothing else. An exception that nobody expected is
    ``NOT_MEASURED``.
    """

    PASSED = 0
    FAILED = 1
    USAGE = 2
    NOT_MEASURED = 3
    INCONCLUSIVE = 4


#: Of several codes the first in this order counts.
ORDER = (
    ExitCode.USAGE, ExitCode.FAILED, ExitCode.NOT_MEASURED, ExitCode.INCONCLUSIVE, ExitCode.PASSED,
)  # fmt: skip


def first_of(codes: Iterable[ExitCode]) -> ExitCode:
    """The code that counts of several; ``PASSED`` of none."""
    codes = set(codes)
    return next((code for code in ORDER if code in codes), ExitCode.PASSED)
