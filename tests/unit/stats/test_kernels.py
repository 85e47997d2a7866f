"""Which kernels got slower: against plain numpy, and on planted profiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.kernels import Profile, changed, slower

NODES = (("c1", "Conv"), ("c2", "Conv"), ("g", "Gemm"))


def profile(*means_us: float, seed: int = 0, nodes: tuple[tuple[str, str], ...] = NODES) -> Profile:
    """200 calls, in whole microseconds as ONNX Runtime reports them; one lost its core to another process."""
    rng = np.random.default_rng(seed)
    times = [np.floor(mean * np.exp(rng.normal(0, 0.1, 200))).astype(np.int64) * 1000 for mean in means_us]
    for call in times:
        call[3] = 5_000_000
    return Profile(200, nodes, tuple(times))


def test_read_is_what_the_device_says() -> None:
    arrays = {"kernel0_ns": np.array([1, 2]), "kernel1_ns": np.array([3, 4])}
    loaded = Profile.read(arrays, {"calls": 2, "kernels": [["a", "Conv"], ["b", "Gemm"]]})
    assert loaded.nodes == (("a", "Conv"), ("b", "Gemm"))
    assert loaded.by_operator_ns() == {"Conv": 1.5, "Gemm": 3.5}
    assert loaded.census() == {"Conv": 1, "Gemm": 1}


@given(st.lists(st.integers(0, 10**6), min_size=20, max_size=60))
def test_the_extremes_are_left_out(times: list[int]) -> None:
    mean_ns = Profile(len(times), (("n", "Op"),), (np.array(times, np.int64),)).by_operator_ns()["Op"]
    cut = len(times) // 10
    trimmed = np.sort(times)[cut : len(times) - cut]
    assert mean_ns == pytest.approx(trimmed.mean(), abs=1e-6)


def test_a_kernel_that_runs_twice_a_call_counts_twice() -> None:
    constant = Profile(10, (("n", "Op"),), (np.full(20, 7, np.int64),))
    assert constant.by_operator_ns() == {"Op": 14.0}
    assert constant.runs() == {"Op": 2.0}


def test_the_slower_operator_is_named() -> None:
    old = [profile(30, 50, 20, seed=seed) for seed in range(4)]
    new = [profile(30, 65, 20, seed=10 + seed) for seed in range(4)]
    (slowdown,) = slower(old, new, 15_000)
    assert (slowdown.operator, slowdown.nodes) == ("Conv", 2)
    assert slowdown.ratio is not None
    assert slowdown.ratio.low > 1
    assert slowdown.ratio.value == pytest.approx(95 / 80, rel=0.03)
    assert slowdown.added_ns == pytest.approx(15_000, rel=0.15)


def test_no_operator_is_named_where_none_is_slower() -> None:
    old = [profile(30, 50, 20, seed=seed) for seed in range(4)]
    assert slower(old, [profile(30, 50, 20, seed=10 + seed) for seed in range(4)], 0) == []
    assert slower(old, [profile(25, 40, 10, seed=10 + seed) for seed in range(4)], 0) == []


def test_what_the_profile_itself_costs_is_taken_off() -> None:
    """Ten microseconds a kernel more, in the profile alone, and one that got slower by fifteen."""
    old = [profile(30, 50, 20, seed=seed) for seed in range(4)]
    alike = [profile(40, 60, 30, seed=10 + seed) for seed in range(4)]
    assert [kernel.operator for kernel in slower(old, alike, 30_000)] == ["Conv", "Gemm"]
    assert slower(old, alike, 0) == []
    (slowdown,) = slower(old, [profile(40, 75, 30, seed=10 + seed) for seed in range(4)], 15_000)
    assert slowdown.operator == "Conv"
    assert slowdown.added_ns == pytest.approx(15_000, rel=0.15)


def test_a_kernel_that_came_new_is_named_by_what_it_adds() -> None:
    nodes = (("c1", "Conv"), ("t", "Transpose"), ("g", "Gemm"))
    old = [profile(30, 50, 20, seed=seed) for seed in range(4)]
    new = [profile(30, 8, 24, seed=10 + seed, nodes=nodes) for seed in range(4)]
    first, second = slower(old, new, 10_000)
    assert (first.operator, first.ratio) == ("Transpose", None)
    assert second.operator == "Gemm"
    assert changed(old[0], new[0]) == {"Conv": (2, 1), "Transpose": (0, 1)}
    assert changed(old[0], old[1]) == {}


def test_a_kernel_below_the_clocks_tick_is_not_judged() -> None:
    old = [profile(30, 50, 0.2, seed=seed) for seed in range(2)]
    new = [profile(30, 50, 9, seed=9 + seed) for seed in range(2)]
    assert [kernel.operator for kernel in slower(old, new, 9_000)] == []


def test_what_adds_next_to_nothing_of_the_slowdown_is_not_why() -> None:
    """A call that takes a millisecond longer, outside its kernels."""
    old = [profile(30, 50, 20, seed=seed) for seed in range(4)]
    new = [profile(30, 52, 20, seed=10 + seed) for seed in range(4)]
    assert [kernel.operator for kernel in slower(old, new, 2_000)] == ["Conv"]
    assert slower(old, new, 1e6) == []


def exact(*times_ns: float, nodes: tuple[tuple[str, str], ...] = NODES) -> Profile:
    """One call a process, whose kernels take just these times."""
    return Profile(1, nodes, tuple(np.array([time]) for time in times_ns))


def test_what_is_taken_off_each_kernel_by_hand() -> None:
    """Three kernels take 200 more in all, of which a call accounts for 80: the profile costs 40 a kernel."""
    old = [exact(1000, 2000, 3000)] * 2
    new = [exact(1050, 2060, 3090)] * 2
    first, second = slower(old, new, 80)
    assert (first.operator, first.nodes, first.added_ns) == ("Gemm", 1, pytest.approx(90 - 40))
    assert (second.operator, second.nodes, second.added_ns) == ("Conv", 2, pytest.approx(110 - 80))
    assert first.ratio is not None
    assert first.ratio.value == pytest.approx(3050 / 3000)


def test_nothing_is_taken_off_where_kernels_account_for_less_than_the_call() -> None:
    (slowdown,) = slower([exact(1000, 2000, 3000)] * 2, [exact(1000, 2000, 3500)] * 2, 600)
    assert (slowdown.operator, slowdown.added_ns) == ("Gemm", pytest.approx(500))


def test_a_tenth_of_the_slowdown_is_enough_and_as_fast_as_before_is_not() -> None:
    old = [exact(1000, 2000, 3000)] * 2
    assert [one.operator for one in slower(old, [exact(1000, 2000, 3100)] * 2, 1000)] == ["Gemm"]
    assert slower(old, [exact(1000, 2000, 3099)] * 2, 1000) == []
    assert slower(old, old, 0) == []


def test_a_new_kernel_is_reported_with_its_nodes() -> None:
    nodes = (("c1", "Conv"), ("t", "Transpose"), ("u", "Transpose"))
    (slowdown,) = slower([exact(1000, 2000, 0)] * 2, [exact(3000, 400, 300, nodes=nodes)] * 2, 700)
    assert (slowdown.operator, slowdown.nodes, slowdown.added_ns, slowdown.ratio) == (
        "Transpose",
        2,
        700.0,
        None,
    )


def test_a_kernel_that_one_process_did_not_have_is_not_judged() -> None:
    nodes = (*NODES, ("t", "Transpose"))
    with_it, without = exact(1000, 2000, 3000, 900, nodes=nodes), exact(1000, 2000, 3000)
    assert slower([with_it, without], [exact(1000, 2000, 3000, 9000, nodes=nodes)] * 2, 100) == []


def test_a_kernel_whose_time_fell_to_nothing_is_not_judged() -> None:
    assert slower([exact(1000, 2000, 3000)] * 2, [exact(1000, 2000, 0)] * 2, 0) == []
