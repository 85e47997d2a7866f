"""Documents through a model of numpy, with and without a model beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, rel_entr, softmax

from harness.core import preprocess
from harness.core.artifact import Artifact, File, TensorSpec
from harness.core.errors import DataError
from harness.core.feeding import Feeding
from harness.core.job import PARITY, Case, Samples, merge
from harness.core.preprocess import Feeds, Outputs, Preprocess
from harness.core.task import NO_ANSWER
from harness.core.token_numbers import NO_TARGET, NO_TOKEN, PADDING
from suites.accuracy.tasks.tokens import documents
from suites.accuracy.tasks.tokens.documents import measure

VOCABULARY, LENGTH = 11, 7
RANDOM = np.random.default_rng(3)
SIZES = np.array([3, 7, 1, 5, 2])
IDS = np.where(np.arange(LENGTH) < SIZES[:, None], RANDOM.integers(0, VOCABULARY, (5, LENGTH)), 0)
TARGETS = np.where(
    np.arange(LENGTH) < SIZES[:, None] - 1, np.roll(IDS, -1, axis=1),
    np.where(np.arange(LENGTH) < SIZES[:, None], NO_TARGET, PADDING),
).astype(np.int32)  # fmt: skip
TABLE = RANDOM.normal(0, 2, (2, VOCABULARY, VOCABULARY)).astype(np.float32)


def logits_of(ids: NDArray[Any], table: int) -> NDArray[np.float32]:
    return TABLE[table][ids]


@dataclass
class TableSession:
    """Looks the logits of each token up; padding gives logits that would be seen."""

    table: int
    length: int | None
    batch: int | None = None
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    effective: dict[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("ids", (self.batch, self.length), "int64"),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec("hidden", (self.batch, self.length, 2), "float32"),
            TensorSpec("logits", (self.batch, self.length, VOCABULARY), "float32"),
        )

    def run(self, feeds: Feeds) -> Outputs:
        self.shapes.append(feeds["ids"].shape)
        hidden = np.zeros((*feeds["ids"].shape, 2), np.float32)
        return {"hidden": hidden, "logits": logits_of(feeds["ids"], self.table)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


def artifact(name: str) -> Artifact:
    return Artifact(name, "onnx", (File(f"{name}.onnx", name, 0),), Path())


@dataclass
class TableBench:
    sessions: dict[str, TableSession]
    beside: Artifact | None = None
    artifact: Artifact = field(default_factory=lambda: artifact("int8"))
    settings: list[str] = field(default_factory=list)

    @property
    def data(self) -> Self:
        return self

    def clock(self) -> int:
        return 0

    def feeds(self, name: str, start: int, stop: int) -> Feeds:
        return {"ids": IDS[start:stop]}

    def targets(self, name: str, start: int, stop: int) -> NDArray[np.int32]:
        return TARGETS[start:stop]

    def open(self, artifact: Artifact | None = None, *, setting: str = "", **options: Any) -> TableSession:
        self.settings.append(setting)
        return self.sessions[(artifact or self.artifact).variant]

    def feeding(self, session: TableSession, artifact: Artifact | None = None) -> Feeding:
        steps = {"ids": Preprocess(dtype="int64")}
        return Feeding(session.inputs, session.outputs, steps, artifact or self.artifact)


def run(bench: TableBench, batch: int = 2, choices: tuple[int, ...] = ()) -> Samples:
    case = Case("clean", data="clean", samples=5, params={"batch": batch, "scored": "logits"})
    return merge(measure(bench, case, choices))  # type: ignore[arg-type]


def in_a_row(values: NDArray[Any]) -> NDArray[Any]:
    """The tokens of all documents."""
    row: NDArray[Any] = values[TARGETS != PADDING]
    return row


def tokens_in_a_row(table: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    return in_a_row(logits_of(IDS, table)).astype(np.float64), in_a_row(TARGETS)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_padding_counts_nothing_and_documents_are_as_long_as_the_longest(batch: int) -> None:
    session = TableSession(1, None)
    result = run(TableBench({"int8": session}), batch)
    logits, targets = tokens_in_a_row(1)
    assert (in_a_row(result.arrays["answer:top"]) == logits.argmax(axis=1)).all()
    assert (result.arrays["answer:top"][TARGETS == PADDING] == NO_TOKEN).all()
    wanted = log_softmax(logits, axis=1)[np.arange(len(targets)), np.maximum(targets, 0)]
    np.testing.assert_allclose(
        in_a_row(result.arrays["answer:log_probability"]), np.where(targets < 0, np.nan, wanted), rtol=1e-12
    )
    widths = [int(SIZES[start : start + batch].max()) for start in range(0, 5, batch)]
    # After the first call, its shortest document runs alone, without padding and with it.
    assert [shape[1] for shape in session.shapes] == [widths[0], SIZES[:batch].min(), LENGTH, *widths[1:]]
    assert result.values["input_sha256"] == preprocess.digest([{"ids": IDS}])
    assert result.values["outputs"] == [["logits", [LENGTH, VOCABULARY]]]
    assert "answer:divergence" not in result.arrays
    of_each = np.split(logits, np.cumsum(SIZES)[:-1])
    assert result.arrays["lowest:0"].tolist() == [part.min() for part in of_each]
    assert result.arrays["highest:0"].tolist() == [part.max() for part in of_each]


def test_the_divergence_is_from_the_pinned_model_beside_it() -> None:
    bench = TableBench({"int8": TableSession(1, None), "float32": TableSession(0, None)}, artifact("float32"))
    result = run(bench)
    (p, _), (q, _) = tokens_in_a_row(0), tokens_in_a_row(1)
    wanted = rel_entr(softmax(p, axis=1), softmax(q, axis=1)).sum(axis=1)
    np.testing.assert_allclose(in_a_row(result.arrays["answer:divergence"]), wanted, rtol=1e-9)
    assert bench.settings == ["", PARITY]


@pytest.mark.parametrize("batch", [None, 2])
def test_a_file_of_a_fixed_length_gives_the_same_numbers(batch: int | None) -> None:
    fixed = TableSession(1, 9, batch)
    beside = TableSession(0, None)
    result = run(TableBench({"int8": fixed, "float32": beside}, artifact("float32")))
    free = run(
        TableBench({"int8": TableSession(1, None), "float32": TableSession(0, None)}, artifact("float32"))
    )
    assert {shape[1] for shape in fixed.shapes} == {9}
    for name, values in free.arrays.items():
        if name != "run_ns":
            assert name != "answer:padding_effect" or np.nanmax(values) == 0
            np.testing.assert_array_equal(result.arrays[name], values)


def test_large_logits_are_run_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CALL_BYTE", 4 * LENGTH * VOCABULARY * 2)
    session = TableSession(1, None)
    run(TableBench({"int8": session}), batch=5)
    assert [shape[0] for shape in session.shapes] == [2, 1, 1, 2, 1]


def test_a_document_that_does_not_fit_the_file_is_refused() -> None:
    with pytest.raises(DataError, match="a document has 7 tokens, and the input ids takes 4"):
        run(TableBench({"int8": TableSession(1, 4)}))


def test_logits_of_the_last_token_alone_are_refused() -> None:
    class Last(TableSession):
        def run(self, feeds: Feeds) -> Outputs:
            made = super().run(feeds)
            return {"hidden": made["hidden"], "logits": made["logits"][:, -1:]}

    with pytest.raises(DataError, match=r"shape \[1, 11\] a document, not logits for each of 7 tokens"):
        run(TableBench({"int8": Last(1, None)}))


def test_the_answer_to_a_multiple_choice_is_the_likeliest_at_the_last_target() -> None:
    result = run(TableBench({"int8": TableSession(1, None)}), choices=(2, 5, 7))
    chosen = result.arrays["answer:choice"].tolist()
    for row, size in enumerate(SIZES):
        if size == 1:  # its only token has no target
            assert chosen[row] == NO_ANSWER
        else:
            assert chosen[row] == TABLE[1][IDS[row, size - 2]][[2, 5, 7]].argmax()


def test_a_choice_beyond_the_vocabulary_is_refused() -> None:
    with pytest.raises(DataError, match=r"choices has the token 11, and the model has logits of 0 to 10"):
        run(TableBench({"int8": TableSession(1, None)}), choices=(2, 11))


def test_documents_that_are_padded_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """As generating models want them: the same numbers, at the places of the tokens."""
    usual = run(TableBench({"int8": TableSession(1, None)})).arrays["answer:log_probability"]
    place = np.array([[(step - (LENGTH - size)) % LENGTH for step in range(LENGTH)] for size in SIZES])
    monkeypatch.setitem(globals(), "IDS", np.take_along_axis(IDS, place, axis=1))
    monkeypatch.setitem(globals(), "TARGETS", np.take_along_axis(TARGETS, place, axis=1))
    turned = run(TableBench({"int8": TableSession(1, None)})).arrays["answer:log_probability"]
    np.testing.assert_array_equal(turned, np.take_along_axis(usual, place, axis=1))


def test_a_model_that_looks_at_padding_is_caught() -> None:
    class Looks(TableSession):
        def run(self, feeds: Feeds) -> Outputs:
            made = super().run(feeds)
            bias = feeds["ids"].shape[1] * np.arange(VOCABULARY, dtype=np.float32)
            return {**made, "logits": made["logits"] + 0.1 * bias}

    effect = run(TableBench({"int8": Looks(1, None)})).arrays["answer:padding_effect"]
    assert np.isfinite(effect).sum() == 1
    assert effect[int(np.argmin(SIZES[:2]))] > 0.01
