"""The notes of a run, one line each: what its rows and verdicts do not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core import commands
from harness.core.cause import Cause
from harness.core.job import EnvironmentRecord, JobResult, Status
from harness.core.measurement import Row
from harness.core.metric import Declared, Role
from harness.core.profile import Profile
from harness.core.verdict import Verdict
from harness.device import environment


def profile(run: Mapping[str, Any]) -> list[str]:
    """How deep the run went, where it is not as usual."""
    chosen = Profile(run.get("profile", Profile.QUICK))
    if chosen is Profile.SOAK:
        return [f"the profile is soak: each target was called for {run['soak_s']:g} s"]
    return [f"the profile is {chosen}"] if chosen is not Profile.QUICK else []


def mistakes(rows: Iterable[Row], metrics: Declared) -> list[str]:
    """Which mistakes of a deployment the data cannot show: no answer gets worse by them, on any target."""
    costs: dict[str, bool] = {}
    for row in rows:
        metric = metrics.find(row.key.suite, row.measurement.metric)
        if metric is not None and metric.role is Role.MISTAKE and row.measurement.status is Status.OK:
            costs[row.case] = costs.get(row.case, False) or row.measurement.ci_low > 0
    silent = [case for case, cost in costs.items() if not cost]
    if not silent:
        return []
    return [f"these data cannot show the mistakes {', '.join(silent)}: the float model loses nothing by them"]


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
        many = f"{gates} gates were not judged: their" if gates > 1 else "1 gate was not judged: its"
        lines.append(f"{many} suite, variant or target was not selected")
    return lines


def sessions(results: Iterable[JobResult]) -> list[str]:
    """Return what backends noted of their sessions: one line for each text, with the variants and targets."""
    places: dict[str, dict[str, None]] = {}
    for result in results:
        if text := result.effective.get("note"):
            places.setdefault(text, {})[f"{result.key.variant} on {result.key.target}"] = None
    return [f"{', '.join(where)}: {text}" for text, where in places.items()]


def saturated(
    environments: Iterable[EnvironmentRecord], cards: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Targets by the variant that ONNX Runtime may have computed wrongly on their CPUs."""
    targets: dict[str, dict[str, None]] = {}
    for record in environments:
        operators = cards.get(record.variant, {}).get("saturating")
        if operators and record.backend == "onnxruntime" and environment.saturates(record.facts):
            targets.setdefault(record.variant, {})[record.target] = None
    return {variant: list(names) for variant, names in targets.items()}


def saturation(
    environments: Iterable[EnvironmentRecord], cards: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """One line for each variant of `saturated`.

    Parameters
    ----------
    environments : iterable of EnvironmentRecord
    cards : mapping of variant to its card
    """
    lines = []
    for variant, names in saturated(environments, cards).items():
        first, *others = cards[variant]["saturating"]
        operators = f"the operator {first}" + (f" and {len(others)} more" if others else "")
        lines.append(
            f"{variant} on {', '.join(names)}: {operators} may saturate, so that its accuracy there is not "
            "that of other machines: 8-bit activations are multiplied with int8 weights, and this x86 CPU "
            "has no VNNI; quantize with reduce_range or with uint8 weights, or use a CPU with VNNI"
        )
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
