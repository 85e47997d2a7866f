"""Declarations of metrics: directions, families, what a run stores of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.core.metric import Column, Declared, Metric, Noise, Role, Timed

FULL = Metric(
    "1", "higher", Noise.SAMPLE, "clean", Role.RESULT, Column("accuracy %", 100, ".2f", bound=True, spare=2),
    Column("worst shift pt", 100, "+.0f"), drift=True, per_data_set=True, share="simple", percentile=0.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("better", "order"),
    [("higher", [-2.0, 0.5, 1.0, 3.0]), ("lower", [3.0, 1.0, 0.5, -2.0]), (1.0, [-2.0, 3.0, 0.5, 1.0])],
)
def test_goodness_orders_values_from_worst_to_best(better: str | float, order: list[float]) -> None:
    good = Metric("1", better).goodness([1.0, -2.0, 3.0, 0.5])  # type: ignore[arg-type]
    assert [[1.0, -2.0, 3.0, 0.5][place] for place in np.argsort(good)] == order


def test_without_a_direction_every_value_is_as_good() -> None:
    assert Metric("1").goodness([1.0, -2.0]).tolist() == [0.0, 0.0]


def test_a_direction_that_is_no_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="better is 'up'; give \"higher\""):
        Metric("1", "up")  # type: ignore[arg-type]


def test_a_plain_name_counts_before_a_pattern_and_another_suite_never() -> None:
    family, one = Metric("1", "higher"), Metric("1", "lower")
    declared = Declared({"s": {"deterministic_*": family, "deterministic_loss": one}})
    assert declared.find("s", "deterministic_repeat") is family
    assert declared.find("s", "deterministic_loss") is one
    assert declared.find("s", "other") is None
    assert declared.find("t", "deterministic_repeat") is None


def test_roles_come_in_the_order_in_which_they_are_asked_for() -> None:
    declared = Declared(
        {"s": {"size": Metric("byte", role=Role.SIZE), "right": Metric("1", role=Role.RESULT)}}
    )
    assert [name for _, name, _ in declared.with_role(Role.RESULT, Role.SIZE)] == ["right", "size"]


def test_what_can_be_timed_names_its_case_and_percentile() -> None:
    declared = Declared({"s": {"p50": Metric("ns", case="single", percentile=0.5), "other": Metric("ns")}})
    assert declared.timed() == [Timed("s", "p50", "single", 0.5)]


def test_declarations_survive_json() -> None:
    declared = Declared({"s": {"full": FULL, "plain": Metric("ns"), "target": Metric("1", 0.5)}})
    assert Declared.from_json(json.loads(json.dumps(declared.to_json()))) == declared
    assert Metric("ns").to_json() == {"unit": "ns"}


def test_a_newer_key_is_ignored_and_an_unreadable_suite_is_left_out() -> None:
    value = {"s": {"m": {"unit": "1", "later": 1}}, "bad": {"m": {"unit": "1", "better": "up"}}, "t": 3}
    assert Declared.from_json(value) == Declared({"s": {"m": Metric("1")}})
    assert Declared.from_json(None) == Declared()


def test_the_first_declarations_count_where_both_know_a_suite() -> None:
    one, two = Declared({"s": {"a": Metric("1")}}), Declared({"s": {"b": Metric("1")}, "t": {}})
    assert one.or_else(two) == Declared({"s": {"a": Metric("1")}, "t": {}})
