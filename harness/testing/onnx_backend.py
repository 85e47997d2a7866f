"""The ONNX project's own backend tests (``onnx.backend.test``) through a ``Backend`` of the harness.

    python -m harness.testing.onnx_backend SHARE MODULE:CLASS …

takes backends of the harness and onnx's own adapters, and prints one JSON line before and one after each
case. Loading the cases takes ten seconds and a runtime can crash on one of them, so they run in a fork, and
the rest after a crash in another one (POSIX only).
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import unittest
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TextIO

import numpy as np

from harness.core.artifact import Artifact, describe_file
from harness.core.contracts import Backend, Session
from harness.core.errors import WorkerError
from harness.core.job import Options


class Adapter(Protocol):
    """What ``onnx.backend.test`` calls."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Any:  # noqa: ANN401 - onnx's own
        """Open a ``ModelProto``; what comes back has ``run(inputs)``."""
        ...

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether it runs on ``CPU``, ``CUDA``."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one case (``passed``, ``failed``, ``error``, ``skipped``, ``crashed``), and why."""

    state: str
    message: str = ""


class _Prepared:
    """A model that is open for one case."""

    def __init__(self, session: Session, folder: TemporaryDirectory[str]) -> None:
        self._session, self._folder = session, folder

    def run(self, inputs: Sequence[Any], **_: Any) -> list[Any]:  # noqa: ANN401 - onnx's own
        """Feed by position and return by position."""
        with self._folder, self._session as session:
            # By position, because converters rename tensors; some cases leave the last inputs out.
            names = (spec.name for spec in session.inputs)
            feeds = dict(zip(names, map(as_array, inputs), strict=False))
            outputs = session.run(feeds)
            return [outputs[spec.name] for spec in session.outputs]


def adapter(backend: Callable[[], Backend], options: Options | None = None) -> type[Adapter]:
    """Make the class that ``onnx.backend.test.BackendTest`` takes.

    Parameters
    ----------
    backend : callable
        Its class, or anything that makes one.
    options : Options, optional
        By default one thread and float32.
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
            return _Prepared(session, folder)

        @classmethod
        def supports_device(cls, device: str) -> bool:
            return device == "CPU"

    return HarnessAdapter


def as_array(value: Any) -> Any:  # noqa: ANN401 - lists and None stay what they are
    """Make an array of a numpy scalar, which some cases have for a tensor without dimensions."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def outcomes(*references: str, share: int = 1) -> list[dict[str, Outcome]]:
    """Run the offline CPU cases in a process of their own.

    Parameters
    ----------
    *references : str
        ``module:name`` of ``Backend`` or ``Adapter`` classes.
    share : int
        Every n-th case on average, chosen by the hash of its name.

    Returns
    -------
    list of mapping of case name to Outcome
        One mapping a reference.
    """
    child = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-m", "harness.testing.onnx_backend", str(share), *references],
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        raise WorkerError(
            f"the ONNX cases did not run to their end: {child.stderr[-2000:]}", where=", ".join(references)
        )
    by_reference: dict[str, dict[str, Outcome]] = {reference: {} for reference in references}
    for text in child.stdout.splitlines():
        line = json.loads(text)
        if "state" in line:
            by_reference[line["reference"]][line["name"]] = Outcome(line["state"], line["message"])
    return list(by_reference.values())


def _cases(backend: type[Adapter], share: int) -> list[unittest.TestCase]:
    import onnx.backend.test

    everything: Iterable[Any] = onnx.backend.test.BackendTest(backend, __name__).test_suite
    return [
        case
        for case in everything
        # Real models are downloaded, and each case comes for the CPU and for CUDA.
        if type(case).__name__ != "OnnxBackendRealModelTest" and case.id().endswith("_cpu")
        if zlib.crc32(_name(case).encode()) % share == 0
    ]


class _Lines(unittest.TestResult):
    """Prints each event at once, so that the last line names the case that crashed."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def _print(self, test: unittest.TestCase, **facts: str) -> None:
        print(json.dumps({"name": _name(test), **facts}), file=self._stream, flush=True)

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        self._print(test)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        self._print(test, state="passed", message="")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802 - unittest's name
        self._print(test, state="skipped", message=reason)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802, ANN401 - unittest's name
        self._print(test, state="failed", message=_text(err))

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802, ANN401 - unittest's name
        self._print(test, state="error", message=_text(err))


def _text(err: Any) -> str:  # noqa: ANN401 - exc_info
    return f"{err[0].__name__}: {' '.join(str(err[1]).split())[:400]}"


def _name(test: unittest.TestCase) -> str:
    return test.id().rsplit(".", 1)[-1].removesuffix("_cpu")


def _fork(cases: list[unittest.TestCase]) -> Iterator[dict[str, str]]:
    """Run `cases` in one fork; yields its lines, and one for the case that crashed it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.dup2(2, 1)  # output of a runtime must not come between the lines
        with os.fdopen(writer, "w") as stream:
            result = _Lines(stream)
            for case in cases:
                case.run(result)
        os._exit(0)  # some runtimes crash in their teardown
    os.close(writer)
    line: dict[str, str] = {"state": ""}
    with os.fdopen(reader) as lines:
        for text in lines:
            line = json.loads(text)
            yield line
    _, status = os.waitpid(pid, 0)
    if "state" not in line:
        yield {**line, "state": "crashed", "message": f"exit code {os.waitstatus_to_exitcode(status)}"}


def main() -> None:
    """Run every case and print its outcome."""
    share, references = int(sys.argv[1]), sys.argv[2:]
    for reference in references:
        module, _, name = reference.partition(":")
        kind = getattr(importlib.import_module(module), name)
        cases = _cases(kind if hasattr(kind, "prepare") else adapter(kind), share)
        while cases:
            completed = set()
            for line in _fork(cases):
                print(json.dumps({"reference": reference, **line}), flush=True)
                if "state" in line:
                    completed.add(line["name"])
            if not completed:
                raise WorkerError("the fork ended before its first case", where=reference)
            cases = [case for case in cases if _name(case) not in completed]


if __name__ == "__main__":
    main()
