"""ONNX Runtime inside the process that compresses: where it is opened, and where it must not be.

A model that anybody may have written can crash the runtime that opens it. A run therefore prepares its
variants in a child process (``harness.run.forked``), and forbids the runtime in its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # slow to import
    import onnxruntime as ort

_forbidden: ContextVar[bool] = ContextVar("forbidden", default=False)


class NeedsChild(BaseException):
    """A runtime would be opened where that is forbidden; no ``except Exception`` of a pass catches it."""


@contextmanager
def forbidden() -> Iterator[None]:
    """Raise ``NeedsChild`` instead of opening a runtime, or of running a pass, which may open one."""
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


def begin() -> None:
    """Say that a runtime will be opened here; raises ``NeedsChild`` where that is forbidden."""
    if _forbidden.get():
        raise NeedsChild


def session(model: bytes | str, options: ort.SessionOptions) -> ort.InferenceSession:
    """Open a model, given as its bytes or its path, on the CPU."""
    begin()
    import onnxruntime as ort

    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
