"""The plan crosses everything with everything; what cannot run is a SKIPPED row with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.compression.variant import Variant
from harness.config.load import check
from harness.config.validation import Validation
from harness.core.artifact import Artifact, File, TensorSpec
from harness.core.cause import Cause
from harness.core.contracts import Availability
from harness.core.errors import PassFailed, RecipeRefused, TargetUnavailable, UsageError
from harness.core.job import Case, DataRef, Job, JobResult, Options, Status
from harness.core.measurement import WHOLE_CASE, Measurement, Row
from harness.core.plan import CARD, HOST
from harness.core.preprocess import Preprocess
from harness.core.profile import Profile
from harness.core.suite import CaseContext, SetInfo
from harness.core.target import Target
from harness.core.verdict import Gate, State
from harness.data.datasets import Dataset
from harness.data.sets import PreparedData, PreparedSet
from harness.gates.judge import Subject, judge
from harness.run.plan import PlanInputs, make_plan, output_byte, sizes

FORMATS = {"onnxruntime": ("onnx",), "openvino": ("openvino", "onnx"), "tflite": ("tflite",)}
READY = Availability("1", ("CPU",))
ABSENT = Availability(reason="not installed", install="pip install it")


class Suite:
    """Every set as it ships; the reference runs the clean one. Remembers every context."""

    name = "accuracy"

    def __init__(self, keep: str = "outputs") -> None:
        self.contexts: list[CaseContext] = []
        self._keep = keep

    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        self.contexts.append(context)
        sets = context.sets[:1] if context.reference else context.sets
        counts = [min(info.samples, context.max_samples or info.samples) for info in sets]
        constant_s, sample_s = (0.2, 0.02) if context.emulated else (0.02, 1e-4)
        return tuple(
            Case(
                info.family, info.severity, data=info.name, params={"keep": self._keep}, samples=count,
                typical_s=constant_s + sample_s * count,
            )
            for info, count in zip(sets, counts, strict=True)
        )  # fmt: skip

    def summarise(self, job: Job, result: JobResult, context: object) -> list[Any]:
        raise NotImplementedError

    def check(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        return []


class NoCases(Suite):
    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        return ()


def artifact(name: str, fmt: str) -> Artifact:
    return Artifact(name, fmt, (File(f"{name}.{fmt}", f"{name}{fmt}".ljust(64, "0"), 1),), Path())


def variant(name: str, *formats: str, **refused: str) -> Variant:
    return Variant(name, {fmt: artifact(name, fmt) for fmt in formats}, refused, quantized=name != "float32")


def target(name: str, *backends: str, max_samples: int | None = None) -> Target:
    return Target(name, "", backends, max_samples=max_samples)


def data(samples: int = 100) -> PreparedData:
    empty = Dataset({"x": np.zeros((0, 2))}, None, np.zeros(0, np.int64))
    sets = tuple(
        PreparedSet(
            SetInfo(name, family, severity, samples, str),
            DataRef({"x": name.ljust(64, "0")}, samples, 8 * samples),
            lambda rows, name=name: DataRef({"x": f"{name}:{rows}"}, rows, 8 * rows),
        )
        for name, family, severity in (("clean", "clean", 0), ("fog_2", "fog", 2))
    )
    return PreparedData(sets, None, empty, {"x": Preprocess()}, ())


def given(**more: Any) -> PlanInputs:
    validation = check(
        {"model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d"}}, Validation, where=""
    )
    made = PlanInputs(
        validation=validation, targets=(target("cpu", "onnxruntime"),),
        variants=(variant("float32", "onnx", "tflite"), variant("int8", "onnx", "tflite")),
        selected=("float32", "int8"), suites={"accuracy": Suite()}, formats=FORMATS,
        available={(place, name): READY for place in (HOST, "cpu") for name in FORMATS},
        data=data(), inputs=(TensorSpec("x", (None, 2), "float32"),),
        outputs=(TensorSpec("y", (None, 10), "float32"),),
    )  # fmt: skip
    return replace(made, **more)


def names(plan: Any) -> list[tuple[str, str, str, str]]:
    return [(b.target, b.backend, b.variant, b.artifact.format) for b in plan.batches]


def test_the_reference_comes_first_and_the_float_model_before_the_others() -> None:
    plan = make_plan(given())
    assert names(plan) == [
        (HOST, "onnxruntime", "float32", "onnx"), (HOST, "onnxruntime", "int8", "onnx"),
        ("cpu", "onnxruntime", "float32", "onnx"), ("cpu", "onnxruntime", "int8", "onnx"),
    ]  # fmt: skip
    assert plan.skipped == ()
    assert plan.targets == ("cpu",)
    keys = [job.key for batch in plan.batches for job in batch.jobs]
    assert len(keys) == len(set(keys))
    assert all(batch.data.keys() == {case.data for case in batch.cases} for batch in plan.batches)


def test_suites_get_the_profile_and_their_part_of_a_soak() -> None:
    seen = []

    class Asked(Suite):
        def cases(self, context: Any) -> Any:
            seen.append((context.profile, context.soak_s))
            return super().cases(context)

    targets = (target("cpu", "onnxruntime"), target("two", "onnxruntime", "tflite"))
    make_plan(given(targets=targets, suites={"accuracy": Asked()}, profile=Profile.SOAK, soak_s=60.0))
    # Two variants on one runtime, and on two; the reference on the host is called no longer.
    assert seen == [(Profile.SOAK, 30.0)] * 2 + [(Profile.SOAK, 15.0)] * 4 + [(Profile.SOAK, 30.0)] * 2


def test_a_target_gets_no_more_rows_than_it_reads() -> None:
    targets = (target("cpu", "onnxruntime"), target("small", "onnxruntime", max_samples=64))
    plan = make_plan(given(targets=targets, selected=("float32",)))
    shipped = {(b.target, name): ref.samples for b in plan.batches for name, ref in b.data.items()}
    assert shipped == {
        (HOST, "clean"): 100, ("cpu", "clean"): 100, ("cpu", "fog_2"): 100,
        ("small", "clean"): 64, ("small", "fog_2"): 64,
    }  # fmt: skip
    assert sizes(given(), plan)["input_byte"] == 8 * (100 + 100 + 64 + 64)


def test_a_target_gets_the_files_that_are_written_for_its_runtime() -> None:
    older = replace(variant("int8", "onnx", "tflite"), artifacts={"tflite": artifact("int8-older", "tflite")})
    old = replace(target("old", "tflite"), for_runtime="tflite-2.14")
    plan = make_plan(
        given(
            targets=(target("new", "tflite"), old), selected=("int8",), for_runtime={"tflite-2.14": (older,)}
        )
    )
    opened = {batch.target: batch.artifact.path.name for batch in plan.batches}
    assert opened == {HOST: "int8.onnx", "new": "int8.tflite", "old": "int8-older.tflite"}


def test_the_float_model_is_the_reference_of_a_variant_that_is_asked_for_alone() -> None:
    assert names(make_plan(given(selected=("int8",)))) == [
        (HOST, "onnxruntime", "float32", "onnx"), (HOST, "onnxruntime", "int8", "onnx"),
        ("cpu", "onnxruntime", "int8", "onnx"),
    ]  # fmt: skip


def test_the_reference_runs_in_the_parity_setting() -> None:
    batch = make_plan(given()).batches[0]
    assert batch.options["deploy"].precision == "f32"
    assert batch.options["deploy"].threads == 1


def test_each_backend_opens_the_format_that_it_likes_best() -> None:
    several = given(
        targets=(target("all", "tflite", "openvino"),),
        variants=(variant("float32", "onnx", "tflite", "openvino"), variant("int8", "onnx", "tflite")),
        available={(HOST, "onnxruntime"): READY},
    )
    assert names(make_plan(several))[2:] == [
        ("all", "tflite", "float32", "tflite"), ("all", "tflite", "int8", "tflite"),
        ("all", "openvino", "float32", "openvino"), ("all", "openvino", "int8", "onnx"),
    ]  # fmt: skip


def test_a_variant_that_a_backend_cannot_open_is_skipped_with_its_reason() -> None:
    made = given(
        targets=(target("cpu", "tflite"),),
        variants=(variant("float32", "onnx", "tflite"), variant("int8", "onnx", tflite="no operator Foo")),
    )
    plan = make_plan(made)
    assert ("cpu", "tflite", "int8", "tflite") not in names(plan)
    assert [(r.key.variant, r.key.case, r.key.severity, r.status, r.reason) for r in plan.skipped] == [
        ("int8", "clean", 0, Status.SKIPPED, "no operator Foo"),
        ("int8", "fog", 2, Status.SKIPPED, "no operator Foo"),
    ]
    unrefused = variant("int8", "onnx")
    assert unrefused.artifact_for(("tflite",)) == (None, "int8 exists only as onnx")


def test_a_target_that_cannot_run_is_skipped_and_the_other_is_not() -> None:
    available = {(HOST, "onnxruntime"): READY, ("a", "onnxruntime"): ABSENT, ("b", "onnxruntime"): READY}
    made = given(targets=(target("a", "onnxruntime"), target("b", "onnxruntime")), available=available)
    plan = make_plan(made)
    assert {batch.target for batch in plan.batches} == {HOST, "b"}
    assert {(r.key.target, r.reason) for r in plan.skipped} == {("a", "not installed")}
    assert set(plan.targets) == {"a", "b"}
    assert plan.unavailable == (("a", "onnxruntime", "not installed"),)


def test_nothing_can_run() -> None:
    made = given(available={(HOST, "onnxruntime"): READY, ("cpu", "onnxruntime"): ABSENT})
    with pytest.raises(TargetUnavailable, match="cpu cannot run here: not installed") as caught:
        make_plan(made)
    assert caught.value.next_step == "pip install it"
    with pytest.raises(TargetUnavailable, match="nothing can run"):
        make_plan(given(suites={"none": NoCases()}))
    with pytest.raises(TargetUnavailable, match="nothing can run") as caught:
        make_plan(given(targets=(target("cpu", "tflite"),), variants=(variant("int8", "onnx"),)))
    assert caught.value.cause == "int8 exists only as onnx"


def test_the_reference_needs_a_runtime_on_the_host() -> None:
    made = given(available={(HOST, "onnxruntime"): ABSENT, (HOST, "tflite"): READY})
    assert names(make_plan(made))[0] == (HOST, "tflite", "float32", "tflite")
    none = make_plan(given(available={}))
    assert HOST not in {batch.target for batch in none.batches}


@pytest.mark.parametrize(
    ("limits", "host"), [((10, 20), 20), ((10, None), 100), ((None,), 100), ((300,), 100)]
)
def test_the_reference_runs_no_more_than_some_target(limits: tuple[int | None, ...], host: int) -> None:
    targets = tuple(target(f"t{i}", "onnxruntime", max_samples=limit) for i, limit in enumerate(limits))
    plan = make_plan(given(targets=targets, available={(HOST, "onnxruntime"): READY}))
    assert {case.samples for b in plan.batches if b.target == HOST for case in b.cases} == {host}
    for one in targets:
        wanted = min(100, one.max_samples or 100)
        assert {c.samples for b in plan.batches if b.target == one.name for c in b.cases} == {wanted}


def test_the_context_of_a_suite() -> None:
    suite = Suite()
    make_plan(given(suites={"accuracy": suite}, inputs=(TensorSpec("x", (4, 2), "float32"),)))
    on_target = [context for context in suite.contexts if not context.reference]
    assert [(c.variant, c.quantized, c.batch) for c in on_target] == [
        ("float32", False, 4), ("int8", True, 4),
    ]  # fmt: skip
    assert on_target[0].sets[0].name == "clean"


def test_sizes_count_each_file_once_and_only_outputs_that_are_kept() -> None:
    made = given()
    plan = make_plan(made)
    size = sizes(made, plan)
    assert size == {
        "jobs": 6, "samples": 600, "input_byte": 2 * 800, "output_byte": 600 * 40,
    }  # fmt: skip
    reduced = given(suites={"accuracy": Suite(keep="reduced")})
    assert sizes(reduced, make_plan(reduced))["output_byte"] == 0


def test_outputs_beyond_the_cap_are_refused() -> None:
    huge = given(outputs=(TensorSpec("y", (None, 1000, 1000), "float32"),))
    with pytest.raises(UsageError, match=r"2\.4 GB, more than the limit of 2 GB") as caught:
        make_plan(huge)
    assert "max_samples" in caught.value.next_step


def test_open_dimensions_count_as_one() -> None:
    specs = (TensorSpec("a", (None, None, 3), "float32"), TensorSpec("b", (None,), "float32"))
    assert output_byte(specs, 10) == 10 * (12 + 4)


def test_a_suite_sees_whether_a_device_has_its_own_memory() -> None:
    gpu = replace(READY, devices=("CPU", "GPU"), device_memory=("GPU",))
    suite = Suite()
    targets = (
        replace(target("gpu", "onnxruntime"), deploy=Options(provider="GPU")),
        replace(target("same", "onnxruntime"), deploy=Options(provider="CPU")),
        target("other", "onnxruntime"),
    )
    available = {(name, "onnxruntime"): gpu for name in (HOST, "gpu", "same", "other")}
    make_plan(given(targets=targets, available=available, suites={"accuracy": suite}, selected=("int8",)))
    contexts = [context.device_memory for context in suite.contexts if not context.reference]
    assert contexts == [True, False, False]
    assert not any(context.device_memory for context in suite.contexts if context.reference)


class Raises(Suite):
    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        raise KeyError("planted")


def test_a_suite_that_raises_is_an_error_row_and_the_others_are_planned() -> None:
    plan = make_plan(given(suites={"accuracy": Suite(), "broken": Raises()}, selected=("int8",)))
    assert {batch.suite for batch in plan.batches} == {"accuracy"}
    errors = [result for result in plan.skipped if result.status is Status.ERROR]
    assert {(r.key.target, r.key.suite, r.key.case, r.cause) for r in errors} == {
        (HOST, "broken", WHOLE_CASE, Cause.UNEXPECTED), ("cpu", "broken", WHOLE_CASE, Cause.UNEXPECTED),
    }  # fmt: skip
    assert "broken could not say its cases: KeyError: 'planted' (test_plan.py:" in errors[0].reason


def test_a_variant_whose_pass_failed_is_an_error_row_of_every_suite() -> None:
    plan = make_plan(given(variants=(variant("float32", "onnx"),), failed={"int8": PassFailed("it broke")}))
    assert {batch.variant for batch in plan.batches} == {"float32"}
    (error,) = plan.skipped
    assert (error.status, error.key.variant, error.reason) == (
        Status.ERROR, "int8", "int8 could not be built: it broke",
    )  # fmt: skip
    gate = Gate("g", "accuracy", "accuracy", cases=("clean",), severities=(0,), setting="parity")
    assert gate.looks_at(Row(error.key, Measurement(WHOLE_CASE, "", float("nan"), status=error.status)))


def test_a_recipe_that_the_model_refuses_is_skipped_and_its_gates_do_not_apply() -> None:
    refused = {"int8": RecipeRefused("the model is quantized already", where="node 'q'")}
    plan = make_plan(given(variants=(variant("float32", "onnx"),), failed=refused))
    assert {batch.variant for batch in plan.batches} == {"float32"}
    assert {(r.status, r.key.variant, r.key.suite, r.reason, r.cause) for r in plan.skipped} == {
        (Status.SKIPPED, "int8", suite, "the model is quantized already", Cause.RECIPE_REFUSED)
        for suite in ("accuracy", CARD)
    }
    rows = [
        Row(r.key, Measurement(WHOLE_CASE, "", float("nan"), status=r.status, reason=r.reason, cause=r.cause))
        for r in plan.skipped
    ]
    gates = [Gate("a", "accuracy", "accuracy_loss", maximum=1), Gate("b", CARD, "file_byte", maximum=1)]
    verdicts = judge(rows, gates, [Subject("cpu", "onnxruntime", "int8")]).verdicts
    assert [(v.state, v.sentence.endswith("the model is quantized already")) for v in verdicts] == [
        (State.NOT_APPLICABLE, True)
    ] * 2


def test_a_case_that_its_suite_skips_is_a_skipped_row_and_hides_no_measured_one() -> None:
    class Skipping(Suite):
        def cases(self, context: CaseContext) -> tuple[Case, ...]:
            skipped = (Case(name, severity=1, skipped=text) for name, text in context.skipped_shifts.items())
            return (*super().cases(context), *skipped)

    grey = replace(data(), skipped={"saturate": "it is grey"})
    plan = make_plan(given(suites={"accuracy": Skipping()}, data=grey, selected=("int8",)))
    on_target = [result for result in plan.skipped if result.key.target == "cpu"]
    assert [(r.status, r.key.case, r.reason) for r in on_target] == [
        (Status.SKIPPED, "saturate", "it is grey")
    ]
    assert all(case.name != "saturate" for batch in plan.batches for case in batch.cases)
    whole = Measurement(WHOLE_CASE, "", float("nan"), status=Status.SKIPPED, reason="it is grey")
    rows = [Row(on_target[0].key, whole)]
    rows.append(Row(on_target[0].key._replace(case="fog"), Measurement("loss", "pt", 0.5, 0.4, 0.6)))
    gate = Gate("g", "accuracy", "loss", maximum=1, severities=(1, 2), combine="worst")
    (verdict,) = judge(rows, [gate], [Subject("cpu", "onnxruntime", "int8")]).verdicts
    assert verdict.state is State.PASS


def test_a_fault_of_the_writer_is_an_error_where_its_file_is_needed() -> None:
    faulty = replace(variant("int8", "onnx"), faults={"tflite": KeyError("planted")})
    targets = (target("cpu", "onnxruntime"), target("lite", "tflite"))
    plan = make_plan(given(targets=targets, variants=(variant("float32", "onnx", "tflite"), faulty)))
    assert ("cpu", "onnxruntime", "int8", "onnx") in names(plan)
    (error,) = plan.skipped
    assert (error.key.target, error.key.variant, error.status) == ("lite", "int8", Status.ERROR)
    assert "KeyError" in error.reason


def test_a_runtime_that_dies_on_a_variant_does_not_get_it() -> None:
    dying = replace(
        variant("int8", "onnx", "tflite"), unusable={"onnxruntime": "onnxruntime dies on int8: SIGABRT"}
    )
    targets = (target("cpu", "onnxruntime"), target("lite", "tflite"))
    available = {(place, name): READY for place in (HOST, "cpu", "lite") for name in FORMATS}
    plan = make_plan(
        given(variants=(variant("float32", "onnx", "tflite"), dying), targets=targets, available=available)
    )
    assert ("cpu", "onnxruntime", "int8", "onnx") not in names(plan)
    assert ("lite", "tflite", "int8", "tflite") in names(plan)
    assert (HOST, "tflite", "int8", "tflite") in names(plan)  # another runtime is the reference
    assert {(r.key.variant, r.status, r.reason) for r in plan.skipped} == {
        ("int8", Status.SKIPPED, "onnxruntime dies on int8: SIGABRT")
    }


def test_a_device_is_not_judged_by_the_runtime_of_this_machine() -> None:
    dying = replace(variant("int8", "onnx"), unusable={"onnxruntime": "onnxruntime dies on int8: SIGABRT"})
    board = replace(target("board", "onnxruntime"), executor={"kind": "ssh", "hosts": ["pi@board"]})
    available = {(place, name): READY for place in (HOST, "board") for name in FORMATS}
    plan = make_plan(
        given(variants=(variant("float32", "onnx"), dying), targets=(board,), available=available)
    )
    assert ("board", "onnxruntime", "int8", "onnx") in names(plan)
