"""Shares of equal answers against numpy, and every reason for which two devices cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.job import Samples
from harness.stats.device_agreement import SHIFTS, Agreement, Device, Place, agreements
from harness.stats.intervals import wilson

CLEAN = Place("accuracy", "int8", "deploy", "clean", 0)
FOG = [Place("accuracy", "int8", "deploy", "fog", severity) for severity in (1, 2, 3)]
SETS = {"clean": "c", "fog_1": "1", "fog_2": "2", "fog_3": "3"}


class Suite:
    """Answers are whole numbers; equal ones have the same top-1, and the same bits where both are even."""

    def answers(self, samples: Samples, task: str) -> NDArray[Any]:
        return samples.arrays["y"]

    def alike(self, one: Any, other: Any, task: str) -> Mapping[str, NDArray[Any]]:
        if one.ndim != other.ndim:
            raise DataError("outputs of other shapes")
        n = min(len(one), len(other))
        same = one[:n] == other[:n]
        return {"top-1": same, "bits": same & (one[:n] % 2 == 0)}


def device(name: str, answers: Mapping[Place, Any], **more: Any) -> Device:
    return Device(name, more.get("sets", SETS), more.get("task", "classification"), answers)


def only(one: Device, other: Device, place: Place = CLEAN) -> Agreement:
    (agreement,) = (
        candidate for candidate in agreements([one, other], {"accuracy": Suite()}) if candidate.place == place
    )
    return agreement


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.lists(st.integers(0, 3), min_size=1))
def test_shares_are_over_the_samples_that_both_ran(one: list[int], other: list[int]) -> None:
    agreement = only(device("a", {CLEAN: np.array(one)}), device("b", {CLEAN: np.array(other)}))
    n = min(len(one), len(other))
    same = sum(x == y for x, y in zip(one, other, strict=False))
    assert agreement.shares["top-1"] == wilson(same, n)
    assert agreement.shares["bits"].value == sum(
        x == y and x % 2 == 0 for x, y in zip(one, other, strict=False)
    ) / n  # fmt: skip


def test_all_shifts_count_every_answer_and_say_what_is_left_out() -> None:
    one = device("a", {place: np.arange(4) for place in FOG})
    answers = {FOG[0]: np.arange(4), FOG[1]: np.array([0, 1]), FOG[2]: np.arange(4)}
    other = device("b", answers, sets={**SETS, "fog_3": "else"})
    agreement = only(one, other, FOG[0]._replace(case=SHIFTS, severity=0))
    assert (agreement.shares["top-1"].value, agreement.shares["top-1"].n) == (1.0, 6)
    assert agreement.shares["bits"].value == pytest.approx(3 / 6)
    assert agreement.why == "1 of 3 left out: other data"
    assert (agreement.one, agreement.other) == ("a", "b")
    assert math.isnan(agreement.shares["bits"].low)
    assert math.isnan(agreement.shares["bits"].high)
    assert only(one, other, FOG[2]).shares == {}


def test_shifts_that_all_agree_say_nothing_and_those_that_none_can_compare_say_why() -> None:
    place = FOG[0]._replace(case=SHIFTS, severity=0)
    one = device("a", {shift: np.arange(4) for shift in FOG})
    assert only(one, replace(one, name="b"), place).why == ""
    nothing = only(one, device("b", {FOG[0]: "ERROR: killed", FOG[1]: "ERROR: late"}), place)
    assert (nothing.shares, nothing.why) == ({}, "b: ERROR: killed")
    empty = {shift: np.empty(0, int) for shift in FOG}
    share = only(device("a", empty), device("b", empty), place).shares["top-1"]
    assert math.isnan(share.value)
    assert share.n == 0


def test_data_without_a_digest_on_both_sides_are_the_same_and_a_suite_that_cannot_tell_is_passed_over() -> (
    None
):
    other_suite = Place("reliability", "int8", "deploy", "clean", 0)
    answers = {other_suite: np.arange(3), CLEAN: np.arange(3)}
    one, other = (device(name, answers, sets={}) for name in "ab")
    assert only(one, other).shares["top-1"].n == 3
    for sets in ({"clean": ""}, {"other": "x"}):
        assert only(one, replace(other, sets=sets)).shares["top-1"].n == 3


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (device("b", {}), "not run on b"),
        (device("b", {CLEAN: "ERROR: SIGILL"}), "b: ERROR: SIGILL"),
        (device("b", {CLEAN: np.arange(3)}, sets={"clean": "d"}), "other data"),
        (device("b", {CLEAN: np.arange(3)}, sets={}), "other data"),
        (device("b", {CLEAN: np.arange(3)}, task="regression"), "other task"),
        (device("b", {CLEAN: np.ones((3, 2))}), "other outputs: outputs of other shapes"),
    ],
)
def test_what_cannot_be_compared_has_no_share_and_says_why(other: Device, why: str) -> None:
    agreement = only(device("a", {CLEAN: np.arange(3)}), other)
    assert agreement.shares == {}
    assert agreement.why == why


def test_each_two_devices_once_and_suites_that_cannot_tell_not_at_all() -> None:
    three = [device(name, {CLEAN: np.arange(3)}) for name in "abc"]
    all_pairs = agreements(three, {"accuracy": Suite()})
    assert [(pair.one, pair.other) for pair in all_pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert agreements(three, {"accuracy": object()}) == []
