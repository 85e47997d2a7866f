"""Which sides are compared row by row and which device by device; and whether what got worse matters."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from harness.compare import compare_text, pairs
from harness.compare.materiality import Materiality, assess, standings
from harness.compare.sides import Read
from harness.core.errors import ResultsError, WorkerError
from harness.core.job import EnvironmentRecord
from harness.core.measurement import COLUMNS, KEY_COLUMNS
from harness.core.verdict import Gate, State
from harness.report.html.data import ReportData
from harness.report.html.sections.comparison import comparison as section
from harness.run.declared import installed
from harness.stats.disturbance import Load
from harness.stats.table_changes import Change, Side

GATE = Gate("loss", "accuracy", "accuracy_loss", cases=("clean",), maximum=1.0)
VERDICT = (
    "gate",
    "target",
    "backend",
    "variant",
    "state",
    "severity",
    "on_inconclusive",
    "sentence",
    "waived",
)


def record(target: str, backend: str, metric: str, value: float, **more: Any) -> dict[str, Any]:
    fields = {
        "run_id": "r", "target": target, "backend": backend, "setting": "deploy", "model": "m",
        "variant": "int8", "suite": "accuracy", "case": "clean", "severity": 0, "metric": metric,
        "unit": "pt" if metric == "accuracy_loss" else "1", "value": value, "ci_low": value - 0.01,
        "ci_high": value + 0.01, "n": 100, "reference": "", "status": "OK", "reason": "",
    }  # fmt: skip
    return {**dict.fromkeys(COLUMNS, ""), **fields, **more}


def read(label: str, *rows: dict[str, Any], states: dict[str, str] | None = None, waived: str = "") -> Read:
    rows_ = [
        ("loss", device.partition("/")[0], device.partition("/")[2], "int8", state, "block", "block",
         f"loss is {state}", waived)
        for device, state in (states or {}).items()
    ]  # fmt: skip
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    return Read(Side(label, frame, metrics=installed()), (GATE,), pd.DataFrame(rows_, columns=list(VERDICT)))


def losses(**by_target: float) -> list[dict[str, Any]]:
    return [record(target, "b", "accuracy_loss", value) for target, value in by_target.items()]


def labels(pairs_: tuple[pairs.Pair, ...]) -> list[tuple[str, str, bool]]:
    return [(pair.base.label, pair.new.label, pair.devices) for pair in pairs_]


def test_runs_with_a_common_target_are_compared_as_runs() -> None:
    compared = pairs.between([read("old", *losses(cpu=0, x=0)), read("new", *losses(cpu=0, y=0))])
    assert labels(compared) == [("old", "new", False)]


def test_runs_without_one_are_taken_apart_and_the_first_device_is_the_base() -> None:
    sides = [
        read("one", *losses(cpu=0, openvino=0)),
        read("two", *losses(pi=0)),
        read("three", *losses(cpu=0)),
    ]
    assert labels(pairs.between(sides)) == [
        ("one:cpu/b", "one:openvino/b", True), ("one:cpu/b", "two", True), ("one", "three", False),
    ]  # fmt: skip


def test_devices_of_one_run_are_compared_where_asked() -> None:
    assert pairs.between([read("one", *losses(cpu=0, pi=0))]) == ()
    compared = pairs.between([read("one", *losses(cpu=0, pi=0))], devices=True)
    assert labels(compared) == [("one:cpu/b", "one:pi/b", True)]


@pytest.mark.parametrize(
    ("state", "waived", "weight", "because"),
    [
        ("PASS", "", Materiality.NO, "PASS loss: loss is PASS"),
        ("FAIL", "", Materiality.YES, "FAIL loss: loss is FAIL"),
        ("FAIL", "by me", Materiality.NO, "waived by me; FAIL loss: loss is FAIL"),
        ("INCONCLUSIVE", "", Materiality.OPEN, "INCONCLUSIVE loss: loss is INCONCLUSIVE"),
        ("NOT_APPLICABLE", "", Materiality.OPEN, "NOT_APPLICABLE loss: loss is NOT_APPLICABLE"),
    ],
)
def test_what_got_worse_matters_where_its_gate_says_so(
    state: str, waived: str, weight: Materiality, because: str
) -> None:
    new = read("new", *losses(pi=2.0), states={"pi/b": state}, waived=waived)
    (pair,) = pairs.between([read("old", *losses(cpu=0.5)), new])
    row = assess(pair.rows, pair).iloc[0]
    assert (row["matters"], row["because"]) == (weight, because)


def test_what_no_gate_looks_at_is_open_and_noise_matters_not() -> None:
    base = [record("cpu", "b", "accuracy", 0.9), record("cpu", "b", "ece", 0.1, case="fog", severity=1)]
    new = [record("cpu", "b", "accuracy", 0.8), record("cpu", "b", "ece", 0.105, case="fog", severity=1)]
    (pair,) = pairs.between([read("old", *base), read("new", *new)])
    assessed = assess(pair.rows, pair).assign(metric=pair.rows["metric"]).set_index("metric")
    assert tuple(assessed.loc["accuracy"]) == (Materiality.OPEN, "no gate applies to it")
    assert tuple(assessed.loc["ece"]) == (Materiality.NO, Change.NOISE)


def test_the_worst_device_is_first_and_named_with_what_moved_most() -> None:
    base = read("run", *losses(cpu=0.0, openvino=0.5), states={"cpu/b": "PASS", "openvino/b": "PASS"})
    new = read("other", *losses(pi=3.0), states={"pi/b": "FAIL"})
    ranking = standings(pairs.between([base, new]))
    assert [(standing.name, standing.matters) for standing in ranking] == [
        ("other:pi/b", Materiality.YES), ("run:openvino/b", Materiality.NO),
    ]  # fmt: skip
    lines = compare_text.text(pairs.between([base, new])).partition("devices, worst first:\n")[2].splitlines()
    assert lines[0].strip() == "other:pi/b: 1 of 1 rows got worse; it matters"
    assert "0 pt -> 3 pt" in lines[1]
    assert "FAIL loss" in lines[1]
    summary = compare_text.markdown(pairs.between([base, new])).splitlines()
    assert summary[-2].startswith(
        "- other:pi/b: 1 of 1 rows got worse; it matters: int8 accuracy_loss in clean"
    )
    assert summary[-1].startswith("- run:openvino/b: 1 of 1 rows got worse; it does not matter")


def test_the_page_says_which_device_differs_and_whether_it_matters() -> None:
    base, new = read("run", *losses(cpu=0.0)), read("other", *losses(pi=3.0), states={"pi/b": "FAIL"})
    page = section(ReportData((), (), (), State.FAIL, (), pairs.between([base, new])))
    assert page is not None
    assert "Worst: other:pi/b, 1 rows got worse" in page.intro
    assert "it matters: FAIL loss" in page.intro
    devices, rows = page.tables
    assert devices.rows[0][:3] == ("yes", "other:pi/b", 1)
    assert dict(zip(rows.columns, rows.rows[0], strict=True))["because"] == "FAIL loss: loss is FAIL"


def test_a_page_of_very_many_rows_leaves_out_what_did_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.report.html.sections.comparison.MOST_ROWS", 1)
    base, new = read("run", *losses(cpu=0, x=0)), read("new", *losses(cpu=0, x=3))
    page = section(ReportData((), (), (), State.FAIL, (), pairs.between([base, new])))
    assert page is not None
    assert "1 rows that are the same or within noise are left out" in page.intro
    assert len(page.tables[1].rows) == 1


def test_fewer_samples_are_paired_with_the_same_samples_of_the_other_side() -> None:
    """The first four are right on both; what the base lost later is no merit of the new side."""
    sides = []
    for name, right in (("cpu", [1, 1, 1, 1, 0, 0, 0, 0]), ("pi", [1, 1, 1, 0])):
        values = np.array(right, np.float64)
        row = record(name, "b", "accuracy", values.mean(), n=len(values))
        exact = record(
            name, "b", "max_lsb", float(len(values)), ci_low=math.nan, ci_high=math.nan, n=len(values)
        )
        key = tuple(row[column] for column in KEY_COLUMNS)
        frame = pd.DataFrame([row, exact], columns=list(COLUMNS))
        sides.append(Read(Side(name, frame, per_sample={key: values}, metrics=installed())))
    (pair,) = pairs.between(sides)
    by_metric = pair.rows.set_index("metric")
    paired = by_metric.loc["accuracy"]
    assert (paired["base"], paired["new"], paired["change"], paired["n"]) == (1.0, 0.75, -0.25, 4)
    assert (by_metric.loc["max_lsb", "class"], by_metric.loc["max_lsb", "why"]) == (
        Change.UNLIKE, "the numbers of samples differ",
    )  # fmt: skip


def test_many_named_sides_are_read_in_processes_and_stay_in_order(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{index}.csv") for index in range(pairs.MANY)]
    for index, name in enumerate(names):
        table = [record(target, "b", "accuracy", 0.5 + index / 100) for target in ("cpu", "x")[index % 2 :]]
        pd.DataFrame(table, columns=list(COLUMNS)).to_csv(name, index=False)
    base, between = read("base", record("cpu", "b", "accuracy", 0.5)), read("mine", *losses(cpu=1))
    compared = pairs.between([base, *names[:3], between, *names[3:]], tmp_path)
    alone = [pairs.between([base, side], tmp_path) for side in (*names[:3], between, *names[3:])]
    wanted = [pair for (pair,) in alone]
    assert labels(compared) == labels(tuple(wanted))
    assert [pair.devices for pair in compared[:5]] == [False, True, False, False, True]
    for pair, other in zip(compared, wanted, strict=True):
        pd.testing.assert_frame_equal(pair.rows, other.rows)


def test_one_of_many_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{index}.csv") for index in range(pairs.MANY)]
    for name in names:
        frame = pd.DataFrame([record("cpu", "b", "accuracy", 0.5)], columns=list(COLUMNS))
        frame.to_csv(name, index=False)
    frame.drop(columns="value").to_csv(names[5], index=False)
    with pytest.raises(ResultsError) as caught:
        pairs.between([read("base", *losses(cpu=0)), *names], tmp_path)
    assert caught.value.where == names[5]
    assert "value" in str(caught.value)


def test_values_that_differ_are_shown_differently() -> None:
    """70.6 MB against 70.6 MB, worse by 1x [1, 1], says nothing to anybody."""
    memory = {"suite": "performance", "case": "single_stream", "unit": "byte"}
    sides = [
        read(label, record("cpu", "b", "peak_memory", at, ci_low=at - 4e3, ci_high=at + 4e3, **memory))
        for label, at in (("old", 70_601_000.0), ("new", 70_631_000.0))
    ]
    (pair,) = pairs.between(sides)
    (row,) = pair.rows.to_dict("records")
    assert row["class"] == Change.NOISE  # runs differ by more than their processes
    assert compare_text.described(row).endswith(": 70.6 MB -> 70.63 MB, 1.00042x [0.994408, 1.00648]")


def test_a_reader_process_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_begin", _die)
    with pytest.raises(WorkerError, match="a process that read runs ended unexpectedly"):
        pairs.between([read("base", *losses(cpu=0)), *["x.csv"] * pairs.MANY], tmp_path)


def _die(*_: object) -> None:
    os._exit(9)


def test_unclear_rows_are_listed_apart_and_another_load_is_reported() -> None:
    times = {"suite": "performance", "case": "single_stream", "unit": "ns"}
    sides = []
    for name, at, others in (("old", 100.0, 0.2), ("new", 200.0, 0.6)):
        rows = [
            record("cpu", "b", metric, at, ci_low=0.99 * at, ci_high=1.01 * at, **times)
            for metric in ("latency_p50", "load_time")
        ]
        whole = read(name, *rows)
        batches = {("cpu", "b", variant, "performance"): Load(others, 0.0, 0.0) for variant in ("f", "int8")}
        quiet = {("cpu", "b", "int8", "accuracy"): Load(others, 0.0, 0.0)}  # has no times
        sides.append(replace(whole, side=replace(whole.side, loads={**batches, **quiet})))
    (pair,) = pairs.between(sides)
    busy = (
        "times of f, int8 on cpu/b are not comparable: new ran on a busier machine than old: "
        "other programs used 60 % of its time against 20 %"
    )
    assert pair.notes == (busy,)
    assert set(pair.rows["class"]) == {Change.UNCLEAR}
    assert set(assess(pair.rows, pair)["matters"]) == {Materiality.OPEN}
    lines = compare_text.text([pair]).splitlines()
    assert lines[2:4] == ["2 rows: 2 unclear", busy]
    title = "unclear: not significant among so many rows, or measured beside another load:"
    first = lines.index(title) + 1
    assert lines[first].startswith("  cpu/b int8 latency_p50 in single_stream: 100 ns -> 200 ns, 2x [")
    assert lines[first].endswith("; worse by itself")
    summary = compare_text.markdown([pair])
    assert f"- {busy}" in summary
    assert f"{title}\n\n| what |" in summary
    assert "| int8 latency_p50 in single_stream | cpu/b | 100 ns | 200 ns |" in summary
    page = section(ReportData((), (), (), State.PASS, (), (pair,)))
    assert page is not None
    assert f"No row got worse. {busy[0].upper()}{busy[1:]}." in page.intro
    assert dict(zip(page.tables[0].columns, page.tables[0].rows[0], strict=True))["unclear"] == 2


@pytest.mark.parametrize(
    ("loss", "base_isa", "count"), [(8.0, ["avx_vnni"], 1), (8.0, ["avx2"], 0), (2.0, ["avx_vnni"], 0)]
)
def test_a_run_says_why_a_cpu_without_vnni_loses_accuracy(
    loss: float, base_isa: list[str], count: int
) -> None:
    """Where the base's CPU saturates as well, or nothing got worse, the cause is another one."""
    cards = {"int8": {"saturating": ["conv_3"]}}
    sides = []
    for label, value, isa in (("old", 2.0, base_isa), ("new", loss, ["avx2"])):
        machine = {"arch": "x86_64", "isa": isa}
        batch = EnvironmentRecord("pi", "onnxruntime", "int8", "accuracy", "before", machine)
        seen = SimpleNamespace(environments=[batch], cards=cards)
        whole = read(label, *losses(pi=value))
        sides.append(replace(whole, facts=cast("Any", seen)))
    (pair,) = pairs.between(sides)
    assert len(pair.notes) == count
    assert all("int8 on pi: the operator conv_3 may saturate," in line for line in pair.notes)
    assert all(line in compare_text.text([pair]) for line in pair.notes)


def test_a_device_whose_gates_did_not_run_never_reads_that_nothing_matters() -> None:
    """Nothing got worse of what was measured; what was not is open."""
    sides = [read(name, *losses(cpu=0.2), states={"cpu/b": "NOT_RUN"}) for name in ("old", "new")]
    (standing,) = standings(pairs.between(sides))
    assert standing.worst is None
    assert standing.matters is Materiality.OPEN
