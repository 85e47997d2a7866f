from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.core.suite import ProposalContext
from harness.stats import intervals, paired
from harness.tasks import propose
from suites.accuracy.summarise import AccuracySuite
from suites.accuracy.tasks.anomaly.metrics import auc_margin
from suites.accuracy.tasks.classification.metrics import accuracy_floor
from suites.accuracy.tasks.multi_label.metrics import f1_margin


def test_four_hundred_samples_decide_one_and_a_half_points() -> None:
    limit = propose.loss_margin(400)
    assert limit is not None
    assert limit.value == 1.5
    assert limit.why == "the strictest that 400 samples can decide (1 pt needs about 619)"


@pytest.mark.parametrize("samples", [10, 40, 60, 200, 620, 1000, 2500, 9800])
def test_a_margin_that_is_offered_can_be_passed(samples: int) -> None:
    limit = propose.loss_margin(samples)
    if limit is None:
        assert not paired.can_ever_pass(samples, max(propose.MARGINS_PT) / 100)
        return
    # As many flips one way as the other, one in a hundred samples in all.
    flips = int(samples * propose.DISAGREEMENT / 2)
    assert paired.tango(flips, flips, samples).high < limit.value / 100


def test_more_samples_never_loosen_a_margin() -> None:
    margins = [limit.value for n in range(30, 3000, 10) if (limit := propose.loss_margin(n))]
    assert margins == sorted(margins, reverse=True)
    assert margins[-1] == 0.5


def test_the_floor_is_proved_by_what_the_trial_promises_and_is_above_chance() -> None:
    limit = accuracy_floor(62, 64, 400, chance=0.1)
    assert limit is not None
    assert 0.1 < limit.value < 62 / 64
    assert intervals.wilson(387, 400).low > limit.value
    assert accuracy_floor(8, 64, 400, chance=0.1) is None
    assert accuracy_floor(60, 64, 5, chance=0.1) is None, "five samples prove nothing"


def test_agreement_is_asked_for_as_far_as_it_can_be_proved() -> None:
    limit = propose.agreement_floor(400)
    assert limit is not None
    assert intervals.wilson(392, 400).low > limit.value == 0.95
    assert propose.agreement_floor(2) is None


def names(**changed: object) -> list[str]:
    """Names of the proposed gates after the one that every model gets."""
    facts = {
        "task": "classification", "labelled": True, "quantizes": True, "shifted": True,
        "samples": 400, "right": 62, "tried": 64, "chance": 0.1,
    }  # fmt: skip
    gates = AccuracySuite().propose(ProposalContext(**(facts | changed)))  # type: ignore[arg-type]
    assert gates[0].name == "same inputs as the host"
    assert all(gate.why for gate in gates[1:])
    return [gate.name for gate in gates[1:]]


def test_only_gates_that_the_sample_can_decide_are_put_in() -> None:
    always = ["float32 better than chance", "float32 accuracy", "float32 as on the host"]
    assert names() == [*always, "int8 accuracy, clean", "int8 accuracy, mean over shifts"]
    assert names(shifted=False) == [*always, "int8 accuracy, clean"]
    assert names(quantizes=False) == always
    agreement = ["float32 as on the host", "int8 agreement, clean"]
    assert names(labelled=False, tried=0) == agreement
    assert names(labelled=False, tried=0, quantizes=False) == agreement[:1]
    regression = ["float32 better than the mean", "float32 as on the host", "int8 error, clean"]
    assert names(task="regression") == regression


def test_a_worse_setup_gets_no_fewer_gates() -> None:
    """A model at chance loses only the floor of its accuracy, a small set only what cannot be decided."""
    assert set(names()) - set(names(right=6)) == {"float32 accuracy"}
    assert set(names()) - set(names(samples=10)) == {"float32 accuracy"}


def test_the_limit_of_chance_is_just_above_the_share_of_the_commonest_class() -> None:
    context = ProposalContext("classification", True, False, False, 400, 62, 64, 0.33333)
    (gate,) = [gate for gate in AccuracySuite().propose(context) if gate.name == "float32 better than chance"]
    assert gate.table == {"metric": "accuracy", "variant": "float32", "case": "clean", "min": 0.3334}


def test_each_task_gets_chance_loss_and_agreement() -> None:
    most = ["float32 as on the host", "int8 {}, clean", "int8 {}, mean over shifts"]
    f1, auc, recall = ([name.format(what) for name in most] for what in ("F1", "AUC", "recall@1"))
    label = ["float32 as on the host, label accuracy", *(name.format("label accuracy") for name in most[1:])]
    assert names(task="multi-label") == ["float32 better than chance", *f1, *label, "int8 agreement, clean"]
    order = ["float32 order of scores as on the host", "int8 order of scores, clean"]
    assert names(task="anomaly", chance=0.5, fewest=60) == ["float32 better than chance", *auc, *order]
    neighbours = ["float32 nearest neighbours as on the host", "int8 nearest neighbours, clean"]
    assert names(task="embedding") == ["float32 better than chance", *recall, *neighbours]
    assert names(task="anomaly", labelled=False) == order
    assert names(task="embedding", labelled=False) == neighbours
    assert names(task="multi-label", labelled=False) == ["float32 as on the host", "int8 agreement, clean"]


@pytest.mark.parametrize("margin", [f1_margin, auc_margin])
def test_more_samples_never_loosen_the_margins_of_other_losses(margin: Callable[[int], Any]) -> None:
    margins = [limit.value for n in range(0, 3000, 10) if (limit := margin(n))]
    assert margins == sorted(margins, reverse=True)
    assert margin(1) is None
    for n in (20, 100, 1000):
        limit, z2 = margin(n), intervals.z_value(0.05) ** 2
        assert limit is None or z2 / (n + z2) < limit.value / 100
