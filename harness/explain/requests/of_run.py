"""Which differences lie behind the failing gates and checks of a run, and what explains them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.load import check
from harness.config.validation import FLOAT32, Validation
from harness.core.errors import HarnessError
from harness.core.job import DEPLOY, PARITY
from harness.core.metric import OF_ANSWERS
from harness.core.plan import HOST
from harness.core.verdict import CHECK, Gate, State, Verdict
from harness.explain.reproducers import reproducer
from harness.explain.requests.between import SideRequest
from harness.explain.requests.prepared import scene_of
from harness.explain.scene import Hypothesis
from harness.explain.search import procedure
from harness.explain.search.explanation import Explanation
from harness.explain.sides.runner import FEWEST_S
from harness.run import checks, declared
from harness.run.observer import Observer
from harness.run.outcome import Outcome
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request

Notify = Callable[[str], None]
#: How the arrays of a result begin that hold the answers: the outputs, or their hashes.
ANSWERS = ("output:", "row_hash:")


@dataclass(frozen=True, slots=True)
class Question:
    """Failing gates and checks of one variant on one target, in one setting.

    Parameters
    ----------
    target, backend, variant, setting : str
    verdicts : tuple of Verdict
        The worst first.
    passing : tuple of str
        Targets of the run on which none of these gates fails for the variant, and some pass.
    failing : tuple of str
        Targets on which one of them fails.
    is_of_file : bool
        A gate compares with the same variant on this machine, so that the float model explains nothing.
    is_of_both : bool
        The gates are those of both settings, in which the answers have the same bits.
    """

    target: str
    backend: str
    variant: str
    setting: str
    verdicts: tuple[Verdict, ...]
    passing: tuple[str, ...]
    failing: tuple[str, ...]
    is_of_file: bool = False
    is_of_both: bool = False

    @property
    def name(self) -> str:
        """Of a file or folder."""
        return f"{self.target}-{self.backend}-{self.variant}-{self.setting}"

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates and checks."""
        return tuple(verdict.gate for verdict in self.verdicts)

    def pairs(self) -> Iterator[tuple[SideRequest, SideRequest]]:
        """Yield what is compared: the same variant on this machine first, then the float model there.

        Where the gates are those of both settings, deploy comes last: options of the target may have a part.
        """
        place = f"{self.target}:{self.variant}" if self.variant != FLOAT32 else self.target
        for setting in (self.setting, DEPLOY) if self.is_of_both else (self.setting,):
            suffix = f"@{setting}" if setting != DEPLOY else ""
            other = SideRequest(f"{place}{suffix}", self.target, self.variant, None, setting)
            for variant in dict.fromkeys((self.variant,) if self.is_of_file else (self.variant, FLOAT32)):
                yield SideRequest(f"{variant} on this machine", HOST, variant), other


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a question.

    Parameters
    ----------
    question : Question
    explanation : Explanation, optional
        None where it could not be asked.
    reason : str
        Why not.
    """

    question: Question
    explanation: Explanation | None = None
    reason: str = ""


def questions(outcome: Outcome) -> list[Question]:
    """Questions of the verdicts that block and are about answers, in the order of their verdicts."""
    metrics = declared.of_run(outcome.run)
    gates = _gates(outcome)
    about: dict[tuple[str, str, str, str], list[Verdict]] = {}
    for verdict in sorted(outcome.verdicts, key=lambda verdict: verdict.kind != CHECK):
        metric = metrics.find(verdict.suite, verdict.metric)
        of_answers = metric is not None and (metric.role in OF_ANSWERS or metric.drift)
        if verdict.state is State.FAIL and verdict.blocks and of_answers:
            gate = gates.get((verdict.kind, verdict.gate))
            setting = DEPLOY if gate is None else gate.setting
            about.setdefault((verdict.target, verdict.backend, verdict.variant, setting), []).append(verdict)
    joined = set[tuple[str, str, str, str]]()
    for deploy in [key for key in about if key[3] == DEPLOY]:
        parity = (*deploy[:3], PARITY)
        if parity in about and _answers_alike(outcome, parity):
            about[parity] += about.pop(deploy)  # one difference, one question
            joined.add(parity)
    return [
        Question(
            *key,
            tuple(verdicts),
            *_elsewhere(outcome, key[2], verdicts),
            any(_is_of_file(outcome, verdict, gates) for verdict in verdicts),
            key in joined,
        )
        for key, verdicts in sorted(about.items(), key=lambda item: item[0][3] == DEPLOY)
    ]


def _answers_alike(outcome: Outcome, place: tuple[str, str, str, str]) -> bool:
    """Whether a variant gave the same bits in both settings, where its suites ran the same case in both."""
    results = outcome.folder.facts().results
    target, backend, variant, setting = place
    compared = False
    for key, result in results.items():
        twin = results.get(key._replace(setting=DEPLOY))
        if key[:4] != (target, backend, setting, variant) or twin is None:
            continue
        for name, array in result.samples.arrays.items():
            if name.startswith(ANSWERS):
                other = twin.samples.arrays.get(name)
                if other is None or not np.array_equal(array, other, equal_nan=array.dtype.kind == "f"):
                    return False
                compared = True
    return compared


def _gates(outcome: Outcome) -> dict[tuple[str, str], Gate]:
    validation = check(outcome.run["validation"], Validation, where=str(outcome.folder.path / "run.json"))
    gates = {("gate", gate.name): gate for gate in validation.gates}
    for name, one in checks.installed({verdict.suite for verdict in outcome.verdicts}).items():
        gates[CHECK, name] = one.gate
    return gates


def _is_of_file(outcome: Outcome, verdict: Verdict, gates: Mapping[tuple[str, str], Gate]) -> bool:
    """Whether a gate looks at rows that are relative to the same variant on this machine."""
    gate = gates.get((verdict.kind, verdict.gate))
    place = (verdict.target, verdict.backend, verdict.variant)
    return gate is not None and any(
        row.measurement.reference == f"{verdict.variant}@{HOST}"
        for row in outcome.rows
        if (row.key.target, row.key.backend, row.key.variant) == place and gate.looks_at(row)
    )


def _elsewhere(
    outcome: Outcome, variant: str, verdicts: Sequence[Verdict]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Targets on which the same gates pass for the variant, and those on which one of them fails."""
    names = {(verdict.kind, verdict.gate) for verdict in verdicts}
    states: dict[str, set[State]] = {}
    for verdict in outcome.verdicts:
        if verdict.variant == variant and (verdict.kind, verdict.gate) in names:
            states.setdefault(verdict.target, set()).add(verdict.state)
    passing = tuple(
        target for target, seen in states.items() if State.PASS in seen and State.FAIL not in seen
    )
    return passing, tuple(target for target, seen in states.items() if State.FAIL in seen)


def answers(
    outcome: Outcome,
    hypotheses: Sequence[Hypothesis],
    budget_s: float,
    observer: Observer,
    notify: Notify = lambda text: None,
) -> Iterator[Answer]:
    """Explain one question after the other within the budget; nothing is yielded where nothing fails.

    A target that cannot be reached any more, or a model that has changed since, is an answer with its reason.
    """
    end_s = time.monotonic() + budget_s
    asked = questions(outcome)
    folder = outcome.folder.path / reproducer.FOLDER
    late = (
        f"not tested, because the time ({budget_s:.0f} s) was used up; next: harness explain "
        f"{outcome.folder.run_id} --budget {3 * max(budget_s, FEWEST_S):.0f}s"
    )
    for target in dict.fromkeys(question.target for question in asked):
        of_target = [question for question in asked if question.target == target]
        if time.monotonic() >= end_s:
            yield from (Answer(question, reason=late) for question in of_target)
            continue
        try:
            with _prepared(outcome, of_target, observer) as prepared:
                for question in of_target:
                    left_s = end_s - time.monotonic()
                    notify(f"explaining {', '.join(question.gates)}: {question.variant} on {target}")
                    if left_s <= 0:
                        yield Answer(question, reason=late)
                        continue
                    yield _answer(prepared, question, hypotheses, left_s, notify, folder)
        except HarnessError as error:
            yield from (Answer(question, reason=error.what) for question in of_target)


def _answer(
    prepared: Prepared, question: Question, hypotheses: Sequence[Hypothesis], left_s: float, notify: Notify,
    folder: Path,
) -> Answer:  # fmt: skip
    answer = Answer(question, reason="the outputs are those of this machine")
    end_s = time.monotonic() + left_s
    for between in question.pairs():
        try:
            with scene_of(prepared, between, max(FEWEST_S, end_s - time.monotonic())) as scene:
                if scene.is_within_rounding and not (question.is_of_file and scene.gap):
                    continue
                left_s = max(0.0, end_s - time.monotonic())
                explanation = procedure.explain(scene, hypotheses, left_s, notify)
                reproducer.attempt(explanation, folder / question.name, end_s)
                return Answer(question, explanation)
        except HarnessError as error:
            answer = Answer(question, reason=error.what)
    return answer


@contextmanager
def _prepared(outcome: Outcome, asked: Sequence[Question], observer: Observer) -> Iterator[Prepared]:
    """Prepare what the run had of one target, which has to be the same still."""
    run = outcome.run
    target = asked[0].target
    table = {**run["targets"][target], "backends": [asked[0].backend]}
    stored: Mapping[str, Any] = {
        "validation": run["validation"],
        "validation_path": run["validation_path"],
        "targets": {target: table},
    }
    variants = tuple(dict.fromkeys((FLOAT32, *(question.variant for question in asked))))
    request = Request(targets=(target,), variants=variants, results=outcome.folder.path.parent)
    with closing(prepare(request, observer, stored=stored)) as prepared:
        try:
            hashes = {(b.target, b.variant): b.artifact.sha256 for b in outcome.plan.batches}
            for batch in prepared.plan.batches:
                then = hashes.get((batch.target, batch.variant), batch.artifact.sha256)
                if then != batch.artifact.sha256:
                    raise HarnessError(f"{batch.variant} on {batch.target} is another file than in the run")
            yield prepared
        finally:
            observer.end()
