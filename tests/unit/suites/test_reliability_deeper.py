"""The cases of the profile standard, on planted sessions; surroundings in processes of their own."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.job import Case, Samples, merge
from harness.core.measurement import Measurement
from harness.core.suite import SummaryContext
from harness.testing.faults import FAULTS
from suites.reliability.deeper import cases, rows, surroundings, unusual
from suites.reliability.measure import measure
from tests.unit.suites.planted import InProcessBench, batch
from tests.unit.suites.reliability_bench import bench_of, results

CASES = {
    cases.CONCURRENT: {"at_once": 4, "seconds": 0.05},
    cases.UNUSUAL_VALUES: {"seed": 0},
    cases.SURROUNDINGS: {"memory_byte": [2**33]},
    cases.PRESSURE: {"seconds": 0.02},
}


def case(name: str) -> Case:
    return Case(name, data="clean", samples=4, deadline_s=60.0, params=CASES[name])


def by_metric(bench: InProcessBench, samples: Samples, **more: Any) -> dict[str, Measurement]:
    context = SummaryContext(
        bench.artifact, bench._batch.options["deploy"], "regression", None, lambda *_: None, False, {},
        rounding={"y": 1e-5}, **more,
    )  # fmt: skip
    made = {
        cases.CONCURRENT: rows.concurrent_rows,
        cases.UNUSUAL_VALUES: rows.unusual_rows,
        cases.PRESSURE: rows.pressure_rows,
    }
    return {row.metric: row for row in made[bench.job.case.name](bench.job.case, samples, context)}


def planted(folder: Path, name: str, fault: str = "healthy") -> dict[str, Measurement]:
    bench = bench_of(folder, case(name))
    bench._backend = next(one for one in FAULTS if one.name == fault).wrap(bench._backend, bench.artifact)
    return by_metric(bench, merge(measure(bench, bench.job.case)))


@pytest.mark.parametrize(
    ("name", "fault", "metric"),
    [
        (cases.CONCURRENT, "race-on-a-buffer", "sessions_at_once_max_over_rounding"),
        (cases.UNUSUAL_VALUES, "denormals-answered-by-chance", "unusual_values_repeat"),
        (cases.UNUSUAL_VALUES, "spoiled-by-denormals", "recovered_after_unusual_values"),
    ],
)
def test_a_healthy_session_passes_and_a_planted_fault_does_not(
    tmp_path: Path, name: str, fault: str, metric: str
) -> None:
    (tmp_path / "healthy").mkdir()
    (tmp_path / "planted").mkdir()
    healthy = planted(tmp_path / "healthy", name)[metric]
    wrong = planted(tmp_path / "planted", name, fault)[metric]
    if "over_rounding" in metric:
        assert healthy.value == 0
        assert "0 of" in healthy.reason
        assert wrong.value > 1
    else:
        assert healthy.value == 1
        assert wrong.value < 1
        assert "denormal" in wrong.reason


def test_a_session_for_one_thread_is_not_shared(tmp_path: Path) -> None:
    row = planted(tmp_path, cases.CONCURRENT)["threads_at_once_max_over_rounding"]
    assert (row.status, row.reason) == ("SKIPPED", "a session of this backend is for one thread")


def test_unusual_values_are_finite_and_of_every_kind() -> None:
    made = unusual.unusual(np.dtype(np.float32), (64,), 1)
    assert all(np.isfinite(values).all() and values.dtype == np.float32 for values in made.values())
    tiny = np.finfo(np.float32).tiny
    assert all(0 <= value < tiny for value in made["denormals"])
    assert np.signbit(made["minus zero"]).all()
    drawn = made["any exponent, draw 1"]
    assert drawn.min() < -1e10
    assert drawn.max() > 1e10
    assert (np.abs(drawn) < 1e-10).any()


def test_pressure_compares_each_call_and_tells_what_the_kernel_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "ROOT", tmp_path)
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/pressure/cpu").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull x\n")
    (tmp_path / "bench").mkdir()
    made = planted(tmp_path / "bench", cases.PRESSURE)
    assert made["answer_under_pressure"].value == 1
    assert made["answer_under_pressure"].n > 0
    assert surroundings._waited_us("CPU") == 7
    assert surroundings._waited_us("files") == "/proc/pressure/io cannot be read: No such file or directory"


def test_each_condition_is_tried_in_a_process_of_its_own(tmp_path: Path, installed_planted: None) -> None:
    facts = batch(tmp_path, "reliability", (case(cases.SURROUNDINGS),), {})
    (result,) = results(facts, tmp_path)
    outcomes = result.samples.values["outcomes"]
    assert set(outcomes) == {*surroundings.CONDITIONS, f"memory {2**33}"}
    assert {text.partition(":")[0] for text in outcomes.values()} <= {"same", "missing", "refused"}
    assert (
        outcomes["another time zone"] == outcomes["few descriptors"] == outcomes[f"memory {2**33}"] == "same"
    )
    assert outcomes["a working folder that was deleted"] == "same"


def test_a_condition_that_cannot_be_set_up_says_nothing_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "ROOT", tmp_path)  # without /proc
    with pytest.raises(surroundings.Missing, match="few descriptors cannot be set up"):
        surroundings._set_up("few descriptors", tmp_path)
    with pytest.raises(surroundings.Missing, match="memory 16 cannot be set up"):
        surroundings._set_up("memory 16", tmp_path)


def test_a_wrong_answer_is_told_by_condition_and_a_refusal_is_none() -> None:
    outcomes = {
        "another time zone": "wrong", "few descriptors": f"refused: OSError: {errno.EMFILE}",
        "another locale": "missing: none is installed", "memory 16777216": "died: was killed by SIGABRT",
        "memory 67108864": "same",
    }  # fmt: skip
    made = rows.surroundings_rows(case(cases.SURROUNDINGS), Samples({}, {"outcomes": outcomes}), None)  # type: ignore[arg-type]
    by_case = {row.case: row for row in made if row.metric == "answer_in_surroundings"}
    assert by_case["surroundings/another time zone"].value == 0
    assert by_case["surroundings/few descriptors"].value == 1
    assert by_case["surroundings/another locale"].status == "SKIPPED"
    assert by_case["surroundings/memory"].value == 1
    assert next(row for row in made if row.metric == "least_memory").value == 2**26
    worse = replace(Samples(), values={"outcomes": {"memory 16777216": "wrong", "memory 67108864": "same"}})
    made = rows.surroundings_rows(case(cases.SURROUNDINGS), worse, None)  # type: ignore[arg-type]
    assert made[0].value == 0
