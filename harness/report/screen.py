"""What a person sees at the end of a run: the verdict, one line a target and variant, what was not tested."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.core.commands import short
from harness.core.job import Case, Status
from harness.core.measurement import Measurement, Row
from harness.core.plan import HOST
from harness.core.verdict import State, summary
from harness.report.advice import next_step, not_tested, problems, report_command
from harness.report.grid import grid
from harness.report.progress import duration
from harness.run.stages import Outcome

COLOURS = {
    State.PASS: "green", State.FAIL: "bold red", State.INCONCLUSIVE: "yellow", State.INVALID: "magenta",
    State.NOT_RUN: "magenta", State.NOT_APPLICABLE: "dim",
}  # fmt: skip
#: Left out, one after the other, on a terminal that is too narrow; the CSV has them all.
SPARE_COLUMNS = ("MB", "p50 ms", "worst shift pt", "p99 ms")

#: What the table shows of a model, and the title of the column: the first that there is.
METRICS = {"accuracy": "accuracy %", "rmse": "rmse", "agreement": "agreement %"}


def show(outcome: Outcome, console: Console, *, seconds: float) -> None:
    """Print the end of a run."""
    console.print(grid(console, *_lines(outcome), ("target", "variant", "verdict"), SPARE_COLUMNS))
    for state, text in problems(outcome):
        line = Text(f"{state.value:<13}", style=COLOURS[state])
        console.print(line.append(text, style="default"), soft_wrap=True)
    for text in not_tested(outcome):
        console.print(Text(f"{'not tested':<13}{text}", style="dim"), soft_wrap=True)
    passed = sum(v.state is State.PASS for v in outcome.verdicts)
    counted = sum(v.state is not State.NOT_APPLICABLE for v in outcome.verdicts)
    share = f" ({outcome.plan.share:.0%} of the samples)" if outcome.plan.share < 1 else ""
    console.print(Text(f"{'results':<13}{short(outcome.folder.path)}"), soft_wrap=True)
    console.print(Text(f"{'report':<13}{report_command(outcome)}"), soft_wrap=True)
    console.print(Text(f"{'next':<13}{next_step(outcome)}"), soft_wrap=True)
    console.print()
    head = Text(f"{outcome.state.value:<13}", style=COLOURS[outcome.state])
    head.append(f"{passed} of {counted} gates in {duration(seconds)}{share}", style="default")
    console.print(head, soft_wrap=True)
    console.print(verdict_line(outcome), soft_wrap=True, highlight=False)


def verdict_line(outcome: Outcome) -> str:
    """The last line, for people and for scripts that cannot see the exit code (make)."""
    return f"verdict: {outcome.state.value} ({outcome.exit_code})"


def as_json(outcome: Outcome, *, seconds: float) -> str:
    """The same for machines."""
    return json.dumps(told(outcome, seconds=seconds), indent=1)


def told(outcome: Outcome, *, seconds: float) -> dict[str, Any]:
    """What the outcome is, as values that fit JSON."""
    verdicts = [
        {
            "gate": v.gate, "target": v.target, "backend": v.backend, "variant": v.variant,
            "state": v.state.value, "blocks": v.blocks, "waived": v.waived, "sentence": v.sentence,
            "value": _finite(v.value), "ci_low": _finite(v.ci_low), "ci_high": _finite(v.ci_high),
            "limit": _finite(v.limit), "unit": v.unit, "n": v.n,
        }
        for v in outcome.verdicts
    ]  # fmt: skip
    return {
            "run_id": outcome.folder.run_id, "folder": str(outcome.folder.path),
            "verdict": outcome.state.value, "exit_code": outcome.exit_code, "verdicts": verdicts,
            "share": outcome.plan.share, "missing_jobs": outcome.missing, "notes": list(outcome.notes),
            "seconds": round(seconds, 3),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lines(outcome: Outcome) -> tuple[list[str], list[dict[str, str | Text]]]:
    """Titles of the columns in which something was measured, and what each line says, by column."""
    several = len({(row.key.target, row.key.backend) for row in outcome.rows}) > len(
        {row.key.target for row in outcome.rows}
    )
    by_subject: dict[tuple[str, str, str], list[Row]] = {}
    for row in outcome.rows:
        if row.key.target != HOST:
            by_subject.setdefault((row.key.target, row.key.backend, row.key.variant), []).append(row)
    metric = next(
        (m for m in METRICS if any(_pick(rows, m, "clean") for rows in by_subject.values())), "accuracy"
    )
    lines: list[dict[str, str | Text]] = []
    for (target, backend, variant), rows in by_subject.items():
        own = [v for v in outcome.verdicts if (v.target, v.backend, v.variant) == (target, backend, variant)]
        state = summary(verdict.state for verdict in own)
        lines.append(
            {
                "target": f"{target}/{backend}" if several else target,
                "variant": variant,
                METRICS[metric]: _metric(rows, metric),
                "loss pt [bound]": _loss(rows),
                "worst shift pt": _worst_shift(rows),
                "p50 ms": _time(rows, "latency_p50"),
                "p99 ms": _time(rows, "latency_p99"),
                "MB": _size(rows),
                "verdict": "no gate" if state is None else Text(state.value, style=COLOURS[state]),
            }
        )
    told = [name for name in lines[0] if any(str(line[name]) != "--" for line in lines)] if lines else []
    return told or ["target", "variant", "verdict"], lines


def _pick(rows: Sequence[Row], metric: str, case: str = "", setting: str = "deploy") -> Measurement | None:
    for row in rows:
        m = row.measurement
        if m.metric == metric and row.key.setting == setting and (not case or row.case == case):
            return m if m.status in (Status.OK, Status.INVALID) and not math.isnan(m.value) else None
    return None


def _metric(rows: Sequence[Row], metric: str) -> str:
    found = _pick(rows, metric, "clean")
    if found is None:
        return "--"
    return f"{found.value:.4g}" if metric == "rmse" else f"{100 * found.value:.2f}"


def _loss(rows: Sequence[Row]) -> str:
    found = _pick(rows, "accuracy_loss", "clean")
    return "--" if found is None else f"{found.value:.2f} [{found.ci_high:.2f}]"


def _worst_shift(rows: Sequence[Row]) -> str:
    shifted = [
        (row.measurement.value, row.case, row.severity)
        for row in rows
        if row.severity
        and row.key.setting == "deploy"
        and row.measurement.metric == "accuracy"
        and not math.isnan(row.measurement.value)
    ]
    clean = _pick(rows, "accuracy", "clean")
    if not shifted or clean is None:
        return "--"
    value, case, severity = min(shifted)
    return f"{case} {severity} {100 * (value - clean.value):+.0f}"


def _time(rows: Sequence[Row], metric: str) -> str:
    found = _pick(rows, metric)
    if found is None:
        return "--"
    return f"{found.value / 1e6:.3f}" + ("?" if found.status is Status.INVALID else "")


def _size(rows: Sequence[Row]) -> str:
    found = _pick(rows, "model_bytes")
    return "--" if found is None else f"{found.value / 1e6:.2f}"


def plan_text(plan: Any, size: dict[str, int], estimate_s: float, verdicts: Iterable[str]) -> str:  # noqa: ANN401
    """What ``harness plan`` prints."""
    lines = []
    for batch in plan.batches:
        name, jobs = f"{batch.target}/{batch.backend}", _count(len(batch.cases), "job")
        lines.append(f"{name:<24} {batch.variant:<12} {batch.suite:<12} {jobs:>8}  {_cases(batch.cases)}")
    skipped: dict[tuple[str, ...], int] = {}
    for result in plan.skipped:
        k, reason = result.key, result.reason.partition("\n")[0]
        place = (f"{k.target}/{k.backend}", k.variant, k.suite, reason)
        skipped[place] = skipped.get(place, 0) + 1
    for (name, variant, suite, reason), count in skipped.items():
        lines.append(f"{name:<24} {variant:<12} {suite:<12} {_count(count, 'job'):>8}  skipped: {reason}")
    lines += ["", *verdicts]
    lines.append(
        f"{size['jobs']} jobs, {size['samples']} samples, {size['input_byte'] / 1e6:.1f} MB in, "
        f"{size['output_byte'] / 1e6:.1f} MB out, about {duration(estimate_s)}"
        + (f", {plan.share:.0%} of the samples" if plan.share < 1 else "")
    )
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _cases(cases: Sequence[Case]) -> str:
    """Names of cases; corruptions, which every suite has by the dozen, are counted."""
    names = dict.fromkeys(case.name for case in cases if not case.severity)
    shifts = dict.fromkeys(case.name for case in cases if case.severity)
    return ", ".join([*names, *([_count(len(shifts), "corruption")] if shifts else [])])
