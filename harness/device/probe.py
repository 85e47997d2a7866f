"""``python -m harness.device.probe``: what can run here, and the inputs and outputs of a file. Prints JSON.

A process of its own, so that a runtime that crashes at import takes nothing else with it, and so that no
runtime is ever loaded beside another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.core.artifact import Artifact, Quantization, TensorSpec
from harness.core.contracts import Availability, Backend
from harness.core.errors import HarnessError, WorkerError
from harness.core.job import Options
from harness.device import plugins

TIMEOUT_S = 120.0


Command = Callable[..., Sequence[str]]
"""A module and its arguments, to the arguments that start it."""


def _here(module: str, *arguments: str) -> Sequence[str]:
    return [sys.executable, "-X", "faulthandler", "-m", module, *arguments]


def probe(
    names: Iterable[str],
    command: Command = _here,
    environment: Mapping[str, str] | None = None,
    slowdown: float = 1.0,
) -> dict[str, Availability]:
    """Probe backends, each in a process of its own, all at once.

    Parameters
    ----------
    names : iterable of str
    command : callable
        How a module is started on the device.
    environment : mapping, optional
        What it finds in its environment besides this one's.
    slowdown : float
        How much longer it may take than on real hardware.
    """
    running = {name: _start({"probe": name}, command, environment) for name in names}
    found = {}
    for name, process in running.items():
        try:
            found[name] = Availability.from_json(_answer(process, TIMEOUT_S * slowdown))
        except HarnessError as error:
            found[name] = Availability(reason=str(error).replace("\n", "; "))
    return found


def inspect(backend: str, artifact: Artifact) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a file, as its runtime on this machine sees them.

    Raises
    ------
    WorkerError
        The runtime cannot open it.
    """
    request = {"inspect": backend, "artifact": artifact.to_json(), "folder": str(artifact.folder)}
    answer = _answer(_start(request, _here, None), TIMEOUT_S)
    return _specs(answer["inputs"]), _specs(answer["outputs"])


def _start(
    request: Mapping[str, Any], command: Command, environment: Mapping[str, str] | None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("harness.device.probe", json.dumps(request)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


def _answer(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
    from harness.device.worker import exit_text

    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        raise WorkerError(f"the probe did not answer within {timeout_s:g} s") from error
    try:
        answer = json.loads(out)
    except ValueError as error:
        last = err.strip().splitlines()[-1:] or ["nothing on standard error"]
        raise WorkerError(f"the probe {exit_text(process.returncode)}", cause=last[0]) from error
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
        os._exit(0)  # skip the runtimes' own teardown


def _serve(request: Mapping[str, Any]) -> dict[str, Any]:
    name = request.get("probe") or request["inspect"]
    backend: Backend = plugins.choose(plugins.BACKENDS, name)()
    if "probe" in request:
        return asdict(backend.probe())
    artifact = Artifact.from_json(request["artifact"], Path(request["folder"]))
    with backend.open(artifact, Options(threads=1)) as session:
        return {
            "inputs": [asdict(spec) for spec in session.inputs],
            "outputs": [asdict(spec) for spec in session.outputs],
        }


if __name__ == "__main__":
    sys.exit(main())
