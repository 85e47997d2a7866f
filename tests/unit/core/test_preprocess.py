"""Preprocessing against plain numpy, and digests that do not depend on chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from harness.core.artifact import Artifact, File, Quantization, TensorSpec
from harness.core.errors import DataError
from harness.core.preprocess import (
    Preprocess,
    apply,
    dequantize,
    digest,
    match,
    quantize,
    to_feeds,
    to_outputs,
)

NUMBER = st.floats(-4, 4, width=32)
images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(4), st.just(3), st.just(3)))


@given(images, NUMBER, st.lists(NUMBER, min_size=3, max_size=3), st.booleans(), st.booleans())
def test_apply_is_the_affine_part_then_channels_and_layout(
    raw: NDArray[np.uint8], scale: float, mean: list[float], reverse: bool, nchw: bool
) -> None:
    std = (0.5, 1.0, 2.0)
    step = Preprocess(scale, tuple(mean), std, reverse, "NCHW" if nchw else "same")
    result = apply(raw, step)
    wanted = np.empty(raw.shape, np.float64)
    for channel in range(3):
        source = raw[..., 2 - channel if reverse else channel].astype(np.float64)
        wanted[..., channel] = (source * scale - mean[channel]) / std[channel]
    if nchw:
        wanted = wanted.transpose(0, 3, 1, 2)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-4)


@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(width=32, allow_nan=True)))
def test_an_identity_step_passes_floats_bit_by_bit(raw: NDArray[np.float32]) -> None:
    assert apply(raw, Preprocess()).tobytes() == raw.tobytes()


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int8"])
def test_integers_stay_what_they_are(dtype: str) -> None:
    raw = np.arange(6, dtype=np.int64).reshape(2, 3)
    result = apply(raw, Preprocess(dtype=dtype))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, raw)


def test_shape_is_that_of_a_sample() -> None:
    assert apply(np.zeros((5, 8, 8, 1), np.uint8), Preprocess(shape=(1, 8, 8))).shape == (5, 1, 8, 8)


def test_json_round_trip() -> None:
    step = Preprocess(0.1, (1.0, 2.0), (3.0,), True, "NCHW", "float16", (3, 4))
    assert Preprocess.from_json(step.to_json()) == step


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_digest_does_not_depend_on_chunks(lengths: list[int], data: st.DataObject) -> None:
    n = sum(lengths)
    x = data.draw(hnp.arrays(np.float32, (n, 2), elements=st.floats(-1, 1, width=32)))
    ids = np.arange(n)

    def chunks() -> Iterator[dict[str, NDArray[Any]]]:
        start = 0
        for length in lengths:
            yield {"x": x[start : start + length], "ids": ids[start : start + length]}
            start += length

    assert digest(chunks()) == digest([{"ids": ids, "x": x}])


def test_digest_sees_value_name_dtype_and_shape() -> None:
    x = np.zeros((2, 4), np.float32)
    different = [{"x": x}, {"y": x}, {"x": x.astype(np.float16)}, {"x": x.reshape(2, 2, 2)}, {"x": x + 1}]
    assert len({digest([feeds]) for feeds in different}) == len(different)


@given(
    hnp.arrays(np.float32, 20, elements=st.floats(-50, 50, width=32)),
    st.floats(0.01, 2),
    st.integers(-100, 100),
)
def test_quantize_is_the_nearest_step_that_fits(x: NDArray[np.float32], scale: float, zero: int) -> None:
    step = Quantization(scale, zero)
    q = quantize(x, step, "int8")
    assert q.dtype == np.int8
    back = dequantize(q, step)
    inside = (q > -128) & (q < 127)
    assert (np.abs(back - x)[inside] <= scale * 0.5001 + 1e-5).all()
    lowest, highest = (np.array([-128, 127]) - zero) * scale
    assert (x[q == -128] <= lowest + scale).all()
    assert (x[q == 127] >= highest - scale).all()


@given(hnp.arrays(np.int8, 30), st.floats(0.001, 10), st.integers(-128, 127))
def test_quantize_inverts_dequantize(q: NDArray[np.int8], scale: float, zero: int) -> None:
    step = Quantization(scale, zero)
    np.testing.assert_array_equal(quantize(dequantize(q, step), step, "int8"), q)


def test_quantize_rounds_half_to_even() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, 1e9, -1e9], np.float32)
    np.testing.assert_array_equal(quantize(x, Quantization(1.0, 0), "int8"), [0, 2, 2, 0, 127, -128])


def spec(name: str, quantization: Quantization | None = None) -> TensorSpec:
    return TensorSpec(name, (None, 2), "float32" if quantization is None else "int8", quantization)


def test_match_by_name_then_by_position() -> None:
    a, b, c = spec("a"), spec("b"), spec("c")
    assert match(("b", "a"), (a, b), "input") == {"a": a, "b": b}
    assert match(("b",), (a, b), "input") == {"b": b}
    assert match(("x", "y"), (a, b), "input") == {"x": a, "y": b}
    with pytest.raises(DataError, match="x, y"):
        match(("x", "y"), (a, b, c), "input")


def test_feeds_and_outputs_go_through_permutation_and_quantization() -> None:
    step = Quantization(0.5, 3)
    artifact = Artifact(
        "int8", "tflite", (File("m", "0", 1),), Path(),
        input_permutation={"x": (0, 2, 3, 1)}, output_permutation={"y": (0, 2, 1)},
    )  # fmt: skip
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    feeds = to_feeds({"x": x}, artifact, (spec("serving_x", step),))
    np.testing.assert_array_equal(feeds["serving_x"], x.transpose(0, 2, 3, 1) / 0.5 + 3)
    assert feeds["serving_x"].dtype == np.int8
    y = np.arange(6, dtype=np.int8).reshape(1, 3, 2)
    real = to_outputs({"y": y}, artifact, (spec("y", step),))["y"]
    np.testing.assert_array_equal(real, (y.astype(float) - 3).transpose(0, 2, 1) * 0.5)
