"""Rows of tokens against scipy and plain numpy, with planted losses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, rel_entr, softmax

from harness.core.errors import DataError
from harness.core.job import Samples, Status
from harness.core.measurement import Measurement
from harness.core.suite import ProposalContext
from harness.core.token_numbers import NO_TARGET, PADDING
from harness.stats import paired
from harness.tasks.question import Question
from suites.accuracy.tasks.tokens.documents import reduce
from suites.accuracy.tasks.tokens.metrics import TokenMetrics
from tests.unit.suites.test_accuracy_summarise import FLOAT, rows

RANDOM = np.random.default_rng(5)
N, LENGTH, VOCABULARY = 30, 12, 9
SIZES = RANDOM.integers(2, LENGTH + 1, N)
INSIDE = np.arange(LENGTH) < SIZES[:, None]
TARGETS = np.where(INSIDE, RANDOM.integers(0, VOCABULARY, (N, LENGTH)), PADDING).astype(np.int32)
TARGETS[np.arange(N), SIZES - 1] = NO_TARGET
HAS = TARGETS >= 0
BASE = RANDOM.normal(0, 1, (N, LENGTH, VOCABULARY)).astype(np.float32)
BASE += 2 * (np.arange(VOCABULARY) == TARGETS[..., None])
NOISY = BASE + RANDOM.normal(0, 1, BASE.shape).astype(np.float32)
HERE = "float32@target"


def samples(logits: NDArray[Any], base: NDArray[Any] | None = None, choices: tuple[int, ...] = ()) -> Samples:
    made = reduce(logits, base, TARGETS, choices)
    arrays = {f"answer:{name}": array for name, array in made.items()}
    of_each = [logits[row, : SIZES[row]] for row in range(N)]
    arrays["lowest:0"] = np.array([part.min() for part in of_each], np.float64)
    arrays["highest:0"] = np.array([part.max() for part in of_each], np.float64)
    arrays["answer:padding_effect"] = np.where(np.arange(N) == 3, 0.25, np.nan)
    arrays["row_hash:0"] = np.arange(N, dtype=np.uint64)
    options = {"choices": list(choices)} if choices else {}
    return Samples(arrays, {
        "input_sha256": "d", "outputs": [["logits", [LENGTH, VOCABULARY]]], "dtypes": ["float32"],
        "options": options,
    })  # fmt: skip


def made(variant: Samples, base: Samples) -> dict[tuple[str, str], Measurement]:
    return rows(variant, {"float32": base}, labels=TARGETS, task="tokens")


METRICS = made(samples(NOISY, BASE), samples(BASE))


def test_perplexities_and_their_ratio() -> None:
    means = [
        -log_softmax(y.astype(np.float64), axis=-1)[HAS][np.arange(HAS.sum()), TARGETS[HAS]].mean()
        for y in (NOISY, BASE)
    ]
    assert METRICS["perplexity", ""].value == pytest.approx(math.exp(means[0]), rel=1e-9)
    ratio = METRICS["perplexity_ratio", FLOAT]
    assert ratio.value == pytest.approx(math.exp(means[0] - means[1]), rel=1e-9)
    assert 1 < ratio.ci_low < ratio.value < ratio.ci_high
    assert ratio.n == HAS.sum()


def test_the_divergence() -> None:
    p, q = (softmax(y[INSIDE].astype(np.float64), axis=-1) for y in (BASE, NOISY))
    values = rel_entr(p, q).sum(axis=-1)
    assert METRICS["kl_mean", HERE].value == pytest.approx(values.mean(), rel=1e-9)
    for metric, level in (("kl_median", 0.5), ("kl_p99", 0.99), ("kl_p999", 0.999)):
        wanted = np.quantile(values, level, method="inverted_cdf")
        assert METRICS[metric, HERE].value == pytest.approx(wanted, rel=1e-9)
    assert METRICS["kl_p999", HERE].ci_high == math.inf  # of 200 tokens


def test_the_same_top_token_and_flips() -> None:
    top = [y.argmax(axis=-1) for y in (BASE, NOISY)]
    assert METRICS["same_top_token", FLOAT].value == pytest.approx((top[0] == top[1])[INSIDE].mean())
    right = [(answer == TARGETS)[HAS] for answer in top]
    assert METRICS["token_accuracy", ""].value == pytest.approx(right[1].mean())
    assert METRICS["flips_harmful", FLOAT].value == pytest.approx((right[0] & ~right[1]).mean())
    assert METRICS["flips_beneficial", FLOAT].value == pytest.approx((~right[0] & right[1]).mean())


def test_without_the_float_model_beside_there_is_no_divergence() -> None:
    metrics = made(samples(NOISY), samples(BASE))
    assert metrics["kl_mean", HERE].status is Status.SKIPPED
    assert "did not open the float model" in metrics["kl_mean", HERE].reason
    assert metrics["perplexity_ratio", FLOAT].status is Status.OK


def test_the_effect_of_padding_is_that_of_the_document_that_was_tested() -> None:
    row = METRICS["padding_effect", ""]
    assert (row.value, row.n) == (0.25, 1)


def test_the_same_model_loses_nothing() -> None:
    metrics = made(samples(BASE, BASE), samples(BASE))
    assert metrics["perplexity_ratio", FLOAT].ci_high == 1
    assert metrics["same_top_token", FLOAT].value == 1
    assert metrics["kl_mean", HERE].value <= 1e-12


def test_logits_that_are_not_finite_are_an_error_that_says_where() -> None:
    broken = NOISY.copy()
    broken[4, 1, 3] = np.nan
    metrics = made(samples(broken, BASE), samples(BASE))
    row = metrics["perplexity_ratio", FLOAT]
    assert row.status is Status.ERROR
    assert (
        f"logits of 1 of {INSIDE.sum()} tokens are not finite; the first is token 1 of document 4"
        in row.reason
    )
    assert metrics["nonfinite_outputs", FLOAT].value == pytest.approx(1 / N)


def test_multiple_choice() -> None:
    choices = tuple(range(VOCABULARY))
    metrics = made(samples(NOISY, BASE, choices), samples(BASE, choices=choices))
    last = SIZES - 2
    right = [y[np.arange(N), last].argmax(axis=-1) == TARGETS[np.arange(N), last] for y in (BASE, NOISY)]
    assert metrics["choice_accuracy", ""].value == pytest.approx(right[1].mean())
    flips = paired.flips(*right)
    assert metrics["choice_accuracy_loss", FLOAT].value == pytest.approx(100 * flips.loss.value)
    assert metrics["flips_harmful", FLOAT].value == flips.harmful.value


def test_a_target_that_is_no_choice_is_an_error() -> None:
    metrics = made(samples(NOISY, BASE, (0, 1)), samples(BASE, choices=(0, 1)))
    assert metrics["choice_accuracy", ""].status is Status.ERROR
    assert "documents is none of the choices" in metrics["choice_accuracy", ""].reason


def question(**changed: Any) -> Question:
    ids = np.zeros((2, 5), np.int64)
    plain = Question({"logits": np.zeros((2, 5, 9), np.float32)}, None, inputs={"ids": ids})
    return replace(plain, **changed)


def test_init_proposes_tokens_where_there_are_logits_for_each_id() -> None:
    host = TokenMetrics()
    (next_one,) = host.candidates(question())
    assert "the target of a token is the next one" in next_one.reading.text
    (labelled,) = host.candidates(question(labels=np.zeros((7, 5), np.int64)))
    assert "is its label" in labelled.reading.text
    assert not host.candidates(question(labels=np.zeros(7, np.int64)))  # one label a document
    assert not host.candidates(question(inputs={"x": np.zeros((2, 5), np.float32)}))
    assert not host.candidates(question(outputs={"boxes": np.zeros((2, 84, 100), np.float32)}))
    with pytest.raises(DataError, match=r"no output has logits for each token: boxes \[84, 100\] float32"):
        host.candidates(question(outputs={"boxes": np.zeros((2, 84, 100), np.float32)}, asked=True))


def test_the_gates_that_are_proposed_are_those_of_perplexity() -> None:
    context = ProposalContext("tokens", True, True, False, 200, 30, 64, chance=0.13, fewest=0)
    proposed = [gate.table["metric"] for gate in TokenMetrics().propose(context)]
    assert proposed == ["token_accuracy", "perplexity_ratio", "padding_effect", "perplexity_ratio"]


def parity(variant: NDArray[Any], base: NDArray[Any], **more: Any) -> Measurement:
    host = {"float32": samples(BASE), "int8": samples(base)}
    made = rows(samples(variant, BASE), host, labels=TARGETS, task="tokens", setting="parity", **more)
    return made["difference_over_rounding", "int8@host"]


def test_log_probabilities_are_compared_with_what_rounding_explains() -> None:
    """A logit that moves by less than the bound moves no log-probability by more than twice that."""
    bound = 1e-3
    near = NOISY + RANDOM.uniform(-bound, bound, NOISY.shape)
    assert 0 < parity(near, NOISY, bounds={"logits": bound}).value <= 1
    far = NOISY.copy()
    far[2, 0, TARGETS[2, 0]] += 0.5
    row = parity(far, NOISY, bounds={"logits": bound})
    assert row.value > 10
    assert "a log-probability differs by" in row.reason
    assert "in document 2, rounding explains 0.002; more than that in 1 of" in row.reason


def test_the_same_runtime_explains_no_difference() -> None:
    assert parity(NOISY, NOISY, same_runtime="the same runtime").value == 0
    assert parity(NOISY + np.float32(1e-3) * BASE, NOISY, same_runtime="the same runtime").value == math.inf
    assert parity(NOISY, NOISY).status is Status.SKIPPED  # without a bound
