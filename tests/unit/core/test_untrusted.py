"""Values of a device: what is stored can be written as UTF-8, and numbers are numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import machine_facts
from harness.core.untrusted import cut, encodable, is_count, is_number, is_text, shown, storable
from harness.device import environment

#: All code points, lone surrogates too.
TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(TEXT)
def test_text_can_be_encoded_and_stays_what_it_was_if_it_could(text: str) -> None:
    encodable(text).encode()
    if not any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        assert encodable(text) == text


@given(TEXT, st.integers(40, 60))
def test_a_cut_text_is_short_and_cutting_it_again_changes_nothing(text: str, length: int) -> None:
    once = cut(text * 3, length)
    assert len(once) <= length
    assert cut(once, length) == once


@given(JSON)
def test_a_storable_value_survives_its_way_to_a_file(value: Any) -> None:
    try:
        stored = storable(value)
    except ValueError:
        return
    text = json.dumps(stored, ensure_ascii=False)
    assert json.loads(text.encode()) == stored or "NaN" in text


@pytest.mark.parametrize("value", [2**64 + 1, [[-(2**65)]], json.loads("[" * 50 + "]" * 50)])
def test_what_is_too_large_or_too_deep_is_not_storable(value: object) -> None:
    with pytest.raises(ValueError, match=r"64 bits|nested"):
        storable(value)


def test_counts_numbers_and_texts() -> None:
    nan = float("nan")
    assert [is_count(value) for value in (0, 5, -1, True, 1.0, nan, "1", None, 2**64)] == [True, True] + [
        False
    ] * 7
    assert [is_number(value) for value in (0, -1.5, nan, float("inf"), True, "1", 10**400)] == [
        True, True, False, False, False, False, False,
    ]  # fmt: skip
    assert [is_text(value) for value in ("", "x" * 1000, "x" * 1001, b"x", 1)] == [
        True, True, False, False, False,
    ]  # fmt: skip


@given(JSON)
def test_a_value_is_shown_in_a_few_letters(value: object) -> None:
    assert len(shown(value)) <= 70
    shown(value).encode("ascii")


def test_the_facts_of_this_machine_fit() -> None:
    facts = environment.static_facts() | environment.state_facts()
    facts |= {"scheduling": environment.scheduling()}
    assert machine_facts.problem(json.loads(json.dumps(facts))) is None


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"device": 5}, "device"),
        ({"cpu_affinity": "two"}, "cpu_affinity"),
        ({"cpu_quota": float("nan")}, "cpu_quota"),
        ({"cpu_time": {"busy": 1}}, "cpu_time"),
        ({"cpu_time": {"busy": 1, "steal": None}}, "cpu_time"),
        ({"scheduling": {"ran_ns": -1}}, "scheduling"),
        ({"scheduling": []}, "scheduling"),
        ({"isa": "avx"}, "isa"),
        ({"gpu_state": [1]}, "gpu_state"),
        ({"gpu_state": {"throttled_ns": 1}}, "gpu_state.throttled_ns"),
        ({"memory_byte": {"na": np.pi}}, "memory_byte"),
    ],
)
def test_a_fact_that_does_not_fit_is_named(facts: dict[str, Any], name: str) -> None:
    problem = machine_facts.problem(facts)
    assert problem is not None
    assert problem[0] == name
    assert machine_facts.problem({name.partition(".")[0]: {"na": "no such sensor"}}) is None
