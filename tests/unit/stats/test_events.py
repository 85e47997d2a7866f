"""Events of frames against a loop, their matches against all pairings, and the exact interval of a rate."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from harness.stats.events import Events, events_of, matches, poisson_rate

FRAMES = st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 2)), max_size=30)


def looped(classes: list[int], stream: list[int], hold: int) -> list[tuple[int, int, int, int]]:
    made: list[list[int]] = []
    for frame, (label, of) in enumerate(zip(classes, stream, strict=True)):
        if label <= 0:
            continue
        # Another class in between ends an event: only the last event can go on.
        if made and made[-1][2:] == [label, of] and frame - made[-1][1] <= hold:
            made[-1][1] = frame + 1
        else:
            made.append([frame, frame + 1, label, of])
    return [tuple(event) for event in made]  # type: ignore[misc]


@settings(max_examples=60)
@given(frames=FRAMES, hold=st.integers(0, 3))
def test_frames_of_one_class_are_one_event(frames: list[tuple[int, int]], hold: int) -> None:
    classes, stream = [label for label, _ in frames], sorted(of for _, of in frames)
    events = events_of(np.array(classes, np.int64), np.array(stream, np.int64), hold=hold)
    columns = (events.start, events.stop, events.label, events.stream)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == looped(classes, stream, hold)


def same(one: Events, i: int, other: Events, j: int, tolerance: int) -> bool:
    frames = set(range(one.start[i] - tolerance, one.stop[i] + tolerance))
    return (
        one.label[i] == other.label[j]
        and one.stream[i] == other.stream[j]
        and bool(frames & set(range(other.start[j], other.stop[j])))
    )


@settings(max_examples=60)
@given(data=st.data(), tolerance=st.integers(0, 3))
def test_as_many_events_as_possible_are_matched(data: st.DataObject, tolerance: int) -> None:
    n = data.draw(st.integers(1, 16))
    stream = np.sort(np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.int64))
    one, other = (
        events_of(np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.int64), stream)
        for _ in range(2)
    )
    index = matches(one, other, tolerance=tolerance)
    assert index.shape == (len(one),)
    used = index[index >= 0].tolist()
    assert len(set(used)) == len(used)
    assert all(same(one, i, other, j, tolerance) for i, j in enumerate(index.tolist()) if j >= 0)
    if max(len(one), len(other)) <= 5:
        columns = [*range(len(other)), *[-1] * len(one)]
        best = max(
            (
                sum(j >= 0 and same(one, i, other, j, tolerance) for i, j in enumerate(chosen))
                for chosen in set(permutations(columns, len(one)))
            ),
            default=0,
        )
        assert len(used) == best


@pytest.mark.parametrize("count", [0, 1, 7, 120])
def test_the_bounds_of_a_rate_are_the_rates_that_make_the_count_unlikely(count: int) -> None:
    rate = poisson_rate(count, 50.0)
    assert rate.value == count / 50
    assert poisson.cdf(count, 50 * rate.high) == pytest.approx(0.05)
    assert count == 0 or poisson.sf(count - 1, 50 * rate.low) == pytest.approx(0.05)
    assert (rate.low == 0) == (count == 0)
    with pytest.raises(ValueError, match="above 0"):
        poisson_rate(count, 0.0)
