"""What a backend returns, checked against what its session says it returns.

Answers enter the harness in `Feeding.answers`: a batch that comes back twice or short, another dtype or a
missing output is an error of the backend there, and never a wrong accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import STRING, TensorSpec
from harness.core.errors import BackendError

#: The backend in a message, where its name is not known.
THE_BACKEND = "the backend"
#: Kinds of numpy's dtypes that hold real numbers; V are those of an extension, such as bfloat16.
_REAL = "biufV"


def check_outputs(
    outputs: Mapping[str, NDArray[Any]], specs: tuple[TensorSpec, ...], rows: int, backend: str = THE_BACKEND
) -> None:
    """Refuse outputs whose names, dtypes or shapes are not those of the session.

    Parameters
    ----------
    outputs : mapping of output name to ndarray
    specs : tuple of TensorSpec
        All outputs of the session; an empty shape is unknown.
    rows : int
        Samples of the call: a fixed size may also be this one, because files name sizes of one sample.
    backend : str
        Who returned them.

    Raises
    ------
    BackendError
    """
    names = [spec.name for spec in specs]
    for name in names:
        if name not in outputs:
            raise _error(backend, f"returned no output {name}", f"it returned {_listed(outputs)}")
    if len(outputs) != len(names):
        more = _listed(name for name in outputs if name not in names)
        raise _error(
            backend, f"returned {more}, which its session does not list", f"it lists {_listed(names)}"
        )
    for spec in specs:
        y = outputs[spec.name]
        if type(y) is not np.ndarray:  # a masked array has values that are none
            raise _error(backend, f"returned the output {spec.name} as a {type(y).__name__}, not an array")
        if not same_dtype(y.dtype, spec.dtype):
            raise _error(backend, f"returned {y.dtype} for the output {spec.name}, which is {spec.dtype}")
        if spec.dtype != STRING and y.dtype.kind not in _REAL:
            raise _error(backend, f"returned {y.dtype} for the output {spec.name}: these are no real numbers")
        if not spec.shape:
            continue
        fits = len(y.shape) == len(spec.shape) and all(
            wanted in (None, size) or size == rows for wanted, size in zip(spec.shape, y.shape, strict=True)
        )
        if not fits:
            raise _error(
                backend,
                f"returned the shape {list(y.shape)} for the output {spec.name}, which has "
                f"{_shape_text(spec.shape)}",
            )


def wrong_rows(backend: str, name: str, returned: int, rows: int) -> BackendError:
    """The error of an output with another number of rows than the call has samples."""
    return _error(
        backend,
        f"returned {returned} rows of the output {name} for {rows} {'sample' if rows == 1 else 'samples'}",
        "a batch came back twice, or in part; or the samples lie on another axis of that output",
    )


def _error(backend: str, what: str, cause: str = "") -> BackendError:
    return BackendError(
        f"{backend} {what}", cause=cause, next_step="fix the backend; harness.testing.conformance tests one"
    )


def _listed(names: Any) -> str:  # noqa: ANN401 - any iterable of str
    return ", ".join(names) or "none"


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def same_dtype(dtype: np.dtype[Any], name: str) -> bool:
    """Whether a dtype is the one that ``TensorSpec.dtype`` names."""
    wanted = _dtype(name)
    if wanted is None:  # a type that numpy has only through an extension
        return dtype.name == name
    return dtype.kind in "OUS" if name == STRING else dtype == wanted


@lru_cache
def _dtype(name: str) -> np.dtype[Any] | None:
    try:
        return np.dtype(name)
    except TypeError:
        return None
