"""A planted fault, and the hooks by which it acts on a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from harness.core.artifact import Artifact, TensorSpec
from harness.core.contracts import Availability, Backend, Session
from harness.core.errors import HarnessError
from harness.core.job import Options
from harness.core.preprocess import Feeds, Outputs
from harness.core.profile import Profile

#: How the message of a fault begins that this model, backend or machine does not allow.
NOT_PLANTED = "the fault cannot be planted here"

Compute = Callable[[Feeds], Outputs]


class NotPlanted(HarnessError):
    """A fault that this model, backend or machine does not allow."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{NOT_PLANTED}: {why}")


class Kind(StrEnum):
    """What a fault is about."""

    #: No fault: the session is wrapped, and answers as it does without the wrapper.
    HEALTHY = "healthy"
    #: The answers are other numbers, at each call alike.
    NUMERIC = "numeric"
    #: The answers depend on the call, the batch, the session or the process, or have another form.
    CALL = "per call"
    TIME = "time"
    MEMORY = "memory"
    #: The session or the backend reports what is not the case.
    CLAIM = "claim"
    PROCESS = "process"
    #: Inputs that are wrong are accepted, or end the process.
    INPUT = "input"
    #: Another file than the given one is opened.
    FILE = "file"


@dataclass(slots=True)
class Call:
    """The session in which a call is made.

    Parameters
    ----------
    inputs, outputs : tuple of TensorSpec
    options : Options
        As requested.
    number : int
        How many sessions the process opened before this one.
    calls : int
        How many calls the session answered before this one.
    open_sessions : int
        Sessions that are open in this process, with this one.
    previous : mapping of str to ndarray
        What the call before returned; empty at the first.
    bound : bool
        It is a call on fixed buffers.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    options: Options
    number: int = 0
    calls: int = 0
    open_sessions: int = 1
    previous: Outputs | None = None
    bound: bool = False


class Plant:
    """One fault in one process. Every hook leaves everything as it is; a fault overrides some of them.

    Parameters
    ----------
    size : float
        How large the fault is, in the unit that its catalogue entry states.
    """

    def __init__(self, size: float = 0.0) -> None:
        self.size = size
        self.given: Artifact | None = None

    def start(self, artifact: Artifact) -> None:
        """Begin; called once in each process, before anything is opened.

        Parameters
        ----------
        artifact : Artifact
            The file of the batch.
        """
        self.given = artifact

    def probe(self, availability: Availability) -> Availability:
        """Change what the backend reports about itself."""
        return availability

    def open(self, backend: Backend, artifact: Artifact, options: Options) -> Session:
        """Open a session."""
        return backend.open(artifact, options)

    def effective(self, effective: Mapping[str, str], options: Options) -> Mapping[str, str]:
        """Change what a session reports about itself."""
        return effective

    def run(self, call: Call, compute: Compute, feeds: Feeds) -> Outputs:
        """Answer a call."""
        return compute(feeds)


@dataclass(frozen=True, slots=True)
class Fault:
    """An entry of a catalogue of planted faults.

    The entry point of the group ``harness.faults`` names a tuple of them. A catalogue is carried by devices:
    it may import numpy, `harness.core`, `harness.device` and `harness.testing.faults`.

    Parameters
    ----------
    name : str
        Lower case with hyphens; unique over all catalogues.
    kind : Kind
    sentence : str
        What is wrong with the session; ``{size}`` stands for the size.
    plant : callable
        Makes the ``Plant`` of a size.
    words : tuple of str
        A right diagnosis contains one of them, in any case.
    advice : str
        What to do where no gate and no check sees it.
    size : float
        0 for a fault without a size.
    unit : str
        Of the size.
    quick : bool
        It is part of ``harness challenge --quick``.
    beside_runtime : bool
        It is seen only by comparing with the runtime alone, which an emulated target is not.
    profile : Profile
        The profile whose checks see it; ``quick``: those of every run.
    """

    name: str
    kind: Kind
    sentence: str
    plant: Callable[[float], Plant]
    words: tuple[str, ...]
    advice: str = ""
    size: float = 0.0
    unit: str = ""
    quick: bool = False
    beside_runtime: bool = False
    profile: Profile = Profile.QUICK

    def text(self, size: float | None = None) -> str:
        """The sentence, with the size filled in."""
        return self.sentence.format(size=f"{self.size if size is None else size:g}")

    def is_named_in(self, diagnosis: str) -> bool:
        """Whether a diagnosis names this fault."""
        folded = diagnosis.casefold()
        return any(word.casefold() in folded for word in self.words)

    def wrap(self, backend: Backend, artifact: Artifact, size: float | None = None) -> Backend:
        """Plant the fault in a backend, for the rest of this process.

        Parameters
        ----------
        backend : Backend
        artifact : Artifact
            The file of the batch.
        size : float, optional
            Default: the size of the entry.
        """
        from harness.testing.faults.planted import PlantedBackend

        plant = self.plant(self.size if size is None else size)
        plant.start(artifact)
        return PlantedBackend(backend, plant)
