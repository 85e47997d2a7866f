from __future__ import annotations

import pytest

from harness.init import gates as init_gates
from harness.stats import intervals, paired


def test_four_hundred_samples_decide_one_and_a_half_points() -> None:
    limit = init_gates.loss_margin(400)
    assert limit is not None
    assert limit.value == 1.5
    assert limit.why == "the strictest that 400 samples can decide (1 pt needs about 619)"


@pytest.mark.parametrize("samples", [10, 40, 60, 200, 620, 1000, 2500, 9800])
def test_a_margin_that_is_offered_can_be_passed(samples: int) -> None:
    limit = init_gates.loss_margin(samples)
    if limit is None:
        assert not paired.can_ever_pass(samples, max(init_gates.MARGINS_PT) / 100)
        return
    # As many flips one way as the other, one in a hundred samples in all.
    flips = int(samples * init_gates.DISAGREEMENT / 2)
    assert paired.tango(flips, flips, samples).high < limit.value / 100


def test_more_samples_never_loosen_a_margin() -> None:
    margins = [limit.value for n in range(30, 3000, 10) if (limit := init_gates.loss_margin(n))]
    assert margins == sorted(margins, reverse=True)
    assert margins[-1] == 0.5


def test_the_floor_is_proved_by_what_the_trial_promises_and_is_above_chance() -> None:
    limit = init_gates.accuracy_floor(62, 64, 400, chance=0.1)
    assert limit is not None
    assert 0.1 < limit.value < 62 / 64
    assert intervals.wilson(387, 400).low > limit.value
    assert init_gates.accuracy_floor(8, 64, 400, chance=0.1) is None
    assert init_gates.accuracy_floor(60, 64, 5, chance=0.1) is None, "five samples prove nothing"


def test_agreement_is_asked_for_as_far_as_it_can_be_proved() -> None:
    limit = init_gates.agreement_floor(400)
    assert limit is not None
    assert intervals.wilson(392, 400).low > limit.value == 0.95
    assert init_gates.agreement_floor(10) is None


def choose(**changed: object) -> dict[str, object]:
    arguments = {
        "task": "classification", "labelled": True, "quantizes": True, "shifted": True,
        "samples": 400, "right": 62, "tried": 64, "chance": 0.1,
    }  # fmt: skip
    return dict(init_gates.choose(**(arguments | changed)))  # type: ignore[arg-type]


def test_only_gates_that_the_sample_can_decide_are_put_in() -> None:
    assert list(choose()) == ["float32 accuracy", "int8 accuracy, clean", "int8 accuracy, mean over shifts"]
    assert list(choose(shifted=False)) == ["float32 accuracy", "int8 accuracy, clean"]
    assert list(choose(quantizes=False)) == ["float32 accuracy"]
    assert list(choose(samples=10)) == []
    assert list(choose(labelled=False, tried=0)) == ["int8 agreement, clean"]
    assert list(choose(task="regression")) == ["int8 error, clean"]
