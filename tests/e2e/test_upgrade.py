"""``harness upgrade`` with real environments: wheels that are missing, crash, are slower or wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e import wheels
from tests.e2e.shell import Ended, MakeModel, Shell, check

FAULTS = {
    "50.0.0": "", "50.1.0": wheels.CRASH, "50.2.0": wheels.SLOW, "50.3.0": wheels.WRONG,
    "50.4.0": wheels.DIES,
}  # fmt: skip


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    return wheels.plant(tmp_path / "wheels", FAULTS)


def lines(ended: Ended) -> list[str]:
    return [" ".join(line.split()) for line in ended.out.splitlines()]


def facts(harness: Shell) -> dict[str, Any]:
    (folder,) = (harness.results / "upgrade").iterdir()
    document = json.loads((folder / "upgrade.json").read_text())
    assert isinstance(document, dict)
    return {item["variant"]: item for item in document["comparisons"]}


def test_a_missing_wheel_and_a_crash_at_import_are_results(
    harness: Shell, model: MakeModel, planted: dict[str, str]
) -> None:
    ended = harness("upgrade", "onnxruntime", "50.9.0", "50.1.0", "--model", model(), env=planted)
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    assert "cpu float32 SIGILL at import -- -- -- -- -- blocked" in lines(ended)
    assert "cpu int8 SIGILL at import -- -- -- -- -- blocked" in lines(ended)
    assert lines(ended)[-2:] == ["FAIL 0 of 2 may be upgraded", "verdict: FAIL (1)"]
    troubles = facts(harness)["int8"]["findings"]["troubles"]
    assert troubles["old"]["stage"] == "install"
    assert "No matching distribution found for onnxruntime==50.9.0" in troubles["old"]["reason"]
    assert troubles["new"]["stage"] == "import"


def test_a_version_that_cannot_be_had_now_is_nothing_to_compare_with(
    harness: Shell, model: MakeModel, planted: dict[str, str]
) -> None:
    argv = ("upgrade", "onnxruntime", "50.9.0", "50.0.0", "--variant", "int8", "--model", model())
    ended = harness(*argv, env=planted)
    assert ended.code == 3, ended.err
    assert "cpu int8 old: no wheel -- -- -- -- -- not compared" in lines(ended)
    assert lines(ended)[-1] == "verdict: NOT_RUN (3)"


def test_a_crash_at_the_model_is_a_result(harness: Shell, model: MakeModel, planted: dict[str, str]) -> None:
    argv = ("upgrade", "onnxruntime", "50.0.0", "50.4.0", "--variant", "int8", "--model", model())
    ended = harness(*argv, env=planted)
    assert ended.code == 1, ended.err
    assert "cpu int8 SIGSEGV with the model -- -- -- -- -- blocked" in lines(ended)
    assert any(line.startswith("artifacts cpu int8: made by the recipe") for line in lines(ended))
    comparison_ = facts(harness)["int8"]
    assert comparison_["environments"]["old"]["backend_version"] == "50.0.0"
    assert len(comparison_["artifact_sha256"]) == 64


@pytest.mark.full
def test_a_wrong_version_is_worse(harness: Shell, model: MakeModel, planted: dict[str, str]) -> None:
    """An accuracy that is lost is known after one pass; its times are still told."""
    argv = ("upgrade", "onnxruntime", "50.0.0", "50.3.0", "--variant", "float32", "--model", model())
    ended = harness(*argv, "--decide-within", "1s", "--max-ratio", "9", env=planted)
    assert ended.code == 1, ended.err + ended.out
    comparison_ = facts(harness)["float32"]
    assert comparison_["decision"] == "worse"
    assert comparison_["explanation"]["causes"] or comparison_["explanation"]["reason"]
    assert comparison_["explanation"]["placement"]["old"] == comparison_["explanation"]["placement"]["new"]
    (folder,) = (harness.results / "upgrade").iterdir()
    with np.load(folder / "cpu-float32.npz") as arrays:
        old, new = arrays["old/output:0"], arrays["new/output:0"]
    flips = int((old.argmax(axis=1) != new.argmax(axis=1)).sum())
    assert comparison_["findings"]["flips"] == flips > 0
    assert comparison_["findings"]["bit_exact"] == pytest.approx((old == new).all(axis=1).mean())
    assert comparison_["environments"]["new"]["backend_version"] == "50.3.0"


@pytest.mark.full
def test_a_slower_version_fails_and_the_same_passes(
    harness: Shell, model: MakeModel, planted: dict[str, str]
) -> None:
    argv = ("--variant", "float32", "--model", model(), "--max-ratio", "2")
    ended = harness("upgrade", "onnxruntime", "50.0.0", "50.2.0", *argv, env=planted)
    if ended.code != 3:  # else other tests kept the processes from running, and it says so
        assert ended.code == 1, ended.err + ended.out
        assert any(
            line.startswith("cpu float32 ok 100 % 0 0.00") and "slower" in line for line in lines(ended)
        )


@pytest.mark.full
def test_two_releases_of_onnx_runtime(harness: Shell, model: MakeModel) -> None:
    ended = harness("upgrade", "onnxruntime", "1.30.0", "1.31.1", "--model", model(), "--decide-within", "1s")
    assert "Traceback" not in ended.err
    for variant in ("float32", "int8"):
        comparison_ = facts(harness)[variant]
        assert comparison_["findings"]["troubles"] == {}
        assert comparison_["environments"]["old"]["backend_version"] == "1.30.0"
        assert comparison_["environments"]["new"]["backend_version"] == "1.31.1"
        assert comparison_["findings"]["flips"] == 0


def test_what_is_refused(harness: Shell) -> None:
    check(harness("upgrade", "onnxrt", "1.0", "2.0"), 2, "did you mean 'onnxruntime'?")
    check(
        harness("upgrade", "onnxruntime", "1.0", "2.0", "--margin", "0"),
        2,
        "invalid margin 0; use points above 0",
    )
    check(harness("upgrade", "onnxruntime", "1.0", "2.0", "--model", "none"), 2, "there is no none")
    assert not harness.results.exists()
