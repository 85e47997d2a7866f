"""The path of a search, what it verifies, and the files it writes."""

from __future__ import annotations

import math
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from harness.config.schema import RecipeFile, SearchTable
from harness.core.verdict import State
from harness.stats.intervals import Interval
from harness.variants import search_files
from harness.variants.search import SearchResult, most_sensitive, path_of
from harness.variants.trials import Trial

LEVELS = 3
LAYERS = ("a", "b", "c")
Alone = dict[tuple[str, int], tuple[float, int]]
#: Noise in dB falls, and bytes fall, from step to step.
FIGURES = st.fixed_dictionaries(
    {
        (layer, level): st.tuples(st.floats(0, 60), st.integers(100, 1000))
        for layer in LAYERS
        for level in range(LEVELS)
    }
)


@given(FIGURES)
def test_the_path_lowers_one_layer_at_a_time_and_never_back(
    alone: dict[tuple[str, int], tuple[float, int]],
) -> None:
    before = dict.fromkeys(LAYERS, -1)
    for levels in path_of(alone, LAYERS, LEVELS, 1000):
        changed = [layer for layer in LAYERS if levels[layer] != before[layer]]
        assert len(changed) == 1
        (layer,) = changed
        assert levels[layer] > before[layer]
        size_before = 1000 if before[layer] < 0 else alone[layer, before[layer]][1]
        assert alone[layer, levels[layer]][1] < size_before  # a move that saves nothing is not one
        before = levels


def test_the_sensitive_layer_is_lowered_last() -> None:
    alone = {
        (layer, level): (60.0 - 10 * level, 900 - 200 * level) for layer in LAYERS for level in range(LEVELS)
    }
    alone |= {("b", level): (5.0 - level, 900 - 200 * level) for level in range(LEVELS)}
    steps = list(path_of(alone, LAYERS, LEVELS, 1000))
    first = next(index for index, levels in enumerate(steps) if levels["b"] >= 0)
    assert all(steps[first][layer] == LEVELS - 1 for layer in ("a", "c"))


def trial(name: str, accuracy: float, gzip_byte: int, speed: tuple[float, float] = (0.98, 1.02)) -> Trial:
    loss = 100 * (0.99 - accuracy)
    return Trial(
        name, (), 2 * gzip_byte, gzip_byte, 20.0, 0.0, accuracy, Interval(loss, loss - 0.3, loss + 0.3, 800),
        {"speed_up": sum(speed) / 2, "ci_low": speed[0], "ci_high": speed[1]},
    )  # fmt: skip


def test_front_has_the_trials_that_none_dominates() -> None:
    trials = [
        trial("float32", 0.99, 400), trial("worse", 0.98, 400), trial("small", 0.98, 50),
        trial("fast", 0.98, 100, (1.3, 1.5)), trial("as fast by chance", 0.98, 60, (0.99, 1.05)),
    ]  # fmt: skip
    assert search_files.front(trials) == {"float32", "small", "fast"}


def result(state: State, best: Trial | None) -> SearchResult:
    sensitivity = {
        (layer, level): Trial("", (), 1, 1, 40.0 - 10 * level - 5 * i, 0.0)
        for i, layer in enumerate(LAYERS)
        for level in range(2)
    }
    path = (best,) if best else (trial("mixed-1", 0.9, 300),)
    return SearchResult(state, best, 1.0, path, (trial("float32", 0.99, 400),), sensitivity, SearchTable())


def test_recipe_file_is_read_back() -> None:
    recipe = (
        {"pass": "cluster", "k": 4, "layers": ["/a/Conv", 'b "quoted" é']},
        {"pass": "weight_only", "bits": 8, "layers": ["c"]},
    )
    best = Trial("mixed-7", recipe, 10, 5, 20.0, 0.0, 0.99, Interval(0.1, -0.2, 0.5, 800), {})
    text = search_files.recipe_toml(result(State.PASS, best))
    assert RecipeFile.model_validate(tomllib.loads(text), strict=False).recipe == recipe


def test_without_a_candidate_the_most_sensitive_layers_are_named() -> None:
    none = result(State.FAIL, None)
    assert [layer for layer, _ in most_sensitive(none)] == ["c", "b", "a"]
    text = search_files.text(none)
    assert "FAIL   none of the candidates is within 1 pt" in text
    assert "c 30.0 dB, b 35.0 dB" in text
    assert "too few samples to show" in search_files.text(result(State.INCONCLUSIVE, None))


def test_infinite_signal_is_no_noise() -> None:
    alone = {("a", 0): (math.inf, 10), ("b", 0): (10.0, 5)}
    assert next(path_of(alone, ("a", "b"), 1, 100)) == {"a": 0, "b": -1}
