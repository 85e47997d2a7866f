"""What the schemas of a target and of a validation cannot know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.load import check
from harness.config.targets import load_target, target_files
from harness.config.validation import Validation
from harness.core.errors import ConfigurationError, UsageError
from harness.core.target import Target
from harness.run.name_checks import check_targets, check_validation


def test_a_runtime_to_write_for_is_one_that_the_writer_knows() -> None:
    with pytest.raises(UsageError, match=r"unknown runtime 'tflite-2\.13'; did you mean 'tflite-2\.14'"):
        check_targets([Target("old", "", ("tflite",), for_runtime="tflite-2.13")])


def test_every_shipped_target_can_be_meant() -> None:
    check_targets(map(load_target, target_files()))


def problems_of(**gate: Any) -> str:
    """What is wrong with a gate; empty where nothing is."""
    table = {"name": "mine", "suite": "accuracy", "metric": "accuracy", "min": 0.5, **gate}
    tables = {"model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d.npz"}, "gate": [table]}
    try:
        check_validation(check(tables, Validation, where="here"), Path("validation.toml"))
    except ConfigurationError as error:
        return "\n".join(map(str, error.problems))
    return ""


@pytest.mark.parametrize(
    ("gate", "wrong"),
    [
        ({}, ""),
        ({"metric": "flips_*"}, ""),
        ({"suite": "performance", "metric": "latency_p99", "max": "10 ms", "min": None}, ""),
        ({"suite": "performance", "metric": "throughput", "min": "100 1/s"}, ""),
        ({"suite": "compression", "metric": "file_byte", "max": "1 MB", "min": None}, ""),
        ({"metric": "acuracy"}, "gate[0].metric ('mine'): unknown metric of accuracy 'acuracy'; "
                                "did you mean 'accuracy'? (known: accuracy, "),
        ({"metric": "nothing_*"}, "gate[0].metric ('mine'): unknown metric of accuracy 'nothing_*'"),
        ({"suite": "performance", "metric": "accuracy"}, "unknown metric of performance 'accuracy'"),
        ({"suite": "compression", "metric": "file_bytes"}, "did you mean 'file_byte'?"),
        ({"suite": "acuracy"}, "gate[0].suite ('mine'): unknown suite 'acuracy'; did you mean 'accuracy'?"),
        ({"metric": "worst_group_accuracy"},
         "gate[0].metric ('mine'): worst_group_accuracy is by group: name the column with [data] group"),
        ({"metric": "worst_window_*"}, "worst_window_* is by time: name the column with [data] time"),
        ({"metric": "*accuracy"}, ""),
        ({"variant": "int9"}, "gate[0].variant ('mine'): unknown variant 'int9'"),
        ({"max": "1 ms", "min": None},
         "gate[0] ('mine'): accuracy is measured in 1, and its limit is given in ns"),
        ({"suite": "performance", "metric": "latency_p*", "max": "3 MB", "min": None},
         "latency_p* is measured in ns, and its limit is given in byte"),
    ],
)  # fmt: skip
def test_a_gate_asks_for_what_its_suite_makes(gate: dict[str, Any], wrong: str) -> None:
    problems = problems_of(**gate)
    assert wrong in problems if wrong else not problems


SIDE_BY_SIDE = {
    "suite": "performance", "metric": "latency_p50", "min": None, "baseline": "a", "design": "side-by-side",
    "max_ratio": 1.05,
}  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "wrong"),
    [
        ({}, ""),
        ({"case": "single_stream"}, ""),
        ({"metric": "peak_memory"}, "peak_memory of the suite performance cannot be timed side by side; "
                                    "it has latency_p50, latency_p90, latency_p99"),
        ({"suite": "accuracy", "metric": "accuracy"}, "of the suite accuracy cannot be timed side by side; "
                                                      "it has no such metric"),
        ({"case": "offline_b8"}, "gate[0].case ('mine'): side by side, single_stream is timed alone"),
    ],
)  # fmt: skip
def test_side_by_side_what_its_suite_declares_can_be_timed(gate: dict[str, Any], wrong: str) -> None:
    problems = problems_of(**{**SIDE_BY_SIDE, **gate})
    assert wrong in problems if wrong else not problems


def test_names_differ_by_more_than_their_case() -> None:
    with pytest.raises(UsageError, match="unknown target 'CPU'; did you mean 'cpu'"):
        load_target("CPU")
