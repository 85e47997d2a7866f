"""Causes before and after the model: the input that it gets, and the order of its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from harness.core import preprocess
from harness.core.errors import HarnessError
from harness.core.preprocess import Preprocess
from harness.explain.scene import EXPLAINED, Finding, Remedy, Scene, State
from harness.explain.sides import Side, Trial

#: Samples with which mistakes are looked for.
SCREENED = 16


class Classes:
    """The other side gives its classes in another order."""

    name = "order of classes"

    def test(self, scene: Scene) -> Finding:
        """Find the order of columns that is nearest to the reference's."""
        for name, one, two in zip(
            scene.first.outputs, scene.answers(scene.first), scene.answers(scene.second), strict=True
        ):
            if one.shape != two.shape or not 2 <= one.shape[1] <= 4096 or len(one) < 2:
                continue
            # The squared distance of each pair of columns, without a third axis.
            squares = (one**2).sum(0)[:, None] + (two**2).sum(0)[None, :] - 2 * one.T @ two
            _, order = linear_sum_assignment(np.nan_to_num(squares, nan=np.inf, posinf=1e300))
            moved = np.flatnonzero(order != np.arange(len(order)))
            if not len(moved):
                continue
            before = float(np.sqrt(np.mean((one - two) ** 2)))
            left = float(np.sqrt(np.mean((one - two[:, order]) ** 2)))
            if before and left <= EXPLAINED * before:
                pairs = ", ".join(f"{place} is {order[place]}" for place in moved[:4])
                pairs += " …" * (len(moved) > 4)
                return Finding(
                    self.name, State.CONFIRMED,
                    f"with {len(moved)} classes of {name} in another order {left / before:.1%} is left",
                    1 - left / before,
                    f"{scene.other.label} gives its classes in another order: {pairs}",
                )  # fmt: skip
        return Finding(self.name, State.REFUTED, "no other order of the classes is nearer")


class Input:
    """One side prepares its input otherwise."""

    name = "preprocessing"

    def test(self, scene: Scene) -> Finding:
        """Prepare the reference's input as mistakes would, and look which gives the other's numbers."""
        if scene.is_within_rounding:
            return Finding(self.name, State.REFUTED, "the difference is one of rounding")
        best = _Mistake("", scene.reference, {}, 0.0)
        refused = ""
        for side in (scene.reference, scene.other):
            listed = list(mistakes(side, scene.rows[:SCREENED]))
            trials = [Trial(fed, side.options) for _, fed in listed]
            for (text, fed), trace in zip(listed, scene.runner.many(side, trials, as_is(side)), strict=True):
                if isinstance(trace, HarnessError):
                    refused = trace.what
                    continue
                share = scene.share_of_part(trace, SCREENED, is_other=side is scene.other)
                if share > best.share:
                    best = _Mistake(text, side, fed, share)
            if best.share >= 1 - EXPLAINED:
                break
        state = scene.judged(best.share, is_exact=False)
        if state is State.REFUTED:
            evidence = "no usual mistake of preprocessing gives these numbers"
            return Finding(self.name, state, f"{evidence}{'; ' * bool(refused)}{refused}", best.share)
        # The reference that errs like the other shows the other's mistake, and the reverse.
        wrong = scene.other if best.side is scene.reference else scene.reference
        return Finding(
            self.name, state,
            f"so prepared, both sides agree but for {max(0.0, 1 - best.share):.1%} of the difference",
            best.share, f"{wrong.label} gets its input {best.text}", "the input",
            Remedy("prepare the input as validation.toml says", "[input.NAME]", wrong.label, was_run=False),
            scene.replaced(best.side, best.made(scene.rows)),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Mistake:
    """A mistake, on the side that was made to err."""

    text: str
    side: Side
    fed: Mapping[str, NDArray[Any]]
    share: float

    def made(self, rows: Sequence[int]) -> Side:
        """The side, with the mistake in all its samples."""
        fed = next(fed for text, fed in mistakes(self.side, rows) if text == self.text)
        return replace(self.side, raw=fed, preprocess=as_is(self.side))


def as_is(side: Side) -> dict[str, Preprocess]:
    """Steps that feed canonical inputs unchanged; constants stay."""
    return {
        name: step if step.value is not None else Preprocess(dtype=step.dtype, batch_axis=step.batch_axis)
        for name, step in side.preprocess.items()
    }


def mistakes(side: Side, rows: Sequence[int]) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
    """Yield what the usual mistakes make of some samples: a text, and the canonical inputs."""
    raw = side.rows(rows)
    right = {name: preprocess.apply(array, side.preprocess[name]) for name, array in raw.items()}
    for name, array in raw.items():
        step = side.preprocess[name]
        for text, changed in _affine(step, array):
            yield text, {**right, name: preprocess.apply(array, changed)}
        for text, moved in _arrangements(array, step):
            yield text, {**right, name: preprocess.apply(np.ascontiguousarray(moved), step)}


def _affine(step: Preprocess, raw: NDArray[Any]) -> Iterator[tuple[str, Preprocess]]:
    mean, std, scale = step.mean, step.std, step.scale
    plain = (0.0,), (1.0,)
    options: list[tuple[str, float, tuple[float, ...], tuple[float, ...]]] = [
        ("in the range 0 to 255 and not 0 to 1", 255.0 * scale, mean, std),
        ("multiplied by 255 after normalization", scale, mean, tuple(width / 255 for width in std)),
        ("divided by 255 after normalization", scale, mean, tuple(width * 255 for width in std)),
        ("divided by 255 once more", scale / 255.0, mean, std),
        ("without mean and standard deviation", scale, *plain),
        ("without its mean", scale, plain[0], std),
        ("not divided by its standard deviation", scale, mean, plain[1]),
        ("without any normalization", 1.0, *plain),
        ("in the range 0 to 1", 1 / 255, *plain),
        ("in the range −1 to 1", 2 / 255, (1.0,), (1.0,)),
        (
            "with the mean and standard deviation of ImageNet",
            1 / 255,
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
        ),
        ("with mean and standard deviation in reverse", scale, mean[::-1], std[::-1]),
    ]
    for text, factor, centre, width in options:
        changed = replace(step, scale=factor, mean=centre, std=width)
        if changed != step and len(changed.mean) in (1, raw.shape[-1]):
            yield text, changed


def _arrangements(raw: NDArray[Any], step: Preprocess) -> Iterator[tuple[str, NDArray[Any]]]:
    if raw.ndim == 4:
        rows, columns, channels = (
            (1, 2, 3) if step.layout != "same" or raw.shape[-1] in (1, 3, 4) else (2, 3, 1)
        )
        if raw.shape[channels] == 3:
            yield "in the channel order BGR and not RGB", np.flip(raw, channels)
            grey = raw.mean(axis=channels, keepdims=True)
            yield "in grey", np.broadcast_to(grey, raw.shape).astype(raw.dtype)
        yield "mirrored left to right", np.flip(raw, columns)
        yield "upside down", np.flip(raw, rows)
        yield "rotated by 180 degrees", np.flip(raw, (rows, columns))
        if raw.shape[rows] == raw.shape[columns]:
            yield "with rows and columns exchanged", np.swapaxes(raw, rows, columns)
            yield "rotated by 90 degrees", np.rot90(raw, 1, (rows, columns))
            yield "rotated by 270 degrees", np.rot90(raw, 3, (rows, columns))
        if raw.shape[channels] > 1:
            other = np.moveaxis(raw, channels, 1).reshape(raw.shape)
            yield "with channels first read as channels last", other
            shape = (len(raw), raw.shape[channels], raw.shape[rows], raw.shape[columns])
            yield (
                "with channels last read as channels first",
                np.moveaxis(raw.reshape(shape), 1, -1).reshape(raw.shape),
            )
        for axis, where in ((rows, "row"), (columns, "column")):
            for shift in (1, -1):
                yield f"shifted by a {where}", np.roll(raw, shift, axis)
        if raw.dtype == np.uint8:
            yield "inverted", 255 - raw
    elif raw.ndim == 2 and raw.shape[1] > 1:
        yield "with its columns in reverse order", raw[:, ::-1]
        yield "shifted by a column", np.roll(raw, 1, 1)
        yield "shifted by a column", np.roll(raw, -1, 1)
