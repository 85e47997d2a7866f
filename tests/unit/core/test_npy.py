"""Arrays of anybody's files: what numpy wrote comes back, anything else is one kind of error."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from harness.core import npy

ARRAYS = st.sampled_from(["<f4", ">i8", "|u1", "|b1", "<U3", "|S2", "<c8"]).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, min_side=0, max_side=3))
)


def saved(array: NDArray[Any], *, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version, allow_pickle=True)
    return stream.getvalue()


@given(ARRAYS, st.sampled_from([(1, 0), (2, 0)]))
def test_round_trip(array: NDArray[Any], version: tuple[int, int]) -> None:
    again = npy.from_bytes(saved(array, version=version))
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable


def test_columns_first() -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(npy.from_bytes(saved(array)), array)


def test_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="not an array that numpy wrote"):
        npy.from_bytes(saved(np.array([object])))


def test_cut_at_any_byte() -> None:
    content = saved(np.arange(4, dtype=np.float32))
    for length in range(len(content)):
        with pytest.raises(ValueError, match="not an array that numpy wrote"):
            npy.from_bytes(content[:length])


@settings(max_examples=300)
@given(st.data())
def test_damage_anywhere(data: st.DataObject) -> None:
    content = bytearray(saved(np.arange(4, dtype=np.float32)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        npy.from_bytes(bytes(content))


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000000,)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 100000000000000000000)}",
        b"{'descr': '|V0', 'fortran_order': False, 'shape': (9,)}",
        b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}x",
        b"{'descr': '<f4', 'shape': (",
        b"(" * 500,
    ],
)
def test_heads_that_no_array_has(header: bytes) -> None:
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(4)
    with pytest.raises(ValueError, match="not an array that numpy wrote"):
        npy.from_bytes(content)
