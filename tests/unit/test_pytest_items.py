"""Items are known before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import pytest_items
from harness.core.errors import ResultsError
from harness.core.plan import Plan
from harness.pytest_items import StoredRun
from harness.run.request import Request
from harness.store.run_folder import RunFolder
from tests.stored_run import RUN


def test_a_board_that_is_named_has_the_targets_own_name() -> None:
    for host, name in (("pi@board", "raspberrypi"), ("", "raspberrypi4-emulated")):
        request = Request.parse(target="raspberrypi", host=host)
        items_ = pytest_items.items(request, "accuracy")
        assert {target for _, _, target, *_ in items_} == {name}


@pytest.fixture
def narrowed(tmp_path: Path) -> Request:
    """A stored run that asked one suite, one target of two and one variant of two."""
    gates = [
        {"name": "top-1", "suite": "accuracy", "metric": "accuracy", "min": 0.9},
        {"name": "p99", "suite": "performance", "metric": "latency_p99", "max": "10 ms"},
    ]
    validation = {
        "model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d.npz"}, "gate": gates,
        "variants": {"int8": {"recipe": [{"pass": "quantize"}]}},
    }  # fmt: skip
    run = {
        **RUN, "validation": validation, "suites": ["accuracy"], "variants": ["int8"],
        "targets": {"cpu": {"backends": ["onnxruntime"]}},
    }  # fmt: skip
    RunFolder(tmp_path / "r1").create(run, Plan(()), None)
    return Request.parse(results=str(tmp_path))


def test_a_narrowed_run_has_the_items_that_the_command_line_judges(narrowed: Request) -> None:
    items_ = pytest_items.items(narrowed, "accuracy", StoredRun("r1"))
    assert items_ == [("m-int8-top_1", "top-1", "cpu", "onnxruntime", "int8", "gate")]
    assert pytest_items.items(narrowed, "performance", StoredRun("r1")) == []
    assert pytest_items.items(narrowed, "accuracy", StoredRun("r1", ("cpu",), ("int8",))) == items_


def test_a_target_that_a_run_does_not_have_is_no_pass(narrowed: Request) -> None:
    with pytest.raises(ResultsError, match="the run has no target pi; it has cpu"):
        pytest_items.items(narrowed, "accuracy", StoredRun("r1", ("pi",)))
