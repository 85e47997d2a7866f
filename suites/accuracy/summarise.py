"""Outputs → rows: against the labels, the float reference, and the same variant on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import tasks
from harness.core.cause import Cause
from harness.core.errors import DataError
from harness.core.job import DEPLOY, PARITY, Case, Job, JobKey, JobResult, Samples, Status
from harness.core.measurement import Measurement, Row
from harness.core.metric import Metric
from harness.core.suite import (
    CLEAN,
    CaseContext,
    ProposalContext,
    ProposedGate,
    StoredAnswers,
    SummaryContext,
)  # fmt: skip
from harness.tasks.answers import Answers
from harness.tasks.rows import Facts, Group, made, row, with_units
from suites.accuracy import cases as plan
from suites.accuracy import groups, mistakes, noticed, numbers, sequences, shifts
from suites.accuracy.metrics import declared


class AccuracySuite:
    """The metric on clean and shifted data, and every distance to the reference on the host."""

    name = "accuracy"

    @cached_property
    def metrics(self) -> Mapping[str, Metric]:
        """Every metric of the suite, those of the installed tasks included."""
        return declared()

    def cases(self, context: CaseContext) -> tuple[Case, ...]:
        """List the cases of one variant."""
        return plan.cases(context)

    def check(self, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the problems of the suite's table, as pairs of key and message."""
        return plan.check(settings)

    def summarise(self, job: Job, result: JobResult, context: SummaryContext) -> list[Measurement]:
        """Make the rows of one case that was measured.

        A metric that cannot be computed is a SKIPPED row with the reason, one whose outputs do not fit is an
        ERROR row. Where the device fed other inputs than the host computed, all other rows are INVALID.
        """
        case = job.case
        host = tasks.on_host(context.task)
        on_device = host.read(result.samples)

        place = (CLEAN, 0) if mistakes.is_one(case) else (case.name, case.severity)

        @cache
        def on_host(variant: str) -> Answers | None:
            samples = context.reference(variant, *place)
            return None if samples is None else host.read(samples)

        sequence = sequences.index_of(case.params.get("sequences", ()))
        rows: list[Measurement] = []
        for group in _groups(job, context):
            of_group = self._rows(
                group, on_device, on_host, context, sequence, deep=bool(job.case.params.get("deep"))
            )
            rows += of_group if group.over_sequences else sequences.widened(of_group, sequence)
        if mistakes.is_one(case):
            rows = list(mistakes.rows(rows, host.loss))
        if _is_shipped(job):
            least = plan.read(context.settings).group_samples
            parts = groups.rows(rows, context.groups, least, sequence)
            if context.labels is not None:
                parts += host.parts(rows, context.labels, least, sequence)
            rows += parts
        equal = result.samples.values["input_sha256"] == case.params["input_sha256"]
        if not equal:
            reason = "the model inputs on the device differ from those of the host"
            rows = [
                replace(row, status=Status.INVALID, reason=reason, cause=Cause.OTHER_INPUTS)
                if row.status is Status.OK
                else row
                for row in rows
            ]
        digest = row("input_digest_equal", float(equal), n=case.samples)
        return [*rows, *with_units([digest], self.metrics)]

    def together(
        self, results: Sequence[tuple[Job, JobResult]], rows: Sequence[Row], context: SummaryContext
    ) -> list[tuple[JobKey, Measurement]]:
        """Make the rows about all shifted copies of the data together; none of the reference on the host."""
        jobs = [job for job, _ in results]
        if any(job.case.params["reference"] for job in jobs):
            return []
        return [*shifts.together(jobs, rows, context.task), *noticed.rows(results, context.task)]

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose what the task proposes, and that inputs are those of the host."""
        same_inputs = ProposedGate("same inputs as the host", {"metric": "input_digest_equal", "min": 1})
        return [same_inputs, *tasks.on_host(context.task).propose(context)]

    def score(self, answers: StoredAnswers, reference: tuple[str, StoredAnswers] | None) -> list[Measurement]:
        """Return every metric of stored predictions, also against those of a reference."""
        one = base = Answers.of_array(answers.values, answers.threshold)
        name = ""
        if reference is not None:
            name, stored = reference
            base = Answers.of_array(stored.values, stored.threshold)
        alone, pair = (Facts(one, y, of, answers.labels, None) for y, of in ((one, ""), (base, name)))
        groups = [
            group
            for group in (*tasks.on_host(answers.task).groups, numbers.DISTANCE)
            if name or not group.against
        ]
        return [
            row for group in groups for row in made(group, pair if group.against else alone, self.metrics)
        ]

    def answers(self, samples: Samples, task: str) -> Answers:
        """Read the outputs of a case; `alike` takes them any number of times."""
        return tasks.on_host(task).read(samples)

    def alike(self, one: Answers, other: Answers, task: str) -> Mapping[str, NDArray[np.bool_]]:
        """Compare the samples that both devices ran.

        Returns
        -------
        mapping
            The same answer, as the task names it (``top-1`` of a classifier), which no answer at all is not;
            and ``bits``.

        Raises
        ------
        DataError
            They have other outputs, or scores that are no classes.
        """
        other = other.ordered_like(one)
        n = min(len(one), len(other))  # samples come in one order everywhere
        host = tasks.on_host(task)
        same = {"bits": numbers.same_bits(one, other, n)} if host.has_outputs else {}
        if (named := host.same(one, other, n)) is not None:
            same |= dict([named])
        return same

    def _rows(
        self,
        group: Group,
        answers: Answers,
        on_host: Callable[[str], Answers | None],
        context: SummaryContext,
        sequence: NDArray[np.int64] | None,
        *,
        deep: bool,
    ) -> list[Measurement]:
        reference = f"{group.variant}@host" if group.variant else ""

        def without(status: Status, reason: str, cause: Cause = Cause.MISSING_DATA) -> list[Measurement]:
            rows = with_units((row(metric, math.nan, reference) for metric in group.metrics), self.metrics)
            return [replace(one, status=status, reason=reason, cause=cause) for one in rows]

        # Absolute metrics, too, use the float model's order of outputs and its kind of scores.
        base = on_host(group.variant or plan.FLOAT)
        if base is None:
            if reference:
                return without(Status.SKIPPED, f"there are no outputs of {reference} for this case")
            base = answers
        if group.labels and context.labels is None:
            return without(Status.SKIPPED, "the data have no labels")
        if group.outputs and not (answers.outputs and base.outputs):
            return without(
                Status.SKIPPED, 'needs the raw outputs, and keep = "reduced" stores reductions only'
            )
        try:
            answers = answers.ordered_like(base)
            # With other samples the last batch has another size, and other kernels run.
            same_runtime = context.same_runtime if len(answers) == len(base) else ""
            if reference:
                # Samples come in one order everywhere: a target that ran fewer ran the first of them.
                n = min(len(answers), len(base))
                answers, base = answers.head(n), base.head(n)
            labels = np.empty(0) if context.labels is None else context.labels[: len(answers)]
            facts = Facts(
                answers, base, reference, labels, context.artifact, context.rounding, context.no_rounding,
                same_runtime, sequence, deep,
            )  # fmt: skip
            return made(group, facts, self.metrics)
        except DataError as error:
            return without(Status.ERROR, error.what, Cause.UNSPECIFIED)


def _is_shipped(job: Job) -> bool:
    """Whether it is the clean case in the setting that counts: rows of parts of it are made once."""
    return job.case.name == CLEAN and (job.case.setting == DEPLOY or bool(job.case.params["reference"]))


def _is_deep(job: Job) -> bool:
    """Whether it is that case, or one of a deep run."""
    return _is_shipped(job) or bool(job.case.params.get("deep"))


def _groups(job: Job, context: SummaryContext) -> Iterator[Group]:
    has_float = not (job.case.params["reference"] and job.variant == plan.FLOAT)
    shipped, deep = _is_shipped(job), _is_deep(job)
    host = tasks.on_host(context.task)
    of_outputs = (numbers.DISTANCE, numbers.FINITE) if host.has_outputs else ()
    for group in (*host.groups, *of_outputs):
        asked = (shipped or not group.as_shipped) and (deep or not group.deep)
        if mistakes.is_one(job.case):
            asked = host.loss in group.metrics
        if asked and (has_float or not group.against):
            yield replace(group, variant=plan.FLOAT) if group.against else group
    is_parity = job.case.setting == PARITY and job.case.name == CLEAN
    if is_parity and host.has_outputs and not job.case.params["reference"]:
        yield replace(numbers.BIT_EXACT, variant=job.variant)
        yield replace(host.rounding or numbers.ROUNDING, variant=job.variant)
        if context.artifact.output_quantization:
            yield replace(numbers.LSB, variant=job.variant)
