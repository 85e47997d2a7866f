"""``python -m harness.device.probe``: what can run here, what a file has, whether it runs. Prints JSON.

A separate process, so that a runtime that crashes at import affects nothing else, and so that two runtimes
are never loaded in one process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from harness.core import preprocess
from harness.core.artifact import Artifact, Quantization, TensorSpec
from harness.core.contracts import Availability, Backend
from harness.core.errors import HarnessError, WorkerError
from harness.core.job import Options
from harness.core.untrusted import MAX_REASON, cut, encodable, is_count, is_text, shown, storable
from harness.device import plugins, process_end, worker

TIMEOUT_S = 120.0
#: No answer is longer.
MAX_ANSWER_BYTE = 2**20


@dataclass(frozen=True, slots=True)
class Proof:
    """What happened when a runtime opened a file and ran it once, in a process of its own.

    Parameters
    ----------
    reason : str
        Why it did not run; empty if it did.
    died : bool
        The process was killed by a signal; an exception of the runtime does not count.
    effective : mapping of str to str
        Options in use, see ``Session.effective``.
    call_s : float
        Seconds of a second call, for a rough estimate of a run; 0 where there was none.
    """

    reason: str = ""
    died: bool = False
    effective: Mapping[str, str] = field(default_factory=dict)
    call_s: float = 0.0


Command = Callable[..., Sequence[str]]
"""Gets a module and its arguments, and returns the command that starts it."""


def _local_command(module: str, *arguments: str) -> Sequence[str]:
    return worker.command(worker.own_python(), module, *arguments)


def probe(
    names: Iterable[str],
    command: Command = _local_command,
    environment: Mapping[str, str] | None = None,
    slowdown: float = 1.0,
) -> dict[str, Availability]:
    """Probe backends in parallel, each in a process of its own.

    Parameters
    ----------
    names : iterable of str
    command : callable
        Starts a module on the device.
    environment : mapping, optional
        Added to the environment of this process.
    slowdown : float
        How much longer it may take than on real hardware.
    """
    with ExitStack() as stack:
        running = {name: stack.enter_context(_Asked({"probe": name}, command, environment)) for name in names}
        return {name: _available(asked, TIMEOUT_S * slowdown) for name, asked in running.items()}


def availability(value: object) -> Availability:
    """Read an ``Availability`` that another machine, or another process, sent as JSON.

    Raises
    ------
    WorkerError
        It is none.
    """
    try:
        whole = Availability.from_json(storable(value))
        texts = [whole.version, whole.reason, whole.install, *whole.devices, *whole.device_memory]
        texts += [text for name, pair in whole.unusable.items() for text in (name, *pair)]
        if not all(is_text(text, MAX_REASON) for text in texts):
            raise TypeError("a text is missing or too long")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WorkerError(f"the probe sent {shown(value)}, which is no answer: {error}") from error
    return whole


def _available(asked: _Asked, timeout_s: float) -> Availability:
    try:
        return availability(asked.answer(timeout_s))
    except HarnessError as error:
        reason = "; ".join(" ".join(line.split()) for line in str(error).splitlines())
        return Availability(reason=cut(reason, MAX_REASON))


def inspect(backend: str, artifact: Artifact) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs of a file, as its runtime on this machine reports them.

    Raises
    ------
    WorkerError
        The runtime cannot open it.
    """
    request = {"inspect": backend, "artifact": artifact.to_json(), "folder": str(artifact.folder)}
    with _Asked(request, _local_command, None) as asked:
        answer = asked.answer(TIMEOUT_S)
    try:
        return _specs(answer["inputs"]), _specs(answer["outputs"])
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerError(f"{backend} reports inputs and outputs that are none: {error}") from error


def prove(backend: str, artifact: Artifact, feeds: Path | None = None) -> Proof | None:
    """Open a file and run it once with its runtime on this machine.

    Parameters
    ----------
    backend : str
    artifact : Artifact
    feeds : Path, optional
        ``.npz`` with the names of the canonical model's inputs, and what each takes; default: zeros.

    Returns
    -------
    Proof or None
        None: the runtime is not installed.
    """
    request = {
        "prove": backend, "artifact": artifact.to_json(), "folder": str(artifact.folder),
        "feeds": str(feeds) if feeds else "",
    }  # fmt: skip
    with _Asked(request, _local_command, None) as asked:
        try:
            answer = asked.answer(TIMEOUT_S)
            if "absent" in answer:
                return None
            return Proof(effective=_texts(answer.get("effective")), call_s=float(answer["call_s"]))
        except WorkerError as error:
            last = f": {error.cause}" if error.cause else ""
            return Proof(cut(f"{error.what}{last}", MAX_REASON), asked.died)


def run_file(backend: str, artifact: Artifact, feeds: Sequence[Path], out: Path) -> list[Path]:
    """Open a file in a process of its own and run it on each of `feeds`.

    Parameters
    ----------
    backend : str
    artifact : Artifact
    feeds : sequence of Path
        ``.npz`` as for `prove`.
    out : Path
        A folder that gets the outputs of each run as ``.npz`` in the order of the file's outputs.

    Raises
    ------
    WorkerError
        The runtime refuses the file, or died.
    """
    request = {
        "run": backend, "artifact": artifact.to_json(), "folder": str(artifact.folder),
        "feeds": [str(path) for path in feeds], "out": str(out),
    }  # fmt: skip
    with _Asked(request, _local_command, None) as asked:
        asked.answer(TIMEOUT_S)
    return [out / f"{place}.npz" for place in range(len(feeds))]


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(map(is_text, value.values())):
        raise WorkerError(f"the options in use are {shown(value)}, not texts by name")
    return {encodable(name): encodable(text) for name, text in value.items()}


class _Asked:
    """A process that answers one request; it and what it started end with the context.

    Its output goes to files: a process that it leaves behind cannot keep the host waiting.
    """

    def __init__(
        self, request: Mapping[str, Any], command: Command, environment: Mapping[str, str] | None
    ) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command("harness.device.probe", json.dumps(request)),
            stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err,
            env={**os.environ, **(environment or {})}, start_new_session=True,
        )  # fmt: skip
        self.died = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._out.close()
        self._err.close()

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Wait for the answer; raises ``WorkerError`` where there is none."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise WorkerError(f"the probe did not answer within {timeout_s:g} s") from error
        try:
            answer = json.loads(_tail(self._out, MAX_ANSWER_BYTE))
        except (ValueError, RecursionError) as error:
            # A shell reports a signal as 128 plus its number.
            self.died = status > 128 or status < 0
            lines = _tail(self._err, MAX_REASON).decode(errors="replace").strip().splitlines()
            last = lines[-1] if lines else "nothing on standard error"
            raise WorkerError(f"the probe {process_end.exit_text(status)}", cause=last) from error
        if not isinstance(answer, dict):
            raise WorkerError(f"the probe sent {shown(answer)}, which is no answer")
        if "error" in answer:
            raise WorkerError(cut(str(answer["error"]), MAX_REASON))
        return answer


def _tail(stream: IO[bytes], size_byte: int) -> bytes:
    """Return the end of a file, at most so many bytes."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, end - size_byte))
    return stream.read()


def _specs(values: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    specs = []
    for value in values:
        step = value["quantization"]
        quantization = None if step is None else Quantization(step["scale"], step["zero_point"])
        shape = tuple(value["shape"])
        fits = is_text(value["name"]) and is_text(value["dtype"])
        if not fits or not all(size is None or is_count(size) for size in shape):
            raise ValueError(shown(value))
        specs.append(TensorSpec(encodable(value["name"]), shape, value["dtype"], quantization))
    return tuple(specs)


def main() -> int:
    """Answer the request in the first argument."""
    request = json.loads(sys.argv[1])
    with os.fdopen(os.dup(1), "w") as stdout:
        os.dup2(2, 1)  # what a runtime prints goes to standard error
        try:
            answer = _serve(request)
        except HarnessError as error:
            answer = {"error": str(error)}
        stdout.write(json.dumps(answer))
        stdout.flush()
        os._exit(0)  # skip the teardown of the runtimes


def _serve(request: Mapping[str, Any]) -> dict[str, Any]:
    name = next(request[key] for key in ("probe", "prove", "run", "inspect") if request.get(key))
    backend: Backend = plugins.choose(plugins.BACKENDS, name)()
    if "probe" in request:
        return asdict(backend.probe())
    artifact = Artifact.from_json(request["artifact"], Path(request["folder"]))
    if "prove" in request:
        if absent := backend.probe().reason:
            return {"absent": absent}
        with backend.open(artifact, Options()) as session:
            feeds = _sample(artifact, session.inputs, request["feeds"])
            session.run(feeds)
            begun_s = time.monotonic()
            session.run(feeds)
            return {"effective": dict(session.effective), "call_s": time.monotonic() - begun_s}
    if "run" in request:
        with backend.open(artifact, Options(threads=1, precision="f32")) as session:
            for place, path in enumerate(request["feeds"]):
                outputs = session.run(_sample(artifact, session.inputs, path))
                file = Path(request["out"]) / f"{place}.npz"
                arrays = (outputs[spec.name] for spec in session.outputs)  # text without pickles
                np.savez(file, *(y.astype(np.str_) if y.dtype.kind == "O" else y for y in arrays))
            return {}
    with backend.open(artifact, Options(threads=1)) as session:
        return {
            "inputs": [asdict(spec) for spec in session.inputs],
            "outputs": [asdict(spec) for spec in session.outputs],
        }


def _sample(artifact: Artifact, specs: tuple[TensorSpec, ...], path: str) -> preprocess.Feeds:
    """Return what the file takes, from what the canonical model takes; zeros without a path."""
    if not path:
        return {spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in specs}
    with np.load(path) as stored:
        names, *arrays = (stored[name] for name in stored.files)
    return preprocess.to_feeds(dict(zip(names.tolist(), arrays, strict=True)), artifact, specs)


if __name__ == "__main__":
    sys.exit(main())
