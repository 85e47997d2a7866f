"""What every backend does at its edge: check what goes in, wrap what comes out wrong.

Runtimes accept more than they should. OpenVINO casts dtypes, reads an array of another shape as if it
fitted, and reuses the last value of an input that is missing; LiteRT resizes a fixed dimension and computes
on memory that nobody wrote; ONNX Runtime reads big-endian bytes as its own. So every backend calls
``check_feeds`` before each run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from harness.core.artifact import Artifact, TensorSpec
from harness.core.contracts import Availability
from harness.core.errors import BackendError, FileRefused
from harness.core.job import Options
from harness.core.outputs import same_dtype
from harness.core.preprocess import Feeds
from harness.core.refusal import condense


def check_feeds(feeds: Feeds, specs: tuple[TensorSpec, ...], *, shapes: bool = True) -> None:
    """Refuse feeds whose names, dtypes or shapes are not those of the model's inputs.

    Parameters
    ----------
    feeds : mapping of input name to ndarray
    specs : tuple of TensorSpec
    shapes : bool
        False where the runtime refuses wrong shapes by itself.

    Raises
    ------
    BackendError
    """
    # Every inference pays for this: no generators, and what was asked before is remembered.
    if len(feeds) != len(specs):
        raise _misnamed(feeds, specs)
    for spec in specs:
        if spec.name not in feeds:
            raise _misnamed(feeds, specs)
        array = feeds[spec.name]
        if not isinstance(array, np.ndarray) or not same_dtype(array.dtype, spec.dtype):
            given = getattr(array, "dtype", type(array).__name__)
            raise BackendError(f"the input {spec.name} takes {spec.dtype}, not {given}")
        if shapes and not _fits(array.shape, spec.shape):
            raise BackendError(
                f"the input {spec.name} takes the shape {_text(spec.shape)}, not {_text(array.shape)}"
            )


def _misnamed(feeds: Feeds, specs: tuple[TensorSpec, ...]) -> BackendError:
    wanted = ", ".join(spec.name for spec in specs)
    return BackendError(
        f"the model takes the inputs {wanted or 'none'}, not {', '.join(feeds) or 'none'}",
        next_step="feed each input of the model once, by its name",
    )


@lru_cache(maxsize=1024)
def _fits(given: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(given) == len(wanted) and all(
        size is None or size == length for size, length in zip(wanted, given, strict=True)
    )


def _text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def refusal(
    error: Exception,
    what: str,
    where: str = "",
    next_step: str = "",
    made: type[BackendError] = BackendError,
) -> BackendError:
    """Condense a runtime's exception, with its full text as ``raw``; raise the result ``from`` it."""
    if isinstance(error, BackendError):
        return error
    kind, raw = type(error).__name__, str(error).strip()
    return made(
        f"{what}: {condense(raw, kind)}",
        where=where,
        cause=f"{kind} of the runtime",
        next_step=next_step,
        raw=raw,
    )


@contextmanager
def opening(runtime: str, command: str, artifact: Artifact, formats: tuple[str, ...]) -> Iterator[None]:
    """Wrap in a ``BackendError`` whatever `runtime`, which `command` installs, raises on `artifact`.

    Where the runtime itself raised it, it is a ``FileRefused``.
    """
    if artifact.format not in formats:
        raise BackendError(
            f"{runtime} does not open {artifact.format} files",
            where=str(artifact.path),
            next_step=f"give it one of: {', '.join(formats)}",
        )
    try:
        yield
    except ImportError as error:
        raise refusal(error, f"{runtime} cannot be imported", next_step=command) from error
    except Exception as error:
        what, where = f"{runtime} cannot open {artifact.path.name}", str(artifact.path)
        raise refusal(error, what, where, made=FileRefused) from error


def confirm(options: Options, effective: Mapping[str, str]) -> None:
    """Check that what is in use is what was asked for.

    Raises
    ------
    BackendError
        Another provider, precision or number of threads is in use.
    """
    requested = {
        "provider": options.provider,
        "precision": options.precision,
        "threads": str(options.threads or ""),
    }
    for key, value in requested.items():
        used = effective[key]
        # OpenVINO answers GPU.0 where GPU was asked for.
        if value and used != value and not used.startswith(f"{value}."):
            raise BackendError(
                f"{key} {value} was asked for, the runtime uses {used}",
                cause="this machine or this runtime cannot do what was asked for",
                next_step=f"ask for {key} {used}, or run where {value} can be had",
            )


def absent(error: Exception, command: str) -> Availability:
    """Say why a runtime that could not be imported cannot be used; `command` installs it."""
    message = " ".join(str(error).split())
    return Availability(reason=f"{type(error).__name__}: {message[:500]}", install=command)
