"""The journal gives back what was written, whatever a kill, a torn line or another program did to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.core.artifact import Artifact, File
from harness.core.cause import Cause
from harness.core.errors import ResultsError, StoreError
from harness.core.job import Batch, Case, EnvironmentRecord, JobKey, JobResult, Options, Samples, Status
from harness.core.plan import Plan
from harness.store.run_folder import RunFolder, find_run, point_latest
from tests.stored_run import RUN

KEY = JobKey("cpu", "null", "deploy", "float32", "accuracy", "clean", 0)
BATCH = Batch(
    "cpu", "null", "float32", "accuracy", Artifact("float32", "onnx", (File("m", "0" * 64, 1),), Path()),
    {"deploy": Options()}, {}, {}, (Case("clean"), Case("fog", 1)),
)  # fmt: skip
PLAN = Plan(
    (BATCH,),
    (JobResult(KEY._replace(target="gpu"), Status.SKIPPED, "no GPU"),),
    (("gpu", "null", "no GPU"),),
    0.5,
)
CARD = {"files": {"onnx": {"size_byte": 9}}, "passes": [1, 2]}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ARRAYS = st.sampled_from(["<f4", "<i8", "|u1", "<f8"]).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, min_side=0, max_side=3))
)
RESULTS = st.builds(
    JobResult,
    key=st.builds(
        JobKey, st.just("cpu"), st.text(), st.text(), st.text(), st.text(), st.text(), st.integers(0, 5)
    ),
    status=st.sampled_from(Status),
    reason=st.text(),
    samples=st.builds(
        Samples,
        st.dictionaries(st.text(), ARRAYS, max_size=2),
        st.dictionaries(st.text(), VALUES, max_size=2),
    ),
    effective=st.dictionaries(st.text(), st.text(), max_size=2),
    started_utc=st.text(),
    duration_ns=st.integers(0, 2**62),
    host_ns=st.integers(0, 2**62),
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.create(RUN, PLAN, np.array([1, 2]))
    return made


def same(a: JobResult, b: JobResult) -> bool:
    arrays = a.samples.arrays.keys() == b.samples.arrays.keys() and all(
        x.dtype == (y := b.samples.arrays[name]).dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for name, x in a.samples.arrays.items()
    )
    rest = [
        (r.key, r.status, r.reason, r.samples.values, r.effective, r.started_utc, r.duration_ns, r.host_ns)
        for r in (a, b)
    ]
    return arrays and rest[0] == rest[1]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(results=st.lists(RESULTS, max_size=4))
def test_journal_round_trip(tmp_path_factory: pytest.TempPathFactory, results: list[JobResult]) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "run")
    folder.create(RUN, PLAN, None)
    for result in results:  # one session each: appending continues at the end
        with folder.journal() as journal:
            journal.append(result)
    facts = folder.facts()
    wanted = {result.key: result for result in results}  # the last word counts
    assert {key: r for key, r in facts.results.items() if key.target != "gpu"}.keys() == wanted.keys()
    assert all(same(facts.results[key], result) for key, result in wanted.items())


def test_what_was_planned_comes_back(folder: RunFolder) -> None:
    facts = folder.facts()
    assert facts.plan == PLAN
    assert facts.run["run_id"] == "run"
    assert facts.labels is not None
    np.testing.assert_array_equal(facts.labels, [1, 2])
    assert facts.results == {PLAN.skipped[0].key: PLAN.skipped[0]}


def test_a_plan_that_was_cut_replaces_the_first_one(folder: RunFolder) -> None:
    cut = replace(PLAN, share=0.25, stopped="the budget of 60 s was used up")
    folder.replace_plan(cut)
    assert folder.facts().plan == cut
    stored = json.loads((folder.path / "plan.json").read_text())
    assert stored["stopped"] == cut.stopped
    assert [path.name for path in folder.path.glob("plan*")] == ["plan.json"]


def test_a_plan_of_a_version_that_could_not_stop_was_not_stopped(folder: RunFolder) -> None:
    path = folder.path / "plan.json"
    stored = json.loads(path.read_text())
    del stored["stopped"]
    path.write_text(json.dumps(stored))
    assert folder.facts().plan.stopped == ""


def test_labels_that_could_run_code_are_refused(folder: RunFolder) -> None:
    (path,) = folder.path.rglob("labels.npy")
    np.save(path, np.array([Path()], object), allow_pickle=True)
    with pytest.raises(ResultsError):
        folder.facts()


def test_environments_come_back(folder: RunFolder) -> None:
    record = EnvironmentRecord("cpu", "null", "float32", "accuracy", "before", {"load_1min": 0.5})
    with folder.journal() as journal:
        journal.append(record)
    assert folder.facts().environments == [record]
    body = json.loads((folder.path / "journal.jsonl").read_text())["body"]
    assert body["type"] == "environment"  # of results that other versions read


def three(folder: RunFolder) -> list[JobResult]:
    results = [
        JobResult(KEY._replace(case=name), Status.OK, samples=Samples({"x": np.full(2, i)}, {"i": i}))
        for i, name in enumerate("abc")
    ]
    with folder.journal() as journal:
        for result in results:
            journal.append(result)
    return results


def measured(folder: RunFolder) -> list[str]:
    return [key.case for key in folder.facts().results if key.target == "cpu"]


def test_torn_at_any_byte_the_whole_lines_before_it_count(folder: RunFolder) -> None:
    three(folder)
    path = folder.path / "journal.jsonl"
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    extra = JobResult(KEY._replace(case="d"), Status.OK)
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = sum(end <= length + 1 for end in ends)  # a line is whole without its newline
        assert measured(folder) == list("abc")[:whole]
        if any(abs(length - end) < 3 for end in (0, *ends)) or length % 50 == 0:
            with folder.journal() as journal:
                journal.append(extra)
            assert measured(folder)[-1] == "d"
            for line in path.read_bytes().splitlines():
                json.loads(line)


def test_a_changed_byte_costs_its_line_alone(folder: RunFolder) -> None:
    three(folder)
    path = folder.path / "journal.jsonl"
    content = path.read_bytes()
    second = range(content.index(b"\n") + 1, content.index(b"\n", content.index(b"\n") + 1))
    for position in second:
        changed = bytearray(content)
        changed[position] ^= 0x01
        if changed[position] in b"\n\r":
            continue
        path.write_bytes(changed)
        assert measured(folder) in (["a", "c"], ["a", "b", "c"])
        if measured(folder) == ["a", "b", "c"]:  # the change was none: hexadecimal or space that JSON ignores
            assert folder.facts().results[KEY._replace(case="b")].samples.values == {"i": 1}


@pytest.mark.parametrize("damage", ["gone", "changed", "cut", "empty"])
def test_a_damaged_array_makes_its_job_unmeasured(folder: RunFolder, damage: str) -> None:
    results = three(folder)
    samples = folder.path / "cpu" / "samples"
    arrays = {np.load(path)[0].item(): path for path in samples.iterdir()}
    match damage:
        case "gone":
            arrays[1].unlink()
        case "changed":
            arrays[1].write_bytes(arrays[2].read_bytes())
        case "cut":
            arrays[1].write_bytes(arrays[1].read_bytes()[:-1])
        case "empty":
            arrays[1].write_bytes(b"")
    assert measured(folder) == ["a", "c"]
    with folder.journal() as journal:
        journal.append(results[1])
    assert sorted(measured(folder)) == ["a", "b", "c"]


def test_one_writer(folder: RunFolder) -> None:
    with (
        folder.journal(),
        pytest.raises(ResultsError, match="another process is writing"),
        folder.journal(),
    ):
        pass
    with folder.journal():
        pass


def test_a_run_that_cannot_be_begun_leaves_nothing(tmp_path: Path) -> None:
    class Broken:
        def __array__(self, *_: object, **__: object) -> Any:
            raise OSError(28, "No space left on device")

    folder = RunFolder(tmp_path / "run")
    with pytest.raises(StoreError, match="cannot write") as caught:
        folder.create(RUN, PLAN, Broken())  # type: ignore[arg-type]
    assert "the disk is full" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_begun_over_another(folder: RunFolder) -> None:
    with pytest.raises(StoreError):
        folder.create(RUN, PLAN, None)
    assert folder.facts().plan == PLAN


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("run.json", b"", "run.json is damaged"),
        ("run.json", b"[1]", "run.json is damaged"),
        ("run.json", b'{"schema_version": 99}', "schema version 99"),
        ("plan.json", b"{}", "is damaged"),
        ("plan.json", b"", "is damaged"),
        ("labels.npy", b"", "is damaged"),
        ("labels.npy", b"\x93NUMPY", "is damaged"),
    ],
)
def test_damaged_files(folder: RunFolder, file: str, content: bytes, says: str) -> None:
    (folder.path / file).write_bytes(content)
    with pytest.raises(ResultsError, match=says):
        folder.facts()


def test_find_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    for name in ("2031-a", "2031-b", "2032-a"):
        RunFolder(results / name).create({**RUN, "run_id": name}, PLAN, None)
    (results / "2033-half").mkdir()
    point_latest(results, "2031-b")
    reread = {
        name: find_run(name, results).run_id for name in ("2031-a", "2032", "latest", str(results / "2031-b"))
    }
    assert reread == {
        "2031-a": "2031-a", "2032": "2032-a", "latest": "2031-b", str(results / "2031-b"): "2031-b",
    }  # fmt: skip
    monkeypatch.chdir(results)
    assert find_run("2031-a", Path("elsewhere")).run_id == "2031-a"
    for name, says in (("2031", "2031-a, 2031-b"), ("2033", "there is no run"), ("x", "there is no run")):
        with pytest.raises(ResultsError, match=says):
            find_run(name, results)
    point_latest(results, "2032-a")
    assert find_run("latest", results).run_id == "2032-a"
    assert not list(results.glob(".*"))


def test_cause_and_raw_text_of_a_result_come_back(folder: RunFolder) -> None:
    result = JobResult(KEY, Status.ERROR, "it refused", cause=Cause.RUNTIME_REFUSED, raw="line 1\nline 2")
    with folder.journal() as journal:
        journal.append(result)
    assert folder.facts().results[KEY] == result


def test_cards_and_a_plan_with_causes_come_back(tmp_path: Path) -> None:
    skipped = JobResult(KEY, Status.SKIPPED, "no operator", cause=Cause.MISSING_ABILITY, raw="raw")
    plan = Plan((BATCH,), (skipped,), (), 1.0)
    folder = RunFolder(tmp_path / "run")
    folder.create(RUN, plan, None, {"int8": CARD})
    facts = folder.facts()
    assert facts.plan == plan
    assert facts.results == {KEY: skipped}
    assert facts.cards == {"int8": CARD}
    assert facts.labels is None


def test_a_plan_without_causes_is_read(folder: RunFolder) -> None:
    """As runs before 0.12 stored it."""
    path = folder.path / "plan.json"
    plan = json.loads(path.read_text())
    plan["skipped"] = [entry[:2] for entry in plan["skipped"]]
    path.write_text(json.dumps(plan))
    assert folder.facts().plan == PLAN


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_in_shape_and_may_be_written_to(folder: RunFolder, order: Any) -> None:
    array = np.asarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4), order=order)
    with folder.journal() as journal:
        journal.append(JobResult(KEY, Status.OK, samples=Samples({"x": array}, {})))
    stored_array = folder.facts().results[KEY].samples.arrays["x"]
    np.testing.assert_array_equal(stored_array, array)
    assert stored_array.dtype == array.dtype
    stored_array[0, 0, 0] = 7


def test_whether_a_run_is_being_written(folder: RunFolder) -> None:
    assert not folder.being_written()  # no journal yet
    with folder.journal():
        assert folder.being_written()
    assert not folder.being_written()


def test_a_run_of_another_version_names_the_one_that_reads_it(folder: RunFolder) -> None:
    path = folder.path / "run.json"
    facts = json.loads(path.read_text())
    versions = {"deployment-validation-harness": "9.1"}
    path.write_text(json.dumps({**facts, "schema_version": 2, "versions": versions}))
    with pytest.raises(ResultsError, match="schema version 2") as caught:
        folder.read_run()
    assert "version 9.1" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"), [("lates", "did you mean 'latest'"), ("2031-x", "did you mean '2031-a'"), ("qqq", "")]
)
def test_a_name_that_is_nearly_right_is_suggested(tmp_path: Path, name: str, says: str) -> None:
    RunFolder(tmp_path / "2031-a").create({**RUN, "run_id": "2031-a"}, PLAN, None)
    with pytest.raises(ResultsError, match="there is no run") as caught:
        find_run(name, tmp_path)
    assert says in str(caught.value)
    assert ("did you mean" in str(caught.value)) is bool(says)
