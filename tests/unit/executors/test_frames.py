"""Fields of frames: what does not fit is refused by its name; what fits comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.core.artifact import Artifact, File
from harness.core.errors import WorkerError
from harness.core.job import Batch, Case, Options, Status
from harness.core.untrusted import MAX_RAW, MAX_REASON
from harness.executors import frames

ARTIFACT = Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path())
BATCH = Batch("cpu", "null", "float32", "s", ARTIFACT, {"deploy": Options()}, {}, {}, (Case("a"), Case("b")))
JOB = BATCH.jobs[0]
RESULT: dict[str, Any] = {
    "type": "result", "key": list(JOB.key), "status": "OK", "reason": "", "values": {"n": 1},
    "effective": {"provider": "cpu"}, "started_utc": "2026-11-27", "duration_ns": 5, "cause": "", "raw": "",
}  # fmt: skip


def test_a_result_comes_back() -> None:
    x = np.arange(3)
    result = frames.job_result(RESULT, {"x": x}, BATCH, JOB)
    assert (result.key, result.status, result.duration_ns) == (JOB.key, Status.OK, 5)
    assert result.samples.values == {"n": 1}
    assert result.samples.arrays["x"] is x


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", []), ("key", None), ("key", [*JOB.key[:-1], 1]), ("key", [*JOB.key, 0]),
        ("key", list(BATCH.jobs[1].key)), ("status", "ok"), ("status", []), ("reason", None), ("reason", 5),
        ("values", None), ("values", []), ("values", {"x": 10**30}), ("effective", []),
        ("effective", {"x": 1}), ("effective", {"x": "y" * 2000}), ("started_utc", 1),
        ("started_utc", "x" * 100), ("duration_ns", float("nan")), ("duration_ns", "1"),
        ("duration_ns", True), ("duration_ns", -1), ("duration_ns", 2**80), ("raw", 1),
    ],
)  # fmt: skip
def test_a_field_that_does_not_fit_is_named(field: str, value: object) -> None:
    with pytest.raises(WorkerError, match=f"worker of null on cpu sent a result that is refused: {field} is"):
        frames.job_result({**RESULT, field: value}, {}, BATCH, JOB)


@pytest.mark.parametrize("field", ["key", "status", "reason", "values", "effective", "duration_ns"])
def test_a_missing_field_is_named(field: str) -> None:
    header = {name: value for name, value in RESULT.items() if name != field}
    with pytest.raises(WorkerError, match=f"{field} is None"):
        frames.job_result(header, {}, BATCH, JOB)


def test_text_is_made_storable_and_cut() -> None:
    header = {
        **RESULT, "status": "ERROR", "reason": "\ud800" + "x" * 10**6, "raw": "\udfff" + "y" * 10**7,
        "values": {"a\ud800": ["b\udc80"]}, "effective": {"note\udc80": "\ud800"},
    }  # fmt: skip
    result = frames.job_result(header, {"z\udc80": np.zeros(1)}, BATCH, JOB)
    assert result.reason.startswith("\\ud800xxx")
    assert len(result.reason) <= MAX_REASON
    assert len(result.raw) <= MAX_RAW
    texts = [result.reason, result.raw, *result.samples.values, *result.samples.arrays, *result.effective]
    for text in [*texts, result.samples.values["a\\ud800"][0], *result.effective.values()]:
        text.encode()


def test_only_jobs_that_ended_can_have_been_delayed() -> None:
    header = {"phase": "during", "facts": {"jobs": [list(BATCH.jobs[1].key)]}}
    with pytest.raises(WorkerError, match=r"facts\.jobs is"):
        frames.environment(header, BATCH, [JOB.key], {})
    header["facts"] = {"jobs": [list(JOB.key)], "host": "elsewhere"}
    record = frames.environment(header, BATCH, [JOB.key], {"host": "here"})
    assert record.facts == {"jobs": [list(JOB.key)], "host": "here"}, "the host's facts go first"


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ({"facts": {}}, "phase"), ({"phase": "later", "facts": {}}, "phase"), ({"phase": []}, "phase"),
        ({"phase": "before"}, "facts"), ({"phase": "before", "facts": {"load_1min": "5"}}, "facts.load_1min"),
        ({"phase": "before", "facts": {"jobs": 5}}, "facts.jobs"),
        ({"phase": "before", "facts": {"x": 10**40}}, "facts"),
    ],
)  # fmt: skip
def test_an_environment_that_does_not_fit_is_named(header: dict[str, Any], field: str) -> None:
    with pytest.raises(WorkerError, match=f"sent an environment that is refused: {field} is"):
        frames.environment(header, BATCH, [], {})


PART: dict[str, Any] = {"type": "part", "key": list(JOB.key), "values": {"n": 1}}


def test_a_part_comes_back() -> None:
    part = frames.job_part(PART, {"x": np.zeros((1, 3))}, BATCH, JOB)
    assert (part.key, part.samples.values, part.samples.arrays["x"].shape) == (JOB.key, {"n": 1}, (1, 3))


@pytest.mark.parametrize(
    ("field", "value"),
    [("key", list(BATCH.jobs[1].key)), ("key", None), ("values", []), ("values", {"x": 10**30})],
)
def test_a_part_that_does_not_fit_is_refused(field: str, value: object) -> None:
    with pytest.raises(WorkerError, match=f"sent a part that is refused: {field} is"):
        frames.job_part({**PART, field: value}, {}, BATCH, JOB)
