"""The ONNX project's own backend tests: our layer adds no failure to the bare runtime's.

The lists of known failures are strict. ``onnx_known_failures/record.py`` writes them again.
"""

from __future__ import annotations

import tomllib
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from harness.testing.onnx_backend import Outcome, outcomes

LISTS = Path(__file__).parent / "onnx_known_failures"
CASES = 2024
#: All cases take a minute on ONNX Runtime and many on OpenVINO; one in so many is run by default.
SHARES = {"onnxruntime": 16, "openvino": 64}


def _recorded_failures(runtime: str) -> dict[str, Any]:
    recorded = tomllib.loads((LISTS / f"{runtime}.toml").read_text())
    for package, written in (("onnx", recorded["onnx"]), (runtime, recorded["runtime"])):
        if version(package) != written:
            pytest.skip(f"the list was written with {package} {written}; installed is {version(package)}")
    return recorded


def _compare(runtime: str, bare: str, ours: str, share: int) -> None:
    recorded = _recorded_failures(runtime)
    without, within = outcomes(f"harness.testing.bare_runtimes:{bare}", ours, share=share)
    assert without.keys() == within.keys()
    assert len(within) == CASES if share == 1 else CASES / share * 0.7 < len(within) < CASES / share * 1.3
    listed = {name: entry["ours"] for entry in recorded["known"] for name in entry["cases"]}
    assert sum(len(entry["cases"]) for entry in recorded["known"]) == len(listed), "a case is listed twice"
    listed = {name: alone for name, alone in listed.items() if zlib.crc32(name.encode()) % share == 0}
    assert listed.keys() <= within.keys(), "a listed name is not a case"
    failing = _not_passed(within)
    assert _details(within, failing - listed.keys()) == {}, "these fail and are not listed"
    assert listed.keys() - failing == set(), "these are listed and pass"
    added = failing - _not_passed(without)
    assert added == {name for name, alone in listed.items() if alone}, "our layer's own failures"


def _not_passed(outcomes_by_name: dict[str, Outcome]) -> set[str]:
    return {name for name, outcome in outcomes_by_name.items() if outcome.state != "passed"}


def _details(outcomes_by_name: dict[str, Outcome], names: set[str]) -> dict[str, Outcome]:
    return {name: outcomes_by_name[name] for name in sorted(names)}


def test_onnxruntime_share() -> None:
    share = SHARES["onnxruntime"]
    _compare("onnxruntime", "BareOnnxRuntime", "backends.onnxruntime_:OnnxRuntimeBackend", share)


def test_openvino_share() -> None:
    _compare("openvino", "BareOpenVino", "backends.openvino_:OpenVinoBackend", SHARES["openvino"])


@pytest.mark.full
def test_onnxruntime() -> None:
    _compare("onnxruntime", "BareOnnxRuntime", "backends.onnxruntime_:OnnxRuntimeBackend", 1)


@pytest.mark.full
def test_openvino() -> None:
    _compare("openvino", "BareOpenVino", "backends.openvino_:OpenVinoBackend", 1)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_our_layer_refuses_only_what_a_session_cannot_carry(runtime: str) -> None:
    recorded = tomllib.loads((LISTS / f"{runtime}.toml").read_text())
    assert all(entry["reason"] for entry in recorded["known"])
    ours = {entry["reason"] for entry in recorded["known"] if entry["ours"]}
    assert ours <= {"a sequence or an optional goes in or out, and a Session carries tensors"}
