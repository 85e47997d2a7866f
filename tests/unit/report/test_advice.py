"""What a person reads at the end of a run: complete, aligned, each cause once, and a next step that fits."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.config.folders import shipped_folder
from harness.config.load import validation_file
from harness.core import commands
from harness.core.artifact import Artifact, File
from harness.core.job import Batch, Case, JobKey, JobResult, Options, Status
from harness.core.measurement import Measurement, Row
from harness.core.plan import Plan
from harness.core.verdict import State, Verdict, overall
from harness.report import advice, screen
from harness.run import int8_trials
from harness.run.outcome import Outcome
from harness.store.run_folder import RunFolder

VARIANTS = ("float32", "int8")


def verdict(
    state: State, gate: str = "g", *, target: str = "cpu", variant: str = "int8", text: str = ""
) -> Verdict:
    return Verdict(
        gate=gate, target=target, backend="onnxruntime", variant=variant, suite="accuracy", metric="m",
        state=state, severity="block", on_inconclusive="block", sentence=f"{variant} on {target}: {text}",
        value=0.1, ci_low=math.nan, ci_high=math.nan, limit=1.0, unit="1", n=3,
    )  # fmt: skip


def row(metric: str, value: float, high: float = math.nan, *, case: str = "clean", severity: int = 0,
        target: str = "cpu", variant: str = "int8") -> Row:  # fmt: skip
    suite = "accuracy"
    if metric.startswith(("latency", "model")):
        suite, case = "performance", "single_stream"
    key = JobKey(target, "onnxruntime", "deploy", variant, suite, case, severity)
    return Row(key, Measurement(metric, "1", value, math.nan, high, 100))


def rows(target: str = "cpu") -> list[Row]:
    return [
        rows_
        for variant in VARIANTS
        for rows_ in (
            row("accuracy", 0.9925, target=target, variant=variant),
            row("accuracy_loss", -0.125, 0.2125, target=target, variant=variant),
            row("accuracy", 0.63, case="gaussian_noise", severity=5, target=target, variant=variant),
            row("latency_p50", 110_000, target=target, variant=variant),
            row("latency_p99", 4_301_000, target=target, variant=variant),
            row("model_bytes", 441_000, target=target, variant=variant),
        )
    ]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "harness", lambda: "harness")


def outcome(
    verdicts: Sequence[Verdict], *, measured: Sequence[Row] = (), targets: Sequence[str] = ("cpu",),
    skipped: Sequence[JobResult] = (), unavailable: Sequence[tuple[str, str, str]] = (), share: float = 1.0,
    missing: int = 0, notes: Sequence[str] = (), validation: str = "",
) -> Outcome:  # fmt: skip
    artifact = Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path())
    batch = Batch("cpu", "onnxruntime", "float32", "accuracy", artifact, {"deploy": Options()}, {}, {},
                  (Case("clean"),))  # fmt: skip
    plan = Plan((batch,), tuple(skipped), tuple(unavailable), share)
    folder = RunFolder(Path.cwd() / "results" / "r1")
    bundled = validation_file(shipped_folder("models") / "digits").resolve()
    file = str(Path.cwd() / validation) if validation else str(bundled)
    run = {"run_id": "r1", "emulated": [], "targets": dict.fromkeys(targets), "validation_path": file}
    state, code = overall(verdicts, unmeasured=bool(missing))
    return Outcome(
        folder, run, tuple(measured), tuple(verdicts), state, code, plan, missing, tuple(notes)
    )  # fmt: skip


def shown(outcome_: Outcome, width: int = 200, seconds: float = 59.4) -> list[str]:
    stream = io.StringIO()
    screen.show(outcome_, Console(file=stream, width=width, no_color=True), seconds=seconds)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def following(outcome_: Outcome) -> str:
    return advice.next_step(outcome_)


def test_a_pass() -> None:
    passed = [verdict(State.PASS, variant=variant) for variant in VARIANTS]
    lines = shown(outcome(passed, measured=rows()))
    assert lines[0].split("  ")[0] == "target"
    assert "loss pt [bound]" in lines[0]
    assert lines[1].split() == [
        "cpu", "float32", "99.25", "-0.12", "[0.21]", "gaussian_noise", "5", "-36", "0.110", "4.301", "0.44",
        "PASS",
    ]  # fmt: skip
    assert lines[-2:] == ["PASS         2 of 2 gates in 59 s", "verdict: PASS (0)"]
    assert "results      results/r1" in lines


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_columns_are_aligned_and_nothing_is_cut(width: int) -> None:
    """Where the terminal is narrow whole columns go, never the verdict."""
    states = [verdict(State.INCONCLUSIVE), verdict(State.PASS, variant="float32")]
    header, *lines = shown(outcome(states, measured=rows()), width)[:3]
    assert all(len(line) <= width for line in (header, *lines))
    assert "…" not in "".join((header, *lines))
    at = header.index("verdict")
    assert [line[at:] for line in lines] == ["PASS", "INCONCLUSIVE"]
    assert ("MB" in header) == (width > 100)


def test_columns_that_nothing_was_measured_for_are_left_out() -> None:
    lines = shown(outcome([verdict(State.PASS)], measured=[row("accuracy", 0.5)]))
    assert lines[0].split() == ["target", "variant", "accuracy", "%", "verdict"]


def test_what_a_release_lacks_is_hardware() -> None:
    outcome_ = outcome([verdict(State.NOT_RUN, target="pi-emulated")], targets=("pi-emulated",))
    outcome_ = replace(outcome_, run={**outcome_.run, "emulated": ["pi-emulated"], "release": True})
    assert following(outcome_).startswith("real hardware in place of pi-emulated: --host USER@BOARD")


def test_a_target_that_is_not_here_takes_one_line() -> None:
    reason = "this runtime has no CUDAExecutionProvider"
    not_run = [
        verdict(State.NOT_RUN, gate, target="cuda", variant=variant, text=f"m was not measured: {reason}")
        for gate in ("a", "b", "c")
        for variant in VARIANTS
    ]
    keys = [JobKey("cuda", "onnxruntime", "deploy", v, "accuracy", "clean", 0) for v in VARIANTS]
    skipped = [JobResult(key, Status.SKIPPED, reason) for key in keys]
    outcome_ = outcome(
        [verdict(State.PASS), *not_run], measured=rows(), targets=("cpu", "cuda"), skipped=skipped,
        unavailable=[("cuda", "onnxruntime", reason)],
    )  # fmt: skip
    lines = [line for line in shown(outcome_) if reason in line]
    assert lines == [f"NOT_RUN      3 gates of float32, int8 on cuda: {reason}"]
    assert following(outcome_).startswith("harness targets")


def test_an_unsupported_variant_takes_one_line() -> None:
    reason = "TFLite has no operator Foo"
    never = [
        verdict(State.NOT_APPLICABLE, gate, text=f"m was not measured in clean: {reason}") for gate in "ab"
    ]
    skipped = [JobResult(JobKey("cpu", "onnxruntime", "deploy", "int8", "accuracy", case, 0), Status.SKIPPED,
                         f"{reason}\n  where  node 3") for case in ("clean", "fog")]  # fmt: skip
    outcome_ = outcome([verdict(State.PASS, variant="float32"), *never], measured=rows(), skipped=skipped)
    assert [line for line in shown(outcome_) if reason in line] == [f"not tested   int8 on cpu: {reason}"]


def test_failures_are_listed_one_by_one_worst_first() -> None:
    verdicts_ = [verdict(State.INCONCLUSIVE, "i", text="same"), verdict(State.FAIL, "f", text="same"),
            verdict(State.FAIL, "g", text="same")]  # fmt: skip
    assert [state for state, _ in advice.problems(outcome(verdicts_))] == [
        State.FAIL,
        State.FAIL,
        State.INCONCLUSIVE,
    ]


@pytest.mark.parametrize(
    ("states", "more", "wanted"),
    [
        ([State.PASS], {}, "harness validate --target cpu,openvino,tflite"),
        ([State.PASS], {"validation": "own/validation.toml"},
         "harness validate --target cpu,openvino,tflite --model own"),
        ([State.PASS], {"targets": ("cpu", "openvino", "tflite")}, "harness init MODEL.onnx --data FOLDER"),
        ([State.PASS], {"targets": ("cpu", "openvino", "tflite"), "validation": "own/validation.toml"},
         "python -c \"import harness; print(harness.load('r1'))\""),
        ([State.FAIL], {"validation": "a b/other.toml"}, "harness report r1   # every row of the gate"),
        ([State.INVALID], {"validation": "a b/other.toml"},
         "harness validate --target cpu --model 'a b/other.toml' --variant int8 --suite accuracy"),
        ([State.INCONCLUSIVE], {"share": 0.5}, "harness validate --target cpu   # all samples"),
        ([State.INCONCLUSIVE], {"validation": "v.toml"}, "more test samples; or in v.toml another limit"),
        ([State.INVALID], {}, "harness validate --target cpu --variant int8 --suite accuracy"),
        ([State.NOT_RUN], {}, "harness validate --target cpu --variant int8 --suite accuracy"),
        ([State.PASS], {"targets": ("raspberrypi4-emulated",)},
         "harness validate --target raspberrypi,cpu,openvino,tflite"),
        ([State.FAIL], {"missing": 2}, "harness validate --resume r1"),
        ([], {"validation": "own/validation.toml"}, "add a [[gate]] to own/validation.toml"),
        ([State.NOT_APPLICABLE], {}, "harness plan --target cpu   # which gates can be decided there"),
    ],
)  # fmt: skip
def test_what_to_type_next(states: list[State], more: dict[str, Any], wanted: str) -> None:
    assert following(outcome([verdict(state) for state in states], **more)).startswith(wanted)


def test_a_failure_on_one_target_of_two_compares_them() -> None:
    failed = [verdict(State.FAIL), verdict(State.PASS, target="pi")]
    wanted = "harness compare r1 --devices   # the gate passes on pi"
    assert following(outcome(failed, targets=("cpu", "pi"))) == wanted


def lost_against_float(validation: str, task: str = "classification") -> Outcome:
    gate = {"name": "g", "suite": "accuracy", "metric": "lost", "max": 1.0}
    lost = row("lost", 3.0)
    lost = replace(lost, measurement=replace(lost.measurement, reference="float32@host"))
    outcome_ = outcome([verdict(State.FAIL)], measured=[lost], validation=validation)
    variants = {"int8": {"recipe": [{"pass": "quantize"}]}}
    run = {"model": {"task": task}, "validation": {"gate": [gate], "variants": variants}}
    return replace(outcome_, run={**outcome_.run, **run})


def test_a_recipe_that_gave_more_on_calibration_data_is_the_next_step() -> None:
    outcome_ = lost_against_float("own/validation.toml")
    folder = outcome_.folder.path
    folder.mkdir(parents=True)
    tried = {"variant": "int8", "recipe": '[{ pass = "dynamic" }]', "text": "minmax 87 %, dynamic 90 %"}
    (folder / int8_trials.FILE).write_text(json.dumps({**tried, "used": False}))
    wanted = '[variants.int8] recipe = [{ pass = "dynamic" }]   # minmax 87 %, dynamic 90 %'
    assert following(outcome_) == f"in own/validation.toml {wanted}"
    for other in ({"used": True}, {"used": False, "variant": "another"}):
        (folder / int8_trials.FILE).write_text(json.dumps({**tried, **other}))
        assert following(outcome_).startswith("harness search own")


@pytest.mark.parametrize(
    ("validation", "wanted"),
    [("", "harness search -o search"), ("own/validation.toml", "harness search own -o")],
)
def test_a_loss_against_the_float_model_searches_for_a_recipe(validation: str, wanted: str) -> None:
    outcome_ = lost_against_float(validation)
    assert following(outcome_).startswith(wanted)
    assert following(replace(outcome_, rows=())).startswith("harness report r1")
    for without_classes in ("segmentation", "of a plug-in that is gone"):
        assert following(lost_against_float(validation, without_classes)).startswith("harness report r1")


@pytest.mark.parametrize(
    ("outcome_", "why"),
    [
        (lambda: outcome([verdict(State.NOT_APPLICABLE, target="pi", text="m in clean: emulated clock: no"),
                          verdict(State.PASS)]),
         "no gate applies to pi, so it has not passed: emulated clock: no"),
        (lambda: outcome([verdict(State.NOT_RUN, "a"), verdict(State.INVALID, "b"), verdict(State.PASS)]),
         "gates that block are INVALID or NOT_RUN: b, a"),
        (lambda: outcome([verdict(State.PASS)], missing=2), "2 jobs were not measured"),
        (lambda: outcome([]), "no gate was judged, so nothing has passed"),
    ],
)  # fmt: skip
def test_exit_code_3_says_why_in_its_last_lines(outcome_: Callable[[], Outcome], why: str) -> None:
    lines = shown(outcome_())
    assert lines[-2:] == [f"why          {why}", "verdict: " + lines[-1].removeprefix("verdict: ")]
    assert lines[-1].endswith("(3)")


def test_other_exit_codes_need_no_reason() -> None:
    for state in (State.PASS, State.FAIL, State.INCONCLUSIVE):
        assert not any(line.startswith("why") for line in shown(outcome([verdict(state)])))


def test_a_variant_without_a_gate_is_listed_at_the_end() -> None:
    lines = shown(outcome([verdict(State.PASS, variant="float32")], measured=rows()))
    assert lines[2].split()[-2:] == ["no", "gate"]
    assert "no gate      int8 on cpu: no gate of the run judges it" in lines


def test_a_refusal_with_colons_and_an_address_is_shown_once_and_whole() -> None:
    reason = "onnxruntime cannot open m.onnx: Conv (c): C: 3 kernel channels: 5, see https://a.b: no"
    refused = [
        verdict(State.NOT_RUN, gate, variant=variant, text=f"m was not measured in clean: {reason}")
        for gate in ("a", "b")
        for variant in VARIANTS
    ]
    lines = [line for line in shown(outcome(refused), 400) if "kernel channels" in line]
    assert lines == [f"NOT_RUN      2 gates of float32, int8 on cpu: {reason}"]


def test_a_question_mark_is_explained_below_the_table() -> None:
    reason = "too few samples: needs 662, has 60"
    late = row("latency_p99", 4_301_000)
    late = replace(late, measurement=replace(late.measurement, status=Status.INVALID, reason=reason))
    measured = [*rows()[:6], *[r for r in rows()[6:] if r.measurement.metric != "latency_p99"], late]
    lines = shown(outcome([verdict(State.PASS)], measured=measured))
    assert "4.301?" in lines[2]
    assert lines[3] == f"?            p99 ms of int8 on cpu: invalid, {reason}"
    assert not any(line.startswith("?") for line in shown(outcome([verdict(State.PASS)], measured=rows())))


GATES = [
    {"name": "g", "suite": "performance", "metric": "latency_p99", "max": "1 ms"},
    {"name": "stored", "suite": "performance", "metric": "latency_p50", "baseline": "old", "max_ratio": 1.1},
    {"name": "beside", "suite": "performance", "metric": "latency_p50", "baseline": "old", "max_ratio": 1.1,
     "design": "side-by-side"},
    {"name": "lost", "suite": "accuracy", "metric": "accuracy_loss", "case": "claen", "max": 1.0},
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "gate", "run", "wanted"),
    [
        (State.INCONCLUSIVE, "g", {},
         "harness validate --target cpu --variant int8 --suite performance --decide-within 10m"),
        (State.INCONCLUSIVE, "g", {"decide_within_s": 600.0},
         "harness validate --target cpu --variant int8 --suite performance --decide-within 20m"),
        (State.INCONCLUSIVE, "beside", {},
         "harness validate --target cpu --variant int8 --suite performance --decide-within 10m"),
        (State.INCONCLUSIVE, "stored", {}, "in /v.toml design = \"side-by-side\" for 'stored'"),
        (State.INCONCLUSIVE, "lost", {}, "more test samples; or in /v.toml another limit"),
        (State.FAIL, "stored", {}, "harness baseline diff r1 --name old --target cpu"),
        (State.NOT_RUN, "stored", {}, "harness baseline save r1 --name old --reason WHY"),
        (State.NOT_RUN, "lost", {}, "harness plan --target cpu --model /v.toml   # which cases there are"),
        (State.NOT_RUN, "g", {}, "harness validate --target cpu --model /v.toml --variant int8"),
    ],
)  # fmt: skip
def test_next_is_what_mends_the_cause(state: State, gate: str, run: dict[str, Any], wanted: str) -> None:
    """An undecided time takes more time, an absent baseline a run that is saved: not the same once more."""
    suite = next(table["suite"] for table in GATES if table["name"] == gate)
    unit = "x" if gate in ("stored", "beside") else "ns"
    failed = replace(verdict(state, gate), suite=suite, unit=unit)
    outcome_ = outcome([failed])
    case = "clean" if suite == "accuracy" else "single_stream"
    batch = replace(outcome_.plan.batches[0], variant="int8", suite=suite, cases=(Case(case),))
    more = {"validation": {"gate": GATES}, "model": {"name": "m"}, "validation_path": "/v.toml", **run}
    step = following(
        replace(outcome_, run={**outcome_.run, **more}, plan=replace(outcome_.plan, batches=(batch,)))
    )
    assert step.replace(" --model /v.toml --variant", " --variant").startswith(
        wanted.replace(" --model /v.toml --variant", " --variant")
    )
