"""What is to be measured, and what came of it: cases, jobs, batches, samples, results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.core.artifact import Artifact
from harness.core.cause import Cause
from harness.core.preprocess import Preprocess

PARITY = "parity"
DEPLOY = "deploy"


class Status(StrEnum):
    """Whether a measurement exists and is valid."""

    OK = "OK"
    INVALID = "INVALID"
    SKIPPED = "SKIPPED"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Options:
    """How a session is opened.

    Parameters
    ----------
    threads : int, optional
        Threads inside one inference; None leaves it to the runtime.
    precision : str
        ``f32`` pins float arithmetic to float32; empty leaves it to the runtime.
    provider : str
        Execution provider or device (``CPUExecutionProvider``, ``CPU``, ``XNNPACK``); empty takes the
        backend's default, which is still asserted.
    extra : mapping of str to str
        Passed to the runtime as they are.
    """

    threads: int | None = None
    precision: str = ""
    provider: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "threads": self.threads,
            "precision": self.precision,
            "provider": self.provider,
            "extra": dict(self.extra),
        }


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a suite measures.

    Parameters
    ----------
    name : str
        ``clean``, ``fog``, ``single_stream`` …
    severity : int
        0 where the word has no meaning.
    setting : str
        ``parity`` or ``deploy``.
    data : str
        Name of the data set that it reads; empty for none.
    samples : int
        It reads the first so many rows of the set.
    deadline_s : float
        After this the executor ends the worker.
    params : mapping
        JSON values that only the suite understands; ``sequences`` are the rows of each sequence.
    typical_s : float
        How long the case takes with a small model on an idle machine, for the estimate of a run that never
        ran; 0 where the suite does not say.
    beside : str
        A variant that the case opens beside the batch's own, on the same device; empty for none.
    timed : bool
        Nothing else may run on the machine meanwhile. False where no time is measured.
    skipped : str
        Why the case cannot be measured, which is certain before the run: it becomes a SKIPPED row.
    in_parts : bool
        It takes long: its parts are stored as they arrive, and an interrupted one goes on from them
        (`suite.SupportsParts`).
    """

    name: str
    severity: int = 0
    setting: str = DEPLOY
    data: str = ""
    samples: int = 0
    deadline_s: float = 60.0
    params: Mapping[str, Any] = field(default_factory=dict)
    typical_s: float = 0.0
    beside: str = ""
    timed: bool = True
    skipped: str = ""
    in_parts: bool = False

    @property
    def independent_samples(self) -> int:
        """Samples, or sequences, whose rows are not independent of each other."""
        return len(self.params["sequences"]) if "sequences" in self.params else self.samples

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "severity": self.severity,
            "setting": self.setting,
            "data": self.data,
            "samples": self.samples,
            "deadline_s": self.deadline_s,
            "params": dict(self.params),
            "typical_s": self.typical_s,
            **({"beside": self.beside} if self.beside else {}),
            **({} if self.timed else {"timed": False}),
            **({"in_parts": True} if self.in_parts else {}),
        }


class JobKey(NamedTuple):
    """What names a job: no two jobs of a run share it."""

    target: str
    backend: str
    setting: str
    variant: str
    suite: str
    case: str
    severity: int


@dataclass(frozen=True, slots=True)
class Job:
    """One case on one target, backend and variant."""

    target: str
    backend: str
    variant: str
    suite: str
    case: Case

    @property
    def key(self) -> JobKey:
        """The job's name."""
        return JobKey(
            self.target,
            self.backend,
            self.case.setting,
            self.variant,
            self.suite,
            self.case.name,
            self.case.severity,
        )


@dataclass(frozen=True, slots=True)
class DataRef:
    """A data set as a device knows it: one ``.npy`` file by hash for each input.

    Parameters
    ----------
    inputs : mapping of input name to sha256
    samples : int
        Rows in the set.
    size_byte : int
        Bytes of all files.
    targets : str
        sha256 of the labels, as the task takes them, where it needs them on the device (`Need.LABELS`); empty
        for none.
    """

    inputs: Mapping[str, str]
    samples: int
    size_byte: int
    targets: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The hash of every file."""
        return (*self.inputs.values(), *([self.targets] if self.targets else []))

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "inputs": dict(self.inputs),
            "samples": self.samples,
            "size_byte": self.size_byte,
            **({"targets": self.targets} if self.targets else {}),
        }


#: Keys of the artifacts of a batch in its JSON.
ARTIFACTS = ("artifact", "beside")


@dataclass(frozen=True, slots=True)
class Batch:
    """The jobs that one worker process runs: one target, backend, variant and suite.

    ``beside`` is the artifact of the variant that cases open beside ``artifact``; None where none does, or
    where the backend has no file of it.
    """

    target: str
    backend: str
    variant: str
    suite: str
    artifact: Artifact
    options: Mapping[str, Options]
    preprocess: Mapping[str, Preprocess]
    data: Mapping[str, DataRef]
    cases: tuple[Case, ...]
    beside: Artifact | None = None

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All that the worker opens."""
        return (self.artifact,) if self.beside is None else (self.artifact, self.beside)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """One job a case."""
        return tuple(Job(self.target, self.backend, self.variant, self.suite, case) for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """As JSON; the folders of artifacts are left to the executor."""
        return {
            "target": self.target,
            "backend": self.backend,
            "variant": self.variant,
            "suite": self.suite,
            "artifact": self.artifact.to_json(),
            "options": {setting: options.to_json() for setting, options in self.options.items()},
            "preprocess": {name: step.to_json() for name, step in self.preprocess.items()},
            "data": {name: ref.to_json() for name, ref in self.data.items()},
            "cases": [case.to_json() for case in self.cases],
            **({} if self.beside is None else {"beside": self.beside.to_json()}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], artifact: Artifact, beside: Artifact | None = None) -> Batch:
        """Read what ``to_json`` wrote."""
        return cls(
            target=value["target"],
            backend=value["backend"],
            variant=value["variant"],
            suite=value["suite"],
            artifact=artifact,
            options={setting: Options(**options) for setting, options in value["options"].items()},
            preprocess={name: Preprocess.from_json(step) for name, step in value["preprocess"].items()},
            data={name: DataRef(**ref) for name, ref in value["data"].items()},
            cases=tuple(Case(**case) for case in value["cases"]),
            beside=beside,
        )


@dataclass(frozen=True, slots=True)
class Samples:
    """Raw facts of a case: arrays, and values that fit JSON."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


#: A value of samples that were stored in parts: how workers died meanwhile, a text each.
CRASHES = "crashes"
#: A value of samples that were measured in rounds.
LOOKS = "looks"


def looks_of(samples: Samples) -> int:
    """How often samples are looked at: once a round."""
    return int(samples.values.get(LOOKS, 1))


def merge(parts: Iterable[Samples]) -> Samples:
    """Join the parts of one case: arrays of one name along the first axis, later values over earlier ones."""
    arrays: dict[str, list[NDArray[Any]]] = {}
    values: dict[str, Any] = {}
    for part in parts:
        for name, array in part.arrays.items():
            arrays.setdefault(name, []).append(array)
        values.update(part.values)
    return Samples(
        {name: pieces[0] if len(pieces) == 1 else np.concatenate(pieces) for name, pieces in arrays.items()},
        values,
    )


@dataclass(frozen=True, slots=True)
class JobResult:
    """What became of a job.

    Parameters
    ----------
    key : JobKey
    status : Status
        OK, SKIPPED (the device lacks an ability) or ERROR.
    reason : str
        Why it is not OK.
    cause : Cause
        The same as a type.
    raw : str
        What the runtime said in full, where `reason` has only the gist; empty elsewhere.
    samples : Samples
    effective : mapping of str to str
        Provider, precision and threads that were really in use.
    started_utc : str
        ISO 8601.
    duration_ns : int
        By the device's clock.
    host_ns : int
        By the host's clock, from the frame of the start to that of the result; 0 where it was not taken.
    """

    key: JobKey
    status: Status
    reason: str = ""
    samples: Samples = field(default_factory=Samples)
    effective: Mapping[str, str] = field(default_factory=dict)
    started_utc: str = ""
    duration_ns: int = 0
    cause: Cause = Cause.UNSPECIFIED
    raw: str = ""
    host_ns: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """A job began (for progress only; nothing is stored)."""

    key: JobKey


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a job that goes on; its result has all of them."""

    key: JobKey
    samples: Samples


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """The machine as it was before, during (between two jobs) or after a batch."""

    target: str
    backend: str
    variant: str
    suite: str
    phase: str
    facts: Mapping[str, Any]


Event = Started | Part | JobResult | EnvironmentRecord
