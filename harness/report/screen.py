"""The end of a run as text: a table of targets and variants, what did not pass, the verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.core.columns import aligned
from harness.core.commands import short
from harness.core.job import Case, Status
from harness.core.measurement import Row
from harness.core.plan import HOST
from harness.core.verdict import GATE, State, summary
from harness.report.advice import next_step, not_tested, problems, report_command, why_not_measured
from harness.report.columns import columns, variant_name
from harness.report.explanations import explained, of_outcome
from harness.report.grid import grid
from harness.report.progress import duration
from harness.run import declared
from harness.run.outcome import Outcome

COLOURS = {
    State.PASS: "green", State.FAIL: "bold red", State.INCONCLUSIVE: "yellow", State.INVALID: "magenta",
    State.NOT_RUN: "magenta", State.NOT_APPLICABLE: "dim",
}  # fmt: skip

#: Cells of the table that are named after a question mark.
SHOWN_PLACES = 3


def show(outcome: Outcome, console: Console, *, seconds: float) -> None:
    """Print the end of a run."""
    titles, lines, spare, marks = _lines(outcome)
    console.print(grid(console, titles, lines, ("target", "variant", "verdict"), spare))
    for reason, places in marks.items():
        text = f"{_first(places)}: invalid, {reason or 'without a reason'}"
        console.print(Text(f"{'?':<13}{text}", style="dim"), soft_wrap=True)
    for state, text in problems(outcome):
        line = Text(f"{state.value:<13}", style=COLOURS[state])
        console.print(line.append(text, style="default"), soft_wrap=True)
    for label, text in explained(outcome):
        line = Text(f"{label:<13}", style="bold" if label.isupper() else "")
        console.print(line.append(f"{' ' * (len(label) >= 13)}{text}", style="default"), soft_wrap=True)
    for text in unjudged(outcome):
        console.print(Text(f"{'no gate':<13}{text}", style="yellow"), soft_wrap=True)
    for text in outcome.notes:
        console.print(Text(f"{'note':<13}{text}", style="dim"), soft_wrap=True)
    for text in not_tested(outcome):
        console.print(Text(f"{'not tested':<13}{text}", style="dim"), soft_wrap=True)
    share = f" ({outcome.plan.share:.0%} of the samples)" if outcome.plan.share < 1 else ""
    console.print(Text(f"{'results':<13}{short(outcome.folder.path)}"), soft_wrap=True)
    console.print(Text(f"{'report':<13}{report_command(outcome)}"), soft_wrap=True)
    console.print(Text(f"{'next':<13}{next_step(outcome)}"), soft_wrap=True)
    console.print()
    head = Text(f"{outcome.state.value:<13}", style=COLOURS[outcome.state])
    head.append(f"{outcome.gates} in {duration(seconds)}{share}", style="default")
    console.print(head, soft_wrap=True)
    if why := why_not_measured(outcome):
        console.print(Text(f"{'why':<13}{why}"), soft_wrap=True)
    console.print(verdict_line(outcome), soft_wrap=True, highlight=False)


def _first(places: Sequence[str]) -> str:
    """Name the first places and count the others; the CSV has them all."""
    shown = ", ".join(places[:SHOWN_PLACES])
    return shown if len(places) <= SHOWN_PLACES else f"{shown} and {len(places) - SHOWN_PLACES} more"


def verdict_line(outcome: Outcome) -> str:
    """The last line, for people and for scripts that cannot see the exit code (make)."""
    return f"verdict: {outcome.state.value} ({outcome.exit_code})"


def as_json(outcome: Outcome, *, seconds: float) -> str:
    """The same for machines."""
    return json.dumps(as_values(outcome, seconds=seconds), indent=1)


def as_values(outcome: Outcome, *, seconds: float) -> dict[str, Any]:
    """The outcome as values that fit JSON."""
    verdicts = [
        {
            "gate": v.gate, "kind": v.kind, "target": v.target, "backend": v.backend, "variant": v.variant,
            "state": v.state.value, "blocks": v.blocks, "waived": v.waived, "sentence": v.sentence,
            "value": _finite(v.value), "ci_low": _finite(v.ci_low), "ci_high": _finite(v.ci_high),
            "limit": _finite(v.limit), "unit": v.unit, "n": v.n,
        }
        for v in outcome.verdicts
    ]  # fmt: skip
    return {
            "run_id": outcome.folder.run_id, "folder": str(outcome.folder.path),
            "verdict": outcome.state.value, "exit_code": outcome.exit_code, "verdicts": verdicts,
            "unjudged": unjudged(outcome), "why": why_not_measured(outcome),
            "share": outcome.plan.share, "missing_jobs": outcome.missing, "notes": list(outcome.notes),
            "explanations": of_outcome(outcome),
            "seconds": round(seconds, 3),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lines(
    outcome: Outcome,
) -> tuple[list[str], list[dict[str, str | Text]], list[str], dict[str, list[str]]]:
    """Lay out the table of targets and variants.

    Returns
    -------
    titles : list of str
    lines : list of mapping of title to text
    spare : list of str
        Titles of the columns to leave out on a narrow terminal, in this order; the CSV has them all.
    marks : mapping of reason to list of str
        Why cells have a question mark, and which: ``p99 ms of int8 on cpu``.
    """
    several = len({(row.key.target, row.key.backend) for row in outcome.rows}) > len(
        {row.key.target for row in outcome.rows}
    )
    by_subject: dict[tuple[str, str, str], list[Row]] = {}
    for row in outcome.rows:
        if row.key.target != HOST:
            by_subject.setdefault((row.key.target, row.key.backend, row.key.variant), []).append(row)
    chosen = columns(declared.of_run(outcome.run), by_subject.values())
    lines: list[dict[str, str | Text]] = []
    marks: dict[str, list[str]] = {}
    for (target, backend, variant), rows in by_subject.items():
        for column in chosen:
            invalid = column.invalid(rows)
            if invalid is not None:
                place = f"{column.title} of {variant} on {target}"
                marks.setdefault(invalid.partition("\n")[0], []).append(place)
        of_line = (target, backend, variant)
        state = summary(
            v.state for v in outcome.verdicts if (v.target, v.backend, v.variant) == of_line and v.counts
        )
        lines.append(
            {
                "target": f"{target}/{backend}" if several else target,
                "variant": variant_name(variant, rows),
                **{column.title: column.cell(rows) for column in chosen},
                "verdict": "no gate" if state is None else Text(state.value, style=COLOURS[state]),
            }
        )
    spare = sorted((column for column in chosen if column.spare), key=lambda column: column.spare)
    titles = ["target", "variant", *(column.title for column in chosen), "verdict"]
    return titles, lines, [column.title for column in spare], marks


def unjudged(outcome: Outcome) -> list[str]:
    """The variants that were measured and that no gate judges: nothing keeps them from shipping."""
    judged = {(v.target, v.backend, v.variant) for v in outcome.verdicts if v.kind == GATE}
    measured = dict.fromkeys(
        (row.key.target, row.key.backend, row.key.variant) for row in outcome.rows if row.key.target != HOST
    )
    variants: dict[str, dict[str, None]] = {}
    for target, backend, variant in measured:
        if (target, backend, variant) not in judged:
            variants.setdefault(variant, {})[target] = None
    return [
        f"{variant} on {', '.join(targets)}: no gate of the run judges it"
        for variant, targets in variants.items()
    ]


def plan_text(plan: Any, size: dict[str, int], estimate_s: float, verdicts: Iterable[str]) -> str:  # noqa: ANN401
    """What ``harness plan`` prints."""
    rows: list[tuple[str, ...]] = [
        (
            f"{batch.target}/{batch.backend}", batch.variant, batch.suite,
            _count(len(batch.cases), "job"), _cases(batch.cases),
        )
        for batch in plan.batches
    ]  # fmt: skip
    skipped: dict[tuple[str, ...], int] = {}
    for result in plan.skipped:
        key, reason = result.key, result.reason.partition("\n")[0]
        what = "error" if result.status is Status.ERROR else "skipped"
        place = (f"{key.target}/{key.backend}", key.variant, key.suite, f"{what}: {reason}")
        skipped[place] = skipped.get(place, 0) + 1
    rows += [(*place[:3], _count(count, "job"), place[3]) for place, count in skipped.items()]
    lines = aligned(rows, right=(3,))
    lines += ["", *verdicts]
    lines.append(
        f"{size['jobs']} jobs, {size['samples']} samples, {size['input_byte'] / 1e6:.1f} MB in, "
        f"{size['output_byte'] / 1e6:.1f} MB out, about {duration(estimate_s)}"
        + (f", {plan.share:.0%} of the samples" if plan.share < 1 else "")
    )
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def _cases(cases: Sequence[Case]) -> str:
    """Names of cases; corruptions, which every suite has by the dozen, are counted."""
    names = dict.fromkeys(case.name for case in cases if not case.severity)
    shifts = dict.fromkeys(case.name for case in cases if case.severity)
    return ", ".join([*names, *([_count(len(shifts), "corruption")] if shifts else [])])
