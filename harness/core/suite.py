"""The host's half of a suite, what it is given, and its optional abilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from harness.core.artifact import Artifact, TensorSpec
from harness.core.cause import Reason
from harness.core.groups import Groups
from harness.core.job import Case, Job, JobKey, JobResult, Options, Samples
from harness.core.measurement import Measurement, Row
from harness.core.metric import Metric
from harness.core.profile import Profile

#: Family of the data set as it is, without a corruption.
CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class SetInfo:
    """A data set, before it is sent to a device.

    ``family`` is ``clean`` or the corruption's name; ``input_sha256`` gives, for a number of leading rows,
    the digest of the canonical model input. ``sequences`` has the number of rows of each sequence, which are
    fed in order; it is empty where samples are independent. ``mistake``: the family is a mistake of a
    deployment, which has to cost accuracy.
    """

    name: str
    family: str
    severity: int
    samples: int
    input_sha256: Callable[[int], str] = field(compare=False)
    sequences: tuple[int, ...] = ()
    mistake: bool = False

    def sequences_within(self, rows: int) -> list[int]:
        """Lengths of the sequences within the first `rows`; the last one may be cut."""
        ends = [min(end, rows) for end in accumulate(self.sequences)]
        return [end - start for start, end in pairwise((0, *ends)) if end > start]


@dataclass(frozen=True, slots=True)
class CaseContext:
    """What a suite is given to list its cases.

    Parameters
    ----------
    variant : str
    reference : bool
        These are the cases of the reference on the host.
    quantized : bool
    task : str
        One of the installed tasks.
    settings : mapping
        The suite's own table of ``validation.toml``.
    sets : tuple of SetInfo
        ``clean`` first.
    batch : int, optional
        The model's fixed batch size; None where it is dynamic.
    inputs, outputs : tuple of TensorSpec
        Of the canonical model.
    output : str
        The output that is scored; empty: the first.
    threshold : float, optional
        That output is one score a sample, and a score above it means class 1 of two.
    options : mapping
        The table ``[task]``.
    labelled : bool
        The samples have labels.
    max_samples : int, optional
        Of the target.
    emulated : bool
        Times measured on the target are invalid.
    device_memory : bool
        Sessions there are ``SupportsDeviceBinding``.
    skipped_shifts : mapping of str to str
        Families of shifts that do not apply to the data, or cannot be made, and why.
    profile : Profile
        How deep the run goes.
    soak_s : float
        How long this variant is called on this target, with the profile ``soak``.
    """

    variant: str
    reference: bool
    quantized: bool
    task: str
    settings: Mapping[str, Any]
    sets: tuple[SetInfo, ...]
    batch: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    output: str = ""
    threshold: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    labelled: bool = False
    max_samples: int | None = None
    emulated: bool = False
    device_memory: bool = False
    skipped_shifts: Mapping[str, str] = field(default_factory=dict)
    profile: Profile = Profile.QUICK
    soak_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SummaryContext:
    """What a suite is given to summarise the samples of a case.

    Parameters
    ----------
    artifact : Artifact
    options : Options
        Options of the session, as requested.
    task : str
    labels : ndarray, shape (n,), optional
        In the run's sample order.
    reference : callable
        ``(variant, case, severity)`` to the samples of the reference on the host, or None.
    emulated : bool
        Times measured on the target are invalid.
    settings : mapping
        The suite's own table of ``validation.toml``.
    disturbed : Reason, optional
        Why times of this batch are invalid (throttling, CPU steal, overload).
    alpha : float
        One-sided error of the intervals; below 5 % where the samples are judged more than once.
    groups : tuple of Groups
        What columns of the data divide the samples into, in the run's sample order.
    rounding : mapping of output name to float
        The largest absolute difference from the same variant on the host that rounding explains.
    short_rounding : mapping of output name to float
        What rounding explains besides where results are rounded to bfloat16; to a longer format, the less.
    no_rounding : str
        Why that is not known.
    same_runtime : str
        What the target has in common with the host, in words, where runtime, CPU and settings are the same:
        then rounding explains no difference. Else empty.
    """

    artifact: Artifact
    options: Options
    task: str
    labels: NDArray[Any] | None
    reference: Callable[[str, str, int], Samples | None]
    emulated: bool
    settings: Mapping[str, Any]
    disturbed: Reason | None = None
    alpha: float = 0.05
    groups: tuple[Groups, ...] = ()
    rounding: Mapping[str, float] = field(default_factory=dict)
    short_rounding: Mapping[str, float] = field(default_factory=dict)
    no_rounding: str = ""
    same_runtime: str = ""


class Suite(Protocol):
    """The host's half of a suite. Its constructor takes no argument and does no work.

    ``metrics`` declares every metric that the suite makes, by name or by a shell pattern for a family of
    them. Gates are checked against it before anything runs, and comparisons, the history, the report and the
    screen read it.
    """

    name: str
    metrics: Mapping[str, Metric]

    def cases(self, context: CaseContext) -> tuple[Case, ...]: ...
    def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]: ...
    def check(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the problems of the suite's table, as pairs of key and message."""
        ...


@runtime_checkable
class SupportsRounds(Protocol):
    """A suite that can measure more samples where a gate is undecided."""

    def again(self, case: Case, looks: int) -> Case:
        """Return the case that measures as many samples again as all rounds before it.

        Parameters
        ----------
        looks : int
            How often the samples were judged: once, and once more after each further round.
        """
        ...


@runtime_checkable
class SupportsParts(Protocol):
    """A suite with cases that are stored in parts."""

    def rest(self, case: Case, parts: Samples) -> Case:
        """Return the case that measures what is left after these parts, which may be nothing."""
        ...

    def progress(self, case: Case, parts: Samples) -> Sequence[str]:
        """Say in a line a metric what the parts show so far, with the time left."""
        ...


@runtime_checkable
class SupportsCasesTogether(Protocol):
    """A suite with rows about several cases of one variant together, such as the mean over shifts."""

    def together(
        self, results: Sequence[tuple[Job, JobResult]], rows: Sequence[Row], context: SummaryContext
    ) -> list[tuple[JobKey, Measurement]]:
        """Return the rows, each with the key of a job that it is made from, and its case and severity.

        Parameters
        ----------
        results : sequence of (Job, JobResult)
            Of one batch; every result is OK.
        rows : sequence of Row
            What `summarise` made of them.
        context : SummaryContext
            Of the setting ``deploy``.
        """
        ...


@runtime_checkable
class SupportsAgreement(Protocol):
    """A suite whose answers can be compared between devices, sample by sample."""

    def answers(self, samples: Samples, task: str) -> Any:
        """Read the answers of a case; `alike` takes them any number of times."""
        ...

    def alike(self, one: Any, other: Any, task: str) -> Mapping[str, NDArray[Any]]:
        """Compare the samples that both devices ran: ``bits``, and what the task calls the same answer.

        Each array is of shape (n,), bool.

        Raises ``DataError`` where the two cannot be compared.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProposalContext:
    """What ``harness init`` gives a suite to propose gates.

    Parameters
    ----------
    task : str
        One of the installed tasks.
    labelled, quantizes, shifted : bool
        The test samples have labels; there is a quantized variant, called ``int8``; there are corruptions.
    samples : int
        Test samples.
    right, tried : int
        Correct answers of the float model among the trial samples (the sum of the task's scores), and how
        many trial samples there were.
    chance : float
        Score of the best answer that does not look at the sample, on the test labels: of a classification the
        accuracy of the commonest label.
    fewest : int
        Test samples of the rarest class; 0 where labels are no classes.
    """

    task: str
    labelled: bool
    quantizes: bool
    shifted: bool
    samples: int
    right: int
    tried: int
    chance: float
    fewest: int = 0


@dataclass(frozen=True, slots=True)
class ProposedGate:
    """A gate that a suite proposes.

    Parameters
    ----------
    name : str
    table : mapping
        Keys of ``[[gate]]`` other than ``name`` and ``suite``.
    why : str
        Where the limit comes from; empty where it needs no reason.
    commented : bool
        Write it as a comment: the user has to choose the limit.
    """

    name: str
    table: Mapping[str, Any]
    why: str = ""
    commented: bool = False


@runtime_checkable
class SupportsProposals(Protocol):
    """A suite that proposes gates for the ``validation.toml`` of a new model."""

    def propose(self, context: ProposalContext) -> list[ProposedGate]: ...


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """Predictions that somebody stored, and the labels of the same samples.

    Parameters
    ----------
    values : ndarray, shape (n, …)
    task : str
    threshold : float, optional
        One score a sample; above it the answer is class 1, else class 0.
    labels : ndarray, shape (n,) or (n, targets)
    """

    values: NDArray[Any]
    task: str
    threshold: float | None
    labels: NDArray[Any]


@runtime_checkable
class SupportsStoredAnswers(Protocol):
    """A suite that scores predictions without a model (``harness score``)."""

    def score(self, answers: StoredAnswers, reference: tuple[str, StoredAnswers] | None) -> list[Measurement]:
        """Return every metric of the answers, also against the answers of a reference, with its name."""
        ...
