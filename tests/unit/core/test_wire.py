"""Frames come back as they were written; whatever is cut or foreign is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from harness.core.errors import WorkerError
from harness.core.wire import read_frame, write_frame

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
DTYPES = st.sampled_from(["<f4", "<f8", "<i8", "|i1", "|u1", "|b1", "<f2", "<u8", ">i4"])
ARRAYS = st.dictionaries(
    st.text(max_size=5),
    DTYPES.flatmap(
        lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
    ),
    max_size=3,
)
FRAMES = st.lists(st.tuples(st.dictionaries(st.text(min_size=1), VALUES, max_size=3), ARRAYS), max_size=3)


def written(frames: list[tuple[dict[str, Any], dict[str, NDArray[Any]]]]) -> bytes:
    stream = io.BytesIO()
    for header, arrays in frames:
        write_frame(stream, header, arrays)
    return stream.getvalue()


@settings(max_examples=40, deadline=None)
@given(FRAMES)
def test_round_trip(frames: list[tuple[dict[str, Any], dict[str, NDArray[Any]]]]) -> None:
    stream = io.BytesIO(written(frames))
    for header, arrays in frames:
        frame = read_frame(stream)
        assert frame is not None
        header.pop("arrays", None)
        assert frame[0] == header
        assert list(frame[1]) == list(arrays)
        for name, array in arrays.items():
            array_ = frame[1][name]
            assert (array_.dtype, array_.shape) == (array.dtype, array.shape)
            assert array_.tobytes() == array.tobytes()
            assert array_.flags.writeable
    assert read_frame(stream) is None


def test_a_stream_that_ends_anywhere_inside_a_frame_is_refused() -> None:
    arrays = {"x": np.arange(5, dtype=np.float32), "y": np.arange(3, dtype=np.int8)}
    content = written([({"type": "result"}, arrays)])
    for length in range(1, len(content)):
        with pytest.raises(WorkerError):
            read_frame(io.BytesIO(content[:length]))


def test_not_contiguous_arrays_travel() -> None:
    array = np.arange(12).reshape(3, 4).T[::2]
    frame = read_frame(io.BytesIO(written([({}, {"x": array})])))
    assert frame is not None
    np.testing.assert_array_equal(frame[1]["x"], array)


@pytest.mark.parametrize(
    "line",
    [
        b"Loading plug-ins\n", b"\n", b"5\n", b"[]\n", b"null\n", b'"arrays"\n', b"{}\n", b'{"arrays": 5}\n',
        b'{"arrays": [["x"]]}\n', b'{"arrays": [["x", "<f4", [1], "4"]]}\n', b"\xff\xfe\n",
        b'{"arrays": [["x", "|O", [1], 8]]}\n12345678', b'{"arrays": [["x", "<f4", [2], 4]]}\n1234',
        b'{"arrays": [["x", "nonsense", [1], 4]]}\n1234', b'{"arrays": [["x", "<f4", [-1], -1]]}\n1234',
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused(line: bytes) -> None:
    with pytest.raises(WorkerError):
        read_frame(io.BytesIO(line))
