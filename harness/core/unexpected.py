"""An exception that nobody expected, as text: one line for a row, the traceback for a file."""

from __future__ import annotations

import traceback
from pathlib import Path

from harness.core.cause import Cause
from harness.core.errors import HarnessError
from harness.core.job import JobKey, JobResult, Status
from harness.core.measurement import WHOLE_CASE


def one_line(error: BaseException) -> str:
    """``ValueError: text (file.py:12)``; an error of the harness in its own words."""
    if isinstance(error, HarnessError):
        return error.what
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def full_text(error: BaseException) -> str:
    """The traceback, with those of the exceptions that led to it."""
    return "".join(traceback.format_exception(error))


def result(key: JobKey, what: str, error: BaseException) -> JobResult:
    """The ERROR result of a job that an exception ended on the host.

    Parameters
    ----------
    key : JobKey
    what : str
        What was being done, as the beginning of a sentence that ends in the exception.
    error : Exception
    """
    reason = f"{what}: {one_line(error)}"
    return JobResult(key, Status.ERROR, reason, cause=Cause.UNEXPECTED, raw=full_text(error))


def suite_key(target: str, backend: str, setting: str, variant: str, suite: str) -> JobKey:
    """The key of a row that stands for all cases of a suite, because the suite could give none."""
    return JobKey(target, backend, setting, variant, suite, WHOLE_CASE, 0)
