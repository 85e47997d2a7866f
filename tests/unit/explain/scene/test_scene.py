"""Differences and shares of them stay numbers where outputs have NaN or infinity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.explain.layers.errors import compare, gaps
from tests.unit.explain import scenes
from tests.unit.explain.scenes import Files
from tests.unit.explain.strange import changing_outputs

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return scenes.make(tmp_path_factory.mktemp("files"))


def test_equal_nan_and_infinities_do_not_differ_and_others_count_as_the_largest_number() -> None:
    first = np.array([1.0, -8.0, NAN, INF, INF, NAN, 2.0])
    second = np.array([1.5, -8.0, NAN, INF, -INF, 0.0, INF])
    assert gaps(first, second).tolist() == [0.5, 0.0, 0.0, 0.0, 8.0, 8.0, 8.0]
    error = compare(first, second)
    assert error.largest == INF
    assert math.isfinite(error.relative)


def test_a_share_of_samples_with_nan_leaves_the_rest_of_the_difference(files: Files) -> None:
    def some(y: np.ndarray) -> np.ndarray:
        changed = y.copy()
        changed[y[:, 0] > np.float32(-0.3)] = np.nan
        return changed

    side = files.side(files.float32)
    scene = files.scene(side, files.planted(side, changing_outputs(some)))
    assert 0.0 < scene.gap < INF
    assert np.isfinite(scene.squares()).all()
    worst = scene.answers(scene.second)[0][[scene.rows.index(row) for row in scene.worst]]
    assert np.isnan(worst).all()
    rows = slice(0, len(scene.rows))
    assert scene.share(scene.first, scene.first) == 1.0
    assert scene.share_of_part(scene.other, scene.first, rows) == 1.0
    assert scene.share_of_part(scene.other, scene.second, rows) == 0.0
