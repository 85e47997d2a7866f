"""A name that pandas without options would misread is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.fields import is_name, is_read_as_text
from harness.config.gates import GateTable
from harness.config.load import check
from harness.config.targets import load_target
from harness.core.errors import ConfigurationError, UsageError

MISREAD = [
    "NA", "null", "nan", "NULL", "None", "n/a", "007", "8", "1e5", "1.10", "-3", "inf", "True",
    "FALSE", "0x1F",
]  # fmt: skip


@pytest.mark.parametrize("name", MISREAD)
def test_misread_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="would be read as"):
        is_read_as_text(name)
    gate = {"name": name, "suite": "accuracy", "metric": "m", "max": 1.0}
    with pytest.raises(ConfigurationError, match="would be read as"):
        check(gate, GateTable, where="v.toml")


@pytest.mark.parametrize("name", ["int8", "8bit", "na", "float16", "v1.10", "1_000", "e5", "nano"])
def test_other_names_are_allowed(name: str) -> None:
    assert is_name(name) == name


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,7}", fullmatch=True))
def test_an_allowed_name_is_read_back_by_pandas_without_options(name: str) -> None:
    try:
        is_name(name)
    except ValueError:
        return
    assert pd.read_csv(io.StringIO(f"variant,x\n{name},1\n"))["variant"].tolist() == [name]


def test_a_target_file_of_such_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "007.toml").write_text('description = "d"\nbackends = ["onnxruntime"]\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="would be read as a number") as caught:
        load_target("007")
    assert caught.value.exit_code == 2
