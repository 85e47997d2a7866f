"""What each token should be, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.core.errors import DataError
from harness.core.token_numbers import NO_TARGET, PADDING
from harness.tasks.host import GivenLabels
from suites.accuracy.tasks.tokens.targets import ids_input, targets_of

IDS = np.array([[4, 5, 6], [7, 8, 0]])


def documents(
    labels: Any = ((), ()), lengths: Any = (3, 2), scores: int | None = None, **inputs: Any
) -> GivenLabels:
    arrays = {"input_ids": IDS, **{name: np.asarray(array) for name, array in inputs.items()}}
    return GivenLabels(
        np.asarray(labels), (), scores, np.arange(10, 12), "x", arrays,
        None if lengths is None else np.asarray(lengths),
    )  # fmt: skip


def test_without_labels_the_target_is_the_token_that_follows() -> None:
    wanted = [[5, 6, NO_TARGET], [8, NO_TARGET, PADDING]]
    assert targets_of(documents()).tolist() == wanted
    masked = documents(lengths=None, attention_mask=[[1, 1, 1], [1, 1, 0]])
    assert targets_of(masked).tolist() == wanted


def test_documents_padded_in_front() -> None:
    masked = documents(lengths=None, attention_mask=[[0, 1, 1], [1, 1, 1]])
    assert targets_of(masked).tolist() == [[PADDING, 6, NO_TARGET], [8, 0, NO_TARGET]]


def test_labels_below_0_are_no_targets() -> None:
    made = targets_of(documents(labels=[[-100, 3, -1], [2, -100, 9]], scores=4))
    assert made.tolist() == [[NO_TARGET, 3, NO_TARGET], [2, NO_TARGET, PADDING]]


def test_the_ids_are_the_only_whole_numbers_that_are_no_mask() -> None:
    ids, mask = np.zeros((2, 3), np.int64), np.ones((2, 3), np.int64)
    assert ids_input({"tokens": ids, "attention_mask": mask, "position_ids": ids}, "x") == "tokens"
    assert ids_input({"other": ids, "input_ids": ids}, "x") == "input_ids"
    with pytest.raises(DataError, match="which input holds the ids of tokens is unclear: one, two"):
        ids_input({"one": ids, "two": ids}, "x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (documents(), r"1 of 5 ids are no tokens .* of 0 to 7: token 1 of sample 11 \(from 0\) has 8"),
        (documents(labels=[[1, 9, 1], [1, 1, 1]]), r"1 of 5 labels are no tokens .*: token 1 of sample 10"),
        (documents(labels=[1, 0]), r"labels are int64 of shape \[2\], and documents have the shape \[2, 3\]"),
        (documents(labels=[[0.5] * 3] * 2), "labels are float64"),
        (documents(attention_mask=[[1, 1, 1], [0, 0, 0]]), "1 of 2 documents are empty; .* sample 11"),
        (documents(lengths=(1, 1)), "no document has a token that another one follows"),
        (GivenLabels(np.zeros((2, 0)), (), 8, np.arange(2), "x", {"x": np.zeros(2)}), "are no documents"),
    ],
)  # fmt: skip
def test_what_is_refused(given: GivenLabels, message: str) -> None:
    with pytest.raises(DataError, match=message):
        targets_of(replace(given, scores=8))
