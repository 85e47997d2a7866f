from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.core.artifact import TensorSpec
from harness.core.errors import ConfigurationError
from harness.core.suite import CaseContext, SetInfo
from suites.performance import cases as plan


def context(settings: dict[str, Any] | None = None, **changed: Any) -> CaseContext:
    values: dict[str, Any] = {
        "variant": "int8",
        "reference": False,
        "quantized": True,
        "task": "classification",
        "settings": settings or {},
        "sets": (SetInfo("clean", "clean", 0, 800, lambda n: ""),),
        "batch": None,
        "inputs": (TensorSpec("x", (None, 4), "float32"),),
    }
    return CaseContext(**(values | changed))


def test_default_requests_over_all_processes_satisfy_early_stopping() -> None:
    single_stream, offline, varied = plan.cases(context())
    assert (single_stream.name, offline.name, varied.name) == ("single_stream", "offline", "varied")
    assert {single_stream.setting, offline.setting, varied.setting} == {"deploy"}
    params = single_stream.params
    assert params["processes"] >= 5
    assert params["processes"] * params["requests"] >= 662 > params["processes"] * (params["requests"] - 1)
    assert offline.params["batch_sizes"] == [1, 8, 32]
    assert offline.params["left_out"] == {}
    assert offline.samples == 32


def test_memory_of_the_devices_own_gives_a_second_latency() -> None:
    single_stream, device_buffers, offline, _ = plan.cases(context(device_memory=True))
    assert (device_buffers.name, offline.name) == ("device_buffers", "offline")
    assert replace(device_buffers, name="single_stream") == single_stream


def test_on_an_emulated_clock_as_little_as_can_be() -> None:
    """One request, in the worker itself (it has an index): a fresh process takes ten seconds there."""
    *timed, varied = plan.cases(context(emulated=True))
    for case in timed:
        assert (case.params["processes"], case.params["index"]) == (1, 0)
        assert case.params["seconds"] < 0.01
    assert (varied.params["calls"], varied.params["batch_sizes"], varied.params["inputs"]) == (4, [1], 1)
    assert all("index" not in case.params for case in plan.cases(context())[:-1])


def test_varied_calls_run_in_one_process_and_an_error_in_five_thousand_has_to_occur() -> None:
    varied = plan.cases(context())[-1]
    assert varied.params["index"] == 0  # no process of its own
    assert varied.params["calls"] > 5_000
    assert varied.params["batch_sizes"] == [1, 2, 3]
    assert varied.samples == varied.params["inputs"] == 8
    assert varied.deadline_s > 10 * varied.params["max_seconds"]
    assert plan.cases(context({"varied_calls": 9, "varied_seconds": 2}))[-1].params["calls"] == 9
    few = plan.cases(context(max_samples=2))[-1]
    assert (few.samples, few.params["batch_sizes"]) == (2, [1, 2])
    assert plan.cases(context(batch=32))[-1].samples == 32


def test_batch_sizes_beyond_the_samples_are_left_out_with_the_reason() -> None:
    _, offline, _ = plan.cases(context(max_samples=10))
    assert offline.params["batch_sizes"] == [1, 8]
    assert offline.params["left_out"] == {"32": "there are only 10 samples"}
    assert offline.samples == 8


def test_fixed_batch_is_the_only_one() -> None:
    single_stream, offline, _ = plan.cases(context(batch=4))
    assert offline.params["batch_sizes"] == [4]
    assert set(offline.params["left_out"]) == {"1", "8", "32"}
    assert "fixed batch of 4" in offline.params["left_out"]["8"]
    assert single_stream.samples == 5  # a row a process is enough: rows begin anew


def test_reference_on_the_host_is_not_timed() -> None:
    assert plan.cases(context(reference=True)) == ()


def test_deadlines_outlast_what_is_timed() -> None:
    settings = {"processes": 7, "max_seconds": 100, "rounds": 2, "batch_sizes": [1, 2, 3]}
    single_stream, offline, _ = plan.cases(context(settings))
    assert single_stream.deadline_s > 7 * 100
    assert offline.deadline_s > 2 * 3 * 100


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ({"proceses": 5}, "proceses", "did you mean processes?"),
        ({"processes": 1}, "processes", "at least 2"),
        ({"processes": True}, "processes", "whole number"),
        ({"rounds": 2.0}, "rounds", "whole number"),
        ({"seconds": "1"}, "seconds", "number of seconds"),
        ({"warm_up_seconds": 0}, "warm_up_seconds", "above 0"),
        ({"offline_seconds": float("inf")}, "offline_seconds", "number of seconds"),
        ({"varied_calls": 0}, "varied_calls", "at least 1"),
        ({"varied_seconds": 0}, "varied_seconds", "above 0"),
        ({"batch_sizes": []}, "batch_sizes", "different whole numbers"),
        ({"batch_sizes": [1, 0]}, "batch_sizes", "at least 1"),
        ({"batch_sizes": 8}, "batch_sizes", "list"),
        ({"seconds": 30}, "seconds", "more than max_seconds, 20"),
        ({"max_seconds": 0.1}, "seconds", "more than max_seconds, 0.1"),
    ],
)
def test_check_names_the_key_and_what_it_must_be(table: dict[str, Any], key: str, says: str) -> None:
    ((wrong_key, message),) = plan.check(table)
    assert wrong_key == key
    assert says in message


def test_check_reports_every_problem_and_read_refuses() -> None:
    table = {"processes": 0, "rounds": 0, "typo": 1}
    assert [key for key, _ in plan.check(table)] == ["typo", "processes", "rounds"]
    with pytest.raises(ConfigurationError) as caught:
        plan.read(table)
    assert len(caught.value.problems) == 3


def test_read_takes_whole_seconds_and_lists() -> None:
    settings = plan.read({"seconds": 1, "batch_sizes": [2, 4]})
    assert settings.batch_sizes == (2, 4)
    assert settings.seconds == 1
    assert settings.processes == plan.Settings().processes
