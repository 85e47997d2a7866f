"""A cause behind the model: the order of its classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.explain.layers.errors import gaps
from harness.explain.layers.orders import moved, nearest_order, order_text
from harness.explain.scene import Finding, Scene, State
from harness.explain.scene.findings import percent_left
from harness.explain.scene.scene import EXPLAINED

Real = NDArray[np.float64]
#: More classes are not looked at: the time grows with the cube.
MOST_CLASSES = 4096
#: An order that leaves more than this part of the difference is one of chance: the nearest leaves less than
#: another one in any case.
HALF = 0.5


@dataclass(frozen=True, slots=True)
class _Order:
    """An order of the classes of one output in which the sides are nearer.

    Parameters
    ----------
    name : str
        Of the output.
    axis : int
        Of the classes.
    order : ndarray of int
    left : float
        Part of the difference of this output.
    """

    name: str
    axis: int
    order: NDArray[np.intp]
    left: float


class Classes:
    """The other side gives its classes in another order."""

    name = "order of classes"

    def test(self, scene: Scene) -> Finding:
        """Find the order of columns that is nearest to the reference's."""
        orders = list(_orders(scene))
        if not orders:
            return Finding(self.name, State.REFUTED, "no other order of the classes is nearer")
        columns = {one.name: (one.axis, tuple(map(int, one.order))) for one in orders}
        changed = replace(scene.other, columns=columns)
        share = scene.share(scene.first, scene.runner.samples(changed, scene.rows))
        worst = orders[0]
        return Finding(
            self.name, State.CONFIRMED if share >= 1 - EXPLAINED else State.PARTLY,
            f"with {len(moved(worst.order))} classes of {worst.name} in another order {percent_left(share)} "
            "is left",
            share, f"{scene.other.label} gives its classes in another order: {order_text(worst.order)}",
            after=scene.replaced(scene.other, changed),
        )  # fmt: skip


def _orders(scene: Scene) -> Iterator[_Order]:
    """Yield the nearest order of each output, where it is much nearer."""
    for first, second in zip(scene.first.outputs, scene.second.outputs, strict=False):
        one, two = scene.first.answer(first), scene.second.answer(second)
        if one.shape != two.shape:
            continue
        axes = [axis for axis in dict.fromkeys((min(2, one.ndim - 1), one.ndim - 1)) if axis > 0]
        listed = [order for axis in axes if (order := _nearest(one, two, axis)) is not None]
        if listed:
            nearest, axis, left = min(listed, key=lambda one: one[2])
            yield _Order(second, scene.second.axis_in_file(second, axis), nearest, left)


def _nearest(one: Real, two: Real, axis: int) -> tuple[NDArray[np.intp], int, float] | None:
    count = one.shape[axis]
    first, second = (np.moveaxis(y, axis, -1).reshape(-1, count) for y in (one, two))
    if not 2 <= count <= MOST_CLASSES or len(first) < 2:
        return None
    order = nearest_order(second.T, first.T)
    before, left = _rms(gaps(first, second)), _rms(gaps(first, second[:, order]))
    if not before or not left <= HALF * before or not len(moved(order)):
        return None
    return order, axis, left / before


def _rms(gap: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(gap))))
