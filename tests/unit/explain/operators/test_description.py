"""The change of the right numbers that gives the wrong ones is named, and no other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.explain.operators.description import Results, describe

Change = Callable[[NDArray[np.float64]], NDArray[np.float64]]
RANDOM = np.random.default_rng(3)
#: Samples, channels, rows, columns.
RIGHT = RANDOM.normal(0, 2, (4, 8, 9, 9))
STEP = 0.05


def only(channels: list[int], change: Change) -> Change:
    def changed(x: NDArray[np.float64]) -> NDArray[np.float64]:
        y = x.copy()
        y[:, channels] = change(x[:, channels])
        return y

    return changed


def at_border(x: NDArray[np.float64]) -> NDArray[np.float64]:
    y = x * RANDOM.normal(size=x.shape)
    y[:, :, 1:-1, 1:-1] = x[:, :, 1:-1, 1:-1]
    return y


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x + 0.5, "0.5 is added"),
        (lambda x: 1.2 * x, "it is multiplied by 1.2"),
        (lambda x: -x, "it is multiplied by -1"),
        (lambda x: np.minimum(x, 3.0), "it ends above at 3"),
        (lambda x: np.maximum(x, 0.0), "negative numbers become 0"),
        (np.zeros_like, "every number is 0"),
        (lambda x: np.where(x > 0, x, 0.3 * np.abs(x)), "it is wrong where its result is negative"),
        (lambda x: x[:, [1, 0, 2, 3, 4, 5, 7, 6]], "its channels are in another order: 0 is 1, 1 is 0"),
        (lambda x: x[..., ::-1], "mirrored"),
        (lambda x: x.swapaxes(2, 3), "its axes are exchanged: 0, 1, 3, 2"),
        (lambda x: x.transpose(0, 2, 3, 1).reshape(x.shape), "in the order of the axes 0, 2, 3, 1"),
        (lambda x: x + np.arange(8)[:, None, None], "another number in each channel (0 to 7) is added"),
        (lambda x: x * np.arange(1, 9)[:, None, None], "multiplied by another number in each channel"),
        (only([2, 5], lambda x: x + 1), "1 is added in channels 2, 5 of 8"),
        (only([3], lambda x: 0 * x), "every number is 0 in channel 3 of 8"),
        (only([3], lambda x: np.sin(9 * x)), "it is wrong in channel 3 of 8, and nowhere else"),
        (at_border, "at the border of the image, and nowhere else"),
        (lambda x: np.where(x > 5, np.nan, x), "infinite or no number"),
    ],
)
def test_a_change_of_floats_is_named(change: Change, text: str) -> None:
    described = describe(Results(RIGHT, change(RIGHT), 1, 1e-3))
    assert described is not None
    assert text in described.text
    assert described.left < 0.01


def test_what_no_change_gives_is_not_named() -> None:
    assert describe(Results(RIGHT, np.sin(3 * RIGHT), 1, 1e-3)) is None
    assert describe(Results(RIGHT, RIGHT + 1e-4, 1, 1e-3)) is None


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda x: x + 0.5, "0.5 is added"),
        (lambda x: x - 0.5, "-0.5 is added"),
        (lambda x: x + 10, "10 is added"),
        (lambda x: 0.5 * x, "it is multiplied by 0.5"),
        (lambda x: x, "a bound is left out"),
    ],
)
def test_a_change_before_an_activation_is_named(wrong: Change, text: str) -> None:
    """Relu hides what was below zero; where it is left out, the right numbers are those above."""
    expected = np.maximum(RIGHT, 0)
    seen = wrong(RIGHT) if text == "a bound is left out" else np.maximum(wrong(RIGHT), 0)
    described = describe(Results(expected, seen, 1, 1e-3))
    assert described is not None
    assert described.text == text.replace("a bound", "the activation")


def codes(x: NDArray[np.float64], low: int = -128, high: int = 127) -> NDArray[np.float64]:
    return np.clip(np.rint(x / STEP), low, high) * STEP


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (codes(RIGHT + 1.0), "1 is added"),
        (codes(RIGHT * 0.7), "it is multiplied by 0.7"),
        (codes(RIGHT, -64, 63), "no end of its range of integers"),
        (((np.rint(RIGHT * 2 / STEP) + 128) % 256 - 128) * STEP, ""),
        (((np.rint(RIGHT / STEP) + 148) % 256 - 128) * STEP, ""),
    ],
)
def test_integers_are_described_within_their_range(seen: NDArray[np.float64], text: str) -> None:
    described = describe(Results(codes(RIGHT), seen, 1, 1.01 * STEP, (-128 * STEP, 127 * STEP)))
    assert (described is not None and text in described.text) if text else described is None


def test_a_sum_that_wraps_is_described() -> None:
    right = np.rint(RIGHT / STEP * 1.5)
    wrapped = (right + 128) % 256 - 128
    limits = -128 * STEP, 127 * STEP
    described = describe(Results(np.clip(right, -128, 127) * STEP, wrapped * STEP, 1, 1.01 * STEP, limits))
    assert described is not None
    assert described.text == "it wraps at the ends of its range of integers"
