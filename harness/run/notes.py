"""The notes of a run, one line each: what its rows and verdicts do not show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.core import commands
from harness.core.cause import Cause
from harness.core.measurement import Row
from harness.core.verdict import Verdict


def errors(rows: Iterable[Row], verdicts: Sequence[Verdict]) -> list[str]:
    """One line for each error and target; an error that a gate already names is not repeated.

    Parameters
    ----------
    rows : iterable of Row
        ERROR rows that no gate looks at.
    verdicts : sequence of Verdict
    """
    suites: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        suites.setdefault((row.key.target, _error_text(row)), []).append(row.key.suite)
    lines = []
    for (target, text), names in suites.items():
        gate = next((v.gate for v in verdicts if v.target == target and v.sentence.endswith(text)), "")
        cases = "1 case" if len(names) == 1 else f"{len(names)} cases"
        ended = f"{cases} of {', '.join(dict.fromkeys(names))} on {target} ended in"
        lines.append(f"{ended} the error of the gate {gate!r}" if gate else f"{ended} an error: {text}")
    return lines


def unmeasured(jobs: int, gates: int, stopped: str = "") -> list[str]:
    """What was planned and not measured, and which gates were not judged.

    Parameters
    ----------
    jobs : int
        Jobs of the plan without a result.
    gates : int
        Gates of the validation that the run does not judge.
    stopped : str
        Why the jobs were not measured, where that is known.
    """
    lines = []
    if jobs:
        lines.append(
            f"{jobs} jobs were not measured: {stopped}" if stopped else f"{jobs} jobs were not measured"
        )
    if gates:
        lines.append(f"{gates} gates were not judged: their suite, variant or target was not selected")
    return lines


def messages(files: Iterable[Path]) -> list[str]:
    """Where the traceback of each exception lies, and the full text of each refusal."""
    return [
        f"{'traceback' if path.name.startswith('traceback') else 'full text'}: {commands.short(path)}"
        for path in files
    ]


def _error_text(row: Row) -> str:
    """The first line of a reason; of a dead worker also the first line of its output."""
    first, *output = row.measurement.reason.splitlines() or [""]
    if row.measurement.cause is Cause.RUNTIME_REFUSED or not output:
        return first
    return f"{first}; {output[0].strip()}"
