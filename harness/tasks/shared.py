"""Declarations of metrics that several tasks make, so that reports and gates need not know the task."""

from __future__ import annotations

from functools import partial

from harness.core.metric import Column, Metric, Role
from harness.core.suite import CLEAN
from harness.tasks.quantity import Quantity

#: A metric over all samples of a data set, whose clean case stands for the variant.
whole_set = partial(Metric, case=CLEAN, per_data_set=True)
#: How much worse the headline gets under shifted data, in points.
SHIFT_COLUMN = Column("worst shift pt", 100, "+.0f", spare=3)

#: Share of answers that are those of the float reference, without labels.
AGREEMENT = whole_set(
    "1", "higher", role=Role.AGREEMENT, share="simple", column=Column("agreement %", 100, ".2f"), drift=True
)
#: Share of answers that were right and are wrong, and the other way round.
HARMFUL = whole_set("1", "lower", role=Role.HARMFUL, drift=True)
BENEFICIAL = whole_set("1", role=Role.BENEFICIAL, drift=True)
#: What one class lost, in the case ``clean/LABEL``.
CLASS_LOSS = Metric("pt", "lower", role=Role.CLASS_LOSS, per_data_set=True)

#: `AGREEMENT` of a part of the samples.
AGREEMENT_OF_PART = Quantity("agrees in {:.3g} %", 100, reach=1)
