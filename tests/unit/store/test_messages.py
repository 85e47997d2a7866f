"""The full text behind a short reason, once each, beside the run."""

from __future__ import annotations

from pathlib import Path

from harness.core.cause import Cause
from harness.core.job import JobKey, JobResult, Status
from harness.core.plan import Plan
from harness.run import notes
from harness.store import messages
from harness.store.run_folder import RunFolder
from tests.stored_run import RUN


def result(case: str, cause: Cause, raw: str) -> JobResult:
    key = JobKey("cpu", "ort", "deploy", "int8", "accuracy", case, 0)
    return JobResult(key, Status.ERROR, "short", cause=cause, raw=raw)


def test_a_text_is_one_file_that_names_its_jobs(tmp_path: Path) -> None:
    refused, planted = Cause.RUNTIME_REFUSED, Cause.UNEXPECTED
    files = messages.write(
        tmp_path,
        [result("a", refused, "long\ntext"), result("b", refused, "long\ntext"),
         result("c", planted, "trace"),
         result("d", refused, "")],
    )  # fmt: skip
    assert [path.parent.relative_to(tmp_path) for path in files] == [Path("cpu/messages")] * 2
    assert [path.name.split("-")[0] for path in files] == ["ort", "traceback"]
    assert files[0].read_text() == "int8 accuracy a 0\nint8 accuracy b 0\n\nlong\ntext\n"
    lines = notes.messages(files)
    assert lines[0].startswith("full text: ")
    assert lines[1].startswith("traceback: ")
    assert str(files[1].name) in lines[1]


def test_causes_and_texts_come_back_from_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "r1")
    planned = result("planned", Cause.UNEXPECTED, "trace")
    refused = result("measured", Cause.RUNTIME_REFUSED, "long\ntext")
    folder.create(RUN, Plan((), (planned,)), None)
    with folder.journal() as journal:
        journal.append(refused)
    results_ = folder.facts().results
    assert results_ == {planned.key: planned, refused.key: refused}
    assert Cause.read("a cause of a later version") is Cause.UNSPECIFIED
