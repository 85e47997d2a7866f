"""Which failing gates ask for an explanation, of which sides; and the lines that tell the answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from harness.core.errors import ResultsError
from harness.core.job import JobKey, JobResult, Samples, Status
from harness.core.plan import HOST
from harness.core.verdict import CHECK, GATE, State, Verdict
from harness.explain.requests import of_run
from harness.report.explanations import as_lines, still_failing
from harness.store import explanations


def verdict(
    gate: str, metric: str, state: State = State.FAIL, *, target: str = "pi", variant: str = "int8",
    kind: str = CHECK, suite: str = "accuracy", severity: str = "block", waived: str = "",
) -> Verdict:  # fmt: skip
    return Verdict(
        gate, target, "tflite", variant, suite, metric, state, severity, "block", "", 0, 0, 0, 0, "1", 1,
        waived, kind,
    )  # fmt: skip


VALIDATION = {
    "schema": 1, "model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d.npz"},
    "gate": [{"name": "loss", "suite": "accuracy", "metric": "accuracy_loss", "max": 1}],
}  # fmt: skip


def asked(
    *verdicts: Verdict, rows: tuple[Any, ...] = (), results: dict[JobKey, JobResult] | None = None
) -> list[of_run.Question]:
    run = {"validation": VALIDATION}
    folder = SimpleNamespace(path=Path("r"), facts=lambda: SimpleNamespace(results=results or {}))
    outcome = SimpleNamespace(run=run, verdicts=verdicts, folder=folder, rows=rows)
    return of_run.questions(cast("Any", outcome))


NUMBERS = ("same-numbers-as-host", "difference_over_rounding")


def test_failures_of_one_variant_and_setting_are_one_question_and_parity_is_first() -> None:
    questions = asked(
        verdict("loss", "accuracy_loss", kind=GATE), verdict("no-shift-lost", "accuracy_loss"),
        verdict(*NUMBERS), verdict(*NUMBERS, state=State.PASS, target="cpu"),
        verdict(*NUMBERS, target="haswell"),
    )  # fmt: skip
    assert [(q.target, q.setting, q.gates) for q in questions] == [
        ("pi", "parity", ("same-numbers-as-host",)),
        ("haswell", "parity", ("same-numbers-as-host",)),
        ("pi", "deploy", ("no-shift-lost", "loss")),
    ]
    assert (questions[0].passing, questions[0].failing) == (("cpu",), ("pi", "haswell"))


@pytest.mark.parametrize(
    ("name", "other", "settings"),
    [
        ("output:0", 0.0, ["parity"]), ("output:0", 1e-7, ["parity", "deploy"]),
        ("row_hash:0", 0.0, ["parity"]), ("run_ns", 0.0, ["parity", "deploy"]),
    ],
)  # fmt: skip
def test_the_same_answers_in_both_settings_are_one_question(
    name: str, other: float, settings: list[str]
) -> None:
    results = {}
    for setting, extra in (("parity", 0.0), ("deploy", other)):
        key = JobKey("pi", "tflite", setting, "int8", "accuracy", "clean", 0)
        samples = Samples({name: np.array([1.0, np.nan]) + extra})
        results[key] = JobResult(key, Status.OK, samples=samples)
    questions = asked(verdict("loss", "accuracy_loss", kind=GATE), verdict(*NUMBERS), results=results)
    assert [question.setting for question in questions] == settings
    if len(questions) == 1:
        assert questions[0].gates == ("same-numbers-as-host", "loss")
        compared = [two.label for _, two in questions[0].pairs()]
        assert compared == ["pi:int8@parity"] * 2 + ["pi:int8"] * 2


@pytest.mark.parametrize(
    "silent",
    [
        verdict("latency p99", "latency_p99", suite="performance", kind=GATE),
        verdict("deterministic", "deterministic_repeat", suite="reliability"),
        verdict(*NUMBERS, state=State.PASS), verdict(*NUMBERS, state=State.NOT_RUN),
        verdict(*NUMBERS, severity="warn"), verdict(*NUMBERS, waived="by jane"),
        verdict("mine", "a_metric_that_nobody_declares"),
    ],
)  # fmt: skip
def test_what_is_not_about_answers_or_does_not_block_is_not_asked(silent: Verdict) -> None:
    assert asked(silent) == []


def test_a_variant_is_compared_with_itself_on_this_machine_and_then_with_the_float_model() -> None:
    (question,) = asked(verdict(*NUMBERS))
    pairs = list(question.pairs())
    assert [(one.target, one.variant) for one, _ in pairs] == [(HOST, "int8"), (HOST, "float32")]
    assert {(two.label, two.target, two.variant, two.setting) for _, two in pairs} == {
        ("pi:int8@parity", "pi", "int8", "parity")
    }
    (question,) = asked(verdict(*NUMBERS, variant="float32"))
    assert [(one.variant, two.label) for one, two in question.pairs()] == [("float32", "pi@parity")]


@pytest.mark.parametrize(
    ("reference", "target", "compared"),
    [
        ("int8@host", "pi", ["int8"]),
        ("float32@host", "pi", ["int8", "float32"]),
        ("int8@host", "cpu", ["int8", "float32"]),
    ],
)
def test_a_gate_on_the_same_variant_is_explained_by_that_alone(
    reference: str, target: str, compared: list[str]
) -> None:
    key = SimpleNamespace(target=target, backend="tflite", variant="int8", suite="accuracy", setting="parity")
    measurement = SimpleNamespace(metric="difference_over_rounding", reference=reference)
    row = SimpleNamespace(key=key, measurement=measurement, case="clean", severity=0)
    (question,) = asked(verdict(*NUMBERS), rows=(row,))
    assert [one.variant for one, _ in question.pairs()] == compared


def stored(**more: Any) -> dict[str, Any]:
    cause = {"text": "pi computes in bf16, first in conv1", "layer": "conv1", "remedy": None}
    return {
        "target": "pi", "backend": "tflite", "variant": "int8", "setting": "deploy", "gates": ["loss"],
        "passing": [], "failing": ["pi"], "reference": "a", "other": "b", "causes": [cause], "reason": "",
        "left_share": 0.02, **more,
    }  # fmt: skip


REMEDY = {"text": "f32", "line": 'precision = "f32"', "side": "pi", "was_run": True}


@pytest.mark.parametrize(
    ("remedy", "effect", "says"),
    [
        (
            REMEDY, None,
            "f32: run, 2.0% of the difference is left on the samples that were compared; "
            'precision = "f32"',
        ),
        ({**REMEDY, "was_run": False, "line": ""}, None, "f32: not run"),
        (
            REMEDY, {"left": 0.01, "low": 0.0, "high": 0.02, "samples": 9},
            'f32: run, 1.0% [0.0%, 2.0%] of the difference is left on 9 other samples; precision = "f32"',
        ),
    ],
)  # fmt: skip
def test_a_remedy_says_whether_it_was_run_and_what_it_leaves(
    remedy: dict[str, Any], effect: dict[str, Any] | None, says: str
) -> None:
    cause = {"text": "bf16", "layer": "", "remedy": remedy}
    assert as_lines([stored(causes=[cause], effect=effect)])[1] == ("REMEDY", says)


def test_a_cause_in_both_settings_is_told_once_with_the_gates_of_both() -> None:
    lines = as_lines([
        stored(setting="parity", gates=["a", "b"]), stored(gates=["b", "c", "d"], passing=["cpu"]),
    ])  # fmt: skip
    assert lines == [("CAUSE", "int8 on pi: pi computes in bf16, first in conv1 (a, b, c, …)")]
    (line,) = as_lines([stored(causes=[], reason="the time is used up")])
    assert line == ("not explained", "int8 on pi (loss): the time is used up")
    assert as_lines([stored(passing=["cpu"])])[-1] == ("affected", "pi; not affected: cpu")


def test_a_gate_that_passes_by_now_is_not_explained_any_more() -> None:
    failing = verdict("loss", "accuracy_loss")
    assert still_failing([stored()], [failing]) == [stored()]
    assert still_failing([stored()], [verdict("loss", "accuracy_loss", State.PASS)]) == []
    assert still_failing([stored()], [verdict("loss", "accuracy_loss", target="cpu")]) == []


def test_explanations_are_read_as_they_were_written_and_damage_is_named(tmp_path: Path) -> None:
    assert explanations.read(tmp_path) == []
    explanations.write(tmp_path, [stored()])
    assert explanations.read(tmp_path) == [stored()]
    path = tmp_path / explanations.FILE
    for content in ("{", "[]", json.dumps({"schema_version": 1, "explanations": [{"target": "pi"}]})):
        path.write_text(content)
        with pytest.raises(ResultsError, match="explanations"):
            explanations.read(tmp_path)
    path.write_text(json.dumps({"schema_version": 2, "explanations": []}))
    with pytest.raises(ResultsError, match="schema version 2"):
        explanations.read(tmp_path)
