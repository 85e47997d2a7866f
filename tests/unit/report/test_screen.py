"""What a person sees at the end: whole numbers at any width, and what was not tested."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.core.artifact import Artifact, File
from harness.core.exit_code import ExitCode
from harness.core.job import Batch, Case, JobKey, JobResult, Options, Status
from harness.core.measurement import Measurement, Row
from harness.core.metric import Column, Declared, Metric
from harness.core.plan import Plan
from harness.core.verdict import State, Verdict
from harness.report import screen
from harness.report.columns import columns
from harness.run.declared import installed
from harness.run.outcome import Outcome
from harness.store.run_folder import RunFolder

ARTIFACT = Artifact("int8", "onnx", (File("m", "0" * 64, 1),), Path())
SKIPPED = JobResult(
    JobKey("gpu", "ort", "deploy", "int8", "accuracy", "clean", 0), Status.SKIPPED, "no GPU\nmore"
)


def row(suite: str, case: str, severity: int, m: Measurement, target: str = "raspberrypi") -> Row:
    identity = {"arch": "aarch64", "provider": "CPUExecutionProvider"}
    return Row(JobKey(target, "ort", "deploy", "int8", suite, case, severity), m, identity)


ROWS = (
    row("accuracy", "clean", 0, Measurement("accuracy", "1", 0.9875)),
    row("accuracy", "clean", 0, Measurement("accuracy_loss", "pt", 0.13, -0.2, 0.77)),
    row("accuracy", "gaussian_noise", 5, Measurement("accuracy", "1", 0.5)),
    row("performance", "single_stream", 0, Measurement("latency_p50", "ns", 1.2345e6)),
    row("performance", "single_stream", 0, Measurement("latency_p99", "ns", 2.5e6, status=Status.INVALID)),
    row("performance", "single_stream", 0, Measurement("model_bytes", "byte", 654321.0)),
)


def verdict(state: State, sentence: str = "", severity: str = "block") -> Verdict:
    nan = math.nan
    return Verdict(
        "loss", "raspberrypi", "ort", "int8", "accuracy", "m", state, severity, "block", sentence,
        nan, nan, nan, nan, "", 0,
    )  # fmt: skip


def outcome(
    tmp_path: Path,
    state: State = State.PASS,
    code: int = 0,
    *verdicts: Verdict,
    share: float = 1.0,
    missing: int = 0,
) -> Outcome:
    batch = Batch(
        "raspberrypi", "ort", "int8", "accuracy", ARTIFACT, {"deploy": Options()}, {}, {}, (Case("clean"),)
    )
    plan = Plan((batch,), (SKIPPED,), share=share)
    run = {
        "emulated": [],
        "targets": {"cpu": {}},
        "validation_path": str(tmp_path / "model" / "validation.toml"),
    }
    return Outcome(
        RunFolder(tmp_path / "results" / "run"), run, ROWS, verdicts or (verdict(State.PASS),), state,
        ExitCode(code),
        plan, missing, ("a note",),
    )  # fmt: skip


def shown(outcome_: Outcome, width: int = 120) -> str:
    stream = io.StringIO()
    screen.show(outcome_, Console(file=stream, width=width), seconds=125)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_number_is_cut_short_at_any_width(tmp_path: Path, width: int) -> None:
    text = shown(outcome(tmp_path), width)
    assert "…" not in text
    header, cells = text.splitlines()[:2]
    assert cells.startswith("raspberrypi  int8  ")
    assert header.index("verdict") == cells.index("PASS")
    everything = {"98.75", "0.13 [0.77]", "gaussian_noise 5 -49", "1.234", "2.500?", "0.65"}
    words = {word for word in everything if word in cells}
    assert {"98.75", "0.13 [0.77]"} <= words
    assert words == everything or width < 100, "columns are left out on narrow terminals only"


def line(*rows: Row) -> dict[str, str]:
    """Titles and cells of the only line."""
    return {column.title: column.cell(rows) for column in columns(installed(), [rows])}


def test_the_worst_shift_is_the_lowest_result_and_not_the_first_or_the_last() -> None:
    shifts = [
        row("accuracy", case, severity, Measurement("accuracy", "1", value))
        for case, severity, value in (("fog", 1, 0.9), ("snow", 3, 0.6), ("blur", 5, 0.8))
    ]
    assert line(ROWS[0], *shifts)["worst shift pt"] == "snow 3 -39"


def test_without_labels_agreement_stands_in_for_the_result_and_with_them_it_does_not() -> None:
    agreement = row("accuracy", "clean", 0, Measurement("agreement", "1", 0.5, reference="float32@host"))
    assert line(agreement) == {"agreement %": "50.00"}
    assert line(ROWS[0], agreement) == {"accuracy %": "98.75"}


def test_a_column_that_a_third_party_declares_is_shown_where_it_was_measured() -> None:
    mine = {"worst": Metric("1", "lower", case="all", column=Column("worst mm", 1000, ".1f"))}
    metrics = Declared({**installed().suites, "theirs": mine})
    value = row("theirs", "all", 0, Measurement("worst", "1", 0.0123))
    other = row("theirs", "some", 0, Measurement("worst", "1", 9.0))
    cells_ = {column.title: column.cell([other, value]) for column in columns(metrics, [[other, value]])}
    assert cells_ == {"worst mm": "12.3"}
    assert columns(metrics, [[other]]) == []


def test_two_columns_of_one_title_are_labelled_apart() -> None:
    mine = {"p50": Metric("ns", "lower", case="all", column=Column("p50 ms", 1e-6, ".0f"))}
    rows = [ROWS[3], row("theirs", "all", 0, Measurement("p50", "ns", 5e6))]
    columns_ = columns(Declared({**installed().suites, "theirs": mine}), [rows])
    assert {column.title: column.cell(rows) for column in columns_} == {
        "p50 ms": "1.234",
        "theirs p50 ms": "5",
    }


def test_what_was_not_tested(tmp_path: Path) -> None:
    text = shown(
        outcome(tmp_path, State.PASS, 0, verdict(State.PASS), verdict(State.NOT_APPLICABLE, "never"))
    )
    assert "note         a note\n" in text
    assert "not tested   int8 on gpu: no GPU\n" in text
    assert "not tested   loss: never\n" in text
    assert "not tested   GPU, heat, sustained load" in text  # there was an ARM


def test_verdicts_that_did_not_pass_are_listed_worst_first(tmp_path: Path) -> None:
    verdicts = (verdict(State.INCONCLUSIVE, "undecided"), verdict(State.FAIL, "too much", "warn"))
    lines = shown(outcome(tmp_path, State.INCONCLUSIVE, 4, *verdicts)).splitlines()
    lines_ = [line for line in lines if line.startswith(("FAIL", "INCONCLUSIVE "))]
    assert lines_[0] == "FAIL         loss: too much (does not block)"
    assert lines_[1] == "INCONCLUSIVE loss: undecided"
    assert lines_[2].startswith("INCONCLUSIVE 0 of 2 gates in 2 m 05 s")
    assert lines[-1] == "verdict: INCONCLUSIVE (4)"


def test_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"--resume {tmp_path}/results/run" in shown(outcome(tmp_path, State.NOT_RUN, 3, missing=2), 1000)
    monkeypatch.chdir(tmp_path)
    assert "validate --resume run\n" in shown(outcome(tmp_path, State.NOT_RUN, 3, missing=2))
    failed = shown(outcome(tmp_path, State.FAIL, 1, verdict(State.FAIL)))
    assert "report run   # every row of the gate, with its interval" in failed
    noisy = shown(outcome(tmp_path, State.INVALID, 3, verdict(State.INVALID)))
    assert "--target raspberrypi --model model --variant int8 --suite accuracy" in noisy


def test_the_column_names_the_worst_shift(tmp_path: Path) -> None:
    """Not the best one, whatever their order and names."""
    shifts = [("blur", 1, 0.9), ("fog", 5, 0.55), ("snow", 3, 0.7), ("zoom", 2, 0.95)]
    for order in (shifts, shifts[::-1]):
        rows = [row("accuracy", case, s, Measurement("accuracy", "1", value)) for case, s, value in order]
        outcome_ = replace(outcome(tmp_path), rows=(ROWS[0], *rows))
        assert "fog 5 -44" in shown(outcome_)


def test_a_share_is_stated(tmp_path: Path) -> None:
    assert "(25% of the samples)" in shown(outcome(tmp_path, share=0.25))
    assert "of the samples" not in shown(outcome(tmp_path))


def test_json_has_no_nan(tmp_path: Path) -> None:
    text = screen.as_json(outcome(tmp_path, State.FAIL, 1, verdict(State.FAIL)), seconds=1.0)

    def refuse(name: str) -> float:
        raise AssertionError(name)

    document = json.loads(text, parse_constant=refuse)
    assert document["verdicts"][0]["value"] is None
    assert document["verdicts"][0]["blocks"] is True


@pytest.mark.parametrize(("precision", "name"), [("int8", "float32 (int8 file)  "), ("f32", "float32  ")])
def test_a_reference_that_is_no_float_file_is_called_what_it_is(
    tmp_path: Path, precision: str, name: str
) -> None:
    key = ROWS[0].key._replace(variant="float32")
    rows = (Row(key, ROWS[0].measurement, {"precision": precision}),)
    assert f"raspberrypi  {name}" in shown(replace(outcome(tmp_path), rows=rows))


def test_a_gpu_is_tested_only_where_the_driver_reports_one(tmp_path: Path) -> None:
    for provider, absent in (
        ("CUDAExecutionProvider", False),
        ("CUDAExecutionProvider; unconfirmed: no", True),
    ):
        rows = (replace(ROWS[0], identity={"arch": "aarch64", "provider": provider}),)
        assert ("not tested   GPU" in shown(replace(outcome(tmp_path), rows=rows))) == absent
