"""Configuration: every problem at once with its path, and nothing taken that cannot be meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.folders import cache_folder, shipped_folder
from harness.config.load import check, load_validation, read_toml
from harness.config.targets import TargetTable, load_target
from harness.config.validation import Validation
from harness.core.errors import ConfigurationError, UsageError
from harness.core.measurement import UNITS
from harness.run.selection import variant_names

LEAST: dict[str, Any] = {"model": {"name": "m", "file": "m.onnx"}, "data": {"path": "d.npz"}}


def problems(raw: dict[str, Any], schema: Any = Validation) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        check(raw, schema, where="here")
    assert caught.value.where == "here"
    return {problem.path: problem.message for problem in caught.value.problems}


def checked(**tables: Any) -> Validation:
    return check({**LEAST, **tables}, Validation, where="here")


def test_the_shipped_example_is_read() -> None:
    validation, folder = load_validation(shipped_folder("models") / "digits")
    assert validation.model.name == "digits"
    assert folder.name == "digits"
    assert variant_names(validation, ()) == ("float32", "int8")
    assert variant_names(validation, ("pruned-50",)) == ("pruned-50",)
    assert variant_names(validation, ("all",)) == validation.variant_names
    assert len(validation.variant_names) > 2
    assert {gate.name for gate in validation.gates} >= {"latency p99", "deterministic"}
    assert validation.inconsistencies() == []


def test_shipped_targets_are_read() -> None:
    for name in ("cpu", "openvino", "tflite", "cuda"):
        assert load_target(name).name == name


def test_every_problem_has_its_path() -> None:
    messages = problems(
        {
            "model": {"name": "a b", "sha256": "x", "tsk": 1},
            "data": {"path": "d", "calibration_samples": 0, "split": "hsh"},
            "input": {"x": {"std": [1.0, 0.0], "mean": [], "layout": "NHCW", "dtype": "object"}},
            "gate": [
                {"name": "g", "suite": "s", "metric": "m", "max": "3 parsecs"},
                {"name": "h", "suite": "s"},
            ],
            "variants": {"int8": {"recipe": [{"pass": "quantize"}, {}]}, "b d": {}},
            "shifts": {"severities": [0, 6]},
            "modle": {},
        }
    )
    assert set(messages) == {
        "model.name", "model.sha256", "model.tsk", "data.calibration_samples", "data.split", "input.x.std",
        "input.x.mean", "input.x.layout", "input.x.dtype", "gate[0].max", "gate[1].metric",
        "variants.int8.recipe[1]", "variants.b d.[key]", "shifts.severities[0]", "shifts.severities[1]",
        "modle",
    }  # fmt: skip
    assert messages["model.tsk"] == "unknown key; did you mean task?"
    assert messages["modle"] == "unknown key; did you mean model?"
    assert messages["gate[1].metric"] == "is missing"


def test_a_problem_in_an_array_tells_the_name_of_its_table() -> None:
    gates = [{"name": "first"}, {"name": "p99 latency", "max": "5 parsecs"}, {"suite": "s"}, 3]
    with pytest.raises(ConfigurationError) as caught:
        check({**LEAST, "gate": gates}, Validation, where="here")
    text = str(caught.value)
    assert "  gate[1].max ('p99 latency'): '5 parsecs' is not" in text
    assert "  gate[0].suite ('first'): is missing" in text
    assert "  gate[2].name: is missing" in text
    assert "  gate[3]: " in text


@pytest.mark.parametrize(
    ("tables", "path"),
    [
        ({"model": {"name": "m", "file": 3}}, "model.file"),
        ({"data": {"path": "d", "seed": 1.5}}, "data.seed"),
        ({"data": {"path": "d", "seed": "1"}}, "data.seed"),
        ({"data": {"path": "d", "header": 1}}, "data.header"),
        ({"data": {"path": "d", "callable": "a:b"}}, "data"),
        ({"data": {}}, "data"),
        ({"input": {"x": {"scale": float("nan")}}}, "input.x.scale"),
        ({"input": {"x": {"mean": [float("inf")]}}}, "input.x.mean[0]"),
        ({"data": {"path": "d", "image": {"size": [0, 3]}}}, "data.image.size[0]"),
        ({"data": {"path": "d", "image": {"crop": 1.5}}}, "data.image.crop"),
        ({"data": {"path": "d", "image": {"pad": 256}}}, "data.image.pad"),
        ({"shapes": {"x": [-1, 3]}}, "shapes.x[0]"),
        ({"shifts": {"kind": "image", "families": ["fog", "fog"]}}, "shifts.families"),
        ({"schema": 2}, "schema"),
        ({"gate": [{"name": "g", "suite": "s", "metric": "m"}]}, "gate[0]"),
    ],
)
def test_types_are_strict(tables: dict[str, Any], path: str) -> None:
    assert set(problems({**LEAST, **tables})) == {path}


def test_whole_numbers_may_stand_where_numbers_do() -> None:
    validation = checked(input={"x": {"scale": 2, "mean": [1, 2]}})
    assert validation.input["x"].scale == 2.0
    assert validation.input["x"].mean == (1.0, 2.0)


def test_contradictions_of_tables_are_reported_at_once() -> None:
    gate = {"suite": "s", "metric": "m", "max": 1}
    validation = checked(
        variants={
            "a": {"recipe": [{"pass": "p"}], "files": {"onnx": "a.onnx"}},
            "b": {},
            "float32": {},
        },
        gate=[{**gate, "name": "g"}, {**gate, "name": "h"}, {**gate, "name": "g"}],
    )
    assert {problem.path for problem in validation.inconsistencies()} == {
        "variants.a", "variants.b", "gate[2].name",
    }  # fmt: skip
    bare = checked(model={"name": "m"}, variants={"a": {"recipe": [{"pass": "p"}]}})
    assert {p.path for p in bare.inconsistencies()} == {"model.file", "variants.a.recipe"}
    prebuilt = checked(model={"name": "m"}, variants={"float32": {"files": {"tflite": "m.tflite"}}})
    assert prebuilt.inconsistencies() == []


@given(st.floats(0.001, 1000), st.sampled_from(sorted(UNITS)))
def test_limits_are_in_the_unit_of_the_table(number: float, unit: str) -> None:
    gate = {"name": "g", "suite": "s", "metric": "m", "max": f"{number!r} {unit}"}
    assert checked(gate=[gate]).gates[0].maximum == pytest.approx(number * UNITS[unit][1])


@pytest.mark.parametrize("limit", ["", "10", "ms", "ten ms", "10ms", "nan ms", "inf ms", "1e999 ms", "10 Ms"])
def test_limits_that_are_none(limit: str) -> None:
    gate = {"name": "g", "suite": "s", "metric": "m", "max": limit}
    assert set(problems({**LEAST, "gate": [gate]})) == {"gate[0].max"}


def test_one_or_several_patterns() -> None:
    gate = {"name": "g", "suite": "s", "metric": "m", "min": 0.5, "variant": "a", "case": ["b", "c*"]}
    gate_read = checked(gate=[gate]).gates[0]
    assert (gate_read.variants, gate_read.cases, gate_read.targets) == (("a",), ("b", "c*"), ("*",))
    assert (gate_read.minimum, gate_read.maximum) == (0.5, None)


def test_the_stored_configuration_reads_back_as_it_was() -> None:
    import json

    validation, _ = load_validation(shipped_folder("models") / "digits")
    stored = json.loads(validation.model_dump_json(by_alias=True))
    assert check(stored, Validation, where="run.json") == validation
    target = load_target("cpu")
    table = json.loads(json.dumps(target.to_json()))
    assert check(table, TargetTable, where="run.json").to_target("cpu") == target


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"a = ", "TOML"), (b"\xff", "cannot be read"), (b"a = 1\na = 2", "TOML"), (b"", "is missing")],
)
def test_files_that_are_no_toml(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "validation.toml").write_bytes(content)
    with pytest.raises(UsageError, match=says) as caught:
        load_validation(tmp_path)
    assert caught.value.where == str(tmp_path / "validation.toml")


def test_dates_and_infinities_of_toml_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('description = 2031-01-01\nbackends = ["b"]\nmax_samples = inf\n')
    with pytest.raises(ConfigurationError) as caught:
        read_toml(tmp_path / "t.toml", TargetTable)
    assert "max_samples" in {problem.path for problem in caught.value.problems}


def test_the_first_folder_of_targets_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    user = tmp_path / "user" / "deployment-validation-harness" / "targets"
    for folder, text in ((user, "user"), (tmp_path / "targets", "here")):
        folder.mkdir(parents=True)
        (folder / "cpu.toml").write_text(f'description = "{text}"\nbackends = ["b"]\n')
        (folder / f"{text}.toml").write_text(f'description = "{text}"\nbackends = ["b"]\n')
    assert load_target("cpu").description == "here"
    assert load_target("user").description == "user"
    assert load_target("tflite").backends == ("tflite",)
    with pytest.raises(UsageError, match="did you mean 'tflite'"):
        load_target("tflit")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", "/a")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/deployment-validation-harness")


GATE: dict[str, Any] = {"name": "g", "suite": "s", "metric": "m"}


def test_limits_against_a_baseline() -> None:
    gates = checked(
        gate=[
            {**GATE, "baseline": "accepted", "max_ratio": 1.1},
            {**GATE, "baseline": "accepted", "min_change": "-1 %", "name": "h",
             "override": [{"target": ["pi*", "tpu"], "min_change": "-2 %", "severity": "warn"}]},
        ]
    ).gates  # fmt: skip
    assert [(g.of, g.baseline, g.maximum, g.minimum) for g in gates] == [
        ("ratio", "accepted", 1.1, None), ("change", "accepted", None, -0.01),
    ]  # fmt: skip
    assert (gates[1].on("pi3").minimum, gates[1].on("pi3").severity) == (-0.02, "warn")
    assert (gates[1].on("cpu").minimum, gates[1].on("cpu").severity) == (-0.01, "block")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "give max, min"),
        ({"max_ratio": 1.1}, "baseline = "),
        ({"max": 1, "baseline": "accepted"}, "limits the value"),
        ({"max": 1, "max_ratio": 1.1, "baseline": "a"}, "the value and the ratio"),
        ({"max_ratio": 1.1, "baseline": "a", "combine": "mean"}, "not of a ratio"),
        ({"max": 1, "override": [{"target": "pi", "max_ratio": 2.0}]}, "an override the ratio"),
        ({"max_ratio": 0.0, "baseline": "a"}, "greater than 0"),
    ],
)
def test_a_gate_is_one_demand(keys: dict[str, Any], says: str) -> None:
    assert says in " ".join(problems({**LEAST, "gate": [{**GATE, **keys}]}).values())


SIDE = {
    "name": "g", "suite": "performance", "metric": "latency_p50", "baseline": "a", "design": "side-by-side",
    "max_ratio": 1.05,
}  # fmt: skip


def test_a_gate_side_by_side() -> None:
    (gate,) = checked(gate=[{**SIDE, "override": [{"target": "pi", "max_ratio": 1.2}]}]).gates
    assert (gate.design, gate.of, gate.maximum, gate.on("pi").maximum) == ("side-by-side", "ratio", 1.05, 1.2)
    assert gate.on("pi").design == "side-by-side"


def test_the_old_name_of_the_design_means_the_same() -> None:
    old, new = (checked(gate=[{**SIDE, "design": name}]) for name in ("ABBA", "side-by-side"))
    assert old == new
    assert old.gates == new.gates


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"combine": "worst"}, "one case is timed as it ships"),
        ({"setting": "parity"}, "one case is timed as it ships"),
        ({"max_ratio": 1.0}, "a max_ratio above 1"),
        ({"min_ratio": 0.5}, "a max_ratio above 1"),
        ({"override": [{"target": "pi", "max_ratio": 0.9}]}, "a max_ratio above 1"),
        ({"override": [{"target": "pi", "min_ratio": 0.9}]}, "an override limits max_ratio alone"),
        ({"design": "AB"}, "side-by-side"),
    ],
)
def test_what_cannot_be_timed_side_by_side(keys: dict[str, Any], says: str) -> None:
    assert says in " ".join(problems({**LEAST, "gate": [{**SIDE, **keys}]}).values())


def test_an_override_leaves_the_limit_that_it_does_not_name() -> None:
    gate = checked(gate=[{**GATE, "max": 1, "min": 0, "override": [{"target": "pi", "max": 2}]}]).gates[0]
    assert (gate.on("pi").maximum, gate.on("pi").minimum) == (2, 0)


def test_waivers_have_a_date_an_owner_and_a_reason(tmp_path: Path) -> None:
    text = 'schema = 1\nmodel = { name = "m", file = "m.onnx" }\ndata = { path = "d" }\n'
    waiver = '[[waiver]]\ngate = "g"\nowner = "jane"\nreason = "HW-212"\nexpires = 2031-05-01\n'
    (tmp_path / "validation.toml").write_text(text + waiver)
    validation, _ = load_validation(tmp_path)
    (loaded,) = validation.waivers
    assert (loaded.owner, loaded.expires.isoformat(), loaded.targets) == ("jane", "2031-05-01", ("*",))
    for wrong in ('owner = " "', 'reason = ""', 'expires = "soon"'):
        key = wrong.partition(" ")[0]
        lines = [wrong if line.startswith(key) else line for line in waiver.splitlines()]
        (tmp_path / "validation.toml").write_text(text + "\n".join(lines))
        with pytest.raises(ConfigurationError) as caught:
            load_validation(tmp_path)
        assert [problem.path for problem in caught.value.problems] == [f"waiver[0].{key}"]


def test_a_file_that_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(UsageError, match="not a regular file"):
        read_toml(tmp_path / "pipe.toml", Validation)


def test_a_file_of_a_million_keys_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "big.toml"
    file.write_text("".join(f"k{i} = 1\n" for i in range(100_000)))
    with pytest.raises(UsageError, match="more than the limit of 1,000,000") as caught:
        read_toml(file, Validation)
    assert "HARNESS_MAX_TOML_BYTES" in caught.value.next_step
    file.write_text("".join(f"k{i} = 1\n" for i in range(300)))
    monkeypatch.setenv("HARNESS_MAX_TOML_BYTES", "100")
    with pytest.raises(UsageError, match="more than the limit of 100"):
        read_toml(file, Validation)
    monkeypatch.setenv("HARNESS_MAX_TOML_BYTES", "100000")
    with pytest.raises(ConfigurationError, match="more problems") as problems:
        read_toml(file, Validation)
    assert len(problems.value.problems) == 101


@pytest.mark.parametrize("text", ["a = " + "[" * 50_000, "a = " + "{a=" * 20_000])
def test_a_file_that_is_nested_too_deeply(tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        read_toml(tmp_path / "deep.toml", Validation)


def test_a_validation_file_that_is_a_fifo_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "validation.toml")
    with pytest.raises(UsageError, match=r"validation\.toml is not a regular file"):
        load_validation(tmp_path)


def test_an_unknown_task_is_named() -> None:
    messages = problems({**LEAST, "model": {**LEAST["model"], "task": "clasification"}})
    assert "no task; use anomaly, classification, " in messages["model.task"]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"task": "multi-label"}, "missing; a score above it means yes"),
        ({"task": "anomaly", "threshold": 0.5}, "is not for the task anomaly"),
        ({"task": "embedding", "threshold": 0.5}, "is not for the task embedding"),
        ({"task": "multi-label", "threshold": 0.0}, ""),
        ({"threshold": 0.5}, ""),
    ],
)
def test_the_threshold_of_a_task(table: dict[str, Any], says: str) -> None:
    inconsistent = checked(model={**LEAST["model"], **table}).inconsistencies()
    assert [problem.path for problem in inconsistent] == ["model.threshold"] * bool(says)
    assert all(says in problem.message for problem in inconsistent)


@pytest.mark.parametrize(
    ("hop_samples", "task", "says"),
    [
        (4000, {"hop_s": 0.25}, ""),
        (4000, {"hop_s": 0.5}, "is 0.5; hop_samples = 4000 at rate_hz = 16000 are 0.25 s"),
        (4000, {}, "is 1; hop_samples"),
        (None, {"hop_s": 0.5}, ""),
    ],
)
def test_windows_of_audio_have_one_hop(hop_samples: int | None, task: dict[str, Any], says: str) -> None:
    audio = {
        "rate_hz": 16000,
        "window_samples": 16000,
        **({"hop_samples": hop_samples} if hop_samples else {}),
    }
    wrong = checked(
        model={**LEAST["model"], "task": "events"}, data={"path": "streams", "audio": audio}, task=task
    ).inconsistencies()
    assert [problem.path for problem in wrong] == ["task.hop_s"] * bool(says)
    assert all(says in problem.message for problem in wrong)
