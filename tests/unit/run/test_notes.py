"""Notes of a run that its rows do not show."""

from __future__ import annotations

import pytest

from harness.core.job import EnvironmentRecord, JobKey, JobResult, Status
from harness.core.measurement import Measurement, Row
from harness.core.metric import Declared, Metric, Role
from harness.run import notes

CARDS = {"float32": {"saturating": ["conv1", "conv2"]}, "int8": {"saturating": []}, "old": {}}


def record(
    target: str, variant: str, isa: list[str], arch: str = "x86_64", backend: str = "onnxruntime"
) -> EnvironmentRecord:
    return EnvironmentRecord(target, backend, variant, "accuracy", "before", {"arch": arch, "isa": isa})


def test_saturation_names_variant_target_and_what_to_do() -> None:
    environments = [record("cpu", "float32", ["avx", "avx2"]), record("cpu", "float32", ["avx2"])]
    environments += [record("cpu", name, ["avx2"]) for name in ("int8", "old", "gone")]
    (line,) = notes.saturation(environments, CARDS)
    assert line.startswith("float32 on cpu: the operator conv1 and 1 more may saturate,")
    assert "reduce_range" in line


@pytest.mark.parametrize(
    ("isa", "arch", "backend"),
    [
        (["avx2", "avx512_vnni"], "x86_64", "onnxruntime"), (["avx2", "avx_vnni"], "x86_64", "onnxruntime"),
        ([], "x86_64", "onnxruntime"), (["asimd"], "aarch64", "onnxruntime"),
        (["avx2"], "x86_64", "openvino"),
    ],
)  # fmt: skip
def test_nothing_is_said_of_other_cpus_and_runtimes(isa: list[str], arch: str, backend: str) -> None:
    assert notes.saturation([record("cpu", "float32", isa, arch, backend)], CARDS) == []


def test_what_a_backend_noted_of_its_sessions_is_told_once() -> None:
    results = [
        JobResult(JobKey(target, "b", "deploy", variant, "s", case, 0), Status.OK, effective=effective)
        for target, variant, case, effective in (
            ("cpu", "int8", "a", {"note": "it is slow"}), ("cpu", "int8", "b", {"note": "it is slow"}),
            ("pi", "int8", "a", {"note": "it is slow"}), ("cpu", "float32", "a", {"threads": "1"}),
        )
    ]  # fmt: skip
    assert notes.sessions(results) == ["int8 on cpu, int8 on pi: it is slow"]


def test_mistakes_that_cost_nothing_on_any_target_are_named() -> None:
    declared = Declared({"s": {"lost_by": Metric("pt", role=Role.MISTAKE), "loss": Metric("pt")}})

    def row(case: str, low: float, target: str = "cpu", metric: str = "lost_by") -> Row:
        key = JobKey(target, "onnxruntime", "deploy", "float32", "s", case, 1)
        return Row(key, Measurement(metric, "pt", low + 1, low, low + 2))

    rows = [row("rotated", 40), row("crop", -1), row("crop", -0.5, "pi"), row("fog", -1, metric="loss")]
    (line,) = notes.mistakes(rows, declared)
    assert line.startswith("these data cannot show the mistakes crop: ")
    assert notes.mistakes([*rows, row("crop", 2, "tflite")], declared) == []
