"""Every written file is run once on each runtime; a death is a reason, never a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.compression.variant import Variant
from harness.core.artifact import Artifact, File
from harness.device.probe import Proof
from harness.run import proofs
from harness.store.cache import Cache

FORMATS = {"one": ("onnx",), "two": ("two", "onnx", "tflite"), "lite": ("tflite",)}
DIED = Proof("the probe was killed by SIGABRT", died=True)


class Plugin:
    def __init__(self, formats: tuple[str, ...]) -> None:
        self.formats = formats

    def load(self) -> Plugin:
        return self


class Prove:
    """Answers by backend, and remembers what was asked."""

    def __init__(self, **answers: Proof | None) -> None:
        self.answers, self.asked = answers, []  # type: ignore[var-annotated]
        self.samples: list[list[Any]] = []

    def __call__(self, backend: str, artifact: Artifact, feeds: Path | None) -> Proof | None:
        self.asked.append((artifact.variant, backend, artifact.format))
        if feeds is not None:
            with np.load(feeds) as stored:
                self.samples.append([stored[name].tolist() for name in stored.files])
        return self.answers.get(backend, Proof(effective={"provider": backend}))


@pytest.fixture
def prove(monkeypatch: pytest.MonkeyPatch) -> Prove:
    answers = Prove()
    monkeypatch.setattr(proofs, "prove", answers)
    monkeypatch.setattr(proofs.plugins, "catalogue", lambda group: {n: Plugin(f) for n, f in FORMATS.items()})
    return answers


def variant(name: str, *formats: str, recipe: tuple[Any, ...] = ({"pass": "quantize"},)) -> Variant:
    artifacts = {
        fmt: Artifact(name, fmt, (File(f"{name}.{fmt}", f"{name}{fmt}".ljust(64, "0"), 1),), Path())
        for fmt in formats
    }
    return Variant(name, artifacts, card={"lineage": {"recipe": list(recipe)}, "notes": ["first"]})


def test_each_backend_gets_the_file_that_it_would_run(prove: Prove, tmp_path: Path) -> None:
    float32 = variant("float32", "onnx", "tflite", recipe=())
    results = proofs.proven([float32, variant("int8", "onnx", "tflite")], None, Cache(tmp_path))
    assert sorted(prove.asked) == [
        ("float32", "lite", "tflite"),  # its ONNX file is the user's
        ("int8", "lite", "tflite"), ("int8", "one", "onnx"), ("int8", "two", "onnx"),
    ]  # fmt: skip
    assert set(results[1].card["proofs"]) == {"one", "two", "lite"}
    assert results[1].card["proofs"]["one"] == {"reason": "", "died": False, "effective": {"provider": "one"}}
    assert results[1].card["notes"] == ["first"]
    assert not results[0].unusable


def test_a_death_is_a_reason_and_a_note(prove: Prove, tmp_path: Path) -> None:
    prove.answers["lite"] = DIED
    (result,) = proofs.proven([variant("int8", "onnx", "tflite")], None, Cache(tmp_path))
    assert result.unusable == {"lite": "lite dies on int8: the probe was killed by SIGABRT"}
    assert result.card["notes"] == ["first", "lite dies on it: the probe was killed by SIGABRT"]
    assert result.card["proofs"]["lite"]["died"]


def test_a_refusal_leaves_the_variant_to_the_worker(prove: Prove, tmp_path: Path) -> None:
    prove.answers["lite"] = Proof("no such operator")
    (result,) = proofs.proven([variant("int8", "tflite")], None, Cache(tmp_path))
    assert not result.unusable
    assert result.card["proofs"]["lite"]["reason"] == "no such operator"


def test_a_runtime_that_is_not_installed_is_not_on_the_card(prove: Prove, tmp_path: Path) -> None:
    prove.answers["lite"] = None
    (result,) = proofs.proven([variant("int8", "onnx", "tflite")], None, Cache(tmp_path))
    assert set(result.card["proofs"]) == {"one", "two"}


def test_operators_of_other_kernels_are_noted(prove: Prove, tmp_path: Path) -> None:
    prove.answers["lite"] = Proof(effective={"provider": "XNNPACK", "builtin": "MEAN, PACK"})
    (result,) = proofs.proven([variant("int8", "tflite")], None, Cache(tmp_path))
    assert "MEAN, PACK" in result.card["notes"][-1]


def test_results_are_remembered_by_file_and_versions(
    prove: Prove, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove.answers |= {"lite": DIED, "two": None}
    first = proofs.proven([variant("int8", "onnx", "tflite")], None, Cache(tmp_path))
    asked = len(prove.asked)
    assert proofs.proven([variant("int8", "onnx", "tflite")], None, Cache(tmp_path)) == first
    assert len(prove.asked) == asked
    monkeypatch.setattr(proofs, "version", lambda name: "99")
    proofs.proven([variant("int8", "onnx", "tflite")], None, Cache(tmp_path))
    assert len(prove.asked) == 2 * asked


def test_the_sample_goes_with_its_names(prove: Prove, tmp_path: Path) -> None:
    feeds = {"file": np.ones((1, 2), np.float32), "a/b": np.zeros((1, 1), np.int64)}
    proofs.proven([variant("int8", "tflite")], feeds, Cache(tmp_path))
    assert prove.samples == [[["file", "a/b"], [[1.0, 1.0]], [[0]]]] * 2


def test_nothing_written_starts_nothing(prove: Prove, tmp_path: Path) -> None:
    given, empty = variant("float32", "onnx", recipe=()), Variant("vendor", {}, card={"notes": []})
    assert proofs.proven([given, empty], None, Cache(tmp_path)) == (given, empty)
    assert prove.asked == []


def test_prebuilt_files_are_run_too(prove: Prove, tmp_path: Path) -> None:
    prove.answers["lite"] = DIED
    made = variant("vendor", "onnx", "tflite")
    prebuilt = replace(made, card={"notes": ["prebuilt"]})
    (result,) = proofs.proven([prebuilt], None, Cache(tmp_path))
    assert {backend for _, backend, _ in prove.asked} == {"one", "two", "lite"}
    assert list(result.unusable) == ["lite"]
