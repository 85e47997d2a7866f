"""The ONNX project's own backend tests (``onnx.backend.test``) through a ``Backend`` of the harness.

A runtime can crash on a case, so the cases run in a child process, and the rest in another one::

    python -m harness.testing.onnx_backend MODULE:ADAPTER [SKIP …]

prints one JSON line before each case and one after it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Protocol, Self

from harness.core.artifact import Artifact, describe_file
from harness.core.contracts import Backend, Session
from harness.core.job import Options

#: After so many seconds without a line the child is ended, and the running case counts as crashed.
DEADLINE_S = 300


class Adapter(Protocol):
    """What ``onnx.backend.test`` calls."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Any: ...  # noqa: ANN401 - onnx's own
    @classmethod
    def supports_device(cls, device: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case: ``passed``, ``failed``, ``error`` or ``crashed``, and what was said."""

    state: str
    said: str = ""


class _Prepared:
    """A model that is open for one case."""

    def __init__(self, model: Any, session: Session, folder: TemporaryDirectory[str]) -> None:  # noqa: ANN401
        self._names = [value.name for value in model.graph.input]
        self._session, self._folder = session, folder

    def run(self, inputs: Sequence[Any], **_: Any) -> list[Any]:  # noqa: ANN401 - onnx's own
        """Feed by position and return by position."""
        with self._folder, self._session as session:
            outputs = session.run(dict(zip(self._names, inputs, strict=False)))
            return [outputs[spec.name] for spec in session.outputs]


def adapter(backend: Callable[[], Backend], options: Options | None = None) -> type[Adapter]:
    """Make the class that ``onnx.backend.test.BackendTest`` takes.

    Parameters
    ----------
    backend : callable
        Its class, or anything that makes one.
    options : Options, optional
        One thread and float32 unless told.
    """

    class HarnessAdapter:
        @classmethod
        def prepare(cls, model: Any, device: str = "CPU", **_: Any) -> _Prepared:  # noqa: ANN401 - onnx's own
            folder = TemporaryDirectory()
            try:
                path = Path(folder.name) / "model.onnx"
                path.write_bytes(model.SerializeToString())
                artifact = Artifact("float32", "onnx", (describe_file(path),), path.parent)
                session = backend().open(artifact, options or Options(threads=1, precision="f32"))
            except BaseException:
                folder.cleanup()
                raise
            return _Prepared(model, session, folder)

        @classmethod
        def supports_device(cls, device: str) -> bool:
            return device == "CPU"

    return HarnessAdapter


def outcomes(reference: str, pythonpath: Sequence[Path] = ()) -> dict[str, Outcome]:
    """Run all offline CPU cases in child processes, starting anew after a crash.

    Parameters
    ----------
    reference : str
        ``module:name`` of an ``Adapter`` class.
    pythonpath : sequence of Path
        Where the module lies.
    """
    found: dict[str, Outcome] = {}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, pythonpath), *sys.path])}
    while True:
        command = [sys.executable, "-W", "ignore", "-m", "harness.testing.onnx_backend", reference]
        child = subprocess.run(
            command, input="\n".join(found), capture_output=True, text=True, env=environment, check=False
        )
        lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
        found.update((line["name"], Outcome(line["state"], line["said"])) for line in lines if "state" in line)
        running = {line["name"] for line in lines} - found.keys()
        if child.returncode == 0 or not running:
            break
        found.update((name, Outcome("crashed", f"exit code {child.returncode}")) for name in running)
    if child.returncode != 0 and not found:
        raise RuntimeError(child.stderr[-2000:])
    return found


def _cases(backend: type[Adapter]) -> Iterator[unittest.TestCase]:
    import onnx.backend.test

    tests = onnx.backend.test.BackendTest(backend, __name__)
    tests.exclude("_cuda$").exclude("RealModel")  # those are downloaded
    yield from tests.test_suite


class _Lines(unittest.TestResult):
    """Says what happens while it happens, so that a crash leaves the name of its case."""

    stream: ClassVar[Any] = sys.stdout

    def _say(self, test: unittest.TestCase, **facts: str) -> None:
        print(json.dumps({"name": _name(test), **facts}), file=self.stream, flush=True)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        self._say(test)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        self._say(test, state="passed", said="")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802, ANN401 - unittest's name
        self._say(test, state="failed", said=_text(err))

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802, ANN401 - unittest's name
        self._say(test, state="error", said=_text(err))


def _text(err: Any) -> str:  # noqa: ANN401 - exc_info
    return f"{err[0].__name__}: {' '.join(str(err[1]).split())[:400]}"


def _name(test: unittest.TestCase) -> str:
    return test.id().rsplit(".", 1)[-1].removesuffix("_cpu")


def main() -> None:
    """Run the cases whose names do not come in on standard input."""
    module, _, attribute = sys.argv[1].partition(":")
    backend = getattr(importlib.import_module(module), attribute)
    done = set(sys.stdin.read().split())
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a runtime that prints must not write between our lines
    _Lines.stream = stream
    result = _Lines()
    for case in _cases(backend):
        if _name(case) not in done:
            case.run(result)
    stream.flush()
    os._exit(0)  # a runtime that crashes on its way out has answered all the same


if __name__ == "__main__":
    main()
