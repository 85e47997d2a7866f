"""Metrics of tokens: perplexity and its ratio, the divergence from the float model, the same top token.

The tokens of a document are not independent: every interval is over documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import DataError
from harness.core.job import Case
from harness.core.measurement import Measurement
from harness.core.metric import Column, Noise, Role
from harness.core.suite import CLEAN, CaseContext, ProposalContext, ProposedGate
from harness.core.token_numbers import NO_TOKEN, PADDING
from harness.stats import paired, tokens
from harness.stats.intervals import Interval, wilson
from harness.stats.sequences import mean_over_sequences
from harness.tasks import propose as gates
from harness.tasks import shared
from harness.tasks.answers import Answers
from harness.tasks.host import GivenLabels, HostTask, LabelSet
from harness.tasks.question import Candidate, Question, Rank
from harness.tasks.rows import PT, Facts, Group, Undefined, row, skipped
from harness.tasks.shared import whole_set
from suites.accuracy.tasks.tokens.targets import targets_of
from suites.accuracy.tasks.tokens.task import Tokens

TASK = Tokens()
FLOAT = "float32"
#: What a divergence is relative to: the float model, pinned, in the runtime that it was measured in.
HERE = "float32@target"
#: Quantiles of the divergence, by metric.
QUANTILES = {"kl_median": 0.5, "kl_p99": 0.99, "kl_p999": 0.999}
#: Perplexity that a variant may cost. Below 1 % it is hard to notice; a broken model costs a multiple.
MOST_RATIO, MOST_RATIO_FLOAT = 1.05, 1.01
#: By how much padding may move a log-probability of the float model, in nats: other kernels move it by less.
MOST_PADDING = 0.05

Flags = NDArray[np.bool_]
Documents = NDArray[np.int64]


def _numbers(facts: Facts, of: Answers) -> tuple[dict[str, NDArray[Any]], Documents]:
    """The numbers of all tokens in a row, and the document of each.

    Raises
    ------
    DataError
        Some tokens have logits that are not finite.
    """
    inside = facts.labels != PADDING
    numbers = {
        name: values[inside] for name, values in of.reduced(TASK).items() if values.shape == inside.shape
    }
    document = np.broadcast_to(np.arange(len(inside))[:, None], inside.shape)[inside]
    broken = numbers["top"] == NO_TOKEN
    if broken.any():
        first = int(broken.argmax())
        place = first - int(np.searchsorted(document, document[first]))
        raise DataError(
            f"logits of {int(broken.sum())} of {len(broken)} tokens are not finite; the first is token "
            f"{place} of document {document[first]}",
            cause="an overflow, often of float16 or of a mask of the smallest number; or a division by 0",
        )
    return numbers, document


def _targets(facts: Facts) -> tuple[Flags, NDArray[Any]]:
    """Which tokens in a row have a target, and which."""
    of_tokens = facts.labels[facts.labels != PADDING]
    if not (of_tokens >= 0).any():
        raise Undefined("no token has a target")
    return of_tokens >= 0, of_tokens[of_tokens >= 0]


def _share(hits: Flags, document: Documents) -> Interval:
    return mean_over_sequences(hits.astype(np.float64), document, reach=1.0, lowest=0.0)


def _quality(facts: Facts) -> Iterator[Measurement]:
    numbers, document = _numbers(facts, facts.answers)
    has, targets = _targets(facts)
    yield row("perplexity", tokens.perplexity(numbers["log_probability"][has], document[has]))
    yield row("token_accuracy", _share(numbers["top"][has] == targets, document[has]))


def _loss(facts: Facts) -> Iterator[Measurement]:
    (base, _), (numbers, document) = _numbers(facts, facts.base), _numbers(facts, facts.answers)
    has, targets = _targets(facts)
    before, after = (one["log_probability"][has] for one in (base, numbers))
    yield row("perplexity_ratio", tokens.perplexity_ratio(before, after, document[has]), facts.reference)
    if _has_choices(facts.answers):
        return  # then the answers are what flips
    was, stays = (one["top"][has] == targets for one in (base, numbers))
    yield row("flips_harmful", _share(was & ~stays, document[has]), facts.reference)
    yield row("flips_beneficial", _share(~was & stays, document[has]), facts.reference)


def _agreement(facts: Facts) -> Iterator[Measurement]:
    (base, _), (numbers, document) = _numbers(facts, facts.base), _numbers(facts, facts.answers)
    yield row("same_top_token", _share(base["top"] == numbers["top"], document), facts.reference)


def _divergence(facts: Facts) -> Iterator[Measurement]:
    numbers, document = _numbers(facts, facts.answers)
    if "divergence" not in numbers:
        for metric in ("kl_mean", *QUANTILES):
            yield skipped(metric, "the target did not open the float model beside this one", HERE)
        return
    values = numbers["divergence"]
    if np.isinf(values).any():
        mean = Interval(math.inf, math.inf, math.inf, len(values))
    else:
        mean = mean_over_sequences(values, document, lowest=0.0)
    yield row("kl_mean", mean, HERE)
    made = tokens.quantiles(values, document, tuple(QUANTILES.values()))
    for metric, quantile in zip(QUANTILES, made, strict=True):
        yield row(metric, quantile, HERE)


def _padding(facts: Facts) -> Iterator[Measurement]:
    """Of one document that was run alone, with and without padding behind it."""
    effect = facts.answers.reduced(TASK)["padding_effect"]
    tested = np.isfinite(effect) | np.isposinf(effect)
    if not tested.any():
        raise Undefined("no document was run with and without padding")
    yield row("padding_effect", float(effect[tested].max()), n=int(tested.sum()))


def _rounding(facts: Facts) -> Iterator[Measurement]:
    """The largest difference of a log-probability over what rounding explains.

    Where no logit differs by more than a bound, no log-probability differs by more than twice that: the
    logit, and the logarithm of the sum over the vocabulary.
    """
    bound = facts.rounding.get(facts.base.names[0])
    if bound is None and not facts.same_runtime:
        raise Undefined(f"no bound is known: {facts.no_rounding}")
    (base, document), (numbers, _) = _numbers(facts, facts.base), _numbers(facts, facts.answers)
    explained = 0.0 if facts.same_runtime or bound is None else 2 * bound
    of_target, of_top = (
        np.abs(base[name] - numbers[name]) for name in ("log_probability", "top_log_probability")
    )
    gaps = np.fmax(of_target, np.where(base["top"] == numbers["top"], of_top, 0.0))
    gaps = np.nan_to_num(gaps, nan=0.0)  # without a target
    place, over = int(gaps.argmax()), int((gaps > explained).sum())
    ratio = float(gaps[place]) / explained if explained else math.inf if over else 0.0
    note = f"a log-probability differs by {gaps[place]:.3g} in document {document[place]}, rounding explains"
    note += f" {explained:.3g}{f': {facts.same_runtime}' if facts.same_runtime else ''}"
    note += f"; more than that in {over} of {len(gaps)} tokens" if over else ""
    made = row("difference_over_rounding", ratio, facts.reference, n=len(facts.answers))
    yield replace(made, reason=note)


def _has_choices(answers: Answers) -> bool:
    return bool(answers.options.get("choices"))


def _right_choices(facts: Facts, of: Answers) -> Flags:
    """Whether the answer of each document with a target is right."""
    choices = np.array(of.options["choices"])
    has = facts.labels >= 0
    last = facts.labels.shape[1] - 1 - has[:, ::-1].argmax(axis=1)
    wanted = facts.labels[np.arange(len(last)), last]
    asked = has.any(axis=1)
    strange = asked & ~np.isin(wanted, choices)
    if strange.any():
        first = int(strange.argmax())
        raise DataError(
            f"the last target of {int(strange.sum())} of {int(asked.sum())} documents is none of the "
            f"choices; the first is document {first}, with the token {wanted[first]}",
            next_step="let each document end in its answer, and list the tokens of all in [task] choices",
        )
    answer = of.reduced(TASK)["choice"]
    right: Flags = (answer >= 0) & (choices[np.maximum(answer, 0)] == wanted)
    return right[asked]


def _choice(facts: Facts) -> Iterator[Measurement]:
    if not _has_choices(facts.answers):
        return
    right = _right_choices(facts, facts.answers)
    yield row("choice_accuracy", wilson(int(right.sum()), right.size), per_sample=right)


def _choice_loss(facts: Facts) -> Iterator[Measurement]:
    if not _has_choices(facts.answers):
        return
    before, after = _right_choices(facts, facts.base), _right_choices(facts, facts.answers)
    flips = paired.flips(before, after)
    lost = PT * (before.astype(np.float64) - after)
    yield row("choice_accuracy_loss", flips.loss, facts.reference, factor=PT, per_sample=lost)
    yield row("flips_harmful", flips.harmful, facts.reference, per_sample=before & ~after)
    yield row("flips_beneficial", flips.beneficial, facts.reference, per_sample=~before & after)


class TokenMetrics(HostTask):
    """Perplexity and its ratio, the divergence from the float model, and flips."""

    task = TASK
    makes_labels = True
    rounding = Group(("difference_over_rounding",), _rounding, against=True, labels=True)
    metrics: ClassVar = {
        "perplexity": whole_set("1", "lower", role=Role.RESULT, column=Column("perplexity", 1, ".4g")),
        "token_accuracy": whole_set("1", "higher"),
        "choice_accuracy": whole_set("1", "higher", share="simple"),
        "perplexity_ratio": whole_set(
            "1", "lower", role=Role.LOSS, column=Column("perplexity × [bound]", 1, ".4f", bound=True),
            drift=True,
        ),
        "choice_accuracy_loss": whole_set("pt", "lower", share="paired", drift=True),
        "same_top_token": whole_set(
            "1", "higher", role=Role.AGREEMENT, column=Column("same token %", 100, ".2f"), drift=True
        ),
        "kl_mean": whole_set("nat", "lower", column=Column("KL nat", 1, ".2g", spare=2), drift=True),
        **{name: whole_set("nat", "lower", drift=True) for name in QUANTILES},
        "padding_effect": whole_set("nat", "lower", Noise.SAMPLE),
        "flips_harmful": shared.HARMFUL,
        "flips_beneficial": shared.BENEFICIAL,
    }  # fmt: skip
    groups = (
        Group(("perplexity", "token_accuracy"), _quality, labels=True),
        Group(("choice_accuracy",), _choice, labels=True),
        Group(("perplexity_ratio", "flips_harmful", "flips_beneficial"), _loss, against=True, labels=True),
        Group(("choice_accuracy_loss",), _choice_loss, against=True, labels=True),
        Group(("same_top_token",), _agreement, against=True, labels=True),
        Group(("kl_mean", *QUANTILES), _divergence, labels=True),
        Group(("padding_effect",), _padding, labels=True),
    )

    def truth(self, given: GivenLabels) -> LabelSet:
        """Return the target of each token: its label, or else the token that follows."""
        if not given.inputs:  # they are targets already
            return LabelSet(given.labels)
        return LabelSet(targets_of(given))

    def candidates(self, question: Question) -> list[Candidate]:
        """List outputs with logits for each token of inputs that are whole numbers."""
        lengths = {x.shape[1] for x in question.inputs.values() if x.dtype.kind in "iu" and x.ndim == 2}
        fitting = [
            name
            for name, y in question.outputs.items()
            if y.ndim == 3 and y.dtype.kind == "f" and y.shape[1] in lengths and y.shape[2] > 1
        ]
        if question.asked and not fitting:
            raise DataError(
                f"no output has logits for each token: {question.listed}",
                where=question.where,
                cause="logits have the shape [documents, length, vocabulary], and ids are whole numbers of "
                "shape [documents, length]",
                next_step="export the model with its logits, or name another --task",
            )
        text = "logits for each token; the target of a token is the next one"
        if question.labels is not None:
            text = "logits for each token; the target of a token is its label"
            of_tokens = question.labels.ndim == 2 and question.labels.shape[1] in lengths
            if not of_tokens and not question.asked:
                return []
        return [Candidate(replace(self.task.reading(name), text=text), Rank.CERTAIN) for name in fitting]

    def case(self, case: Case, context: CaseContext) -> Case:
        """Keep no logits; open the float model beside each variant, but not on the host, which has it."""
        case = replace(case, params={**case.params, "keep": "reduced"})
        return case if context.reference else replace(case, beside=FLOAT)

    def same(self, one: Answers, other: Answers, n: int) -> tuple[str, NDArray[np.bool_]]:
        """Return which documents have the same top token at every place."""
        tops = [answers.head(n).reduced(TASK)["top"] for answers in (one, other)]
        equal: Flags = (tops[0] == tops[1]).all(axis=1)
        return "top token of every place", equal

    def propose(self, context: ProposalContext) -> list[ProposedGate]:
        """Propose how much perplexity a variant may cost, and that the float model predicts something."""
        ratio = gates.Limit(MOST_RATIO_FLOAT, "the same model; more means another file, inputs or precision")
        common = "targets by the commonest token"
        proposed = [
            gates.better_than_chance("token_accuracy", context.chance, common),
            gates.gate(
                "float32 as on the host", "perplexity_ratio", gates.FLOAT, {"max": ratio.value}, ratio
            ),
        ]
        padding = gates.Limit(
            MOST_PADDING, "padding must not be seen; a model that looks at it moves by more"
        )
        table = {"max": padding.value}
        of_float = {"variant": "float32", "case": CLEAN}
        proposed.append(gates.gate("padding is ignored", "padding_effect", of_float, table, padding))
        if context.quantizes:
            most = gates.Limit(MOST_RATIO, "hardly noticed in use; a broken model costs a multiple")
            table = {"max": most.value}
            proposed.append(
                gates.gate("int8 perplexity, clean", "perplexity_ratio", gates.INT8_CLEAN, table, most)
            )
        return proposed
