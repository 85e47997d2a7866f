"""The ONNX project's own backend tests: our layer adds no failure to the bare runtime's.

The lists of known failures are strict. ``onnx_known_failures/record.py`` writes them anew.
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
#: OpenVINO takes minutes for all cases; one in so many is run by default.
SHARE = 12


def _known(runtime: str) -> dict[str, Any]:
    known = tomllib.loads((LISTS / f"{runtime}.toml").read_text())
    for package, recorded in (("onnx", known["onnx"]), (runtime, known["runtime"])):
        if version(package) != recorded:
            pytest.skip(f"the list was written with {package} {recorded}; here is {version(package)}")
    return known


def _compare(runtime: str, bare: str, ours: str, share: int) -> None:
    known = _known(runtime)
    without, within = outcomes(f"harness.testing.bare_runtimes:{bare}", ours, share=share)
    assert without.keys() == within.keys()
    assert len(within) == CASES if share == 1 else CASES / share * 0.7 < len(within) < CASES / share * 1.3
    listed = {name: entry["ours"] for entry in known["known"] for name in entry["cases"]}
    assert sum(len(entry["cases"]) for entry in known["known"]) == len(listed), "a case is listed twice"
    listed = {name: alone for name, alone in listed.items() if zlib.crc32(name.encode()) % share == 0}
    assert listed.keys() <= within.keys(), "a listed name is no case"
    failing = _not_passed(within)
    assert _said(within, failing - listed.keys()) == {}, "these fail and are not listed"
    assert listed.keys() - failing == set(), "these are listed and pass"
    added = failing - _not_passed(without)
    assert added == {name for name, alone in listed.items() if alone}, "our layer's own failures"


def _not_passed(found: dict[str, Outcome]) -> set[str]:
    return {name for name, outcome in found.items() if outcome.state != "passed"}


def _said(found: dict[str, Outcome], names: set[str]) -> dict[str, Outcome]:
    return {name: found[name] for name in sorted(names)}


def test_onnxruntime() -> None:
    _compare("onnxruntime", "BareOnnxRuntime", "backends.onnxruntime_:OnnxRuntimeBackend", 1)


def test_openvino_share() -> None:
    _compare("openvino", "BareOpenVino", "backends.openvino_:OpenVinoBackend", SHARE)


@pytest.mark.full
def test_openvino() -> None:
    _compare("openvino", "BareOpenVino", "backends.openvino_:OpenVinoBackend", 1)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_our_layer_refuses_only_what_a_session_cannot_carry(runtime: str) -> None:
    known = tomllib.loads((LISTS / f"{runtime}.toml").read_text())
    assert all(entry["reason"] for entry in known["known"])
    ours = {entry["reason"] for entry in known["known"] if entry["ours"]}
    assert ours <= {"a sequence or an optional goes in or out, and a Session carries tensors"}
