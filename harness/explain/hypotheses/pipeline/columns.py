"""Which columns of a table one side takes for which: seen by changing one column after the other.

In a sample whose columns are all equal, an order of columns changes nothing. So the answers of both sides
to such a sample with one column changed are the same answers in another order, whatever the model computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import preprocess
from harness.core.errors import HarnessError
from harness.core.preprocess import Preprocess
from harness.explain.inputs.mistakes import ARRAY, CANONICAL, STEP, Made, Mistake
from harness.explain.layers.orders import moved, nearest_order, order_text
from harness.explain.scene import Scene
from harness.explain.scene.scene import EXPLAINED
from harness.explain.sides.runner import Trial
from harness.explain.sides.side import Side, as_is

KIND = "columns"
Real = NDArray[np.float64]
#: Tables with more columns are not looked at.
MOST_COLUMNS = 256
#: With fewer samples a target is slow.
FEWEST_SAMPLES = 16
#: Changes of a column, in the usual spread of columns.
CHANGES = (1.0, -1.0, 3.0)
#: What a column may be multiplied by: not there, its sign, powers of ten, units of length, mass, time, angle.
FACTORS = (
    0.0, -1.0, 10.0, 0.1, 100.0, 0.01, 1000.0, 0.001, 1e6, 1e-6, 255.0, 1 / 255, 2.0, 0.5, 2.54, 1 / 2.54,
    0.3048, 1 / 0.3048, 0.4536, 1 / 0.4536, 1.609, 1 / 1.609, 1.8, 1 / 1.8, 3.6, 1 / 3.6, 60.0, 1 / 60,
    3600.0, 1 / 3600, np.pi / 180, 180 / np.pi,
)  # fmt: skip
#: So many columns at most are looked at for factors.
FEW = 8


def of_table(scene: Scene, name: str) -> Iterator[Mistake]:
    """Yield what the reference has to do to its columns to take them as the other does."""
    raw, step = scene.reference.raw[name], scene.reference.preprocess[name]
    width = raw.shape[1] if raw.ndim == 2 else 0
    if not 2 <= width <= MOST_COLUMNS or step.layout != "same" or step.shape or step.batch_axis is None:
        return
    if len(scene.rows) < FEWEST_SAMPLES or np.dtype(step.dtype).kind != "f":
        return
    by_column = max(len(step.mean), len(step.std)) > 1
    levels = [(CANONICAL, Preprocess(dtype=step.dtype))]
    if by_column or step.reverse_channels:
        levels.insert(0, (ARRAY, step))
    for stage, applied in levels:
        try:
            yield from _moved(scene, name, applied, stage)
        except HarnessError:
            continue  # the sides refuse such numbers: nothing is learned
    if by_column:
        for column in range(width):
            yield Mistake(f"with column {column} not normalized", partial(_plain, column=column), STEP, KIND)


def _moved(scene: Scene, name: str, applied: Preprocess, stage: int) -> Iterator[Mistake]:
    """Look at samples that are all zero but for one column."""
    raw = scene.reference.rows(scene.rows)[name]
    spread = float(np.median(preprocess.apply(raw, Preprocess(dtype="float64")).std(axis=0)))
    if stage == CANONICAL:
        step = scene.reference.preprocess[name]
        spread = float(np.median(preprocess.apply(raw, step).astype(np.float64).std(axis=0)))
    if not spread:
        return
    width = raw.shape[1]
    probes = np.concatenate([np.zeros((1, width)), *(change * spread * np.eye(width) for change in CHANGES)])
    first, second = (
        _answers(side, scene, name, preprocess.apply(probes, applied))
        for side in (scene.reference, scene.other)
    )
    one, two = (_by_column(answers, width) for answers in (first, second))
    size = float(np.linalg.norm(one))
    before = float(np.linalg.norm(one - two))
    if not np.isfinite(size + before) or before <= 1e-3 * size:
        return
    order = nearest_order(one, two)
    if len(moved(order)) and float(np.linalg.norm(one[order] - two)) <= 3 * EXPLAINED * before:
        yield _in_order(np.argsort(order), stage)
    gaps = np.linalg.norm(one - two, axis=1)
    differing = np.flatnonzero(gaps > 1e-3 * size)
    if len(differing) <= FEW:
        for column in differing:
            yield from _factor(scene, name, applied, stage, (int(column), spread), two[column])


def _factor(
    scene: Scene, name: str, applied: Preprocess, stage: int, changed: tuple[int, float], seen: Real
) -> Iterator[Mistake]:
    """By what the reference's column has to be multiplied to answer as the other does."""
    column, spread = changed
    width = scene.reference.raw[name].shape[1]
    probes = np.zeros((1 + len(FACTORS) * len(CHANGES), width))
    probes[1:, column] = [change * factor * spread for factor in FACTORS for change in CHANGES]
    answers = _answers(scene.reference, scene, name, preprocess.apply(probes, applied))
    by_factor = (answers[1:] - answers[0]).reshape(len(FACTORS), -1)
    place = int(np.argmin(np.linalg.norm(by_factor - seen, axis=1)))
    yield _multiplied(width, column, FACTORS[place], stage)


def of_received(given: Real, received: Real) -> Iterator[Mistake]:
    """Yield what makes the rows that a model received of those that it was given."""
    if given.ndim != 2 or received.shape != given.shape or not 2 <= given.shape[1] <= MOST_COLUMNS:
        return
    order = nearest_order(given.T, received.T)
    if len(moved(order)):
        yield _in_order(order, CANONICAL)
    factors = (given * received).sum(0) / np.maximum(np.square(given).sum(0), 1e-300)
    for column in np.flatnonzero(np.abs(factors - 1) > 1e-3)[:FEW]:
        yield _multiplied(len(factors), int(column), float(factors[column]), CANONICAL)


def _in_order(taken: NDArray[np.intp], stage: int) -> Mistake:
    text = f"with its columns in another order: {order_text(taken)}"
    return Mistake(text, partial(_changed, stage=stage, order=taken), stage, KIND)


def _multiplied(width: int, column: int, factor: float, stage: int) -> Mistake:
    factors = np.ones(width)
    factors[column] = factor
    text = f"with column {column} multiplied by {factor:.4g}" if factor else f"with zeros in column {column}"
    return Mistake(text, partial(_changed, stage=stage, factors=factors), stage, KIND)


def _answers(side: Side, scene: Scene, name: str, canonical: NDArray[Any]) -> Real:
    """Outputs, shape (samples, elements); other inputs are those of the first sample."""
    rest = {
        other: np.repeat(preprocess.apply(array, side.preprocess[other]), len(canonical), axis=0)
        for other, array in side.rows([0]).items()
        if other != name
    }
    trace = scene.runner.many(side, [Trial({**rest, name: canonical}, side.options)], as_is(side))[0]
    if isinstance(trace, HarnessError):
        raise trace
    return np.concatenate([trace.answer(y).reshape(len(canonical), -1) for y in trace.outputs], axis=1)


def _by_column(answers: Real, width: int) -> Real:
    """What each column changes, shape (columns, changes times elements)."""
    changes = (answers[1:] - answers[0]).reshape(len(CHANGES), width, -1)
    by_column: Real = np.moveaxis(changes, 1, 0).reshape(width, -1)
    return by_column


def _changed(
    made: Made, stage: int, order: NDArray[np.intp] | None = None, factors: Real | None = None
) -> Made:
    def change(x: NDArray[Any]) -> NDArray[Any]:
        ordered = x if order is None else x[:, order]
        return ordered if factors is None else ordered * factors

    return made.with_array(change) if stage == ARRAY else made.with_canonical(change)


def _plain(made: Made, column: int) -> Made:
    width = made.raw.shape[1]
    mean, std = (
        list(values) if len(values) > 1 else [*values] * width for values in (made.step.mean, made.step.std)
    )
    mean[column], std[column] = 0.0, 1.0
    return made.with_step(mean=tuple(mean), std=tuple(std))
