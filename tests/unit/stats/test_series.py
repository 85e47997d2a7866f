"""Series of a frame: what belongs together, by which rule it is judged, and what else changed there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.core.measurement import COLUMNS
from harness.run.declared import installed
from harness.stats.intervals import Interval
from harness.stats.series import Rule, Trend, trends
from harness.stats.table_changes import Change

NAN = math.nan


def record(run: int, value: float, half: float = NAN, **more: Any) -> dict[str, Any]:
    fields = {
        "target": "cpu", "backend": "onnxruntime", "setting": "deploy", "model": "m", "model_sha256": "a",
        "variant": "int8", "suite": "accuracy", "case": "clean", "severity": 0, "metric": "accuracy",
        "unit": "1", "value": value, "ci_low": value - half, "ci_high": value + half, "n": 100,
        "reference": "", "status": "OK", "reason": "", "backend_version": "1.31", "run": run,
    }  # fmt: skip
    return {**dict.fromkeys(COLUMNS, ""), **fields, **more}


def find(*rows: dict[str, Any], circumstances: Mapping[int, Mapping[str, str]] | None = None) -> list[Trend]:
    by_run = circumstances or {}
    return trends(pd.DataFrame(list(rows)), lambda run, _: by_run.get(run, {}), installed())


def only(*rows: dict[str, Any], **more: Any) -> Trend:
    (result,) = find(*rows, **more)
    return result


def test_a_step_is_found_in_whatever_order_the_rows_come_and_its_direction_is_known() -> None:
    values = [0.9, 0.9, 0.9, 0.5, 0.5]
    rows = [record(run, value, 0.01) for run, value in enumerate(values)]
    result = only(*reversed(rows))
    assert result.rule is Rule.INTERVAL
    assert [(turn.level.at, turn.change) for turn in result.turns] == [(3, Change.WORSE)]
    assert result.turns[0].level.change.value == pytest.approx(-0.4)
    assert result.points.tolist() == [4, 3, 2, 1, 0]
    loss = only(*(record(run, value, 0.01, metric="accuracy_loss") for run, value in enumerate(values)))
    assert loss.turns[0].change is Change.BETTER
    strange = only(*(record(run, value, 0.01, metric="strange") for run, value in enumerate(values)))
    assert strange.turns[0].change is Change.CHANGED
    assert strange.turns[0].why == "metric strange has no declared direction"
    assert result.turns[0].why == ""


def test_what_else_changed_is_reported_for_a_run_and_the_one_before() -> None:
    rows = [record(0, 0.9, 0.01), record(1, 0.5, 0.01, backend_version="1.32", model_sha256="b")]
    circumstances = {0: {"kernel": "6.1", "harness": "1"}, 1: {"kernel": "6.18", "harness": "1"}}
    (turn,) = only(*rows, circumstances=circumstances).turns
    assert turn.also == {"model": ("a", "b"), "runtime": ("1.31", "1.32"), "kernel": ("6.1", "6.18")}


def test_without_an_interval_a_number_is_exact_or_noise() -> None:
    rows = [record(run, value) for run, value in enumerate([3.0, 3.0, 2.0, 2.0, 3.0])]
    exact = only(*(row | {"suite": "performance", "metric": "model_bytes", "unit": "byte"} for row in rows))
    assert exact.rule is Rule.EXACT
    assert [turn.level.at for turn in exact.turns] == [2, 4]
    assert [turn.change for turn in exact.turns] == [Change.BETTER, Change.WORSE]
    assert exact.turns[0].level.change.value == pytest.approx(2 / 3)
    assert [turn.level.before.n for turn in exact.turns] == [2, 2]
    noise = only(*(row | {"suite": "performance", "metric": "peak_memory", "unit": "byte"} for row in rows))
    assert (noise.rule, noise.turns) == (Rule.NONE, ())


def test_invalid_rows_are_counted_and_have_no_effect() -> None:
    rows = [record(run, 0.9, 0.01) for run in range(4)]
    rows[2] |= {"status": "INVALID", "value": 0.1, "ci_low": 0.09, "ci_high": 0.11}
    rows[3] |= {"status": "SKIPPED", "value": NAN}
    result = only(*rows)
    assert result.turns == ()
    assert result.invalid == 1
    assert result.points.tolist() == [0, 1]


def test_a_time_of_one_process_has_no_say() -> None:
    rows = [record(run, 1e5, 1e3, metric="latency_p99", unit="ns") for run in range(3)]
    rows[1] |= {"ci_low": 0.0, "ci_high": math.inf, "value": 9e5}
    result = only(*rows)
    assert result.points.tolist() == [0, 2]
    assert result.turns == ()


@pytest.mark.parametrize("column", ["model", "target", "backend", "setting", "case", "metric", "unit"])
def test_another_key_is_another_series(column: str) -> None:
    every = find(record(0, 0.9, 0.01), record(1, 0.5, 0.01, **{column: "other"}))
    assert len(every) == 2
    assert not any(item.turns for item in every)


def test_steps_of_an_exact_series_count_the_runs_on_both_sides() -> None:
    values = [0.0, 0.0, 5.0, 5.0, 5.0, 2.0]
    result = only(
        *(record(run, value, suite="performance", metric="model_bytes", unit="byte") for run, value in
          enumerate(values))
    )  # fmt: skip
    first, second = (turn.level for turn in result.turns)
    assert (first.at, first.before, first.after) == (2, Interval(0, 0, 0, 2), Interval(5, 5, 5, 3))
    assert first.change == Interval(5, 5, 5, 5)  # no ratio to zero: the difference
    assert (second.at, second.before, second.after) == (5, Interval(5, 5, 5, 3), Interval(2, 2, 2, 1))
    assert second.change == Interval(0.4, 0.4, 0.4, 4)
    share = only(*(record(run, value) for run, value in enumerate([0.5, 0.75])))
    assert share.turns[0].level.change == Interval(0.25, 0.25, 0.25, 2)


def test_series_of_several_keys_come_apart_whatever_their_order() -> None:
    rows = [
        record(run, value + run, 0.01, target=target, variant=variant)
        for run in range(3)
        for target, variant, value in (("cpu", "int8", 0.1), ("cpu", "float32", 0.2), ("pi", "int8", 0.3))
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = [rows[place] for place in order]
    every = find(*mixed)
    assert [(trend.key["target"], trend.key["variant"]) for trend in every] == [
        ("cpu", "float32"), ("cpu", "int8"), ("pi", "int8"),
    ]  # fmt: skip
    for trend in every:
        assert [mixed[place]["run"] for place in trend.points] == [0, 1, 2]
        assert {mixed[place]["target"] for place in trend.points} == {trend.key["target"]}


def test_an_interval_of_an_unbounded_side_leaves_its_point_out() -> None:
    rows = [record(run, 0.9, 0.01) for run in range(3)]
    rows[0] |= {"ci_low": -math.inf}
    rows[1] |= {"ci_high": math.inf}
    assert only(*rows).points.tolist() == [2]
    timed = [record(run, 100.0, suite="performance", metric="latency_p50", unit="ns") for run in range(2)]
    timed[0] |= {"ci_low": 0.0, "ci_high": 200.0}
    timed[1] |= {"ci_low": 90.0, "ci_high": 110.0}
    assert only(*timed).points.tolist() == [1]  # a ratio to a bound of zero is none
    shares = [record(0, 0.1) | {"ci_low": 0.0, "ci_high": 0.2}, record(1, 0.1, 0.05)]
    assert only(*shares).points.tolist() == [0, 1]


def test_what_one_side_lacks_is_reported_as_a_change_from_or_to_nothing() -> None:
    rows = [record(0, 0.9, 0.01, provider=math.nan), record(1, 0.5, 0.01, provider="CPU")]
    (turn,) = only(*rows, circumstances={0: {"kernel": "6.1"}, 1: {"driver": "1"}}).turns
    assert turn.also == {"provider": ("", "CPU"), "kernel": ("6.1", ""), "driver": ("", "1")}


def test_a_time_changes_by_a_ratio_and_runs_scatter_more_than_its_interval() -> None:
    values = [100.0, 100.0, 100.0, 140.0, 140.0, 140.0]
    timed = [
        record(run, value, 1.0, suite="performance", metric="latency_p50", unit="ns")
        for run, value in enumerate(values)
    ]
    doubled = [row | {name: 10 * row[name] for name in ("value", "ci_low", "ci_high")} for row in timed[3:]]
    (turn,) = only(*timed[:3], *doubled).turns
    assert turn.level.change.value == pytest.approx(14.0)
    (time_,) = only(*timed).turns
    (share,) = only(*(row | {"suite": "accuracy", "metric": "accuracy", "unit": "1"} for row in timed)).turns
    widths = [step.change.high - step.change.low for step in (time_.level, share.level)]
    assert widths[0] > 1.5 * widths[1] / 100  # a ratio to 100, and widened


def test_circumstances_are_those_of_the_target() -> None:
    rows = [record(run, value, 0.01, target="pi") for run, value in enumerate([0.9, 0.5])]
    calls: list[tuple[int, str]] = []

    def of(run: int, target: str) -> Mapping[str, str]:
        calls.append((run, target))
        return {"kernel": "6.1", "driver": ""} if run else {"kernel": "6.1"}

    (trend,) = trends(pd.DataFrame(rows), of, installed())
    assert calls == [(0, "pi"), (1, "pi")]
    assert trend.turns[0].also == {}  # an empty text is as good as none


def test_each_series_is_judged_by_its_own_declaration_and_unit() -> None:
    """The clean share falls, and so does the loss: one is worse, the other better."""
    rows = [
        record(run, value, 0.01, metric=metric, unit=unit)
        for metric, unit in (("accuracy", "1"), ("accuracy_loss", "pt"))
        for run, value in enumerate([0.9, 0.9, 0.5, 0.5])
    ]
    assert [trend.turns[0].change for trend in find(*rows)] == [Change.WORSE, Change.BETTER]
