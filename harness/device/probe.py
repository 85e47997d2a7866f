"""``python -m harness.device.probe``: what can run here, what a file has, whether it runs. Prints JSON.

A separate process, so that a runtime that crashes at import affects nothing else, and so that two runtimes
are never loaded in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.core import preprocess
from harness.core.artifact import Artifact, Quantization, TensorSpec
from harness.core.contracts import Availability, Backend
from harness.core.errors import HarnessError, WorkerError
from harness.core.job import Options
from harness.device import plugins, worker

TIMEOUT_S = 120.0


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
    """

    reason: str = ""
    died: bool = False
    effective: Mapping[str, str] = field(default_factory=dict)


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
    running = {name: _start({"probe": name}, command, environment) for name in names}
    availability = {}
    for name, process in running.items():
        try:
            availability[name] = Availability.from_json(_answer(process, TIMEOUT_S * slowdown))
        except HarnessError as error:
            reason = "; ".join(" ".join(line.split()) for line in str(error).splitlines())
            availability[name] = Availability(reason=reason)
    return availability


def inspect(backend: str, artifact: Artifact) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs of a file, as its runtime on this machine reports them.

    Raises
    ------
    WorkerError
        The runtime cannot open it.
    """
    request = {"inspect": backend, "artifact": artifact.to_json(), "folder": str(artifact.folder)}
    answer = _answer(_start(request, _local_command, None), TIMEOUT_S)
    return _specs(answer["inputs"]), _specs(answer["outputs"])


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
    process = _start(request, _local_command, None)
    try:
        answer = _answer(process, TIMEOUT_S)
        return None if "absent" in answer else Proof(effective=answer["effective"])
    except WorkerError as error:
        last = f": {error.cause}" if error.cause else ""
        # A shell reports a signal as 128 plus its number; a process that took too long was killed here.
        died = process.returncode > 128 or (process.returncode < 0 and not isinstance(error, _TimedOut))
        return Proof(f"{error.what}{last}", died)


class _TimedOut(WorkerError):
    """A child did not answer in time and was killed."""


def _start(
    request: Mapping[str, Any], command: Command, environment: Mapping[str, str] | None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("harness.device.probe", json.dumps(request)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


def _answer(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        raise _TimedOut(f"the probe did not answer within {timeout_s:g} s") from error
    try:
        answer = json.loads(out)
    except ValueError as error:
        last = err.strip().splitlines()[-1:] or ["nothing on standard error"]
        raise WorkerError(f"the probe {worker.exit_text(process.returncode)}", cause=last[0]) from error
    if "error" in answer:
        raise WorkerError(answer["error"])
    assert isinstance(answer, dict)
    return answer


def _specs(values: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    specs = []
    for value in values:
        step = value["quantization"]
        quantization = None if step is None else Quantization(step["scale"], step["zero_point"])
        specs.append(TensorSpec(value["name"], tuple(value["shape"]), value["dtype"], quantization))
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
    name = request.get("probe") or request.get("prove") or request["inspect"]
    backend: Backend = plugins.choose(plugins.BACKENDS, name)()
    if "probe" in request:
        return asdict(backend.probe())
    artifact = Artifact.from_json(request["artifact"], Path(request["folder"]))
    if "prove" in request:
        if absent := backend.probe().reason:
            return {"absent": absent}
        with backend.open(artifact, Options()) as session:
            session.run(_sample(artifact, session.inputs, request["feeds"]))
            return {"effective": dict(session.effective)}
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
