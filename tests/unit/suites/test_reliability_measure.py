"""Planted faults: each check must find its own, and an honest runtime must pass them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.core.artifact import TensorSpec
from harness.core.errors import WorkerError
from harness.core.job import Case, Samples, Status, merge
from harness.core.measurement import Measurement
from suites.reliability.cases import SCRAMBLE
from suites.reliability.damage import Damage, damaged_copy
from suites.reliability.measure import measure, mistakes
from tests.unit.suites.planted import FEATURES, InProcessBench, PlantedSession, batch
from tests.unit.suites.reliability_bench import bench_of, case_named, measured, results, rows_of, values


@pytest.mark.parametrize(
    ("fault", "refused", "recovered", "says"),
    [
        ("", 1, 1, ""),
        ("accepts", 0, 1, "x: missing: finite"),
        ("raises", 0, 1, "x: misspelt: raised KeyError"),
        ("poisoned", 1, 0, ""),
    ],
)
def test_bad_input(tmp_path: Path, fault: str, refused: float, recovered: float, says: str) -> None:
    rows = measured(tmp_path, case_named("bad_input"), fault)
    assert values(rows) == {"bad_input_refused": refused, "recovered_after_bad_input": recovered}
    assert says in rows["bad_input_refused"].reason
    assert {row.n for row in rows.values()} == {7}


def test_mistakes_are_made_with_every_input_and_are_mistakes() -> None:
    specs = (TensorSpec("a", (None, 3), "float32"), TensorSpec("b", (None,), "uint8"))
    feeds = {"a": np.ones((1, 3), np.float32), "b": np.ones(1, np.uint8)}
    kinds = dict(mistakes(feeds, specs))
    assert {kind.partition(":")[0] for kind in kinds} == {"a", "b"}
    assert kinds["a: axis 1 longer by one"]["a"].shape == (1, 4)
    assert "b: uint8" not in kinds  # that is what it takes
    assert not any(kind.startswith("b: axis") for kind in kinds)  # the caller chooses that one
    assert set(kinds["b: missing"]) == {"a"}
    for wrong in kinds.values():
        same = {name: (x.shape, x.dtype) for name, x in wrong.items()}
        assert same != {name: (x.shape, x.dtype) for name, x in feeds.items()}
    assert feeds["a"].shape == (1, 3)


@pytest.mark.parametrize(("fault", "hidden"), [("", 0), ("hides", 1)])
def test_nonfinite_input(tmp_path: Path, fault: str, hidden: float) -> None:
    rows = measured(tmp_path, case_named("nonfinite_input"), fault)
    assert values(rows) == {
        "nonfinite_hidden": hidden,
        "nan_taken_as_zero": hidden,
        "recovered_after_nonfinite_input": 1,
    }
    assert rows["nonfinite_hidden"].n == 4 * 8
    assert ("one_minus_inf 8/8" in rows["nonfinite_hidden"].reason) == bool(hidden)


def test_every_row_of_a_fixed_batch_is_poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    honest = PlantedSession.run
    monkeypatch.setattr(PlantedSession, "run", lambda self, f: seen.append(f["x"].copy()) or honest(self, f))
    measured(tmp_path, case_named("nonfinite_input"), batch="2")
    poisoned = [x for x in seen if not np.isfinite(x).all()]
    counts = {tuple((~np.isfinite(x)).sum(axis=1)) for x in poisoned}
    assert counts == {(1, 1), (FEATURES, FEATURES)}


# Damaged files: 52 bytes, of which 4 are the magic; every cut changes the length, which the model checks.
@pytest.mark.parametrize(
    ("fault", "refused", "crashed"), [("", 1, 0), ("refuses", 1, 0), ("crash", 0, 1), ("hang", 0, 1)]
)
def test_truncated_file(
    tmp_path: Path, installed_planted: None, fault: str, refused: float, crashed: float
) -> None:
    case = case_named("truncated_file", truncations=2)
    facts = batch(tmp_path, "reliability", (case,), {"fault": fault})
    (result,) = results(facts, tmp_path)
    assert result.status is Status.OK, result.reason
    rows = rows_of(InProcessBench(facts, case, tmp_path), result.samples)
    assert values(rows) == {
        "truncation_refused": refused,
        "damage_crashed": crashed,
        "hash_catches_damage": 1,
        "recovered_after_damage": 1,
    }
    assert {row.n for row in rows.values()} == {2}
    if fault in ("crash", "hang"):
        name, sign = {"crash": ("crashed", "SIGSEGV"), "hang": ("hung", "SIGALRM")}[fault]
        assert result.samples.values["outcomes"] == [name] * 2
        assert all(sign in line for line in result.samples.values["said"])
        assert rows["truncation_refused"].reason == f"{name} 2"


def test_bit_flips_are_silent_and_only_the_hash_catches_them(tmp_path: Path) -> None:
    rows = found_in_process(tmp_path, case_named("bit_flips", bit_flips=40, seed=5))
    silent = rows["bit_flip_silent"]
    assert 0.5 < silent.ci_low < silent.value < silent.ci_high < 1  # the magic and dead bits are not silent
    assert "loaded_different" in silent.reason
    assert rows["hash_catches_damage"].value == rows["recovered_after_damage"].value == 1
    assert rows["damage_crashed"].value == 0


def test_bit_flips_of_a_runtime_that_checks_are_not_silent(tmp_path: Path) -> None:
    rows = found_in_process(tmp_path, case_named("bit_flips", bit_flips=10), "refuses")
    assert rows["bit_flip_silent"].value == 0
    assert rows["bit_flip_silent"].reason == "refused 10"


def test_damage_that_the_hash_would_miss_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suites.reliability.damage.verify", lambda artifact: None)
    rows = found_in_process(tmp_path, case_named("bit_flips", bit_flips=3))
    assert rows["hash_catches_damage"].value == 0


@pytest.mark.parametrize(("fault", "noticed"), [("", 1), ("cached", 0)])
def test_another_file_than_the_given_one(tmp_path: Path, fault: str, noticed: float) -> None:
    rows = found_in_process(tmp_path, case_named("bit_flips", bit_flips=2), fault)
    assert rows["scrambled_file_noticed"].value == noticed
    assert rows["bit_flip_silent"].n == 2
    assert rows["hash_catches_damage"].n == 3


def test_of_a_large_file_there_are_fewer_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suites.reliability.damage.MOST_BYTE", 0)
    rows = found_in_process(tmp_path, case_named("bit_flips", bit_flips=9))
    assert rows["bit_flip_silent"].n == 5
    assert rows["hash_catches_damage"].n == 6
    monkeypatch.undo()
    (tmp_path / "all").mkdir()
    rows = found_in_process(tmp_path / "all", case_named("bit_flips", bit_flips=9))
    assert rows["bit_flip_silent"].n == 9


def test_death_before_the_first_copy_is_no_finding(tmp_path: Path) -> None:
    case = case_named("bit_flips")
    bench = bench_of(tmp_path, case)

    def die(child: Case) -> Samples:
        raise WorkerError("the fresh process was killed by SIGKILL")

    bench.spawn = die  # type: ignore[method-assign]
    with pytest.raises(WorkerError, match="SIGKILL"):
        list(measure(bench, case))
    bench.close()


def found_in_process(folder: Path, case: Case, fault: str = "") -> dict[str, Measurement]:
    """With the child's work done here: the address space of the tests stays unbounded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suites.reliability.damage._limit_memory", lambda: None)
        parent = bench_of(folder, case, fault)
        scratch = folder / "scratch"
        scratch.mkdir()

        def spawn(child: Case) -> Samples:
            inner = InProcessBench(parent._batch, child, folder)
            inner._scratch = scratch
            return merge(measure(inner, child))

        parent.spawn = spawn  # type: ignore[method-assign]
        try:
            return rows_of(parent, merge(measure(parent, case)))
        finally:
            parent.close()
            assert list(scratch.iterdir()) == []


def test_damaged_copy_changes_one_bit_or_the_end_of_one_file(tmp_path: Path) -> None:
    facts = batch(tmp_path, "reliability", ())
    second = tmp_path / "second.bin"
    second.write_bytes(bytes(10))
    first = facts.artifact.files[0]
    artifact = replace(facts.artifact, files=(first, replace(first, name="second.bin", size_byte=10)))
    original = facts.artifact.path.read_bytes()

    flipped = damaged_copy(artifact, Damage(7, 3), tmp_path / "a")
    changed = np.frombuffer(original, np.uint8) ^ np.frombuffer(flipped.path.read_bytes(), np.uint8)
    assert np.flatnonzero(changed).tolist() == [7]
    assert changed[7] == 8
    assert (flipped.folder / "second.bin").read_bytes() == bytes(10)

    scrambled = damaged_copy(artifact, Damage(13, SCRAMBLE), tmp_path / "c")
    changed = np.frombuffer(original, np.uint8) != np.frombuffer(scrambled.path.read_bytes(), np.uint8)
    assert np.flatnonzero(changed).tolist() == list(range(13, len(original)))
    assert (scrambled.folder / "second.bin").read_bytes() == bytes(10)

    cut = damaged_copy(artifact, Damage(len(original) + 4, -1), tmp_path / "b")
    assert cut.path.read_bytes() == original
    assert (cut.folder / "second.bin").read_bytes() == bytes(4)
    assert cut.files == artifact.files


@pytest.mark.parametrize(
    ("fault", "provider", "precision"), [("", 1, 1), ("provider", 0, 1), ("precision", 1, 0)]
)
def test_provenance(tmp_path: Path, fault: str, provider: float, precision: float) -> None:
    rows = measured(tmp_path, case_named("provenance"), fault)
    assert {
        name: row.value for name, row in rows.items() if "_on_" not in name and "confirmed" not in name
    } == {
        "provider_as_asked": provider,
        "precision_as_asked": precision,
        "effective_reported": 1,
        "artifact_hash_equal": 1,
    }
    assert rows["provider_as_asked"].reason == (
        f"asked for numpy, the runtime uses {'other' if fault == 'provider' else 'numpy'}"
    )


@pytest.mark.parametrize(
    ("fault", "threads", "precision", "says"),
    [
        ("", 1, 1, "a change of the inputs by 2^-13"),
        ("busy thread", 0, 1, "a change of the inputs by 2^-13"),
        ("short answers", 1, 0, "f32 is claimed, and every answer is a bf16 number"),
        ("short inputs", 1, 0, "f32 is claimed, and inputs are rounded: a change by 2^-10 changes no answer"),
    ],
)
def test_claims_are_compared_with_the_kernel_and_the_numbers(
    tmp_path: Path, fault: str, threads: float, precision: float, says: str
) -> None:
    rows = measured(tmp_path, case_named("provenance"), fault)
    assert rows["threads_confirmed"].value == threads
    assert rows["threads_confirmed"].reason.endswith("of its threads used CPU time, 1 claimed")
    assert rows["precision_confirmed"].value == precision
    assert rows["precision_confirmed"].reason.startswith(says)
    assert rows["provider_confirmed"].status is Status.SKIPPED
    assert rows["provider_confirmed"].reason.startswith("unconfirmed: nothing outside the runtime tells")


def test_provenance_hashes_the_files_that_lie_there(tmp_path: Path) -> None:
    case = case_named("provenance")
    bench = bench_of(tmp_path, case)
    data = bytearray(bench.artifact.path.read_bytes())
    data[-1] ^= 1
    bench.artifact.path.write_bytes(data)
    assert rows_of(bench, merge(measure(bench, case)))["artifact_hash_equal"].value == 0


@pytest.mark.parametrize(
    ("requested", "used", "expected"),
    [("f32", "F32", 1), ("GPU", "GPU.0", 1), ("GPU", "GPUX", 0), ("", "bf16", 1), ("f32", "", 0)],
)
def test_as_asked(requested: str, used: str, expected: float, tmp_path: Path) -> None:
    case = case_named("provenance")
    facts = batch(tmp_path, "reliability", (case,))
    options = replace(facts.options["deploy"], precision=requested)
    bench = InProcessBench(replace(facts, options={"deploy": options}), case, tmp_path)
    samples = Samples(values={"effective": {"precision": used, "provider": "numpy"}, "sha256": {}})
    row = rows_of(bench, samples)["precision_as_asked"]
    assert row.value == expected
    assert ("left to the runtime" in row.reason) == (not requested)
