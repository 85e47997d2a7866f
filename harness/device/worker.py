"""``python -m harness.device.worker``: one batch in on standard input, frames out on standard output.

Runs on the device with numpy and one runtime, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from harness.core import preprocess, unexpected
from harness.core.artifact import Artifact, verify
from harness.core.cause import Cause
from harness.core.contracts import Backend, BareModel, Measure, Session, Unsupported
from harness.core.errors import BackendError, FileRefused, HarnessError, WorkerError
from harness.core.feeding import Feeding
from harness.core.job import ARTIFACTS, DEPLOY, Batch, Case, Job, Samples, Status, merge
from harness.core.preprocess import Feeds
from harness.core.untrusted import MAX_RAW, MAX_REASON, cut
from harness.core.wire import read_frame, write_frame
from harness.device import bare, environment, monitor, planted, plugins
from harness.device.files import FileStore
from harness.device.process_end import exit_text, is_held, tail
from harness.device.stdin import HostInput, Pipe

#: Time for a child that measures one case to start and to end, beyond the case's deadline.
SPAWN_GRACE_S = 60.0
#: Time for a process whose output ended to exit too, so that its own exit status is reported.
EXIT_GRACE_S = 5.0
#: Value of samples: how a process ended that ends by itself.
EXIT = "exit"
MODULE = "harness.device.worker"
#: Environment variable: the JSON list of arguments that starts this Python.
PYTHON = "HARNESS_PYTHON"


class StoredData:
    """The data sets of a batch, read from the device's file store; every file's hash is checked once."""

    def __init__(self, batch: Batch, files: FileStore) -> None:
        self._batch, self.files = batch, files
        self._open: dict[str, np.ndarray[Any, Any]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._batch.data

    def feeds(self, name: str, start: int, stop: int) -> Feeds:
        """Canonical model inputs of the rows `start` to `stop`."""
        return {
            input_name: preprocess.apply(self._raw(digest)[start:stop], self._batch.preprocess[input_name])
            for input_name, digest in self._batch.data[name].inputs.items()
        }

    def targets(self, name: str, start: int, stop: int) -> np.ndarray[Any, Any]:
        """The labels of the rows `start` to `stop`."""
        return self._raw(self._batch.data[name].targets)[start:stop]

    def fetch(self, name: str) -> None:
        """Fetch the files of a set for a process that cannot ask the host."""
        for digest in self._batch.data[name].files:
            self._raw(digest)

    def _raw(self, digest: str) -> np.ndarray[Any, Any]:
        if digest not in self._open:
            self._open[digest] = np.load(self.files.data(digest), mmap_mode="r", allow_pickle=False)
        return self._open[digest]


class DeviceBench:
    """What a measure may use: sessions, data, a clock, fresh processes, a scratch folder."""

    def __init__(self, batch: Batch, job: Job, backend: Backend, data: StoredData) -> None:
        self._batch, self._backend = batch, backend
        self.job, self.data = job, data
        self.clock: Callable[[], int] = time.perf_counter_ns
        self.effective: dict[str, str] = {}
        self.children: list[Mapping[str, Any]] = []
        self._scratch: Path | None = None

    @property
    def artifact(self) -> Artifact:
        """The model of the batch."""
        return self._batch.artifact

    @property
    def beside(self) -> Artifact | None:
        """The model that cases open beside it."""
        return self._batch.beside

    @property
    def backend(self) -> str:
        """The name of the backend."""
        return self._batch.backend

    @property
    def backend_version(self) -> str:
        """As the backend reports it."""
        return self._backend.probe().version

    def open(self, artifact: Artifact | None = None, *, setting: str = "", **options: Any) -> Session:  # noqa: ANN401
        """Open a session; the first one's effective options are those of the job."""
        requested = replace(self._batch.options[setting or self.job.case.setting], **options)
        session = self._backend.open(artifact or self.artifact, requested)
        if not self.effective:
            self.effective = dict(session.effective)
        return session

    def open_bare(self) -> BareModel:
        """Open the model in the runtime itself; no fault is planted there."""
        requested = planted.without(self._batch.options[self.job.case.setting])
        return bare.open_bare(self._batch.backend, self.artifact, requested)

    def feeding(self, session: Session, artifact: Artifact | None = None) -> Feeding:
        """How samples go into the file of that session, and its answers come back."""
        batch, artifact = self._batch, artifact or self.artifact
        return Feeding(session.inputs, session.outputs, batch.preprocess, artifact, batch.backend)

    def spawn(self, case: Case, *, exits: bool = False) -> Samples:
        """Measure `case` in a fresh process; see ``Bench.spawn``."""
        if case.data:
            self.data.fetch(case.data)
        batch = replace(self._batch, cases=(replace(case, in_parts=False),))
        samples, header = run_child(batch, self.data.files.folder, exits=exits)
        self.children.append(header["scheduling"])
        if not self.effective:
            self.effective = header["effective"]
        return replace(samples, values={**samples.values, EXIT: header[EXIT]}) if exits else samples

    def scratch(self) -> Path:
        """A folder that is deleted after the case."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="harness-case-"))
        return self._scratch

    def close(self) -> None:
        """Delete the scratch folder."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def command(python: Sequence[str], module: str = MODULE, *arguments: str) -> list[str]:
    """Return the command that starts a module on a device.

    ``-P`` keeps the working folder off the path of modules: otherwise a folder of the user's with a
    ``harness/``, ``backends/`` or ``onnxruntime.py`` would be imported instead of the installed packages.
    faulthandler names the line on which a runtime crashed.
    """
    return [*python, "-P", "-X", "faulthandler", "-m", module, *arguments]


def own_python() -> list[str]:
    """Return the command that starts this Python again; under an emulator its path alone is not enough."""
    return json.loads(os.environ.get(PYTHON, "null")) or [sys.executable]


def request(batch: Batch, store: Path | str, **more: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return what a worker reads first.

    Parameters
    ----------
    batch : Batch
    store : path
        Folder of the file store on the device; ``~`` is the user's home there.
    **more
        ``ships``: the device asks for files that it does not have, instead of using the host's paths.
        ``room_byte``: size of the file store. ``silence_s``: the host counts as gone after it. ``exits``: the
        process ends like any program.
    """
    folders = {name: str(one.folder) for name, one in zip(ARTIFACTS, batch.artifacts, strict=False)}
    value = {"batch": batch.to_json(), "store": str(store), "folders": folders}
    return json.dumps(value | more).encode() + b"\n"


def run_child(batch: Batch, store: Path, *, exits: bool = False) -> tuple[Samples, dict[str, Any]]:
    """Run a batch of one case in a fresh process; returns its samples and the header of its result.

    With `exits` the process ends by itself, and the header says how it did.

    Raises
    ------
    WorkerError
        The process died or passed the case's deadline, or the case failed.
    """
    (case,) = batch.cases
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            command(own_python()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
        stdin, stdout = cast(BinaryIO, child.stdin), cast(BinaryIO, child.stdout)
        hung, outlived = threading.Event(), False

        def end() -> None:
            hung.set()
            child.kill()

        timer = threading.Timer(case.deadline_s + SPAWN_GRACE_S, end)
        timer.start()
        try:
            result = _request_result(stdin, stdout, request(batch, store, exits=exits))
            if result is None or exits:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(EXIT_GRACE_S)
                    outlived = is_held(stdout.fileno())
        finally:
            timer.cancel()
            has_ended = child.poll() is not None
            child.kill()
            code = child.wait()
            with contextlib.suppress(BrokenPipeError):  # the buffer may hold what it never read
                stdin.close()
            stdout.close()
        if hung.is_set():
            raise WorkerError(f"the fresh process of {case.name} hung and was ended", where=tail(stderr))
        if result is None:
            raise WorkerError(f"the fresh process of {case.name} {exit_text(code)}", where=tail(stderr))
    header, samples = result
    if header["status"] == Status.SKIPPED:
        if header["cause"] == Cause.RUNTIME_REFUSED:
            raise FileRefused(header["reason"], raw=header["raw"])
        raise Unsupported(header["reason"])
    if header["status"] != Status.OK:
        raise WorkerError(header["reason"])
    if exits:
        header[EXIT] = exit_text(code) if has_ended else f"did not end within {EXIT_GRACE_S:g} s"
        if outlived:
            header[EXIT] += ", and a process that it started outlives it"
    return samples, header


def _request_result(stdin: BinaryIO, stdout: BinaryIO, text: bytes) -> tuple[dict[str, Any], Samples] | None:
    try:
        stdin.write(text)
        stdin.flush()
        while (frame := read_frame(stdout)) is not None:
            header, arrays = frame
            if header["type"] == "result":
                return header, Samples(arrays, header["values"])
    except BrokenPipeError:
        pass  # it died; the caller reports how
    return None


def run_case(
    bench: DeviceBench, measure: Measure, send: Callable[[Samples], None] | None = None
) -> tuple[dict[str, Any], Samples]:
    """Measure one case; an exception becomes an ERROR with its reason, never a result.

    `send` gets the parts of a case that is stored in parts: they are sent, and not collected here.
    """
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    t0, scheduled = time.perf_counter_ns(), environment.scheduling()
    status, reason, samples = Status.OK, "", Samples()
    cause, raw = Cause.UNSPECIFIED, ""
    try:
        parts = measure(bench, bench.job.case)
        if send is not None and bench.job.case.in_parts:
            for part in parts:
                send(part)
        else:
            samples = merge(parts)
    except Unsupported as error:
        status, reason, cause = Status.SKIPPED, str(error), Cause.MISSING_ABILITY
    except HarnessError as error:
        status, reason = Status.SKIPPED if isinstance(error, FileRefused) else Status.ERROR, str(error)
        if isinstance(error, BackendError):
            cause, raw = Cause.RUNTIME_REFUSED, error.raw
        elif isinstance(error, WorkerError):
            cause = Cause.WORKER_FAILED
    except Exception as error:  # noqa: BLE001 - whatever a runtime or a plug-in raises is an ERROR row
        status, cause = Status.ERROR, Cause.UNEXPECTED
        reason, raw = unexpected.one_line(error), unexpected.full_text(error)
    finally:
        bench.close()
    header = {
        "type": "result",
        "key": list(bench.job.key),
        "status": status.value,
        "reason": cut(reason, MAX_REASON),
        "cause": cause.value,
        "raw": cut(raw, MAX_RAW),
        "values": dict(samples.values),
        "effective": bench.effective,
        "started_utc": started,
        "duration_ns": time.perf_counter_ns() - t0,
        "scheduling": monitor.add(monitor.since(scheduled), *bench.children),
    }
    return header, samples


def serve(host: HostInput, stdout: BinaryIO) -> bool:
    """Read one batch and answer with frames; returns whether the process has to end like any program."""
    value = host.request()

    def fetch(kind: str, name: str) -> np.ndarray[Any, Any]:
        write_frame(stdout, {"type": "need", "kind": kind, "name": name})
        return host.file()

    files = FileStore(
        Path(value["store"]).expanduser(), fetch if value.get("ships") else None, value.get("room_byte")
    )
    artifacts = [
        files.artifact(Artifact.from_json(value["batch"][name], Path(folder)))
        for name, folder in value["folders"].items()
    ]
    batch = Batch.from_json(value["batch"], *artifacts)

    for artifact in artifacts:
        verify(artifact)
    backend: Backend = planted.plant(plugins.choose(plugins.BACKENDS, batch.backend)(), batch)
    measure: Measure = plugins.choose(plugins.MEASURES, batch.suite)
    availability = backend.probe()
    machine = monitor.Monitor(batch.options[DEPLOY])
    facts = {**machine.static_facts(), **machine.facts(), "backend_version": availability.version}
    facts["backend_devices"] = list(availability.devices)
    write_frame(stdout, {"type": "environment", "phase": "before", "facts": facts})
    data = StoredData(batch, files)
    for job in batch.jobs:
        write_frame(stdout, {"type": "start", "key": list(job.key)})

        def send(part: Samples, key: tuple[str | int, ...] = job.key) -> None:
            write_frame(stdout, {"type": "part", "key": list(key), "values": dict(part.values)}, part.arrays)

        header, samples = run_case(DeviceBench(batch, job, backend, data), measure, send)
        write_frame(stdout, header, samples.arrays)
        if machine.ended(header):
            write_frame(stdout, {"type": "environment", "phase": "during", "facts": machine.facts()})
    write_frame(stdout, {"type": "environment", "phase": "after", "facts": machine.facts()})
    return bool(value.get("exits"))


def main() -> int:
    """Serve one batch on the standard streams."""
    # Frames alone go to the real standard output; what a runtime prints goes to standard error.
    with os.fdopen(os.dup(1), "wb") as stdout:
        os.dup2(2, 1)
        try:
            exits = serve(HostInput(Pipe(sys.stdin.fileno())), stdout)
        except BrokenPipeError:
            return 1  # the host is gone
        except HarnessError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        # Skip the teardown of the runtimes: some crash in it, after all results are written.
        stdout.flush()
        sys.stderr.flush()
        if not exits:
            os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
