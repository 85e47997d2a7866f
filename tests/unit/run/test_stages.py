"""How a run ends that was interrupted while it is judged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.plan import Plan
from harness.report.progress import Quiet
from harness.run import stages
from harness.store.run_folder import RunFolder
from tests.stored_run import RUN


@pytest.mark.parametrize("stage", ["point_latest", "finish"])
def test_an_interruption_beside_measuring_names_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    closed: list[bool] = []
    prepared = SimpleNamespace(
        run={**RUN, "decide_within_s": None}, plan=Plan(()), labels=None, cards={}, groups=(), gates=(),
        deadline=None, close=lambda: closed.append(True),
    )  # fmt: skip

    def interrupt(*_given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "prepare", lambda *_given: prepared)
    monkeypatch.setattr(stages.forecast, "warnings", lambda *_given: [])
    monkeypatch.setattr(stages, "Measurement", lambda *_given: SimpleNamespace(measure=lambda plan: plan))
    monkeypatch.setattr(stages, "_decide", lambda *_given: None)
    monkeypatch.setattr(stages, stage, interrupt)
    request: Any = SimpleNamespace(results=tmp_path)
    with pytest.raises(KeyboardInterrupt, match="what was measured is kept") as caught:
        stages.validate(request, Quiet())
    (run,) = (path for path in tmp_path.iterdir() if not path.is_symlink())
    assert str(caught.value).endswith(f"harness validate --resume {run}")
    assert RunFolder(run).facts().run["run_id"] == run.name
    assert closed  # the devices are released
