"""Rows, verdicts, limits and batches that tests make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.challenge.limits import Limit
from harness.core.artifact import Artifact, File
from harness.core.job import DEPLOY, Batch, Case, JobKey, Options, Status
from harness.core.measurement import Measurement, Row
from harness.core.metric import Declared, Metric, Noise, Role
from harness.core.verdict import CHECK, GATE, Gate, State, Verdict

ARTIFACT = Artifact("int8", "onnx", (File("m.onnx", "0" * 64, 1),), Path())
METRICS = Declared(
    {
        "answers": {
            "right": Metric("1", "higher", case="whole", role=Role.RESULT),
            "lost": Metric("pt", "lower", case="whole", role=Role.LOSS),
            "worse": Metric("1", "lower", case="whole", role=Role.HARMFUL),
            "better": Metric("1", "lower", case="whole", role=Role.BENEFICIAL),
        },
        "speed": {
            "typical": Metric("ns", "lower", Noise.RUNS, "calls", role=Role.LATENCY, percentile=0.5),
            "used": Metric("byte", "lower", Noise.RUNS, "calls", role=Role.MEMORY),
        },
        "tries": {"same": Metric("1", "higher"), "slope": Metric("byte/call", "lower")},
    }
)


def key(suite: str = "answers", case: str = "whole", variant: str = "int8", severity: int = 0) -> JobKey:
    return JobKey("cpu", "linear", DEPLOY, variant, suite, case, severity)


def row(metric: str, of: JobKey | None = None, **measurement: Any) -> Row:
    values = {"unit": "1", "value": 1.0, **measurement}
    return Row(of or key(), Measurement(metric, **values))


def error(reason: str, of: JobKey | None = None, **more: Any) -> Row:
    return row("all", of, value=float("nan"), status=Status.ERROR, reason=reason, **more)


def limit(
    name: str, suite: str, metric: str, *, kind: str = GATE, variant: str = "int8", **more: Any
) -> Limit:
    gate = {field: more.pop(field) for field in list(more) if field not in ("faults", "relaxed")}
    return Limit(kind, Gate(name, suite, metric, **gate), "cpu", "linear", variant, **more)


def check(name: str, suite: str, metric: str, *faults: str, **more: Any) -> Limit:
    return limit(name, suite, metric, kind=CHECK, faults=faults, **more)


def verdict(of: Limit, state: State, sentence: str = "", *, severity: str = "block") -> Verdict:
    nothing = float("nan")
    return Verdict(
        of.gate.name, of.target, of.backend, of.variant, of.gate.suite, of.gate.metric, state, severity,
        "block", sentence, nothing, nothing, nothing, nothing, "", 0, kind=of.kind,
    )  # fmt: skip


def batch(suite: str, *cases: tuple[str, int], variant: str = "int8") -> Batch:
    made = tuple(Case(name, severity, deadline_s=60.0) for name, severity in cases)
    options = {"parity": Options(), "deploy": Options()}
    return Batch("cpu", "linear", variant, suite, ARTIFACT, options, {}, {}, made)
