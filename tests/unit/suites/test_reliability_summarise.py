"""Every row of every case, by hand: values, counts and notes from samples that were written down."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.job import Case, Job, JobResult, Options, Samples, Status
from harness.core.measurement import Measurement
from harness.core.suite import SummaryContext
from harness.stats.intervals import clopper_pearson
from suites.reliability.summarise import METRICS, ReliabilitySuite

ARTIFACT = Artifact("int8", "onnx", (File("a", "1" * 64, 5), File("b", "2" * 64, 6)), Path())


def rows(
    name: str, samples: Samples, options: Options | None = None, artifact: Artifact = ARTIFACT, *,
    emulated: bool = False, **more: Any,
) -> list[Measurement]:  # fmt: skip
    job = Job("cpu", "onnxruntime", "int8", "reliability", Case(name, samples=8))
    context = SummaryContext(
        artifact, options or Options(), "classification", None, lambda *_: None, emulated, {}, **more
    )
    return ReliabilitySuite().summarise(job, JobResult(job.key, Status.OK, samples=samples), context)


def summary(measurements: list[Measurement]) -> list[tuple[str, float, int, str]]:
    for row in measurements:
        assert (row.status, row.unit, row.reference, row.case) == (Status.OK, "1", "", "")
        assert row.metric in METRICS
    return [(row.metric, row.value, row.n, row.reason) for row in measurements]


def test_determinism_counts_each_repeat_of_each_answer() -> None:
    first = np.array([[1, 2], [3, 4]])
    again = np.stack([first, first, [[1, 2], [3, 5]]])
    arrays = {"first": first, "repeat": again, "session": first, "process": again[2]}
    assert summary(rows("determinism", Samples(arrays, {}))) == [
        ("deterministic_repeat", pytest.approx(5 / 6), 6, ""),
        ("deterministic_session", 1.0, 2, ""),
        ("deterministic_process", 0.5, 2, ""),
    ]


@pytest.mark.parametrize(
    ("name", "what", "values", "note"),
    [
        (
            "batch_invariance",
            "batch",
            {"first": 1, "tried": [8, 2, 3, 4], "left_out": {}},
            "batch 2 to 4, 8 against 1",
        ),
        (
            "thread_invariance",
            "thread",
            {"first": 1, "tried": [2, 4], "left_out": {"8": "two cores", "16": "no time", "9": "two cores"}},
            "threads 2, 4 against 1; not 8, 9: two cores; not 16: no time",
        ),
        ("thread_invariance", "thread", {"first": 1, "tried": [2], "left_out": {}}, "threads 2 against 1"),
    ],
)
def test_invariance_has_the_share_and_the_largest_differences(
    name: str, what: str, values: dict[str, Any], note: str
) -> None:
    arrays = {
        "bit_equal": np.array([True, False, True, True]),
        "difference": np.array([0.0, 0.5, 0.25, 0.0]),
        "relative_difference": np.array([0.0, 0.125, math.inf, 0.0]),
        "by_output": np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.25], [0.0, 0.0]]),
        "tried": np.array([2, 2, 4, 4]),
    }
    values = {**values, "outputs": ["y", "z"], "precision": "bf16", "storage": ""}
    card = {"rounding": {"y": 0.5, "z": 0.05}, "short_rounding": {"y": 0.5, "z": 0.05}}
    *differences, over = rows(name, Samples(arrays, values), **card)
    noun = {"batch": "batch", "thread": "threads"}[what]
    worst = f"with {noun} 4 the output z differs by 0.25, rounding in bf16 explains 0.1"
    assert summary([over]) == [(f"{what}_max_over_rounding", 2.5, 4, f"{worst}; {note}")]
    assert summary(differences) == [
        (f"{what}_bit_equal", 0.75, 4, note),
        (f"{what}_max_difference", 0.5, 4, note),
        (f"{what}_max_relative_difference", math.inf, 4, f"finite on one side only; {note}"),
    ]


def test_an_invariance_of_a_run_from_before_the_bound_has_no_bound() -> None:
    arrays = {name: np.zeros(2) for name in ("bit_equal", "difference", "relative_difference")}
    assert [row.metric for row in rows("batch_invariance", Samples(arrays, {}))] == [
        "batch_bit_equal",
        "batch_max_difference",
        "batch_max_relative_difference",
    ]


@pytest.mark.parametrize("old", [True, False])
def test_without_a_bound_equal_bits_pass_and_other_bits_are_skipped_with_the_reason(old: bool) -> None:
    zeros, apart = np.zeros(2), np.array([0.0, 0.5])
    values = {"first": 1, "tried": [2], "left_out": {}, "outputs": ["y"], "precision": "f32", "storage": ""}
    for gap in (zeros, apart):
        arrays = dict.fromkeys(("difference", "relative_difference"), gap)
        arrays |= {"bit_equal": gap == 0, "tried": np.array([2, 2])}
        arrays |= {} if old else {"by_output": gap[:, None]}
        row = rows("batch_invariance", Samples(arrays, values), no_rounding="there is no ONNX file")[-1]
        assert row.metric == "batch_max_over_rounding"
        if gap is zeros:
            assert (row.status, row.value) == (Status.OK, 0.0)
        else:
            why = "the run is of an earlier version" if old else "there is no ONNX file"
            assert (row.status, row.reason) == (Status.SKIPPED, f"no bound is known: {why}")


def test_bad_input_names_what_slipped_through() -> None:
    outcomes = {"empty": "refused", "text": "answered", "wide": "crashed", "none": "refused"}
    samples = Samples({"recovered": np.array([True, True, False])}, {"outcomes": outcomes})
    assert summary(rows("bad_input", samples)) == [
        ("bad_input_refused", 0.5, 4, "text: answered; wide: crashed"),
        ("recovered_after_bad_input", pytest.approx(2 / 3), 3, ""),
    ]


def test_nonfinite_input_counts_what_was_hidden_by_kind() -> None:
    outcomes = {"nan": ["finite", "nan", "finite"], "inf": ["inf"], "-inf": ["finite"]}
    samples = Samples({"recovered": np.array([True])}, {"outcomes": outcomes})
    assert summary(rows("nonfinite_input", samples)) == [
        ("nonfinite_hidden", 0.6, 5, "nan 2/3, -inf 1/1"),
        ("recovered_after_nonfinite_input", 1.0, 1, ""),
    ]


@pytest.mark.parametrize(
    ("precision", "handled", "says"),
    [
        ("", [], ""),
        ("int8", [], "int8 has no NaN: a quantizer may take it for zero"),
        ("", ["IsNaN"], "IsNaN takes NaN for something else, or only compares"),
    ],
)
def test_nan_that_is_taken_as_zero(precision: str, handled: list[str], says: str) -> None:
    arrays = {"recovered": np.array([True]), "as_zero": np.array([True, False, True, True])}
    samples = Samples(arrays, {"outcomes": {"nan": ["finite"]}, "handled": handled})
    row = rows("nonfinite_input", samples, artifact=replace(ARTIFACT, precision=precision))[1]
    assert (row.metric, row.reason) == ("nan_taken_as_zero", says)
    assert (row.status is Status.OK) == (not says)
    assert (row.value == 0.75) == (not says)


DAMAGE = ["refused", "crashed", "hung", "loaded_different", "refused", "loaded_same", "refused", "refused"]
COUNTS = "crashed 1, hung 1, loaded_different 1, loaded_same 1, refused 4"
AFTER = [
    ("damage_crashed", 0.25, 8, ""),  # hung counts as crashed
    ("hash_catches_damage", 0.75, 4, ""),
    ("recovered_after_damage", 0.5, 2, ""),
]


def damaged() -> Samples:
    arrays = {"caught": np.array([True, True, False, True]), "recovered": np.array([True, False])}
    return Samples({**arrays, "bit": np.arange(8)}, {"outcomes": DAMAGE})


@pytest.mark.parametrize(
    ("outcome", "noticed"), [("refused", 1), ("loaded_different", 1), ("loaded_same", 0)]
)
def test_a_scrambled_copy_is_no_flip(outcome: str, noticed: float) -> None:
    arrays = {"caught": np.array([True]), "recovered": np.array([True]), "bit": np.array([3, 0, 8])}
    samples = Samples(arrays, {"outcomes": ["refused", "loaded_same", outcome]})
    silent, scrambled, *_ = rows("bit_flips", samples)
    assert (silent.metric, silent.value, silent.n) == ("bit_flip_silent", 0, 2)
    assert (scrambled.metric, scrambled.value, scrambled.n) == ("scrambled_file_noticed", noticed, 1)
    assert (silent.reason, scrambled.reason) == ("loaded_same 1, refused 1", outcome)


def test_truncated_files() -> None:
    assert summary(rows("truncated_file", damaged())) == [("truncation_refused", 0.5, 8, COUNTS), *AFTER]


def test_bit_flips_are_a_sample_and_have_an_exact_interval() -> None:
    silent, *after = rows("bit_flips", damaged())
    assert summary([silent, *after]) == [("bit_flip_silent", 0.125, 8, COUNTS), *AFTER]
    expected = clopper_pearson(1, 8)
    assert (silent.ci_low, silent.ci_high) == (expected.low, expected.high)
    assert all(math.isnan(row.ci_low) and math.isnan(row.ci_high) for row in after)


@pytest.mark.parametrize(
    ("requested", "used", "expected", "note"),
    [
        ("", "GPU", 1.0, "left to the runtime, which uses GPU"),
        ("", "", 1.0, "left to the runtime, which does not report it"),
        ("GPU", "", 0.0, "asked for GPU, the runtime does not report it"),
        ("GPU", "gpu", 1.0, "asked for GPU, the runtime uses gpu"),
        ("gpu", "GPU.1", 1.0, "asked for gpu, the runtime uses GPU.1"),
        ("GPU", "GPUX", 0.0, "asked for GPU, the runtime uses GPUX"),
        ("GPU", "CPU", 0.0, "asked for GPU, the runtime uses CPU"),
    ],
)
@pytest.mark.parametrize("what", ["provider", "precision"])
def test_provenance_compares_what_was_asked_with_what_is_used(
    what: str, requested: str, used: str, expected: float, note: str
) -> None:
    values = {"effective": {what: used} if used else {}, "sha256": {"a": "1" * 64, "b": "3" * 64}}
    measured = rows("provenance", Samples({}, values), Options(**{what: requested}))
    assert [row.metric for row in measured] == [
        "provider_as_asked",
        "precision_as_asked",
        "effective_reported",
        "artifact_hash_equal",
    ]
    assert measured[2].value == pytest.approx(bool(used) / 3)
    row = measured[("provider", "precision").index(what)]
    assert (row.value, row.n, row.reason) == (expected, 1, note)
    other = measured[("precision", "provider").index(what)]
    assert (other.value, other.reason) == (1.0, "left to the runtime, which does not report it")
    assert (measured[3].value, measured[3].n) == (0.5, 2)  # one of two files is another


@pytest.mark.parametrize("emulated", [False, True])
def test_the_threads_of_an_emulator_say_nothing(emulated: bool) -> None:
    facts = {
        "threads": [0.5, 0.0, 0.5], "libraries": {"na": "none"}, "gpu": None,
        "precision": {"half_file": False, "answers": "", "changed": {}},
    }  # fmt: skip
    values = {"effective": {"threads": "1"}, "sha256": {}, "claims": facts}
    made = {row.metric: row for row in rows("provenance", Samples({}, values), emulated=emulated)}
    row = made["threads_confirmed"]
    assert (row.status is Status.SKIPPED) is emulated
    assert emulated or row.value == 0
