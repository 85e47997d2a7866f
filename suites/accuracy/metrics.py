"""The metrics of the accuracy suite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from harness.core.metric import Column, Metric, Noise, Role
from harness.core.suite import CLEAN
from suites.accuracy import groups

_clean = partial(Metric, case=CLEAN, per_data_set=True)
METRICS: Mapping[str, Metric] = {
    "accuracy": _clean(
        "1", "higher", role=Role.RESULT, share="simple", column=Column("accuracy %", 100, ".2f"),
        shift_column=Column("worst shift pt", 100, "+.0f", spare=3),
    ),
    "ece": _clean("1", "lower", Noise.SAMPLE),
    "mae": _clean("1", "lower"),
    "rmse": _clean("1", "lower", role=Role.RESULT, column=Column("rmse")),
    "r2": _clean("1", "higher"),
    "agreement": _clean(
        "1", "higher", role=Role.AGREEMENT, share="simple", column=Column("agreement %", 100, ".2f"),
        drift=True,
    ),
    "accuracy_loss": _clean(
        "pt", "lower", role=Role.LOSS, share="paired",
        column=Column("loss pt [bound]", 1, ".2f", bound=True), drift=True,
    ),
    "class_accuracy_loss": Metric("pt", "lower", role=Role.CLASS_LOSS, per_data_set=True),
    "error_increase": _clean("1", "lower", role=Role.LOSS),
    "flips_harmful": _clean("1", "lower", role=Role.HARMFUL, drift=True),
    "flips_beneficial": _clean("1", role=Role.BENEFICIAL, drift=True),
    "sqnr": _clean("dB", "higher", Noise.SAMPLE, drift=True),
    "max_abs_difference": _clean("1", "lower", Noise.SAMPLE, drift=True),
    "bit_exact": _clean("1", "higher", role=Role.BIT_EXACT, drift=True),
    "max_lsb": _clean("LSB", "lower"),
    "mean_lsb": _clean("LSB", "lower", Noise.SAMPLE),
    "input_digest_equal": _clean("1", "higher"),
    **groups.METRICS,
}  # fmt: skip
