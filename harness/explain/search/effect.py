"""What a remedy does on samples that did not serve to find the cause."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import HarnessError
from harness.explain.scene import Scene
from harness.explain.search.explanation import Effect, Score

#: Draws of the bootstrap over samples, and its seed.
DRAWS, SEED = 1000, 20_261_127


def measure(before: Scene, after: Scene) -> Effect | None:
    """Measure both on the held-out samples, in pairs."""
    if not before.held_out:
        return None
    try:
        scenes = [replace(scene, rows=scene.held_out, refused={}) for scene in (before, after)]
        with_cause, without = (one.squares() for one in scenes)
    except HarnessError as error:
        before.refused["effect on other samples"] = error.what
        return None
    draws = np.random.default_rng(SEED).integers(0, len(with_cause), (DRAWS, len(with_cause)))
    shares = [_share(with_cause[rows], without[rows]) for rows in draws]
    low, high = np.quantile(shares, (0.025, 0.975))
    score = _score(scenes[0], scenes[1], draws)
    return Effect(_share(with_cause, without), float(low), float(high), len(with_cause), score)


def _score(before: Scene, after: Scene, draws: NDArray[np.int64]) -> Score | None:
    """What the answers of the other side are worth, before and after."""
    if before.scorer is None or before.other is after.other:
        return None
    one, two = (before.scorer.scores(scene.second, scene.rows) for scene in (before, after))
    if one is None or two is None:
        return None
    low, high = np.quantile((two - one)[draws].mean(axis=1), (0.025, 0.975))
    return Score(before.scorer.name, float(one.mean()), float(two.mean()), float(low), float(high))


def _share(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    total = float(before.sum())
    return math.sqrt(float(after.sum()) / total) if total else 0.0
